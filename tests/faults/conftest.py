"""The rig of the fault suite: real services, amplifiers, listeners; and the report of what was measured.

Each test has streams and outlets of its own names, in the LSL session of its pytest process (see tests/conftest.py).
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import report
from real_lsl import LABELS, WITHIN_S, Amplifier, Child, Feeder, Listener, Numbers, until

_ROWS: list[report.Row] = []
_STARTED_S = time.monotonic()


class Service(Child):
    """A ``pretap serve`` on one stream.

    Attributes
    ----------
    name
        Of its outlets: ``<name>-markers`` and so on.
    log_file
        Its ``--log``.
    """

    def __init__(self, folder: Path, bundle: Path, stream: str, arguments: tuple[str, ...], **options) -> None:
        self.name = f"svc-{secrets.token_hex(4)}"
        self.log_file = folder / f"{self.name}.jsonl"
        command = [sys.executable, "-m", "pretap", "serve", str(bundle), "--query", stream, "--log",
                   str(self.log_file), "--set", f"markers.name={self.name}", *arguments]  # fmt: skip
        super().__init__(folder, command, **options)
        self._listener: Listener | None = None

    @property
    def listener(self) -> Listener:
        """An inlet on its markers, since this was first asked for."""
        if self._listener is None:
            self._listener = Listener(f"{self.name}-markers")
        return self._listener

    def numbers(self, kind: str) -> Numbers:
        """An inlet on its ``codes`` or ``probabilities``."""
        return Numbers(f"{self.name}-{kind}")

    @property
    def rows(self) -> list[dict]:
        """What its log holds: every message but heartbeats."""
        text = self.log_file.read_text() if self.log_file.exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def states(self) -> list[str]:
        return [row["state"] for row in self.rows if row["type"] == "state"]

    def verdicts(self) -> list[dict]:
        return [row for row in self.rows if row["type"] == "verdict"]

    def wait_for_verdict(self, condition=lambda row: row["valid"], within_s: float = WITHIN_S) -> dict:
        """Wait for a verdict in the log."""
        return until(
            lambda: next((row for row in self.verdicts() if condition(row)), None),
            lambda: f"a verdict, in:\n{self.rows[-10:]}\n{self.said}",
            within_s,
        )

    def wait_for_states(self, *states: str, within_s: float = WITHIN_S) -> None:
        """Wait until its log has passed through these states, in this order, others between."""

        def passed() -> bool:
            rest = iter(self.states())
            return all(state in rest for state in states)

        until(passed, lambda: f"{states}, was {self.states()}:\n{self.said}", within_s)

    def accounts(self) -> tuple[int, int]:
        """Give how many samples it received and lost, as its summary says; after its end."""
        words = self.said.rsplit(" samples received, ", 1)
        return int(words[0].split()[-1]), int(words[1].split()[0])


@pytest.fixture
def ending() -> Iterator[list]:
    """Holds everything that must end with the test."""
    things: list = []
    yield things
    for thing in reversed(things):
        thing.end()


@pytest.fixture
def bundle(tmp_path, make_decoder) -> Path:
    """A bundle for 4 channels at 100 Hz with windows of 50 samples, half a second."""
    path = tmp_path / "random.safetensors"
    make_decoder(path=path)
    return path


@pytest.fixture
def serve(tmp_path, bundle, ending):
    """Start ``pretap serve`` on an amplifier or a stream query; it ends with the test."""

    def serve(stream, *arguments: str, bundle=bundle, **options) -> Service:
        query = stream if isinstance(stream, str) else f"name={stream.name}"
        ending.append(Service(tmp_path, bundle, query, arguments, **options))
        return ending[-1]

    return serve


@pytest.fixture
def start(tmp_path, ending):
    """Start any ``pretap`` command; it ends with the test."""

    def start(*arguments: str, python: tuple[str, ...] = (), **options) -> Child:
        ending.append(Child(tmp_path, [sys.executable, *python, "-m", "pretap", *arguments], **options))
        return ending[-1]

    return start


@pytest.fixture
def amplifier(ending):
    """Make an outlet in this process whose samples the test decides, see `real_lsl.Amplifier`."""

    def amplifier(**spec) -> Amplifier:
        ending.append(Amplifier(**spec))
        return ending[-1]

    return amplifier


@pytest.fixture
def feeder(tmp_path, ending):
    """Start an amplifier as a process, which can be killed or stopped; see feeder.py for `spec`."""

    def feeder(*, env=None, **spec) -> Feeder:
        spec = {"name": f"amp-{secrets.token_hex(4)}", "kind": "EEG", "labels": LABELS, "sfreq_hz": 100.0,
                "unit": "microvolts", "source_id": "", "chunk": 5, "seed": 0} | spec  # fmt: skip
        ending.append(Feeder(tmp_path, spec, env=env))
        return ending[-1]

    return feeder


@pytest.fixture
def measured(request):
    """Note what the test measured: the fault, what must happen, and the figure, as rows of docs/faults.md.

    Times depend on the machine and on what else it does, so the test itself does not fail for a time that is too long.
    `in_time` says whether the required times were kept, and the report shows it.
    """

    def measured(fault: str, required: str, figure: str, *, in_time: bool = True) -> None:
        heading = request.module.__doc__.partition("\n")[0].removesuffix(".")
        line = request.function.__code__.co_firstlineno
        request.node.user_properties.append(("fault", [heading, line, fault, required, figure, in_time]))

    return measured


def pytest_addoption(parser):
    parser.addoption("--faults-report", type=Path, metavar="FILE", help="write what the fault suite measured")


def pytest_runtest_logreport(report: pytest.TestReport):
    if report.when == "call":
        given = [value for key, value in report.user_properties if key == "fault"]
        if report.failed and not given:
            given = [["Failed", 0, report.location[2], "", "", True]]
        _ROWS.extend(_row(report, *values) for values in given)


def _row(result: pytest.TestReport, heading, line, fault, required, figure, in_time) -> report.Row:
    where = (result.location[0], heading, line, result.nodeid)
    return report.Row(*where, fault, required, figure, result.passed, in_time)


def pytest_sessionfinish(session):
    path = session.config.getoption("--faults-report")
    if path is not None and not hasattr(session.config, "workerinput"):
        import pylsl

        seconds = time.monotonic() - _STARTED_S
        report.write(path, _ROWS, seconds=seconds, version=f"liblsl {pylsl.library_version() / 100:.2f}")
