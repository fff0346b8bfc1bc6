"""The HTML report of `pretap compare`."""
