"""Products: what other tools open, made from a mosaic store."""
