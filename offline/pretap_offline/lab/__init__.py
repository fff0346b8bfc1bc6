"""The laboratory: recipes compared on the same folds, and searched for without fooling oneself."""
