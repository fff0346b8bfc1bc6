"""Checks of the whole path: `pretap verify`, `demo`, `doctor` and `streams`."""
