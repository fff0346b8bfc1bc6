"""A minute of random faults; `benchmarks/soak.py` says what must hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_SOAK = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"


def test_all_invariants_hold_during_a_minute_of_random_faults(tmp_path, measured):
    figures = tmp_path / "soak.json"
    command = [sys.executable, str(_SOAK), "--minutes", "1", "--seed", "1", "--json", str(figures)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(figures.read_text())
    assert found["violations"] == []
    assert found["verdicts"] > found["possible"] / 2
    measured(
        "a minute of random faults (`benchmarks/soak.py --minutes 1 --seed 1`)",
        "no verdict from data that was not there, sent = received + lost, states as injected, no growth",
        f"{sum(found['faults'].values())} faults, {found['verdicts']} of {found['possible']} possible verdicts, "
        f"largest difference to offline {found['largest_difference']:g}, 0 violations",
    )
