"""An experiment in the lab: amplifier, task, decoder and game, each on its host, and what must hold afterwards."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factories import CHANNELS, make_decoder
from lab.hosts import Host, Lab
from pretap_realtime.record import xdf_writer
from real_lsl import Child, until

SFREQ_HZ = 100.0
OFFSET_S = -0.13  # from a cue to the end of its window
_SCRIPTS = Path(__file__).parent


def write_recording(path: Path, *, seconds: float) -> Path:
    """Write an XDF file of noise for the amplifier to play."""
    n = round(seconds * SFREQ_HZ)
    x = np.random.default_rng(1).normal(0, 20, (n, len(CHANNELS))).astype(np.float32)
    channels = "".join(
        f"<channel><label>{name}</label><unit>microvolts</unit><type>EEG</type></channel>" for name in CHANNELS
    )
    xml = (
        f"<info><name>cap</name><type>EEG</type><channel_count>{len(CHANNELS)}</channel_count><channel_format>float32"
        f"</channel_format><nominal_srate>{SFREQ_HZ:g}</nominal_srate><desc><channels>{channels}</channels></desc></info>"
    )
    t_s = 10 + np.arange(n) / SFREQ_HZ
    file = xdf_writer.XdfFile(path)
    last_s = float(t_s[-1])
    file.write(
        [
            xdf_writer.stream_header(1, xml),
            xdf_writer.samples(1, x, t_s),
            xdf_writer.footer(1, n_samples=n, first_s=10.0, last_s=last_s, offsets=[], facts={}),
        ]
    )
    file.close()
    return path


class Experiment:
    """EEG on one host, cues on another, the service on a third, a game on a fourth."""

    def __init__(self, lab: Lab, *, amp: Host, task: Host, decoder: Host, game: Host, seconds: float = 60.0) -> None:
        self.amp, self.task, self.decoder, self.game = amp, task, decoder, game
        self.folder = lab.folder
        self.name = f"cap-{secrets.token_hex(3)}"
        self.session = self.folder / "session"
        self.bundle = self.folder / "random.safetensors"
        make_decoder(path=self.bundle)
        self.eeg = write_recording(self.folder / "eeg.xdf", seconds=seconds)
        self.report, self.cues, self.heard = (self.folder / each for each in ("amp.json", "cues.txt", "game.jsonl"))

    def script(self, name: str) -> Path:
        """Return a program of this folder."""
        return _SCRIPTS / name

    def start_amp(self) -> Child:
        """Start the amplifier: it sends at once, and again from the beginning when it has ended."""
        child = self.amp.pretap("replay", str(self.eeg), "--name", self.name, "--loop", "--json", str(self.report))
        child.wait_for("4 channels at 100 Hz")
        return child

    def start_task(self, *, n: int, every_s: float = 0.4, first_s: float = 0.8) -> Child:
        spec = (f"task-{self.name}", str(self.cues), str(n), str(every_s), str(first_s))
        child = self.task.python(self.script("task.py"), *spec)
        child.wait_for("task: waits")
        return child

    def begin(self, service: Child) -> None:
        """Start the task's cues when the service and its recorder read everything."""
        service.wait_for("RUNNING")
        log = self.session / "record.log"
        for name in (self.name, f"task-{self.name}"):
            until(lambda name=name: f"recording '{name}'" in log.read_text(), f"a recorder of {name}")
        self.cues.with_name(f"{self.cues.name}.go").touch()

    def start_service(self, *more: str) -> Child:
        return self.decoder.pretap(
            "serve",
            str(self.bundle),
            *("--query", f"name={self.name}", "--cue-query", f"name=task-{self.name}"),
            *("--record", str(self.session), "--set", 'cue.patterns=["tap/*"]'),
            *("--set", f"cue.offset_ms={1000 * OFFSET_S:g}", "--set", f"markers.name=out-{self.name}"),
            *more,
        )

    def run(self, *, n: int = 20) -> Child:
        """Start everything but the cues, see `begin`; return the service when the game reads it."""
        self.start_amp()
        service = self.start_service()
        self.start_game().wait_for("game: reads")
        self.start_task(n=n)
        return service

    def start_game(self) -> Child:
        return self.game.python(self.script("game.py"), f"out-{self.name}-markers", str(self.heard))

    # -- what came of it -----------------------------------------------------------------------------------------------

    def logged(self) -> list[dict[str, Any]]:
        """Return the answers to cues in the log of the session."""
        file = self.session / "decisions.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [row for row in map(json.loads, lines) if row["type"] == "verdict" and row["cue"]]

    def sent_cues(self) -> list[tuple[float, str]]:
        """Return the timestamps, on the task's clock, and texts of the markers that were sent."""
        rows = [line.split() for line in self.cues.read_text().splitlines()]
        return [(float(t_s), text) for t_s, text in rows]

    def wait_for_answers(self, n: int, *, of: str = "") -> None:
        until(lambda: len(self.logged()) >= n, lambda: f"{n} answers{of}; there are {len(self.logged())}")

    def check_times(self) -> list[dict[str, Any]]:
        """Check that each cue has one answer, on the right sample, with the right offsets; return the answers."""
        t0_s = json.loads(self.report.read_text())["t0_s"]
        answers, sent = self.logged(), self.sent_cues()
        assert [row["cue"] for row in answers] == [text for _, text in sent]
        for row, (cue_s, _) in zip(answers, sent, strict=True):
            origin = row["origin"]
            assert origin["t_s"] == cue_s
            now_s = self.task.real_time(cue_s)
            for offset_s, host in ((origin["eeg_offset_s"], self.amp), (origin["cue_offset_s"], self.task)):
                assert offset_s == pytest.approx(self.decoder.time_at(now_s) - host.time_at(now_s), abs=1e-3)
            if not row["valid"]:
                continue
            position = (self.amp.time_at(now_s) + OFFSET_S - t0_s) * SFREQ_HZ
            chosen = (row["t"] - origin["eeg_offset_s"] - t0_s) * SFREQ_HZ
            assert chosen == pytest.approx(round(chosen), abs=1e-3)
            assert abs(chosen - position) <= 0.5 + 1e-3 * SFREQ_HZ
        return answers

    def check_game(self, *, is_late: bool = False) -> None:
        """Check that the game missed nothing, and that every timestamp is right within 1 ms on its clock."""
        heard = [json.loads(line) for line in self.heard.read_text().splitlines()]
        seqs = [row["message"]["seq"] for row in heard]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        answers = {row["seq"]: row for row in self.logged()}
        n_checked = 0
        for row in heard:
            answer = answers.get(row["message"]["seq"])
            if answer is None or not answer["valid"]:
                continue
            n_checked += 1
            sample_s = self.amp.real_time(answer["t"] - answer["origin"]["eeg_offset_s"])
            assert row["t_s"] + row["offset_s"] == pytest.approx(self.game.time_at(sample_s), abs=1e-3)
            assert row["t_s"] == pytest.approx(row["message"]["t"], abs=1e-6)
        assert n_checked >= (1 if is_late else sum(answer["valid"] for answer in answers.values()))

    def check_all(self) -> None:
        """Check that every cue was decided, on the right sample, and everything else."""
        assert all(row["valid"] for row in self.check_times())
        self.check_game()
        self.check_score()

    def check_score(self, *, is_late: bool = False) -> None:
        """Check that `score` on the session chooses the same samples and finds the same probabilities.

        If the streams come after the service (`is_late`), the recorder finds them up to a second later: it may miss the
        first cues, and counts from a later sample.
        """
        out = self.folder / "score.json"
        scored = self.decoder.pretap(
            "score",
            str(self.bundle),
            str(self.session / "session.xdf"),
            *("--cue", "tap/*", "--offset-ms", f"{1000 * OFFSET_S:g}", "--json", str(out)),
        )
        assert scored.wait() == 0, scored.said
        live = [row for row in self.logged() if row["valid"]]
        again = [row for row in json.loads(out.read_text())["decisions"] if row["p"] is not None]
        if is_late:
            live = live[-len(again) :]
            assert live
        n_missed = live[-1]["origin"]["sample"] - again[-1]["sample"]
        assert n_missed >= 0 if is_late else n_missed == 0
        # Live, a cue whose samples come a second late is refused; `score` answers it too.
        kept = {row["origin"]["sample"] - n_missed for row in live}
        again = [row for row in again if row["sample"] in kept]
        assert [row["sample"] for row in again] == [row["origin"]["sample"] - n_missed for row in live]
        for ours, theirs in zip(live, again, strict=True):
            assert ours["p"] == pytest.approx(theirs["p"], abs=1e-6)
