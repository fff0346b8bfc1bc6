"""The data of the live pipeline: chunks, cues and decisions.

They are structs, which take a tenth of the time of frozen dataclasses to create.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.decoder.adapting import Adapted


class CueOrigin(msgspec.Struct, frozen=True, gc=False):
    """How the time of a live cue follows from its marker; see `StreamClocks`.

    Attributes
    ----------
    t_s
        The marker's timestamp, on the clock of the cue stream.
    cue_offset_s, eeg_offset_s
        The clock offsets of both streams when the cue was placed. On the clock of the EEG stream, the cue is at
        ``t_s + cue_offset_s - eeg_offset_s``.
    first_s
        Timestamp of the first EEG sample of the connection, from which samples are counted.
    """

    t_s: float
    cue_offset_s: float
    eeg_offset_s: float
    first_s: float

    @property
    def eeg_s(self) -> float:
        """The time of the cue on the clock of the EEG stream."""
        return self.t_s + (self.cue_offset_s - self.eeg_offset_s)


class Cue(msgspec.Struct, frozen=True, gc=False):
    """A marker that asks for one decision: its timestamp on the clock of the EEG stream, and its text.

    `why` says why it has no such time, if that is so. A cue from a trigger channel is at the sample `row` of its chunk,
    whose time the pipeline finds.
    """

    t_s: float
    text: str
    origin: CueOrigin | None = None
    why: str = ""
    row: int = -1


class Chunk(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Samples that arrived together: `x_uv` (n_new, n_channels) in the order of the bundle's channels, `t_s` (n_new,).

    `count` and `codes` (n_new,) are the values of the device's counter and of the trigger channel, if they are used,
    and `cues` are the cues that were found in the codes.
    """

    x_uv: NDArray[np.float32]
    t_s: NDArray[np.float64]
    count: NDArray[np.float64] | None = None
    codes: NDArray[np.float64] | None = None
    cues: tuple[Cue, ...] = ()


class Decision(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The probabilities of one window, or why there are none.

    Attributes
    ----------
    t_s
        Timestamp of the window's last sample; if there is no window, of the break or the cue. NaN if that has none.
    probs
        (n_classes,), or None if the window is not valid.
    why
        Why this must not become a verdict: there are no probabilities, or they are held back. Empty if it may.
    cue
        Text of the cue that asked for it; empty in free-running decoding.
    origin
        The `origin` of that cue, if it was live.
    sample
        Number of the window's last sample at a cue, counted at the bundle's rate from the first one of the connection;
        -1 if there is no window.
    n_lost
        Samples counted as lost so far.
    quality
        The share of the electrodes that are good, 0..1; 0 if something is wrong with the stream as a whole.
    adapted
        How far the state of a decoder that adapts had moved before this window; otherwise None.
    """

    t_s: float
    probs: NDArray[np.float64] | None
    why: str = ""
    cue: str = ""
    origin: CueOrigin | None = None
    sample: int = -1
    n_lost: int = 0
    quality: float = 1.0
    adapted: Adapted | None = None
