"""Lab Streaming Layer: the only package that imports pylsl."""
