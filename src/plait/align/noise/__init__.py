"""The noise lab: known noise, and the search for unknown noise, in preference pairs."""
