"""``--markers`` and ``--cue-channel`` choose the events of a recording, in every command that reads them."""

from __future__ import annotations

import secrets

import numpy as np
import pytest

from pretap.bundle.file import load
from pretap.config.recording import RecordingConfig
from xdf_files import write_streams

LABELS = ("C3", "C4", "Cz", "FC1", "FC2", "CP1")
RECIPE = """
[events]
left = ["tap/left", "1"]
right = ["tap/right", "2"]
[trials]
window_ms = [-630.0, -130.0]
[scaling]
reference = "average"
baseline_ms = 50.0
block_ms = 100.0
divide_uv = 10.0
[network]
kind = "lda"
[evaluation]
folds = 2
"""


@pytest.fixture
def taps(tmp_path):
    """Write a recording of 40 taps: as texts in two streams, and as codes in the channel TTL."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 4, (4300, len(LABELS) + 1)).astype(np.float32)
    x[:, -1] = 0
    times, texts = [], []
    for k in range(40):
        sample, is_left = 200 + 100 * k, k % 2 == 0
        x[sample - 45 : sample, int(is_left)] -= 12
        x[sample : sample + 5, -1] = 1 if is_left else 2
        times.append(sample / 100)
        texts.append([b"tap/left" if is_left else b"tap/right"])
    eeg = {
        "name": "Amp", "kind": "EEG", "format": "float32", "sfreq_hz": 100, "t_s": np.arange(len(x)) / 100,
        "values": x, "channels": [*((label, "EEG") for label in LABELS), ("TTL", "Trigger")],
    }  # fmt: skip
    task = {"name": "task", "kind": "Markers", "format": "string", "t_s": times, "values": texts}
    return write_streams(tmp_path / "taps.xdf", eeg, task, task | {"name": "copy", "t_s": np.add(times, 0.01)})


def test_every_command_needs_and_accepts_a_choice_and_a_bundle_remembers_it(start, taps, tmp_path):
    recipe, bundle = tmp_path / "recipe.toml", tmp_path / "taps.safetensors"
    recipe.write_text(RECIPE)
    file, name = str(taps), f"r-{secrets.token_hex(4)}"
    refused = start("train", str(recipe), "--recording", file, "--out", str(bundle))
    assert refused.wait() == 7
    assert "both have 'tap/left', so the same event might count twice" in refused.said
    recipe.write_text(RECIPE + '[recording]\nmarkers = ["task"]\n')
    of_ttl = ("--cue-channel", "TTL")
    commands = {
        ("train", str(recipe), "--recording", file, "--out", str(bundle), *of_ttl): "codes of channel 'TTL'",
        ("evaluate", str(bundle), "--recording", file): "codes of channel 'TTL'",
        ("evaluate", str(bundle), "--recording", file, "--markers", "task"): "'copy' (id 3) are not used",
        ("score", str(bundle), file, *of_ttl): "40 decisions",
        ("replay", file, "--name", name, "--speed", "100", "--markers", "copy"): "40 markers sent",
        ("tune", str(bundle), file, "--max-false-per-min", "1000", "--markers", "3"): "policies tried",
        ("verify", str(bundle), "--recording", file, "--trials", "0:3", *of_ttl): "expected  3 decisions, received 3",
    }  # fmt: skip
    for command, expected in commands.items():
        chosen = start(*command)
        assert chosen.wait() == 0, chosen.said
        assert expected in chosen.said, chosen.said
    assert load(bundle).manifest.training.config.recording == RecordingConfig(cue_channel="TTL")


def test_two_choices_and_a_choice_without_a_recording_are_refused(start, bundle, taps):
    refusals = {
        ("score", str(bundle), str(taps), "--markers", "task", "--cue-channel", "TTL"): "both choose the events",
        ("verify", str(bundle), "--cue-channel", "TTL"): "give --recording too",
    }
    for command, expected in refusals.items():
        refused = start(*command)
        assert refused.wait() == 2
        assert expected in refused.said
