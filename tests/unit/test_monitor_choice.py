"""Which streams the monitor follows."""

from __future__ import annotations

import pytest

from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.monitor.choice import Selection, choose
from pretap_realtime.send.messages import ServiceDescription


def found(name, kind="Markers", format="string", n=1, uid="", source_id=None, sfreq_hz=0.0):  # noqa: A002
    return StreamInfo(
        name, kind, name if source_id is None else source_id, "here", uid or name, format, n, sfreq_hz, None
    )


def service(name):
    return [found(f"{name}-probabilities", "Probabilities", "float32", 3), found(f"{name}-codes", format="int32"),
            found(f"{name}-markers")]  # fmt: skip


AMP = found("Amp", "EEG", "float32", 28)
ANY = Selection("", {"type": "EEG"}, None)


def parts(*arguments, **options):
    choice = choose(*arguments, **options)
    return choice.streams, choice.problems


def markers(choice):
    return [each.name for role, each in choice.streams.items() if role.startswith("marker ")]


def test_the_only_service_the_only_eeg_and_the_task_are_followed():
    wanted, problems = parts([*service("pretap"), AMP, found("task")], ANY)
    assert {role: each.name for role, each in wanted.items()} == {
        "probabilities": "pretap-probabilities", "codes": "pretap-codes", "messages": "pretap-markers", "eeg": "Amp",
        "marker task": "task",
    }  # fmt: skip
    assert problems == []


@pytest.mark.parametrize("step", [1, -1])
def test_markers_of_a_replay_with_the_name_of_the_service_are_not_its_messages(step):
    replay = found("pretap-markers", uid="replay", source_id="pretap-replay:pretap-markers")
    wanted, problems = parts([*service("pretap"), replay, AMP][::step], ANY)
    assert (wanted["messages"].uid, wanted["marker replay"]) == ("pretap-markers", replay)
    assert not problems


def test_with_several_services_none_is_followed_until_one_is_named():
    streams = [*service("anna"), *service("ben"), AMP, found("Other", "EEG", "float32", 8)]
    wanted, problems = parts(streams, ANY)
    assert wanted == {}
    assert "Found 2 services: anna, ben" in problems[0]
    assert "Found 2 EEG streams: Amp, Other" in problems[1]
    wanted, problems = parts(streams, Selection("ben", {"name": "Amp"}, None))
    assert wanted["messages"].name == "ben-markers"
    assert wanted["eeg"] is AMP
    assert problems == []


def test_the_followed_service_is_kept_when_another_appears():
    streams = [*service("anna"), *service("ben"), AMP, found("Other", "EEG", "float32", 8)]
    wanted, problems = parts(streams, ANY, followed="anna", has_eeg=True)
    assert wanted["codes"].name == "anna-codes"
    assert problems == []


def test_a_misspelled_service_is_suggested():
    _, problems = parts([*service("anna"), AMP], Selection("ana", {"type": "EEG"}, None))
    assert problems == ["Waiting for the service 'ana': start pretap serve BUNDLE. Did you mean 'anna'?"]


def test_missing_streams_are_reported():
    wanted, problems = parts([], ANY)
    assert wanted == {}
    assert ["pretap serve" in problems[0], "pretap replay" in problems[1]] == [True, True]


CUED = ServiceDescription(is_cued=True, cue_query="name=anna-task")


def test_of_a_service_that_decides_at_cues_only_their_stream_is_read():
    streams = [*service("anna"), AMP, found("anna-task"), found("ben-task")]
    choice = choose(streams, ANY, description=CUED)
    assert (markers(choice), choice.why_not_judged) == (["anna-task"], "")
    choice = choose(streams, ANY, description=ServiceDescription(is_cued=True))  # of a trigger channel
    assert (markers(choice), choice.why_not_judged) == ([], "")
    choice = choose(streams, ANY, description=ServiceDescription(is_cued=True, cue_query="'="))
    assert markers(choice) == []


@pytest.mark.parametrize(
    ("others", "query", "is_judged"),
    [
        ([], None, True),
        ([found("ben-task")], None, False),
        ([*service("ben")], None, False),
        ([found("AmpB", "EEG", "float32", 8)], None, False),
        ([found("anna-task", uid="before")], None, True),  # it ended, and has returned
        ([found("ben-task"), *service("ben")], {"name": "anna-task"}, True),
        ([found("ben-task")], {"type": "Markers"}, False),
    ],
)
def test_decisions_at_every_hop_are_judged_if_the_markers_can_only_be_their_players(others, query, is_judged):
    streams = [*service("anna"), AMP, found("anna-task"), *others]
    choice = choose(streams, Selection("anna", {"name": "Amp"}, query))
    assert (choice.why_not_judged == "") == is_judged
    if not is_judged:
        assert "anna-task" in choice.why_not_judged
        assert "--cue-query" in choice.why_not_judged


NO_ID = {"kind": "EEG", "format": "float32", "n": 8, "source_id": ""}


@pytest.mark.parametrize(
    ("streams", "why"),
    [
        ([found("amp", uid="a", **NO_ID), found("task", source_id="")], ""),
        (
            [found("amp", uid="a", **NO_ID), found("amp", uid="b", **NO_ID), found("taps", source_id="")],
            "Not judged: several services or EEG streams are on the network, and 'taps' may belong to another player. "
            "Start the monitor with --cue-query NAME.",
        ),
        (
            [AMP, found("b", source_id=""), found("a", source_id="")],
            "Not judged: several marker streams are on the network: a, b. Start the monitor with --cue-query NAME.",
        ),
    ],
)
def test_streams_without_a_source_id_are_told_apart(streams, why):
    assert choose([*service("anna"), *streams], ANY).why_not_judged == why


def test_markers_are_what_they_are_in_recordings():
    eeg = found("odd", "EEG", "float32")  # one channel without a rate
    streams = [AMP, eeg, found("wide", n=2), found("codes", "Stim", "int32"), found("regular", sfreq_hz=50.0)]
    choice = choose([*service("anna"), *streams], Selection("", {"name": "Amp"}, {"hostname": "here"}))
    assert markers(choice) == ["wide", "codes", "regular"]


def test_a_cue_query_that_finds_no_marker_stream_is_told():
    choice = choose([*service("anna"), AMP, found("task")], Selection("", {"type": "EEG"}, {"name": "Amp"}))
    assert choice.problems == ["No marker stream matches --cue-query name=Amp."]
    assert markers(choice) == []
