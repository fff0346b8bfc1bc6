"""`pretap score` and `pretap tune`: the live pipeline over a file."""
