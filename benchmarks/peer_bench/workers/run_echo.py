"""The floor: nothing is decided; each hop-th sample is answered."""

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
