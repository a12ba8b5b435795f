"""Mappers that clean texts: unicode, blanks, links, addresses, markup."""
