"""The console writer and the signals that stop a command."""
