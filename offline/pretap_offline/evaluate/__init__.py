"""Evaluate decoders, and advise what to do with the result."""
