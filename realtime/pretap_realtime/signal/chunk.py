"""The data of the live pipeline: chunks, cues and decisions.

They are structs, which take a tenth of the time of frozen dataclasses to create.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray


class Chunk(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Samples that arrived together: `x_uv` (n_new, n_channels) in the order of the bundle's channels, `t_s` (n_new,).

    `count` and `codes` (n_new,) are the values of the device's counter and of the trigger channel, if they are used.
    """

    x_uv: NDArray[np.float32]
    t_s: NDArray[np.float64]
    count: NDArray[np.float64] | None = None
    codes: NDArray[np.float64] | None = None


class Cue(msgspec.Struct, frozen=True, gc=False):
    """A marker that asks for one decision: its timestamp and its text."""

    t_s: float
    text: str


class Decision(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The probabilities of one window, or why there are none.

    Attributes
    ----------
    t_s
        Timestamp of the window's last sample; if there is no window, of the break or the cue.
    probs
        (n_classes,), or None if the window is not valid.
    why
        Why this must not become a verdict: there are no probabilities, or they are held back. Empty if it may.
    cue
        Text of the cue that asked for it; empty in free-running decoding.
    n_lost
        Samples counted as lost so far.
    quality
        The share of the electrodes that are good, 0..1; 0 if something is wrong with the stream as a whole.
    """

    t_s: float
    probs: NDArray[np.float64] | None
    why: str = ""
    cue: str = ""
    n_lost: int = 0
    quality: float = 1.0
