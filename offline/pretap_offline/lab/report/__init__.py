"""The report of `pretap compare` and `pretap sweep`."""
