"""From samples to decisions to verdicts. Pure: no clock, network, thread or signal."""
