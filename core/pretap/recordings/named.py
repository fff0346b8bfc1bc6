"""Opens the RECORDING of `pretap replay`, `score` and `tune`: trials, a recording, or the synthetic subject."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec

from pretap.child import run_child
from pretap.config.recording import ALL_EVENTS, RecordingConfig, overridden
from pretap.errors import UsageError
from pretap.recordings.live_clocks import LiveClocks
from pretap.recordings.mne_epochs import is_epochs_file
from pretap.recordings.openbci import is_openbci_text
from pretap.recordings.recording import Recording, from_epochs


def open_any(
    name: str,
    *,
    part: Literal["train", "test"],
    sfreq_hz: float | None = None,
    trials_at_hz: float | None = None,
    trials: str | None = None,
    channels: tuple[str, ...] | None = None,
    stream: str | None = None,
    config: RecordingConfig = ALL_EVENTS,
    recipe: RecordingConfig = ALL_EVENTS,
    clocks: LiveClocks | None = None,
) -> Recording:
    """Open trials (competition or -epo.fif, joined end to end), a continuous recording, or the synthetic subject.

    `sfreq_hz` resamples any of them, `trials_at_hz` only trials. `trials` and `channels` select from trials, `stream`
    selects a stream of an XDF file, and `config` describes a continuous recording; what it leaves open is as in the
    `recipe` of a bundle, apart from the events. `clocks` are those of the session that an XDF file recorded.
    """
    path = Path(name)
    is_synthetic = name.partition(":")[0] == "synthetic" and not path.exists()
    is_table = path.suffix.lower() in (".mat", ".txt") and not is_openbci_text(path)
    is_trials = path.is_dir() or is_table or is_epochs_file(path)
    if is_synthetic or is_trials:
        _refuse_choice(stream, config, name)
    if is_synthetic:
        return _synthetic(name, sfreq_hz=sfreq_hz or trials_at_hz)
    if is_trials:
        from pretap.recordings.competition import read_competition
        from pretap.recordings.mne_epochs import read_mne_epochs
        from pretap.recordings.resample import resample_epochs

        epochs = read_mne_epochs(path) if is_epochs_file(path) else read_competition(path, part=part)
        if trials is not None:
            epochs = epochs.select_range(trials)
        if channels is not None:
            epochs = epochs.pick(channels)
        rate_hz = sfreq_hz or trials_at_hz or epochs.sfreq_hz
        return from_epochs(resample_epochs(epochs, sfreq_hz=rate_hz))
    from pretap.recordings.continuous import open_recording

    described = msgspec.structs.replace(recipe, markers=(), cue_channel="")  # events are chosen for each recording
    recording = open_recording(path, stream=stream, config=overridden(described, config), clocks=clocks)
    if sfreq_hz is None:
        return recording
    from pretap.recordings.resample import resample_recording

    return resample_recording(recording, sfreq_hz=sfreq_hz)


def _refuse_choice(stream: str | None, config: RecordingConfig, name: str) -> None:
    options = {"--xdf-stream": stream, "--markers": " ".join(config.markers)}
    for option, value in options.items():
        if value:
            raise UsageError(f"{option} {value}: only XDF files have streams to choose from, and {name} is not one.")
    if config.cue_channel:
        raise UsageError(f"--cue-channel {config.cue_channel}: {name} has no trigger channel. Leave the option out.")
    if config != ALL_EVENTS:
        raise UsageError(
            f"channels, unit, sfreq_hz and eeg describe a continuous recording, and {name} has trials. Leave them out."
        )


def _synthetic(name: str, *, sfreq_hz: float | None) -> Recording:
    """Generate a recording with `pretap simulate`, in a child process since the live side cannot import it."""
    from pretap.recordings.continuous import open_recording

    _, _, seed = name.partition(":")
    if seed and not seed.isdecimal():
        raise UsageError(f"{name!r}: expected synthetic or synthetic:SEED with a whole number SEED.")
    with tempfile.TemporaryDirectory(prefix="pretap-") as folder:
        file = Path(folder) / "synthetic_raw.fif"
        command = [sys.executable, "-m", "pretap", "simulate", str(file), "--seed", seed or "0", "--seconds", "120"]
        if sfreq_hz is not None:
            command += ["--sfreq-hz", f"{sfreq_hz:g}"]
        run_child(command)
        on_disk = open_recording(file)
        x_uv = on_disk.read(0, on_disk.n_samples)  # into memory, since the file will be deleted
    return replace(
        on_disk,
        read=lambda start, stop: x_uv[start:stop],
        source=f"synthetic subject, seed {seed or '0'}",
        subject=f"synthetic-{seed or '0'}",
    )
