"""The laboratory: comparison of recipes on the same folds, and search with nested cross-validation."""
