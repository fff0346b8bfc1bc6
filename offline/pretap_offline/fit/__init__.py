"""Fit classifiers on epochs."""
