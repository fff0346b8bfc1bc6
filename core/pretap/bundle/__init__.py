"""Bundles: the file, the manifest, the shipped ones, and `pretap inspect`."""
