"""The status line: what fits, and what removes it from a terminal."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretap.terminal import n_columns
from pretap_realtime.console.status_line import StatusLine, clock_time, fit, side_by_side

FIELDS = ["RUNNING", "left 0.93", "20.0/s", "0 lost", "0:01:23", "bad: C3, F5, POz"]


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (70, "RUNNING  left 0.93  20.0/s  0 lost  0:01:23  bad: C3, F5, POz"),
        (60, "RUNNING  left 0.93  20.0/s  0 lost  0:01:23  bad: C3, F5,..."),
        (50, "RUNNING  left 0.93  20.0/s  0 lost  0:01:23"),
        (39, "RUNNING  left 0.93  20.0/s  0 lost"),
        (7, "RUNNING"),
        (6, "RUN..."),
        (2, ".."),
        (0, ""),
    ],
)
def test_the_first_fields_that_fit_are_shown(width, line):
    assert fit(FIELDS, width) == line


def test_an_empty_field_takes_no_space():
    assert fit(["WAITING", "", "0 lost"], 20) == "WAITING  0 lost"


@given(st.lists(st.text(st.characters(categories=["L", "N"]), max_size=30)), st.integers(0, 100))
def test_the_line_is_never_wider_than_the_terminal(fields, width):
    assert n_columns(fit(fields, width)) <= width


def test_characters_that_take_two_columns_count_as_two():
    assert n_columns("日本 é e\u0301") == 8
    assert fit(["日本語日本語日本語"], 10) == "日本語..."


def test_several_statuses_get_an_equal_share_and_those_without_space_are_counted():
    three = {"b": FIELDS, "a": ["WAITING"], "c": FIELDS}
    assert side_by_side(three, 79) == "a: WAITING | b: RUNNING  left 0.93 | c: RUNNING  left 0.93"
    assert side_by_side(three, 45) == "a: WAITING | b: RUNNING | 1 more"
    assert side_by_side(three, 20) == "a: WAITING | 2 more"


def test_a_duration_has_hours_minutes_and_seconds():
    assert [clock_time(s) for s in (0, 59.9, 3661)] == ["0:00:00", "0:00:59", "1:01:01"]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo terminals")
def test_a_line_that_a_narrower_terminal_wraps_is_erased_whole(tmp_path):
    from terminal_screen import Terminal

    script = tmp_path / "resized.py"
    script.write_text(
        "import fcntl, struct, sys, termios\n"
        "from pretap_realtime.console.status_line import StatusLine\n"
        "line = StatusLine(sys.stderr)\n"
        "line.update('', ['x' * 79])\n"
        "drawn = line.draw()\n"
        "fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 40, 0, 0))\n"
        "print([drawn, line.draw(), line.erase()])\n",
        encoding="utf-8",
    )
    terminal = Terminal(str(script), n_columns=80)
    try:
        assert terminal.wait(60) == 0
        shown = terminal.rows()
    finally:
        terminal.end()
    cut = "x" * 36 + "..."
    assert "".join(shown) == repr(["\r\x1b[J" + "x" * 79, "\r\x1b[A\x1b[J" + cut, "\r\x1b[J"])


def test_a_file_that_is_not_a_terminal_gets_no_control_sequences(tmp_path):
    with (tmp_path / "log").open("w") as file:
        line = StatusLine(file)
        line.update("", FIELDS)
        assert not line.is_live
        assert line.draw() == line.erase() == ""
