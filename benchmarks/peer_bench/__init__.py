"""The parts of `benchmarks/peers.py`: a source, a system under test and a receiver, each a process."""
