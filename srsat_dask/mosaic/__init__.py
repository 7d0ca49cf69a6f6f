"""Mosaics: the tile grid, windows, georeferencing, the Zarr store and its ledger."""
