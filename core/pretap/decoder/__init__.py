"""Windows that are advanced sample by sample instead of being recomputed: one lane for each window that is open.

With a hop of h samples ``ceil(n_window / h)`` windows are open at any moment. Each has a lane with the state of its
own network, begun at its own first sample, and all lanes take a step together as samples arrive; the lane that has seen
``n_window`` samples gives its decision and starts afresh. Nothing is approximated: the result is that of the recomputed
window to rounding, and after the last sample one step is left to do.

- `plan`: how the steps of the network are made of samples (`Steps`), the same for every engine;
- `python`: lanes in Python, around the `Cells` of a kind of network: numpy, or the trained torch module itself;
- `compiled`: the same in C (`lanes.c`), many times as fast, where a compiler was there when pretap was built;
- `recompute`: the plain way, for what cannot be advanced.
"""
