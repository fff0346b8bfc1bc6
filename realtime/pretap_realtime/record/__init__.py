"""`pretap record`: writes LSL streams into an XDF file."""
