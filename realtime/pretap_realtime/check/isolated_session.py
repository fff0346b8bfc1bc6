"""An isolated LSL session with child processes: how ``verify`` and ``demo`` run the other commands for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from pretap.child import run_child
from pretap.errors import CheckFailedError
from pretap_realtime.lsl.api_config import isolation

__all__ = ["Session"]

Result = TypeVar("Result")


class Session:
    """A folder, an LSL configuration of its own for this process and its children, and those children.

    Enter it before anything touches LSL in this process: liblsl reads ``LSLAPICFG`` once.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pretap-")
        self._children: list[subprocess.Popen[bytes]] = []
        self._logs: dict[int, Path] = {}
        self.folder = Path(self._folder.name)

    def __enter__(self) -> Session:
        config = self.folder / "lsl_api.cfg"
        os.environ["LSLAPICFG"] = str(config)
        config.write_text(isolation(), encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            self.end(child)
        self._folder.cleanup()

    def run(self, *arguments: str) -> str:
        """Run a pretap command to its end; gives what it printed. Its failure is ours, exit code included."""
        return run_child(_command(arguments), heading=f"`pretap {arguments[0]}` failed: ")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a pretap command; what it says goes to a file, see `said`."""
        log = self.folder / f"{arguments[0]}-{len(self._children)}.log"
        with log.open("wb") as file:
            child = subprocess.Popen(_command(arguments), stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        self._children.append(child)
        self._logs[child.pid] = log
        return child

    def said(self, child: subprocess.Popen[bytes]) -> str:
        """Give what a child has printed so far."""
        return self._logs[child.pid].read_text(encoding="utf-8", errors="replace").strip()

    def end(self, child: subprocess.Popen[bytes]) -> None:
        """Ask a child to end, as Ctrl-C does; kill it when it does not within five seconds."""
        if child.poll() is not None:
            return
        child.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def wait_for(self, what: str, look: Callable[[], Result | None], *, within_s: float) -> Result:
        """Call `look` until it gives something.

        Raises
        ------
        CheckFailedError
            When the time is over, or a child died with an error meanwhile.
        """
        deadline_s = time.monotonic() + within_s
        while time.monotonic() < deadline_s:
            result = look()
            if result is not None:
                return result
            self.check_children()
        raise CheckFailedError(f"{what} did not come within {within_s:g} s.\n{self._everything_said()}")

    def check_children(self) -> None:
        """Raise when a child has died with an error."""
        for child in self._children:
            if child.poll():
                raise CheckFailedError(f"A child process ended with exit code {child.returncode}: {self.said(child)}")

    def _everything_said(self) -> str:
        return "\n".join(f"--- {self._logs[child.pid].stem}:\n{self.said(child)}" for child in self._children)


def _command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "pretap", *arguments]
