"""Bundles: the file format, the manifest, the shipped bundles, and `pretap inspect`."""
