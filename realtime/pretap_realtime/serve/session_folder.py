"""``pretap serve --record DIR``: a folder with everything that a session can be replayed and judged from.

===============  ====================================================================================
session.xdf      the EEG, the cues, and what serve sent, by `pretap record` in a process of its own
decisions.jsonl  every message but heartbeats, with latencies
config.json      the configuration in effect
session.json     which bundle (path, sha256), versions, when and where
record.log       what the recorder said
part-2 ...       the same, after a restart under ``--supervise``
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
from typing import Any, Final

import numpy as np

from pretap import __version__
from pretap.config.serve import ServeConfig
from pretap.errors import UsageError
from pretap.files import write_json
from pretap_realtime.console.stopping import Stop
from pretap_realtime.lsl.library import library_version, local_clock

__all__ = ["SessionFolder"]

_START_S: Final = 5.0  # for the recorder to be there before the first decision is
_END_S: Final = 10.0


class SessionFolder:
    """The folder, and the recorder under way.

    Parameters
    ----------
    folder
        Must be empty or new.
    say
        Takes a sentence for the terminal.

    Raises
    ------
    UsageError
        Where the folder cannot be had.
    """

    def __init__(self, folder: Path, *, say: Callable[[str], None]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            is_empty = not any(folder.iterdir())
        except OSError as error:
            raise UsageError(f"Cannot record into {folder}: {error.strerror}.") from None
        if not is_empty:
            raise UsageError(f"{folder} is not empty: choose a new folder, one for each session.")
        self._folder, self._say = folder, say
        self._child: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()

    @property
    def decisions(self) -> Path:
        return self._folder / "decisions.jsonl"

    def describe(self, settings: ServeConfig, *, bundle: Path, sha256: str) -> None:
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
        self._write("config.json", settings)
        self._write("session.json", about)

    def _write(self, name: str, content: Any) -> None:
        write_json(self._folder / name, content)

    def start(self, settings: ServeConfig, *, stop: Stop) -> None:
        """Start the recorder on what serve reads and sends, and wait a moment until it records what serve reads.

        What serve sends is recorded from some tenths of a second after its outlets open; decisions.jsonl has it all.
        """
        inputs = [query for query in (settings.stream.query, settings.cue.query) if query]
        ours = [f"name={settings.markers.name}-{each}" for each in ("markers", "codes", "probabilities")]
        command = [sys.executable, "-m", "pretap", "record", str(self._folder / "session.xdf")]
        for query in [*inputs, *ours]:
            command += ["--query", query]
        command += ["--wait-s", "inf", "--until-stdin-closes"]
        log = self._folder / "record.log"
        with log.open("wb") as file:
            # A session of its own: Ctrl-C on the terminal must reach the recorder through us alone.
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
            said = log.read_text(encoding="utf-8", errors="replace")
            if said.count("recording '") >= len(inputs) or stop.wait(0.02):
                return

    def _watch(self) -> None:
        assert self._child is not None
        code = self._child.wait()
        if not self._ending.is_set():
            lines = (self._folder / "record.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            why = lines[-1].removeprefix("Error: ") if lines else "it said nothing"
            self._say(f"RECORDING HAS STOPPED (exit code {code}): {why} Decoding goes on, without a recording.")

    def close(self) -> None:
        """Have the recorder take what is left, and end."""
        if self._child is None or self._child.poll() is not None:
            return
        self._ending.set()
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        try:
            code = self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._say(f"the recorder has not ended within {_END_S:g} s, and is left to end by itself")
            return
        self._say(
            f"recorded into {self._folder}"
            if code == 0
            else f"the recorder ended with exit code {code}: see {self._folder / 'record.log'}"
        )
