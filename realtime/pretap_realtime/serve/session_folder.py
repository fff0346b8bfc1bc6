"""SessionFolder: everything needed to replay and score a session. Used by `serve --record DIR`.

===============  ====================================================================================
session.xdf      the EEG, the cues and the streams of serve, recorded by a child process `pretap record`
decisions.jsonl  every message except heartbeats, with latencies
config.json      the configuration in effect
adapt-state.json with --adapt: the state at the start
session.json     bundle (path, sha256), versions, date, host and command line
record.log       the output of the recorder
part-2 ...       the same files, after a restart under ``--supervise``
===============  ====================================================================================
"""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from pretap import __version__
from pretap.config.serve import ServeConfig
from pretap.errors import UsageError
from pretap.files import write_json
from pretap_realtime.console.stopping import Stop
from pretap_realtime.lsl.library import library_version, local_clock

_START_S: Final = 5.0  # the recorder should run before the first decision
_END_S: Final = 10.0


class SessionFolder:
    """A session folder and its recorder.

    Parameters
    ----------
    folder
        Must be empty or new.
    say
        Called with each sentence for the terminal.

    Raises
    ------
    UsageError
        If the folder cannot be created, or is not empty.
    """

    def __init__(self, folder: Path, *, say: Callable[[str], None]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            is_empty = not any(folder.iterdir())
        except OSError as error:
            raise UsageError(f"Cannot record into {folder}: {error.strerror}.") from None
        if not is_empty:
            raise UsageError(f"{folder} is not empty: choose a new folder for each session.")
        self.decisions = folder / "decisions.jsonl"
        self._folder, self._log, self._say = folder, folder / "record.log", say
        self._child: subprocess.Popen[bytes] | None = None
        self._is_closing = threading.Event()

    def write_settings(self, settings: ServeConfig, *, bundle: Path, sha256: str) -> None:
        """Write config.json and session.json."""
        about = {
            "bundle": str(bundle.resolve()),
            "bundle_sha256": sha256,
            "started": datetime.now(UTC).astimezone().isoformat(timespec="milliseconds"),
            "started_lsl_s": local_clock(),
            "host": platform.node(),
            "platform": platform.platform(),
            "versions": {
                "pretap": __version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "liblsl": library_version(),
            },
            "command": sys.argv,
        }
        write_json(self._folder / "config.json", settings)
        write_json(self._folder / "session.json", about)

    def start(self, settings: ServeConfig, *, stop: Stop) -> None:
        """Start the recorder, and wait up to 5 s until it records the streams that serve reads.

        The streams that serve sends are recorded from a few tenths of a second after their outlets open on;
        decisions.jsonl has all messages.
        """
        inputs = [query for query in (settings.stream.query, settings.cue.query) if query]
        outputs = [f"name={settings.markers.name}-{kind}" for kind in ("markers", "codes", "probabilities")]
        if not settings.cue.query:
            self._say(
                "The session's recording will have no markers, because no cue stream is named (--cue-query). To keep "
                "them, run `pretap record` beside it."
            )
        command = [sys.executable, "-m", "pretap", "record", str(self._folder / "session.xdf")]
        for query in [*inputs, *outputs]:
            command += ["--query", query]
        command += ["--wait-s", "inf", "--until-stdin-closes"]
        with self._log.open("wb") as file:
            # Its own session: Ctrl-C on the terminal must reach the recorder through this process alone.
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
            )
        threading.Thread(target=self._watch, name="recorder", daemon=True).start()
        deadline_s = local_clock() + _START_S
        while self._child.poll() is None and local_clock() < deadline_s:
            log = self._read_log()
            n_outputs = sum(log.count(f"recording '{each.removeprefix('name=')}'") for each in outputs)
            if log.count("recording '") - n_outputs >= len(inputs) or stop.wait(0.02):
                return

    def _read_log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _watch(self) -> None:
        assert self._child is not None
        code = self._child.wait()
        if not self._is_closing.is_set():
            lines = self._read_log().strip().splitlines()
            why = lines[-1].removeprefix("Error: ") if lines else "record.log is empty."
            self._say(f"RECORDING HAS STOPPED (exit code {code}): {why} Decoding continues without a recording.")

    def close(self) -> None:
        """Stop the recorder, which first writes the remaining samples."""
        if self._child is None or self._child.poll() is not None:
            return
        self._is_closing.set()
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        try:
            code = self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._say(f"the recorder did not end within {_END_S:g} s, and continues in the background")
            return
        self._say(
            f"recorded into {self._folder}"
            if code == 0
            else f"the recorder ended with exit code {code}: see {self._log}"
        )
