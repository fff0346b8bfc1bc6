"""The accuracy that the monitor shows: which verdict is compared with which marker."""

from __future__ import annotations

import pytest

from pretap_realtime.monitor.accuracy import LiveAccuracy, true_class
from pretap_realtime.signal.chunk import Cue

CLASSES = ("left", "right")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tap/left", "left"), ("trial/3/end/right", "right"), ("right", "right"), ("trial/3/start/left", None),
        ("trial/3/end", None), ("rest", None), ("leftover", None), ("tap/left/", None),
    ],
)  # fmt: skip
def test_which_markers_name_the_class(text, expected):
    assert true_class(text, CLASSES, {}) == expected


def test_the_patterns_of_the_bundle_name_the_class_of_a_number():
    events = {"left": ("1", "S  1"), "right": ("2",), "rest": ("3",)}
    found = [true_class(text, CLASSES, events) for text in ("1", "S  1", "2", "3", "7", "tap/right")]
    assert found == ["left", "left", "right", None, None, "right"]


def test_the_verdict_before_the_marker_counts_not_the_one_after():
    accuracy = LiveAccuracy()
    accuracy.add_verdict(9.99, "left")
    accuracy.add_marker(Cue(10.0, "trial/0/end/left"), "left", now_s=10.0)
    assert accuracy.update(now_s=10.0) == []  # the verdict for 10.0 may still arrive
    accuracy.add_verdict(10.04, "right")
    (judged,) = accuracy.update(now_s=10.05)
    assert (judged.truth, judged.label, judged.right, judged.lead) == ("left", "left", True, 0.0)


def test_a_tap_is_judged_by_the_verdict_130_ms_before():
    accuracy = LiveAccuracy()
    accuracy.add_verdict(9.86, "left")
    accuracy.add_verdict(9.90, "right")
    accuracy.add_marker(Cue(10.0, "tap/left"), "left", now_s=10.0)
    (judged,) = accuracy.update(now_s=10.0)
    assert (judged.label, judged.right, judged.lead) == ("left", True, 0.13)


def test_an_old_verdict_counts_as_none_and_none_is_not_right():
    accuracy = LiveAccuracy()
    accuracy.add_verdict(9.0, "left")
    accuracy.add_marker(Cue(10.0, "trial/1/end/left"), "left", now_s=10.0)
    assert accuracy.update(now_s=10.5) == []
    (judged,) = accuracy.update(now_s=11.1)  # patience is over
    assert (judged.label, judged.right) == ("none", False)
