"""A synthetic subject: EEG simulated through a head model, and `pretap simulate`."""
