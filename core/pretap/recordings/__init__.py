"""Readers: recordings of every kind into time-first microvolts with events or labels."""
