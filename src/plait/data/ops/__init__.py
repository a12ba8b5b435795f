"""Data operations, one file per family. Named in `plait.data.catalog`; imported when a recipe names them."""
