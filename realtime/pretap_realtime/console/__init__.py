"""The terminal and the signals that stop a command."""
