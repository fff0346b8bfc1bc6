"""Fault injection: which samples are missing, late, mistimed or miswired, and that all others are unchanged."""

from __future__ import annotations

import re
import shlex
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap.errors import UsageError
from pretap.recordings.recording import Event, Recording
from pretap_realtime.replay.command import replay
from pretap_realtime.replay.faults import Fault, FaultSettings, Schedule, Wiring, parse_schedule
from pretap_realtime.replay.injector import inject
from pretap_realtime.replay.pieces import Piece, pieces

DOCS = Path(__file__).resolve().parents[2] / "docs" / "rehearsal.md"

FS, N, CHANNELS = 1000.0, 5000, ("C3", "Cz", "C4")


def recording():
    x = np.arange(N, dtype=np.float32)[:, None] + np.array([0, 0.25, 0.5], np.float32)  # a value says which it is
    events = tuple(Event(n, str(n)) for n in (0, 2010, 2500, 4999))
    return Recording(CHANNELS, FS, N, events, lambda start, stop: x[start:stop], "counted samples")


def injected(*schedules, n_chunk=10, **settings):
    stream = pieces(recording(), n_chunk=n_chunk, loop=False)
    faults = FaultSettings(schedules=tuple(parse_schedule(kind, text) for kind, text in schedules), **settings)
    return list(inject(stream, faults, sfreq_hz=FS, channels=CHANNELS, unit="uV"))


def sent(items):
    return [item for item in items if isinstance(item, Piece) and len(item.x_uv)]


def faults_of(items):
    return [item for item in items if isinstance(item, Fault)]


def numbers(items):
    """Return the numbers of the samples that were sent; asserts that each has its own value."""
    n = np.concatenate([p.first_n + np.arange(len(p.x_uv)) for p in sent(items)])
    x = np.concatenate([p.x_uv for p in sent(items)])
    assert np.array_equal(x[~np.isnan(x[:, 0]), 0], n[~np.isnan(x[:, 0])])
    return n


def test_without_faults_the_recording_is_sent_unchanged():
    before = list(pieces(recording(), n_chunk=10, loop=False))
    after = injected()
    assert len(before) == len(after)
    for a, b in zip(before, after, strict=True):
        assert (a.first_n, a.markers, a.due_s) == (b.first_n, b.markers, b.due_s)
        assert np.array_equal(a.x_uv, b.x_uv)
        assert np.array_equal(a.t_s, b.t_s)


@settings(deadline=None)
@given(n_chunk=st.integers(1, 700))
def test_a_gap_loses_exactly_its_samples_and_no_marker(n_chunk):
    items = injected(("gap", "@2:37"), ("gap", "@2.5:1"), n_chunk=n_chunk)
    assert numbers(items).tolist() == [*range(2000), *range(2037, 2500), *range(2501, N)]
    assert [(m.kind, m.first_n, m.n_samples) for m in faults_of(items)] == [("gap", 2000, 37), ("gap", 2500, 1)]
    assert [m.text for p in items if isinstance(p, Piece) for m in p.markers] == ["0", "2010", "2500", "4999"]
    assert np.array_equal(np.concatenate([p.t_s for p in sent(items)]), numbers(items) / FS)


def test_a_burst_holds_its_samples_and_then_sends_them_all_with_their_own_timestamps():
    items = injected(("burst", "@1:500"))
    assert numbers(items).tolist() == list(range(N))
    assert np.array_equal(np.concatenate([p.t_s for p in sent(items)]), np.arange(N) / FS)
    for piece in sent(items):
        held = 1000 <= piece.first_n < 1500
        assert piece.due_s == pytest.approx(1.499 if held else piece.t_s[-1], abs=1e-9)
    dues = [item.due_s for item in items]
    assert dues == sorted(dues)


def test_a_disconnection_loses_its_samples_and_restores_the_wiring():
    items = injected(("disconnect", "@1:250"))
    assert numbers(items).tolist() == [*range(1000), *range(1250, N)]
    gone, back = faults_of(items)
    assert (gone.kind, gone.due_s, gone.wiring) == ("disconnect", 1.0, None)
    assert (back.kind, back.due_s, back.wiring) == ("connect", 1.25, Wiring("uV", (0, 1, 2), "uV", (0, 1, 2)))


@pytest.mark.parametrize(
    ("text", "kinds", "described"),
    [
        ("@1:100", ["disconnect", "connect"], "V"),
        ("@1:100:silent", ["disconnect", "connect"], "uV"),
        ("@1:0", ["unit-flip"], "uV"),
    ],
)
def test_a_unit_flip_is_described_by_the_new_outlet_unless_it_is_silent_or_the_stream_continues(text, kinds, described):
    items = faults_of(injected(("unit-flip", text)))
    assert [m.kind for m in items] == kinds
    wiring = items[-1].wiring
    assert (wiring.unit, wiring.described_unit) == ("V", described)
    assert wiring.values(np.full((1, 3), 20, np.float32)) == pytest.approx(20e-6)


def test_a_second_unit_flip_restores_the_unit():
    wirings = [m.wiring for m in faults_of(injected(("unit-flip", "@1:0"), ("unit-flip", "@2:0")))]
    assert [wiring.unit for wiring in wirings] == ["V", "uV"]


@pytest.mark.parametrize(("text", "is_described"), [("@1:100", True), ("@1:100:silent", False), ("@1:0", False)])
def test_shuffled_channels_are_described_in_their_new_order_unless_silent(text, is_described):
    wiring = faults_of(injected(("shuffle-channels", text)))[-1].wiring
    assert sorted(wiring.order) == [0, 1, 2]
    assert wiring.order != (0, 1, 2)
    assert wiring.described_order == (wiring.order if is_described else (0, 1, 2))
    assert wiring.values(np.array([[5, 6, 7]], np.float32)).tolist() == [[5.0 + i for i in wiring.order]]


def test_nan_replaces_one_channel_during_its_time_and_leaves_the_recording_alone():
    played = recording()
    kept = played.read(0, N).copy()
    x = np.concatenate([p.x_uv for p in sent(injected(("nan", "@1:25")))])
    rows, channels = np.nonzero(np.isnan(x))
    assert rows.tolist() == list(range(1000, 1025))
    assert len(set(channels)) == 1
    assert np.array_equal(played.read(0, N), kept)


def test_each_dropped_piece_is_reported():
    items = injected(drop=0.1, seed=1)
    lost = [n for m in faults_of(items) for n in range(m.first_n, m.first_n + m.n_samples)]
    assert {m.kind for m in faults_of(items)} == {"drop"}
    assert sorted([*lost, *numbers(items)]) == list(range(N))
    assert 300 < len(lost) < 700


def test_jitter_moves_only_timestamps_and_drift_makes_the_device_fast():
    items = injected(jitter_s=0.003, drift_ppm=100, seed=2)
    t_s = np.concatenate([p.t_s for p in sent(items)])
    true_s = np.arange(N) / (FS * (1 + 1e-4))
    assert np.std(t_s - true_s) == pytest.approx(0.003, rel=0.05)
    assert [p.due_s for p in sent(items)] == pytest.approx(true_s[9::10], abs=1e-12)


def test_the_same_seed_gives_the_same_faults_and_another_kind_moves_none():
    def when(kind, *schedules, **settings):
        return [(m.first_n, m.n_samples) for m in faults_of(injected(*schedules, **settings)) if m.kind == kind]

    gaps = when("gap", ("gap", "0.5:20"), seed=5)
    assert len(gaps) > 2
    assert when("gap", ("gap", "0.5:20"), seed=5) == gaps
    assert when("gap", ("gap", "0.5:20"), ("nan", "0.2"), ("disconnect", "@4:10"), seed=5, drop=0.1) == gaps
    assert when("gap", ("gap", "0.5:20"), seed=6) != gaps
    assert when("gap", ("gap", "0.5:20"), seed=5, n_chunk=333) == gaps


def test_faults_continue_when_a_recording_loops():
    settings = FaultSettings(schedules=(Schedule("gap", None, 1.0, 0.01),), seed=0)
    stream = inject(pieces(recording(), n_chunk=500, loop=True), settings, sfreq_hz=FS, channels=CHANNELS, unit="uV")
    assert any(m.first_n > 2 * N for m in islice(stream, 60) if isinstance(m, Fault))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("gap", "0"),
        ("gap", "-1"),
        ("gap", "x"),
        ("gap", "20:-1"),
        ("gap", "20:5:silent"),
        ("nan", "@nan"),
        ("burst", ""),
    ],
)
def test_an_invalid_schedule_is_refused_with_an_example(kind, text):
    with pytest.raises(UsageError, match=rf"--{kind} '{text}': expected WHEN\[:LENGTH_MS\]\. .* such as 20:"):
        parse_schedule(kind, text)


def test_the_documented_commands_and_options_exist():
    text = DOCS.read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^pretap replay (.+)$", text, re.MULTILINE)
    assert len(commands) == 2
    scheduled = ("gap", "burst", "disconnect", "unit-flip", "shuffle-channels", "nan")
    for command in commands:
        given = replay.make_context("replay", shlex.split(command)).params
        for kind in scheduled:
            for schedule in given[kind.replace("-", "_")]:
                parse_schedule(kind, schedule)
    told = set(re.findall(r"^\| `(--[a-z-]+)", text, re.MULTILINE))
    assert told <= {name for option in replay.params for name in option.opts}
    assert told >= {f"--{kind}" for kind in scheduled}
