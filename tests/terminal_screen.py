"""A terminal for a real command: what it shows, rendered from the bytes that the command writes. POSIX only."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading

_TOKEN = re.compile(rb"\x1b\[([0-9;?]*)([A-Za-z])|([^\x1b])|\x1b")


class Terminal:
    """Runs a command on a terminal of its own, as a shell does in the foreground."""

    def __init__(self, *arguments: str, n_columns: int = 80, env: dict[str, str] | None = None) -> None:
        self._master, slave = pty.openpty()
        self._written = bytearray()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, n_columns, 0, 0))
        inherited = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
            env={**inherited, "TERM": "xterm", **(env or {})},
        )  # fmt: skip
        os.close(slave)
        self._n_columns = n_columns
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while piece := os.read(self._master, 1 << 16):
                self._written += piece
        except OSError:  # Linux: the command has ended
            pass

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    @property
    def written(self) -> str:
        """Everything that was written, with control sequences."""
        return bytes(self._written).decode()

    def rows(self) -> list[str]:
        """The lines that a terminal of unlimited height shows now."""
        rows, y, x = [""], 0, 0
        for token in _TOKEN.finditer(bytes(self._written)):
            number, command, text = token.groups()
            if command == b"A":
                y = max(0, y - int(number or 1))
            elif command == b"J":
                rows[y:] = [rows[y][:x]]
            elif text == b"\r":
                x = 0
            elif text == b"\n":
                y += 1
            elif text is not None:
                if x == self._n_columns:
                    y, x = y + 1, 0
                while len(rows) <= y:
                    rows.append("")
                rows[y] = rows[y][:x].ljust(x) + text.decode("latin-1") + rows[y][x + 1 :]
                x += 1
            while len(rows) <= y:
                rows.append("")
        return rows

    def wait(self, within_s: float) -> int:
        """Wait until the command and its output have ended; return the exit code."""
        code = self.process.wait(within_s)
        self._reader.join(within_s)
        return code

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        os.close(self._master)
