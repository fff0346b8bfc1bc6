"""Channels, scaling and resampling: what training and serving do to samples alike."""
