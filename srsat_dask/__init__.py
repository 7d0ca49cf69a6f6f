"""Whole-scene satellite super-resolution on Dask."""

__version__ = "0.1.0"
