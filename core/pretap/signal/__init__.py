"""Channels, scaling and resampling: the processing that training and serving share."""
