"""Counts in messages agree with their nouns, and misspelled names get a suggestion."""

from __future__ import annotations

import pytest

from pretap.signal.channels import unknown_channel
from pretap.spelling import counted


@pytest.mark.parametrize(
    ("n", "words", "text"),
    [
        (0, ("marker",), "0 markers"),
        (1, ("marker",), "1 marker"),
        (2, ("marker",), "2 markers"),
        (1, ("event was", "events were"), "1 event was"),
        (3, ("event was", "events were"), "3 events were"),
    ],
)
def test_a_count_agrees_with_its_noun(n, words, text):
    assert counted(n, *words) == text


@pytest.mark.parametrize(
    ("labels", "rest"),
    [
        (["C3", "Status"], "It has C3, Status. Did you mean 'Status'?"),
        (["C3", "Cz"], "It has C3, Cz."),
        ([], "It has no labels."),
    ],
)
def test_a_channel_that_a_recording_lacks_is_refused_with_those_it_has(labels, rest):
    assert unknown_channel("statsu", labels) == f"has no channel 'statsu', which a setting or option names. {rest}"
