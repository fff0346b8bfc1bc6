"""Parts of the soak test, `soak.py`."""
