"""`pretap score` and `pretap tune`, which run the live pipeline over a file."""
