"""Harvest: map tiles of a service become shards of a mosaic store."""
