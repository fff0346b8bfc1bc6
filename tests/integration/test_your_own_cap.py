"""docs/your-own-cap.md, command by command: simulate, replay, record, train, serve. And one head, two amplifiers."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import mne
import numpy as np
import pytest

pytestmark = pytest.mark.xdist_group("your own cap")  # one walk

PAGE = Path(__file__).resolve().parents[2] / "docs" / "your-own-cap.md"
BLOCK = re.compile(r"^```(sh|sh background|sh stop|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Walk:
    """A reader of the page at two terminals, in a folder of their own."""

    folder: Path
    said: dict[str, str] = field(default_factory=dict)
    background: list[tuple[str, subprocess.Popen, Path]] = field(default_factory=list)

    def run(self, command: list[str], name: str, within_s: float = 500) -> None:
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=within_s, check=False)
        self.said[name] = done.stdout + done.stderr
        assert done.returncode == 0, f"{name}\n{self.said[name]}\n{self.others()}"

    def begin(self, command: list[str], name: str) -> None:
        log = self.folder / f"background-{len(self.said)}.log"
        with log.open("wb") as file:
            child = subprocess.Popen(command, cwd=self.folder, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        self.background.append((name, child, log))

    def stop(self) -> None:
        name, child, log = self.background.pop()
        child.send_signal(signal.SIGINT)
        code = child.wait(120)
        self.said[name] = log.read_text()
        assert code == 0, f"{name}\n{self.said[name]}"

    def others(self) -> str:
        return "\n".join(f"--- {name}\n{log.read_text()}" for name, _, log in self.background)

    def follow(self, kind: str, text: str) -> None:
        if kind == "python":
            self.run([sys.executable, "-c", text], "python")
        elif kind == "sh stop":
            self.stop()
        else:
            for line in text.strip().splitlines():
                words = shlex.split(line, comments=True)
                assert words[0] == "pretap", line
                command = [sys.executable, "-m", "pretap", *words[1:]]
                (self.begin if kind == "sh background" else self.run)(command, " ".join(words))


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """The whole page, once."""
    walk = Walk(tmp_path_factory.mktemp("own-cap"))
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) == PAGE.read_text(encoding="utf-8").count("```") // 2
    try:
        for kind, text in blocks:
            walk.follow(kind, text)
        yield walk
    finally:
        for _, child, _ in walk.background:
            child.kill()
            child.wait()


def decisions(log: Path) -> tuple[int, float]:
    """How many valid verdicts a log holds, and the share of them that names the hand of its cue."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    valid = [row for row in rows if row["type"] == "verdict" and row["valid"]]
    return len(valid), float(np.mean([row["label"] == row["cue"].removeprefix("tap/") for row in valid]))


def test_every_command_of_the_page_works_in_its_order(walk):
    assert not walk.background
    train = next(said for name, said in walk.said.items() if name.startswith("pretap train"))
    assert "466 trials (232 left, 234 right) of 500 samples, -630 to -130 ms" in train
    assert "5-fold blockwise cross-validation" in train
    assert "going live makes sense" in train
    record = next(said for name, said in walk.said.items() if name.startswith("pretap record"))
    assert "600000 samples, 0 lost" in record
    serve = next(said for name, said in walk.said.items() if "--record tuesday" in name)
    warnings = [line for line in serve.splitlines() if line.startswith("WARNING")]  # none of the subject's head
    assert warnings == ["WARNING: no decision at the marker 'rest': expected a cue like 'tap/left', 'tap/right'"]
    verify = next(said for name, said in walk.said.items() if name.startswith("pretap verify"))
    assert "PASSED" in verify
    for command in ("train", "evaluate", "score", "replay", "verify"):
        said = next(said for name, said in walk.said.items() if name.startswith(f"pretap {command}"))
        assert "uses 28 channels: F3, F1, Fz, " in said


def test_a_second_recording_of_the_same_head_is_decoded_live_above_0_8(walk):
    n, accuracy = decisions(walk.folder / "tuesday" / "decisions.jsonl")
    assert n == 91
    assert accuracy > 0.8


def test_the_session_s_own_recording_gives_the_same_trials(walk):
    evaluated = [said for name, said in walk.said.items() if name.startswith("pretap evaluate")]
    first, again = (re.search(r"accuracy [\d.]+ \((\d+) of (\d+)", said).groups() for said in evaluated)
    assert first == again


def test_after_a_restart_at_512_hz_with_shuffled_channels_in_volts_it_is_decoded_still(walk):
    log, folder = walk.folder / "restart.jsonl", walk.folder
    simulate = [sys.executable, "-m", "pretap", "simulate", "slow_raw.fif"]
    walk.run([*simulate, "--seconds", "120", "--session", "1", "--sfreq-hz", "512"], "simulate at 512 Hz")
    names = mne.io.read_raw(folder / "slow_raw.fif", verbose="error").ch_names
    shuffled = ",".join(np.random.default_rng(0).permutation(names))
    serve = ["serve", "mine.safetensors", "--cue-query", "name=cap-markers", "--log", str(log)]
    walk.begin([sys.executable, "-m", "pretap", *serve], "serve through a restart")
    replay = [sys.executable, "-m", "pretap", "replay", "--name", "cap", "--speed", "10", "--wait"]
    walk.run([*replay, "tuesday_raw.fif", "--channels", ",".join(names)], "before the restart")
    n_before = decisions(log)[0]
    walk.run([*replay, "slow_raw.fif", "--channels", shuffled, "--stream-unit", "V"], "after the restart")
    walk.stop()
    said = walk.said["serve through a restart"]
    assert "resampled from 512 to 1000 Hz: every decision comes 15.6 ms later" in said
    after = folder / "after.jsonl"
    after.write_text("".join(line for line in log.read_text().splitlines(keepends=True)[_restart(log) :]))
    n, accuracy = decisions(after)
    assert (n_before, n) == (91, 91)
    assert accuracy > 0.8


def _restart(log: Path) -> int:
    """The line at which the service had lost the first amplifier."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return next(k for k, row in enumerate(rows) if row["type"] == "state" and row["state"] == "LOST")


def test_every_configuration_on_the_page_of_amplifiers_is_one(tmp_path):
    from pretap.config.reading import load_config
    from pretap.config.serve import ServeConfig

    page = PAGE.with_name("amplifiers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 8
    for k, block in enumerate(blocks):
        file = tmp_path / f"{k}.toml"
        file.write_text(block)
        load_config(ServeConfig, file)
