"""Parts shared by the readers of several formats: replaced labels, units and rates, events, and refusals."""
