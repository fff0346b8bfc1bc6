"""``pretap serve --supervise``: a small process that starts the service as a worker, and anew when it crashes.

The worker has a session of its own, so that Ctrl-C on a terminal reaches it through the supervisor alone, and a pipe as
its stdin: when that closes, because the supervisor was told to stop or has died, the worker ends well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pretap_realtime.console.stopping import HANGUP, ending_signals
from pretap_realtime.console.writer import ConsoleWriter
from pretap_realtime.serve.handover import Handover

__all__ = ["Supervisor", "main", "pause_s", "words"]

# Ends that were meant, or that come again: WIRE.md. 1 is a bug, 10 a frozen outlet, negative ones are signals.
_FINAL: Final = frozenset({0, 2, 3, 4, 5, 6, 7, 8, 9, 130})
_FROZEN: Final = 10
_SOON_S: Final = 10.0  # a worker that crashes sooner than this after its start may do so again
_MOST_SOON: Final = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_LOOK_S: Final = 5.0
_SILENT_LOOKS: Final = 3  # in which a worker that has sent messages sends none, not even a heartbeat: it hangs


def pause_s(n_soon: int) -> float:
    """Give how long to wait before a restart, after so many crashes soon after a start; the first costs nothing."""
    return min(_FIRST_PAUSE_S * 2 ** (n_soon - 2), _LONGEST_PAUSE_S) if n_soon > 1 else 0.0


def words(code: int) -> str:
    """Say how a worker ended."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
        return f"was ended by signal {-code}"
    if code == _FROZEN:
        return "ended since outlets froze too often"
    return f"ended with exit code {code}"


class Supervisor:
    """Keeps a worker running.

    Parameters
    ----------
    command
        Makes the worker's command, given the file of the `Handover`.
    say
        Takes a sentence for the operator.
    """

    def __init__(self, command: Callable[[Path], Sequence[str]], *, say: Callable[[str], None]) -> None:
        self._command, self._say = command, say
        self._child: subprocess.Popen[bytes] | None = None
        self._n_signals = 0
        self._numbers, self._n_silent, self._is_hung = b"", 0, False

    def run(self) -> int:
        """Run workers until one ends as it should, or is told to; gives the exit code."""
        for each in ending_signals():
            signal.signal(each, self._on_signal)
        with tempfile.TemporaryDirectory(prefix="pretap-serve-") as folder:
            file = Path(folder) / "handover"
            self._handover = Handover.create(file)
            if hasattr(signal, "setitimer"):
                signal.signal(signal.SIGALRM, self._look)
                signal.setitimer(signal.ITIMER_REAL, _LOOK_S, _LOOK_S)
            return self._keep_running(self._command(file))

    def _keep_running(self, command: Sequence[str]) -> int:
        n_soon = 0
        while True:
            started_s = time.monotonic()
            code = self._work(command)
            if self._n_signals or code in _FINAL:
                return code if code >= 0 else 128 - code
            lived_s = time.monotonic() - started_s
            n_soon = n_soon + 1 if lived_s < _SOON_S else 0
            how = "hung and was ended" if self._is_hung else words(code)
            if n_soon > _MOST_SOON and code != _FROZEN:
                self._say(
                    f"supervisor: the worker {how}. That was {n_soon} times in a row within {_SOON_S:g} s of its start "
                    "and will not get better by itself: there is no restart. The lines above say why."
                )
                return code if code >= 0 else 128 - code
            wait_s = pause_s(n_soon)
            self._handover.restart(f"restarted: the worker before {how}")
            self._say(
                f"supervisor: the worker {how} after {lived_s:.1f} s; restart {self._handover.n_restarts}"
                + (f" in {wait_s:g} s" if wait_s else "")
            )
            until_s = time.monotonic() + wait_s
            while not self._n_signals and time.monotonic() < until_s:
                time.sleep(0.05)
            if self._n_signals:
                return 0

    def _work(self, command: Sequence[str]) -> int:
        """Run one worker to its end."""
        self._numbers, self._n_silent, self._is_hung = self._handover.numbers(), 0, False
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        if self._n_signals:  # it came while the worker was being started
            self._end()
        code = self._child.wait()
        self._end()
        return code

    def _end(self) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.close()

    def _on_signal(self, number: int, frame: object) -> None:  # noqa: ARG002
        """Have the worker end well on the first signal, and at once on the second Ctrl-C."""
        if number == HANGUP and self._n_signals:  # a terminal that closes may say so twice
            return
        self._n_signals += 1
        if self._child is None:
            return
        if self._n_signals > 1:
            self._child.kill()
        self._end()

    def _look(self, number: int, frame: object) -> None:  # noqa: ARG002
        """End a worker that hangs."""
        numbers, before = self._handover.numbers(), self._numbers
        has_begun = self._n_silent > 0 or numbers != before
        self._n_silent = self._n_silent + 1 if has_begun and numbers == before else int(has_begun)
        self._numbers = numbers
        if self._n_silent > _SILENT_LOOKS and self._child is not None and self._child.poll() is None:
            self._is_hung = True
            self._child.kill()


def main(arguments: Sequence[str]) -> int:
    """Run ``pretap serve`` with these arguments under a supervisor and return the exit code."""
    console = ConsoleWriter()
    code = Supervisor(
        lambda file: [sys.executable, "-m", "pretap", "serve", "--supervised", str(file), *arguments],
        say=console.say,
    ).run()
    if not console.close():
        os._exit(code)  # the interpreter's end would wait for the terminal
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
