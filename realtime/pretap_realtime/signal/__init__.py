"""Checks and repairs of samples: losses, rate, flat channels, quality, compatibility. Pure."""
