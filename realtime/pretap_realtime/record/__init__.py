"""`pretap record`: writes LSL streams to an XDF file."""
