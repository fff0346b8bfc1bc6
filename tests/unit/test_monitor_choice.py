"""Which streams the monitor follows."""

from __future__ import annotations

import pytest

from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.monitor.choice import Selection, choose


def found(name, kind="Markers", format="string", n=1, uid="", source_id=""):  # noqa: A002
    return StreamInfo(name, kind, source_id or name, "here", uid or name, format, n, 0.0, None)


def service(name):
    return [found(f"{name}-probabilities", "Probabilities", "float32", 3), found(f"{name}-codes", format="int32"),
            found(f"{name}-markers")]  # fmt: skip


AMP = found("Amp", "EEG", "float32", 28)
ANY = Selection("", {"type": "EEG"}, None)


def test_the_only_service_the_only_eeg_and_the_task_are_followed():
    wanted, problems = choose([*service("pretap"), AMP, found("task"), found("wide", n=2)], ANY)
    assert {role: each.name for role, each in wanted.items()} == {
        "probabilities": "pretap-probabilities", "codes": "pretap-codes", "messages": "pretap-markers", "eeg": "Amp",
        "marker task": "task",
    }  # fmt: skip
    assert problems == []


@pytest.mark.parametrize("step", [1, -1])
def test_markers_of_a_replay_with_the_name_of_the_service_are_not_its_messages(step):
    replay = found("pretap-markers", uid="replay", source_id="pretap-replay:pretap-markers")
    wanted, problems = choose([*service("pretap"), replay, AMP][::step], ANY)
    assert (wanted["messages"].uid, wanted["marker replay"]) == ("pretap-markers", replay)
    assert not problems


def test_with_several_services_none_is_followed_until_one_is_named():
    streams = [*service("anna"), *service("ben"), AMP, found("Other", "EEG", "float32", 8)]
    wanted, problems = choose(streams, ANY)
    assert wanted == {}
    assert "Found 2 services: anna, ben" in problems[0]
    assert "Found 2 EEG streams: Amp, Other" in problems[1]
    wanted, problems = choose(streams, Selection("ben", {"name": "Amp"}, None))
    assert wanted["messages"].name == "ben-markers"
    assert wanted["eeg"] is AMP
    assert problems == []


def test_the_followed_service_is_kept_when_another_appears():
    streams = [*service("anna"), *service("ben"), AMP, found("Other", "EEG", "float32", 8)]
    wanted, problems = choose(streams, ANY, followed="anna", has_eeg=True)
    assert wanted["codes"].name == "anna-codes"
    assert problems == []


def test_missing_streams_are_reported():
    assert choose([], ANY) == ({}, ["Waiting for a service. Is pretap serve running?", "Waiting for the EEG stream."])
