"""``pretap serve --supervise``: a small process that runs the service as a worker and restarts it when it crashes.

The worker gets its own session, so Ctrl-C on a terminal reaches it through the supervisor alone. Its stdin is a pipe.
When the pipe closes, because the supervisor was told to stop or has died, the worker shuts down.
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

# Exit codes that are intended, or that a restart would only repeat: see pretap.errors. A worker is restarted after 1 (a
# bug), 10 (a frozen outlet) and signals, which are negative.
_FINAL: Final = frozenset({0, 2, 3, 4, 5, 6, 7, 8, 9, 130})
_FROZEN: Final = 10
_EARLY_S: Final = 10.0  # a worker that crashes sooner than this after its start may do so again
_MAX_EARLY: Final = 5
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 8.0
_CHECK_S: Final = 5.0
_MAX_SILENT_CHECKS: Final = 3


def pause_s(n_early: int) -> float:
    """Return how long to wait before a restart, after `n_early` early crashes in a row; the first costs no time."""
    return min(_FIRST_PAUSE_S * 2 ** (n_early - 2), _MAX_PAUSE_S) if n_early > 1 else 0.0


def describe_exit(code: int) -> str:
    """Describe how a worker ended."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
        return f"was ended by signal {-code}"
    if code == _FROZEN:
        return "ended because outlets froze too often"
    return f"ended with exit code {code}"


class HangDetector:
    """Detects a worker that has sent messages and then sends none, not even a heartbeat.

    A worker that has sent nothing yet is not suspected, because loading may take long.
    """

    def __init__(self, seqs: bytes) -> None:
        self._seqs, self._has_sent, self._n_silent = seqs, False, 0

    def update(self, seqs: bytes) -> bool:
        """Compare sequence numbers with those of the last check; return whether the worker hangs."""
        if seqs != self._seqs:
            self._seqs, self._has_sent, self._n_silent = seqs, True, 0
        elif self._has_sent:
            self._n_silent += 1
        return self._n_silent >= _MAX_SILENT_CHECKS


class Supervisor:
    """Keeps a worker running.

    Parameters
    ----------
    command
        Returns the worker's command, given the path of the `Handover` file.
    say
        Called with each sentence for the operator.
    check_s
        Time between two checks whether the worker hangs.
    """

    def __init__(
        self, command: Callable[[Path], Sequence[str]], *, say: Callable[[str], None], check_s: float = _CHECK_S
    ) -> None:
        self._command, self._say, self._check_s = command, say, check_s
        self._child: subprocess.Popen[bytes] | None = None
        self._n_signals = 0
        self._is_hung = False

    def run(self) -> int:
        """Run workers until one ends for good or is told to stop; return the exit code."""
        for number in ending_signals():
            signal.signal(number, self._on_signal)
        with tempfile.TemporaryDirectory(prefix="pretap-serve-") as folder:
            file = Path(folder) / "handover"
            self._handover = Handover.create(file)
            self._detector = HangDetector(self._handover.progress)
            if not hasattr(signal, "setitimer"):
                return self._keep_running(self._command(file))
            signal.signal(signal.SIGALRM, self._check)
            signal.setitimer(signal.ITIMER_REAL, self._check_s, self._check_s)
            try:
                return self._keep_running(self._command(file))
            finally:  # once Python has taken its handlers back, an alarm would end this process
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _keep_running(self, command: Sequence[str]) -> int:
        n_early = 0
        while True:
            started_s = time.monotonic()
            code = self._run_worker(command)
            if self._n_signals or code in _FINAL:
                return _as_exit_code(code)
            lived_s = time.monotonic() - started_s
            n_early = n_early + 1 if lived_s < _EARLY_S else 0
            how = "hung and was ended" if self._is_hung else describe_exit(code)
            if n_early > _MAX_EARLY and code != _FROZEN:
                self._say(
                    f"supervisor: the worker {how}. This was crash {n_early} in a row within {_EARLY_S:g} s of the "
                    "start, so there is no restart. The lines above show the reason."
                )
                return _as_exit_code(code)
            wait_s = pause_s(n_early)
            self._handover.add_restart(f"restarted: the previous worker {how}")
            self._say(
                f"supervisor: the worker {how} after {lived_s:.1f} s; restart {self._handover.n_restarts}"
                + (f" in {wait_s:g} s" if wait_s else "")
            )
            until_s = time.monotonic() + wait_s
            while not self._n_signals and time.monotonic() < until_s:
                time.sleep(0.05)
            if self._n_signals:
                return 0

    def _run_worker(self, command: Sequence[str]) -> int:
        """Run one worker until it ends; return its exit code."""
        self._detector, self._is_hung = HangDetector(self._handover.progress), False
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        if self._n_signals:  # the signal arrived while the worker was being started
            self._stop_worker()
        code = self._child.wait()
        self._stop_worker()
        return code

    def _stop_worker(self) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.close()

    def _on_signal(self, number: int, frame: object) -> None:  # noqa: ARG002
        """Shut the worker down on the first signal, and kill it on the second."""
        if number == HANGUP and self._n_signals:  # a terminal that closes may send it twice
            return
        self._n_signals += 1
        if self._child is None:
            return
        if self._n_signals > 1:
            self._child.kill()
        self._stop_worker()

    def _check(self, number: int, frame: object) -> None:  # noqa: ARG002
        """Kill a worker that hangs."""
        if self._detector.update(self._handover.progress) and self._child is not None and self._child.poll() is None:
            self._is_hung = True
            self._child.kill()


def _as_exit_code(code: int) -> int:
    return code if code >= 0 else 128 - code


def main(arguments: Sequence[str]) -> int:
    """Run ``pretap serve`` with these arguments under a supervisor and return the exit code."""
    console = ConsoleWriter()
    code = Supervisor(
        lambda file: [sys.executable, "-m", "pretap", "serve", "--supervised", str(file), *arguments],
        say=console.say,
    ).run()
    if not console.close():
        os._exit(code)  # a normal exit would wait for the terminal
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
