"""Network outputs: WebSocket, OSC and UDP, next to the LSL streams."""
