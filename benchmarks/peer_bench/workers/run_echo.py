"""Nothing is decided; each hop-th sample is answered.

It wakes for whatever comes. With chunks of one sample that costs more than to wait for all samples that a decision
needs: there it is no floor for the processor's time.
"""

from __future__ import annotations

from loop import open_outlet, pulled
from options import read_options


def main() -> None:
    options = read_options()
    outlet, missing = open_outlet(options.out), options.hop
    for x, t_s in pulled(options.stream):
        while missing <= len(t_s):
            outlet.push_sample([float(x[missing - 1, 0]), 0.0, 1.0], t_s[missing - 1])
            missing += options.hop
        missing -= len(t_s)


if __name__ == "__main__":
    main()
