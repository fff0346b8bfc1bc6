"""Readers of recordings and trials of every format: time first, in microvolts, with events or labels."""
