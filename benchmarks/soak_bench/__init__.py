"""A long bad day: what `soak.py` is made of."""
