"""The accuracy that `serve`, `score` and the monitor show: which verdict is compared with which marker."""

from __future__ import annotations

import pytest

from pretap_realtime.decide.accuracy import LiveAccuracy, Tally

CLASSES = ("left", "right")
EVENTS = {"left": ("1", "S  1"), "right": ("2",), "rest": ("3",)}


def accuracy(*, offset_s=-0.13, events=None) -> LiveAccuracy:
    return LiveAccuracy(CLASSES, events or {}, offset_s=offset_s)


def judge(judge_, text, *, t_s=10.0):
    """Judge a marker with the verdicts that were added."""
    judge_.add_marker(text, t_s, now_s=t_s)
    return judge_.update(now_s=t_s + 10.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tap/left", "left"), ("trial/3/end/right", "right"), ("right", "right"), ("trial/3/start/left", None),
        ("trial/3/end", None), ("rest", None), ("leftover", None), ("tap/left/", None),
    ],
)  # fmt: skip
def test_without_training_events_the_end_of_a_marker_names_the_class(text, expected):
    assert accuracy().true_class(text) == expected


def test_with_training_events_only_these_and_the_ends_of_trials_tell_the_class():
    texts = ("1", "S  1", "2", "3", "7", "feedback/right", "trial/3/end/right")
    found = [accuracy(events=EVENTS).true_class(text) for text in texts]
    assert found == ["left", "left", "right", None, None, None, "right"]


def test_a_training_event_may_be_called_start():
    judge_ = accuracy(events={"left": ("start/left", "go/start"), "right": ("start/*",)})
    texts = ("start/left", "go/start", "start/right", "trial/3/start/left", "trial/3/end/left")
    assert [judge_.true_class(text) for text in texts] == ["left", "left", "right", None, "left"]
    judge_.add_verdict(9.87, "left", is_valid=True)
    assert [each.correct for each in judge(judge_, "start/left")] == [True]


@pytest.mark.parametrize(("later_s", "expected"), [(1e-9, "right"), (0.001, "right"), (0.002, "left"), (0.004, "left")])
def test_a_window_may_end_a_little_later_than_the_offset_because_clocks_and_rounding_do_not_decide(later_s, expected):
    judge_ = accuracy()
    judge_.add_verdict(9.85, "left", is_valid=True)
    judge_.add_verdict(9.87 + later_s, "right", is_valid=True)
    assert [each.label for each in judge(judge_, "tap/left")] == [expected]


@pytest.mark.parametrize("offset_s", [-0.5, -0.13, 0.0, 0.5])
@pytest.mark.parametrize(("text", "events"), [("tap/left", {}), ("S  1", EVENTS)])
def test_the_last_verdict_whose_window_ends_at_the_offset_counts_not_the_one_after(text, events, offset_s):
    judge_ = accuracy(offset_s=offset_s, events=events)
    for k, label in enumerate(("right", "left", "right")):
        judge_.add_verdict(10.0 + offset_s + 0.02 * (k - 1), label, is_valid=True)
    (judged,) = judge(judge_, text)
    assert (judged.t, judged.truth, judged.label, judged.correct) == (10.0, "left", "left", True)
    assert judge_.tally == Tally(n_judged=1, n_correct=1)


def test_the_window_of_a_replayed_trial_ends_with_the_trial():
    judge_ = accuracy(offset_s=-0.13, events=EVENTS)
    judge_.add_verdict(9.87, "right", is_valid=True)
    judge_.add_verdict(10.0, "left", is_valid=True)
    (judged,) = judge(judge_, "trial/3/end/left")
    assert judged.correct


def test_a_marker_waits_for_a_later_verdict_or_until_none_is_expected():
    judge_ = accuracy(offset_s=0.5)
    judge_.add_verdict(10.48, "left", is_valid=True)
    judge_.add_marker("tap/left", 10.0, now_s=10.0)
    assert judge_.update(now_s=11.4) == []  # the window ends at 10.5: its verdict may still arrive
    judge_.add_verdict(10.5, "right", is_valid=True)
    assert judge_.update(now_s=11.4) == []
    judge_.add_verdict(10.52, "left", is_valid=True)
    (judged,) = judge_.update(now_s=11.4)
    assert judged.label == "right"
    judge_.add_marker("tap/left", 20.0, now_s=20.0)
    assert judge_.update(now_s=21.4) == []
    assert len(judge_.update(now_s=21.6)) == 1


@pytest.mark.parametrize(
    ("t_s", "label", "is_valid", "tally"),
    [
        (9.87, "none", True, Tally(n_judged=1, n_none=1)),  # the policy held the class back
        (9.87, "left", False, Tally()),
        (9.0, "left", True, Tally()),  # more than half a second before
        (9.88, "left", True, Tally()),  # after the window
    ],
)
def test_an_invalid_window_or_none_at_all_is_no_verdict(t_s, label, is_valid, tally):
    judge_ = accuracy()
    judge_.add_verdict(t_s, label, is_valid=is_valid)
    (judged,) = judge(judge_, "tap/left")
    assert judge_.tally == tally
    assert judged.label == ("none" if tally.n_judged else "")
    assert not judged.correct


def test_after_a_reset_nothing_is_pending_or_counted():
    judge_ = accuracy()
    judge_.add_verdict(9.87, "left", is_valid=True)
    judge(judge_, "tap/left")
    judge_.add_marker("tap/left", 10.0, now_s=10.0)
    judge_.reset()
    assert judge_.update(now_s=100.0) == []
    assert judge_.tally == Tally()
