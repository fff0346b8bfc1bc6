"""Comparison of recipes over the recordings of several people (heads), within sessions, between them and few trials."""
