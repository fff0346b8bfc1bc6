"""What the readers of several formats share: labels, units and rates that a setting replaces, events, and refusals."""
