"""Parts of `benchmarks/peers.py`: a source, a system under test and a receiver, each in its own process."""
