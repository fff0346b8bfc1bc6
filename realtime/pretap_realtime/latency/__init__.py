"""Latency: measures the way from the amplifier to a decision that a consumer, a page or a photodiode sees."""
