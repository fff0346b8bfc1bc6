"""Fitting of classifiers to epochs."""
