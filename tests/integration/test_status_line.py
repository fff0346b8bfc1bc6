"""The status line of `serve` and `replay`: one line on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import re
import secrets
import sys

import pytest

from real_lsl import WITHIN_S, Child, resolve, until

if sys.platform == "win32":
    pytest.skip("pseudo terminals", allow_module_level=True)

from terminal_screen import Terminal

pytestmark = pytest.mark.xdist_group("status line")  # one amplifier

STATUS = r"(RUNNING|STALE)  (left|right) [01]\.\d\d  \d+\.\d/s  \d+ lost  0:0\d:\d\d"


@pytest.fixture
def on_terminal(ending):
    """Start ``pretap ARGUMENTS`` on a terminal; it ends with the test."""

    def on_terminal(*arguments, **options):
        terminal = Terminal("-m", "pretap", *arguments, **options)
        ending.append(terminal)
        return terminal

    return on_terminal


@pytest.fixture(scope="module")
def amplifier(tmp_path_factory):
    """A replay in a loop, and the arguments of `serve` for it."""
    name = f"amp-{secrets.token_hex(4)}"
    command = [sys.executable, "-m", "pretap", "replay", "synthetic", "--name", name, "--loop", "--quiet"]
    amplifier = Child(tmp_path_factory.mktemp("amplifier"), command)
    amplifier.name, amplifier.serve = name, ("serve", "single-100hz", "--query", f"name={name}")
    resolve(name, 2 * WITHIN_S)  # it starts slowly on a busy machine, and `serve` waits for 30 s
    yield amplifier
    amplifier.end()


def statuses(terminal):
    return [row for row in terminal.rows() if re.search(r"\d/s  ", row)]


def last_row(terminal, pattern):
    """Wait until the last line of a terminal matches a pattern, and return it."""
    until(lambda: re.match(pattern, terminal.rows()[-1]), lambda: f"{pattern!r} at the end of {terminal.rows()}")
    return terminal.rows()[-1]


@pytest.mark.parametrize("more", [(), ("--supervise",)], ids=["alone", "supervised"])
def test_serve_keeps_one_status_line_below_its_other_lines(on_terminal, amplifier, more):
    serve = on_terminal(*amplifier.serve, *more, n_columns=160)
    first = last_row(serve, STATUS + "  resampled from 1000 to 100 Hz")
    until(lambda: (now := serve.rows()[-1]) != first and re.match(STATUS, now), "a newer status")
    amplifier.freeze()
    last_row(serve, "STALE  ")
    assert len(statuses(serve)) == 1
    assert any(row.startswith("RUNNING -> STALE: no sample for") for row in serve.rows())
    amplifier.thaw()
    serve.type(b"\x03")
    assert serve.wait(WITHIN_S) == 0
    assert statuses(serve) == []
    assert any("samples received" in row for row in serve.rows())


@pytest.mark.parametrize("n_columns", [40, 20])
def test_the_status_fits_a_narrow_terminal(on_terminal, amplifier, n_columns):
    serve = on_terminal(*amplifier.serve, n_columns=n_columns)
    row = last_row(serve, r"RUNNING  (left|right) [01]\.\d\d")
    assert len(row) < n_columns
    assert sum(bool(re.match("RUNNING  ", row)) for row in serve.rows()) == 1


def test_two_decoders_share_the_line(on_terminal, amplifier, tmp_path):
    config = tmp_path / "two.toml"
    decoder = "[[decoders]]\nbundle = 'single-100hz'\nmarkers.name = '{}'\n"
    config.write_text(f"stream.query = 'name={amplifier.name}'\n{decoder.format('ann')}{decoder.format('ben')}")
    serve = on_terminal("serve", "--config", str(config), n_columns=160)
    last_row(serve, r"ann: RUNNING  (left|right) [01]\.\d\d .* \| ben: RUNNING  (left|right) [01]\.\d\d ")


def test_elsewhere_the_status_is_a_line_every_ten_seconds_and_quiet_has_none(start, amplifier):
    quiet = start(*amplifier.serve, "--quiet", "--set", "markers.name=quiet")
    quiet.wait_for("VALIDATING -> RUNNING")
    loud = start(*amplifier.serve, "--set", "markers.name=loud")
    loud.wait_for(r"(?m)^[A-Z]+  .*\d/s  \d+ lost  0:00:1\d")
    assert "\x1b" not in loud.said
    assert not re.search(r"\d/s  ", quiet.said)


def test_replay_shows_position_time_left_and_markers(on_terminal):
    replay = on_terminal("replay", "synthetic", "--name", "shown", "--speed", "10")
    until(
        lambda: re.fullmatch(r"0:00:[2-5]\d of 0:02:00  0:00:0\d left  \d+ markers sent", replay.rows()[-1]),
        lambda: f"the position: {replay.rows()}",
    )
    assert sum("markers sent" in row for row in replay.rows()) == 1
    replay.type(b"\x03")
    assert replay.wait(WITHIN_S) == 0
    assert re.search(r"shown: \d+ samples and \d+ markers sent", replay.written)
    assert not any(" left  " in row for row in replay.rows())


def test_a_quiet_replay_shows_none(on_terminal):
    replay = on_terminal("replay", "synthetic", "--name", "quiet", "--speed", "100", "--quiet")
    assert replay.wait(WITHIN_S) == 0
    assert " left  " not in replay.written


def test_words_are_coloured_on_a_terminal_unless_the_user_objects(on_terminal):
    for env, error in [({}, "\x1b[1;31mError\x1b[0m: "), ({"NO_COLOR": "1"}, "Error: "), ({"TERM": "dumb"}, "Error: ")]:
        terminal = on_terminal("inspect", "nowhere.safetensors", env=env)
        assert terminal.wait(WITHIN_S) == 6
        assert terminal.written.startswith(f"{error}Cannot read the bundle nowhere.safetensors")
