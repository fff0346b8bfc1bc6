"""`pretap serve`: the live service."""
