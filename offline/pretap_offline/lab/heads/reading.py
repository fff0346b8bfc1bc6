"""Reads the trials of a head, from recordings or -epo.fif files, as each recipe cuts them. Used by `study`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from pretap.config.train import TrainConfig
from pretap.errors import DataError, PretapError, UsageError
from pretap.recordings.epochs import Epochs, join
from pretap.recordings.events import matches
from pretap.recordings.mne_epochs import is_epochs_file, read_mne_epochs
from pretap_offline.lab.heads.config import Group, Head, HeadsConfig, cutting_recipe, files_of
from pretap_offline.trials.source import cut_recordings


class HeadReader:
    """Reads heads of one file; recipes that cut alike share the trials."""

    def __init__(self, heads: HeadsConfig, path: Path) -> None:
        self.heads, self._path = heads, path
        self._read: dict[bytes, Epochs] = {}

    def read(self, recipe: TrainConfig, group: Group, head: Head) -> Epochs:
        """Return the trials of a head as `recipe` cuts them, with what the heads file replaces.

        Raises
        ------
        PretapError
            If files are missing or no trials can be cut; the message names the head.
        """
        config = cutting_recipe(recipe, self.heads, group, head, path=self._path)
        parts = (group.name, head.name, config.events, config.trials, config.recording, config.signal)
        key = msgspec.json.encode(parts)
        if key not in self._read:
            try:
                self._read[key] = _read(files_of(head, path=self._path), config)
            except PretapError as error:
                raise type(error)(f"{group.name}, {head.name}: {error}") from error
        return self._read[key]


def _read(files: list[str], config: TrainConfig) -> Epochs:
    cut = [is_epochs_file(Path(file)) for file in files]
    if not any(cut):
        return cut_recordings(list(map(Path, files)), config, stream=None)[0]
    if not all(cut):
        raise UsageError("expected either recordings or trials (-epo.fif), but the files are of both kinds.")
    return join([_crop(read_mne_epochs(Path(file)), config) for file in files])


def _crop(epochs: Epochs, config: TrainConfig) -> Epochs:
    """Return the trials of the classes in [events], in the window and with the channels of [trials]."""
    trials = config.trials
    if config.events:
        epochs = _of_classes(epochs, config)
    kept = tuple(name for name in trials.channels or epochs.channels if name not in trials.exclude)
    return epochs.pick(kept).crop(*trials.window_ms)


def _of_classes(epochs: Epochs, config: TrainConfig) -> Epochs:
    """Return the trials whose class fits a pattern of [events], labelled by its name there."""
    assert epochs.labels is not None
    label_of = np.full(len(epochs.classes), -1)
    for label, patterns in enumerate(config.events.values()):
        fitting = [i for i, name in enumerate(epochs.classes) if matches(name, patterns)]
        if not fitting:
            raise DataError(
                f"{epochs.source}: no class fits {', '.join(map(repr, patterns))}; it has {', '.join(epochs.classes)}. "
                "Change [events] of the head."
            )
        label_of[fitting] = label
    labels = label_of[epochs.labels]
    found = replace(epochs, labels=labels, classes=tuple(config.events))
    return found.select(np.flatnonzero(labels >= 0))
