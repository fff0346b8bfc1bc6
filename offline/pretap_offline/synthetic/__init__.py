"""A synthetic subject: signals through a head model, and `pretap simulate`."""
