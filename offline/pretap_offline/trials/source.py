"""Reads the trials that ``--data`` names: the competition's, trials saved by MNE, or the synthetic subject."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pretap.errors import UsageError
from pretap.recordings.competition import read_competition
from pretap.recordings.epochs import Epochs
from pretap.recordings.mne_epochs import is_epochs_file, read_mne_epochs

_N_TRAIN, _N_TEST = 300, 100  # about as many as in the competition


def read_trials(data: str | None, *, part: Literal["train", "test"]) -> Epochs:
    """Read one part of `data`: a path, ``synthetic`` or ``synthetic:SEED``; the default is PRETAP_DATA.

    An ``-epo.fif`` file has no parts, so all its trials are read.
    """
    data = data or os.environ.get("PRETAP_DATA")
    if not data:
        raise UsageError("No data: give --data DIR (or set PRETAP_DATA), or --data synthetic for a simulated subject.")
    name, _, seed = data.partition(":")
    if name == "synthetic" and not Path(data).exists():
        if seed and not seed.isdecimal():
            raise UsageError(f"--data {data!r}: expected synthetic or synthetic:SEED with a whole number.")
        from pretap_offline.synthetic.command import simulate_epochs

        train, test = simulate_epochs(seed=int(seed or 0), n_train=_N_TRAIN, n_test=_N_TEST)
        return train if part == "train" else test
    if is_epochs_file(Path(data)):
        return read_mne_epochs(Path(data))
    return read_competition(Path(data), part=part)
