"""Study mode: everything is measured once, then thresholds are predicates."""
