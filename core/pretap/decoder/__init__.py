"""Decoders: they turn microvolts into probabilities, for one window or along a stream.

Along a stream, windows are advanced sample by sample instead of being recomputed. With a hop of h samples,
``ceil(n_window / h)`` windows are open at any moment. Each has a lane with the state of its own network, which starts
at the window's first sample, and all lanes advance together as samples arrive. A lane that has seen ``n_window``
samples returns its decision and starts again. Nothing is approximated: the result equals that of the recomputed window
except for rounding, and only one step remains to be computed after the last sample.

- `decoder`: `Decoder`, the entry point for every caller outside this package;
- `plan`: how the steps of the network are made of samples (`Steps`), the same for every engine;
- `python`: lanes in Python around the `Cells` of a kind of network;
- `compiled`: the same lanes in C (`lanes.c`), many times faster, if pretap was built with a compiler;
- `stream`: a stream of decisions on lanes of either kind, and its self-audit. With torch, and for networks that cannot
  be advanced, it recomputes every window.
"""
