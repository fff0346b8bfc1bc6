"""`pretap replay` with faults against a real service: both count the same samples."""

from __future__ import annotations

import json
import re
import secrets

import pytest


@pytest.fixture
def recording(tmp_path):
    """Ten seconds of four electrodes at 100 Hz."""
    import mne
    import numpy as np

    x = np.random.default_rng(0).normal(0, 20e-6, (4, 1000))
    info = mne.create_info(["C3", "Cz", "C4", "O1"], 100.0, "eeg")
    mne.io.RawArray(x, info, verbose="error").save(tmp_path / "noise_raw.fif", verbose="error")
    return tmp_path / "noise_raw.fif"


def run(start, bundle, recording, report, *serve, replay, name):
    child = start("serve", str(bundle), "--query", f"name={name}", "--wait-s", "120", *serve)
    child.wait_for("WAITING")
    feeder = start("replay", str(recording), "--name", name, "--wait", "--json", str(report), *replay)
    assert feeder.wait() == 0
    child.wait_for("-> LOST")
    assert child.interrupt() == 0
    told = json.loads(report.read_text())
    assert told["n_taken"] == told["n_sent"] + told["n_lost"]
    received, lost, nonfinite = map(
        int, re.search(r"(\d+) samples received, (\d+) lost .*, (\d+) not finite", child.said).groups()
    )
    return told, received, lost, nonfinite, child.said


def test_with_exact_timestamps_both_counts_agree_on_gaps_bursts_drops_and_nan(start, bundle, recording, tmp_path):
    replay = ("--gap", "1:50", "--gap", "@5:370", "--burst", "@3:600", "--drop", "0.01", "--nan", "2:50", "--seed", "4")
    told, received, lost, nonfinite, _ = run(
        start, bundle, recording, tmp_path / "day.json", replay=replay, name=f"amp-{secrets.token_hex(4)}"
    )
    assert {fault["kind"] for fault in told["mishaps"]} == {"gap", "burst", "drop", "nan"}
    assert (received, lost, nonfinite) == (told["n_sent"], told["n_lost"], told["n_nonfinite"])


def test_with_a_counter_they_agree_over_jitter_drift_and_reconnections_in_other_units_and_orders(
    start, bundle, recording, tmp_path
):
    replay = (
        "--counter", "COUNT", "--jitter-ms", "3", "--drift-ppm", "100", "--drop", "0.02", "--gap", "@1:300",
        "--disconnect", "@2:700", "--unit-flip", "@4:500", "--shuffle-channels", "@6:500", "--seed", "5",
    )  # fmt: skip
    name = f"amp-{secrets.token_hex(4)}"
    counter = ("--set", "stream.counter=COUNT")
    told, received, lost, _, said = run(
        start, bundle, recording, tmp_path / "day.json", *counter, replay=replay, name=name
    )
    assert len(told["connected"]) == 4
    assert len(re.findall("(?:RUNNING|STALE) -> LOST", said)) == 4  # again if it disappears while it is being checked
    assert received + lost == told["n_taken"]
    assert lost >= told["n_lost"] > 0  # samples on their way when an outlet closed are lost too
