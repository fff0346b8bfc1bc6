"""Isolated LSL session with child processes. Used by commands that run other commands for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from pretap.child import run_child
from pretap.errors import CheckFailedError
from pretap_realtime.lsl.api_config import isolation

Result = TypeVar("Result")

# Each query that waits for a stream takes a port too, and an outlet without one of these ports is not found. With 64
# ports, 3 of 12 services that recorded their session were not found; with 256, all of 14 were.
_N_PORTS: Final = 256


class IsolatedSession:
    """A temporary folder, an LSL configuration for this process and its children, and the children.

    Enter it before this process loads liblsl, which reads ``LSLAPICFG`` only once.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pretap-")
        self._logs: dict[subprocess.Popen[bytes], Path] = {}  # of each child
        self.folder = Path(self._folder.name)

    def __enter__(self) -> IsolatedSession:
        config = self.folder / "lsl_api.cfg"
        os.environ["LSLAPICFG"] = str(config)
        config.write_text(isolation(n_ports=_N_PORTS), encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._logs:
            self.stop(child)
        self._folder.cleanup()

    def run(self, *arguments: str) -> str:
        """Run a pretap command to its end and return its output. If it fails, raise its error with its exit code."""
        return run_child(_command(arguments), heading=f"`pretap {arguments[0]}` failed: ")

    def start(self, *arguments: str, module: str = "pretap") -> subprocess.Popen[bytes]:
        """Start a pretap command, or another module; its output goes to a file, see `output_of`."""
        log = self.folder / f"{arguments[0]}-{len(self._logs)}.log"
        with log.open("wb") as file:
            command = _command(arguments, module=module)
            child = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        self._logs[child] = log
        return child

    def output_of(self, child: subprocess.Popen[bytes]) -> str:
        """Return what a child has printed so far."""
        return self._logs[child].read_text(encoding="utf-8", errors="replace").strip()

    def stop(self, child: subprocess.Popen[bytes]) -> None:
        """Interrupt a child as Ctrl-C does, and kill it if it does not end within fifteen seconds.

        A service that records a session waits up to ten seconds for its recorder.
        """
        if child.poll() is not None:
            return
        child.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def wait_for(self, what: str, attempt: Callable[[], Result | None], *, within_s: float) -> Result:
        """Call `attempt` until it returns something other than None, and return that.

        Raises
        ------
        CheckFailedError
            If that takes longer than `within_s`, or a child has failed.
        """
        deadline_s = time.monotonic() + within_s
        while time.monotonic() < deadline_s:
            result = attempt()
            if result is not None:
                return result
            self.check_children()
        output = "\n".join(f"--- {log.stem}:\n{self.output_of(child)}" for child, log in self._logs.items())
        raise CheckFailedError(f"{what} did not appear within {within_s:g} s.\n{output}")

    def check_children(self) -> None:
        """Raise CheckFailedError if a child has ended with an error."""
        for child in self._logs:
            if child.poll():
                raise CheckFailedError(
                    f"A child process failed with exit code {child.returncode}: {self.output_of(child)}"
                )


def _command(arguments: tuple[str, ...], *, module: str = "pretap") -> list[str]:
    return [sys.executable, "-m", module, *arguments]
