"""Upscale: whole scenes become finer scenes, lazily or store to store."""
