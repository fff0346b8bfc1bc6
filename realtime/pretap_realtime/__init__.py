"""The live side of pretap: it serves decoders over Lab Streaming Layer, and replays recordings as live streams."""
