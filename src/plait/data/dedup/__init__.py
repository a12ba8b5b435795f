"""Duplicates: digests, signatures, verified clusters, and the index of what earlier releases hold."""
