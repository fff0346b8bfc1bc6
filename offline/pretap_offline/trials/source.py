"""Reads the trials that ``--data`` or ``--recording`` names. Used by all commands that train or evaluate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from pretap.config.recording import ALL_EVENTS, RecordingConfig
from pretap.config.train import TrainConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import UsageError
from pretap.recordings.bids import expand
from pretap.recordings.competition import read_competition
from pretap.recordings.continuous import open_recording
from pretap.recordings.epochs import Epochs
from pretap.recordings.mne_epochs import is_epochs_file, read_mne_epochs
from pretap_offline.trials.cut import cut_trials
from pretap_offline.trials.report import TrialReport

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


def check_source(data: str | None, recordings: Sequence[Path], *, stream: str | None, reading: RecordingConfig) -> None:
    """Check that the options of a command choose the trials in one way.

    Raises
    ------
    UsageError
        If ``--data`` and ``--recording`` are both given, or options that describe recordings without any.
    """
    if data is not None and recordings:
        raise UsageError("--data and --recording both choose the trials: give one of them.")
    if stream is not None and not recordings:
        raise UsageError("--xdf-stream chooses a stream in the files of --recording: give both.")
    if reading != ALL_EVENTS and not recordings:
        raise UsageError("--markers, --cue-channel, --unit and --eeg describe the files of --recording: give both.")


def cut_recordings(
    paths: Sequence[Path], config: TrainConfig, *, stream: str | None, decoder: Decoder | None = None
) -> tuple[Epochs, TrialReport]:
    """Cut the trials of recordings as `config` describes, with a `decoder` exactly its channels, see `cut_trials`."""
    opened = [open_recording(path, stream=stream, config=config.recording) for path in expand(paths)]
    if decoder is None:
        return cut_trials(opened, config)
    return cut_trials(opened, config, channels=decoder.manifest.channels, interpolation=decoder.interpolation)


def shared_cut(configs: Sequence[TrainConfig]) -> TrainConfig:
    """Return a recipe that cuts trials as all of `configs` do; those without [events] leave that to the others.

    If they ask for different rates, the trials keep the rate of the first recording.

    Raises
    ------
    UsageError
        If two recipes would cut different trials.
    """
    cutting = [config for config in configs if config.events]
    first = cutting[0] if cutting else configs[0]
    for other in cutting:
        for name in ("events", "trials", "recording"):
            own, others = getattr(first, name), getattr(other, name)
            if own != others or (name == "events" and tuple(own) != tuple(others)):
                raise UsageError(
                    f"[{name}] differs between the recipes, so they would cut different trials, but all are compared "
                    "on the same ones. Make it the same in all of them, or leave out [events] in all but one."
                )
    rates_hz = {config.signal.sfreq_hz for config in configs}
    sfreq_hz = rates_hz.pop() if len(rates_hz) == 1 else None
    return replace(first, signal=replace(first.signal, sfreq_hz=sfreq_hz))
