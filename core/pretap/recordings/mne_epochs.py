"""Conversion of trials from and to `mne.Epochs`, and of files that end in ``-epo.fif``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pretap.errors import DataError, UsageError
from pretap.extras import import_extra
from pretap.files import replacing, writing
from pretap.recordings.epochs import Epochs
from pretap.signal.channels import canonical

__all__ = ["epochs_from_mne", "epochs_to_mne", "read_mne_epochs", "write_mne_epochs"]

_SUFFIXES = ("-epo.fif", "_epo.fif", "-epo.fif.gz", "_epo.fif.gz")
_UV_PER_V = 1e6


def is_epochs_file(path: Path) -> bool:
    """Whether the file has one of the suffixes that MNE requires for trials."""
    return path.name.lower().endswith(_SUFFIXES)


def epochs_from_mne(mne_epochs: Any, *, source: str = "MNE epochs") -> Epochs:
    """Convert `mne.Epochs` to trials: EEG channels, time first, in microvolts.

    The classes are the keys of ``event_id``, in the order of their codes. If the samples of the events ascend, the
    trials are in the order of recording, except for 0, 1, 2, ...: `mne.EpochsArray` numbers trials without events so.

    Raises
    ------
    DataError
        If there is no EEG channel or no sample.
    """
    kinds = mne_epochs.get_channel_types()
    eeg = [index for index, kind in enumerate(kinds) if kind == "eeg"]  # by index: by type, MNE drops bad ones
    if not eeg:
        raise DataError(f"{source} has no EEG channels. Set the channel types first (epochs.set_channel_types).")
    # by code, as MNE orders them when it reads a file, so that a file and the object agree
    names = sorted(mne_epochs.event_id, key=lambda name: mne_epochs.event_id[name])
    code_of = {int(mne_epochs.event_id[name]): index for index, name in enumerate(names)}
    x_v = mne_epochs.get_data(picks=eeg, verbose="error")  # (n_epochs, n_channels, n_samples), volts
    if not x_v.size:
        raise DataError(f"{source} has no trials.")
    labels = np.array([code_of[int(code)] for code in mne_epochs.events[:, 2]], np.int64)
    samples = mne_epochs.events[:, 0].astype(np.int64)
    numbered = np.array_equal(samples, np.arange(len(samples)))
    sfreq_hz = float(mne_epochs.info["sfreq"])
    end_s = float(mne_epochs.times[-1])
    x_uv = np.ascontiguousarray((x_v * _UV_PER_V).transpose(0, 2, 1), dtype=np.float32)
    return Epochs(
        x_uv=x_uv,  # (n_epochs, n_samples, n_channels)
        labels=labels,
        classes=tuple(names),
        channels=tuple(mne_epochs.ch_names[index] for index in eeg),
        sfreq_hz=sfreq_hz,
        window_end_ms=round(1000 * end_s, 6),
        source=Path(source).name,
        subject=str((mne_epochs.info["subject_info"] or {}).get("his_id") or ""),
        at_s=None if numbered or (np.diff(samples) < 0).any() else samples / sfreq_hz + end_s,
    )


def read_mne_epochs(path: Path) -> Epochs:
    """Read trials from an ``-epo.fif`` file, see `epochs_from_mne`."""
    mne = import_extra("mne", needed_by=f"Reading {path.name}")
    if not path.exists():
        raise DataError(f"{path} does not exist: expected trials saved by MNE (...-epo.fif).")
    try:
        epochs = mne.read_epochs(path, verbose="error")
    except Exception as error:  # MNE raises anything on damaged bytes
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{path} cannot be read as trials ({type(error).__name__}: {reason}). Damaged?") from error
    return epochs_from_mne(epochs, source=str(path))


def epochs_to_mne(epochs: Epochs) -> Any:
    """Convert labelled trials to `mne.EpochsArray`, in volts, with the known positions of electrodes.

    The events have their samples in the recording. Trials of several files follow each other, a second apart. Without
    an order of recording, they are numbered 0, 1, 2, ...
    """
    mne = import_extra("mne", needed_by="Trials as MNE epochs")
    if epochs.labels is None:
        raise DataError(f"{epochs.source}: expected labelled trials to save as MNE epochs.")
    info = make_info(epochs.channels, sfreq_hz=epochs.sfreq_hz)
    if epochs.subject:
        info["subject_info"] = {"his_id": epochs.subject}
    last = round(epochs.window_end_ms / 1000 * epochs.sfreq_hz)
    events = np.column_stack([_event_samples(epochs, last), np.zeros(len(epochs), np.int64), epochs.labels + 1])
    return mne.EpochsArray(
        epochs.x_uv.transpose(0, 2, 1).astype(np.float64) / _UV_PER_V,  # (n_epochs, n_channels, n_samples), volts
        info,
        events=events,
        tmin=(last - epochs.n_samples + 1) / epochs.sfreq_hz,
        event_id={name: index + 1 for index, name in enumerate(epochs.classes) if (epochs.labels == index).any()},
        proj=False,
        baseline=None,
        verbose="error",
    )


def write_mne_epochs(epochs: Epochs, path: Path) -> None:
    """Write trials to an ``-epo.fif`` file, in double precision: they are read back bit for bit."""
    if not is_epochs_file(path):
        raise UsageError(f"Expected a file name that ends in -epo.fif, as MNE requires for trials, got {path.name}.")
    mne_epochs = epochs_to_mne(epochs)
    with writing(path), replacing(path) as partial:
        mne_epochs.save(partial, fmt="double", overwrite=True, verbose="error")


def _event_samples(epochs: Epochs, last: int) -> Any:
    """Return the sample of the event of each trial, (n_epochs,), with files one after another."""
    if epochs.at_s is None or epochs.files is None or not epochs.is_in_order:
        return np.arange(len(epochs))
    samples = np.rint(epochs.at_s * epochs.sfreq_hz).astype(np.int64) - last  # (n_epochs,)
    for file in np.unique(epochs.files)[1:]:
        before, here = epochs.files < file, epochs.files == file
        gap = epochs.n_samples + round(epochs.sfreq_hz)
        samples[here] += samples[before].max() + gap - samples[here].min()
    return samples


def standard_montage() -> Any:
    """Return MNE's standard 10-05 montage."""
    mne = import_extra("mne", needed_by="Electrode positions")
    # MNE 1.13 renamed its standard_1005
    known = "colin27_1005" in mne.channels.get_builtin_montages()
    return mne.channels.make_standard_montage("colin27_1005" if known else "standard_1005")


def make_info(names: tuple[str, ...], *, sfreq_hz: float) -> Any:
    """Create `mne.Info` for EEG channels, with the standard 10-05 positions of all electrodes that have one."""
    mne = import_extra("mne", needed_by="MNE's description of channels")
    info = mne.create_info(list(names), sfreq_hz, "eeg")
    montage = standard_montage()
    positions = montage.get_positions()["ch_pos"]
    by_electrode = {canonical(name): xyz for name, xyz in positions.items()}
    known = {name: by_electrode[canonical(name)] for name in names if canonical(name) in by_electrode}
    if known:
        # with all landmarks, so that the head coordinates are those of the whole montage
        placed = mne.channels.make_dig_montage(
            known, **{key: montage.get_positions()[key] for key in ("nasion", "lpa", "rpa", "coord_frame")}
        )
        info.set_montage(placed, on_missing="ignore", verbose="error")
    return info
