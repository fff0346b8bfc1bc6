"""A bad signal on a real stream: what the operator, the marker stream and the probabilities say of it."""

from __future__ import annotations

import numpy as np
import pytest

from pretap.bundle.file import read_bundle
from pretap.bundle.shipped import find_bundle
from pretap.signal.channels import mirrored
from pretap.signal.statistics import Statistics
from pretap_realtime.lsl.inlets import Inlet
from real_lsl import resolve

BUNDLE = "single-100hz"
FS = 250.0
CHANNELS = read_bundle(find_bundle(BUNDLE)).manifest.channels


def head(seconds: float, *, seed: int = 0) -> np.ndarray:
    """A signal whose channels go together as those of the bundle's training, and are about as large."""
    known = Statistics.from_tensors(read_bundle(find_bundle(BUNDLE)).tensors)
    sizes, modes = np.linalg.eigh(known.covariance)
    x = np.random.default_rng(seed).standard_normal((round(seconds * FS), len(sizes)))
    x = x @ (modes * np.sqrt(np.maximum(sizes, 0))).T  # against the common average
    return (x * np.median(known.scale_uv / x.std(axis=0))).astype(np.float32)


@pytest.fixture
def serving(start, kit):
    """Start `serve` on an amplifier; gives the child, the amplifier, and a listener that hears all of it."""

    def serving(*arguments: str, bundle: str = BUNDLE):
        amp = kit.Amplifier(labels=CHANNELS, sfreq_hz=FS)
        child = start("serve", bundle, "--query", f"name={amp.name}", *arguments)
        child.wait_for("-> RUNNING")
        amp.wait_for_reader()
        listener = kit.Listener()
        return child, amp, listener

    return serving


def state_that_says(listener, words: str):
    return listener.wait_for(lambda m: m.type == "state" and words in m.why, f"a state that says {words!r}")


def numbers(name: str = "pretap-probabilities") -> Inlet:
    inlet = Inlet(resolve(name))
    inlet.open(order=range(3), factors=[1.0] * 3)
    return inlet


def qualities(inlet: Inlet) -> set[float]:
    found: set[float] = set()
    while (chunk := inlet.pull(0.0)) is not None:
        found |= set(np.round(chunk.x_uv[:, 2].astype(float), 6).tolist())
    return found


def test_a_railed_electrode_and_mains_are_named_and_lower_the_quality(serving, kit):
    child, amp, listener = serving()
    rows = numbers()
    x = head(12)
    c3, oz = CHANNELS.index("C3"), CHANNELS.index("O2")
    x[500:, c3] = np.clip(x[500:, c3] + 200 * np.sin(np.arange(2500) / 30), -150, 150)
    x[1000:, oz] += (150 * np.sin(2 * np.pi * 50 * np.arange(2000) / FS)).astype(np.float32)
    amp.push(x)
    assert state_that_says(listener, "C3: railed").bad == ("C3",)
    both = state_that_says(listener, "O2: dominated by 50 Hz")
    assert both.bad == ("C3", "O2")
    assert both.state == "RUNNING"
    beat = listener.wait_for(lambda m: m.type == "heartbeat" and m.bad, "a heartbeat that names them")
    assert "C3: railed" in beat.why
    assert both.quality == round(26 / 28, 4)
    shares: set[float] = set()
    kit.until(lambda: shares.update(qualities(rows)) or round(26 / 28, 6) in shares, "the quality of the last windows")
    assert shares >= {1.0, round(27 / 28, 6), round(26 / 28, 6)}
    verdicts = listener.verdicts()
    assert {m.valid for m in verdicts if not m.why} == {True}
    assert any("masked: C3; interpolated from their neighbours" in m.why for m in verdicts)
    assert not any(m.why.startswith("held") for m in verdicts)
    assert child.interrupt() == 0
    assert "C3: railed" in child.said


def test_a_good_signal_of_a_quarter_of_a_minute_is_not_talked_of(serving):
    child, amp, listener = serving()
    amp.push(head(16))
    last_s = amp.t0_s + 15.9
    listener.wait_for(lambda m: m.type == "verdict" and m.t > last_s, "the last decision")
    states = [m for m in listener.messages if m.type == "state"]
    said = {m.why for m in states if m.state == "RUNNING" and "LSL clock" not in m.why}  # this amplifier's is ahead
    assert said <= {"samples flow again"}
    beats = [m for m in listener.messages if m.type == "heartbeat" and m.state == "RUNNING"]
    assert beats
    assert {(m.why[:28], m.bad, m.quality) for m in beats} == {("resampled from 250 to 100 Hz", (), 1.0)}
    assert child.interrupt() == 0


def test_a_first_window_of_volts_is_refused_and_named(start, kit):
    amp = kit.Amplifier(labels=CHANNELS, sfreq_hz=FS)  # it says microvolts
    child = start("serve", BUNDLE, "--query", f"name={amp.name}")
    child.wait_for("-> RUNNING")
    amp.wait_for_reader()
    amp.push(head(2) * np.float32(1e-6))
    assert child.wait() == 4
    assert "volts taken for microvolts. Set [stream] unit to what the amplifier sends" in child.said


def test_a_unit_that_changes_in_the_session_is_named_and_the_quality_is_zero(serving, kit):
    child, amp, listener = serving()
    rows = numbers()
    x = head(8)
    x[1000:] *= np.float32(1e3)
    amp.push(x)
    assert state_that_says(listener, "microvolts taken for millivolts").quality == 0
    kit.until(lambda: 0.0 in qualities(rows), "a decision of no quality")
    assert child.interrupt() == 0


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([*range(8, 16), *range(8), *range(16, 28)], "swapped cap: connectors 1 and 2 of 8 channels are swapped"),
        ([CHANNELS.index(mirrored(name)) for name in CHANNELS], "swapped cap: left and right are mirrored"),
    ],
)
def test_a_swapped_cap_is_named_and_the_quality_is_zero(serving, order, words):
    child, amp, listener = serving("--set", "quality.policy=flag")
    amp.push(head(16)[:, order])
    assert (state := state_that_says(listener, words)).quality == 0
    assert state.bad == ()
    listener.wait_for(lambda m: m.type == "verdict" and m.valid and m.quality == 0, "a verdict of no quality")
    listener.wait_for(lambda m: m.type == "heartbeat" and m.quality == 0, "a heartbeat of no quality")
    assert child.interrupt() == 0


def test_hold_gives_no_verdict_while_an_electrode_is_bad_and_goes_on_after_it(serving):
    child, amp, listener = serving("--set", "quality.policy=hold")
    x = head(12)
    k = CHANNELS.index("FCz")
    x[500:1500, k] = 500 * np.random.default_rng(1).standard_normal(1000)  # from 2 to 6 s
    amp.push(x)
    at_s = amp.t0_s
    listener.wait_for(lambda m: m.type == "verdict" and m.t > at_s + 11.8, "the last decision")
    verdicts = listener.verdicts()
    held = [m for m in verdicts if m.why.startswith("held: FCz: much too large")]
    assert held
    assert all((m.label, m.p, m.valid) == ("none", {}, False) for m in held)
    assert not [m for m in verdicts if m.valid and at_s + 3.5 < m.t < at_s + 6.5]
    assert [m for m in verdicts if m.valid and m.t > at_s + 7.6]
    assert child.interrupt() == 0


def test_a_bundle_that_cannot_interpolate_is_served_and_that_it_needs_each_electrode_is_said(start, bundle):
    child = start("serve", str(bundle), "--query", "name=nobody", "--wait-s", "0.1")
    assert child.wait() == 3
    assert child.said.count("this bundle cannot interpolate electrodes, so it needs each of them") == 1


def test_a_bundle_without_statistics_is_served_and_what_goes_unseen_is_said(start, bundle):
    child = start("serve", str(bundle), "--query", "name=nobody", "--wait-s", "0.1")
    assert child.wait() == 3
    assert "the bundle has no statistics of its training signal" in child.said
