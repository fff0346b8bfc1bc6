"""The stream resolver, on real LSL."""

from __future__ import annotations

import secrets
import threading

import pytest

from pretap_realtime.lsl.api_config import Tuning
from pretap_realtime.lsl.description import has_ended
from pretap_realtime.lsl.library import local_clock
from pretap_realtime.lsl.resolver import StreamResolver
from real_lsl import WITHIN_S, Mute


@pytest.fixture
def name():
    return f"amp-{secrets.token_hex(4)}"


def uids(streams):
    return {stream.uid for stream in streams}


def test_a_query_finds_the_streams_that_match_all_its_keys_and_no_query_finds_all(kit, name):
    kit.Amplifier(name=name, source_id="one")
    kit.Amplifier(name=name, source_id="two")
    (two,) = StreamResolver({"name": name, "source_id": "two"}).wait(WITHIN_S)
    both = StreamResolver({"name": name})
    kit.until(lambda: len(both.streams()) == 2, "both")
    everything = StreamResolver()
    kit.until(lambda: uids(both.streams()) <= uids(everything.streams()), "both among all")
    assert (two.name, two.source_id, two.n_channels, two.sfreq_hz) == (name, "two", 4, 100.0)
    assert two.uid in uids(both.streams())


def test_waiting_ends_when_a_stream_answers_and_returns_none_if_none_does(kit, name):
    resolver = StreamResolver({"name": name})
    assert resolver.wait(0.3) == []
    amp = kit.Amplifier(name=name)
    before_s = local_clock()
    (stream,) = resolver.wait(WITHIN_S)
    assert local_clock() - before_s < WITHIN_S / 2
    assert stream.source_id == amp.name


def test_gathering_waits_for_streams_that_answer_late_after_the_first(kit, name, ending):
    kit.Amplifier(name=name)
    ending.append(Mute(name))
    resolver = StreamResolver({"name": name})
    assert len(resolver.wait(WITHIN_S)) == 1
    assert len(resolver.streams(gather_s=5.0)) == 2


def test_gathering_takes_no_time_if_the_resolver_has_searched_for_long_enough(kit, name):
    kit.Amplifier(name=name)
    resolver = StreamResolver({"name": name})
    kit.until(resolver.streams, "the stream")
    kit.until(lambda: len(resolver.streams(gather_s=0.5)) == 1, "the time to gather")
    before_s = local_clock()
    for _ in range(10):
        resolver.streams(gather_s=0.5)
    assert local_clock() - before_s < 0.5


def test_a_stream_that_was_dropped_is_listed_again_once_it_answers(kit, name):
    kit.Amplifier(name=name)
    resolver = StreamResolver({"name": name})
    (stream,) = resolver.wait(WITHIN_S)
    resolver.drop(stream)
    assert resolver.streams() == []
    assert uids(resolver.wait(WITHIN_S)) == {stream.uid}
    assert uids(resolver.streams()) == {stream.uid}


def test_a_stream_that_ended_is_not_listed_again_after_it_was_dropped(kit, name):
    amp = kit.Amplifier(name=name)
    resolver = StreamResolver({"name": name})
    (stream,) = resolver.wait(WITHIN_S)
    amp.end()
    resolver.drop(stream)
    assert resolver.wait(0.5) == []
    successor = kit.Amplifier(name=name, source_id="successor")
    assert [each.source_id for each in resolver.wait(WITHIN_S)] == ["successor"]
    successor.end()


def test_each_new_stream_is_returned_once_and_known_ones_are_not(kit, name):
    kit.Amplifier(name=name, source_id="known")
    resolver = StreamResolver({"name": name})
    (known,) = resolver.wait(WITHIN_S)
    resolver.mark_known(known)
    assert resolver.new_streams() == []
    kit.Amplifier(name=name, source_id="new")
    (new,) = kit.until(resolver.new_streams, "the new stream")
    assert new.source_id == "new"
    assert resolver.new_streams() == []
    assert len(resolver.streams()) == 2


def test_only_a_stream_whose_outlet_is_gone_has_ended(kit, name, ending):
    amp = kit.Amplifier(name=name)
    resolver = StreamResolver({"name": name})
    (stream,) = resolver.wait(WITHIN_S)
    assert not has_ended(stream)
    amp.end()
    assert has_ended(stream)
    ending.append(Mute(f"{name}-mute"))
    (mute,) = StreamResolver({"name": f"{name}-mute"}).wait(WITHIN_S)
    assert not has_ended(mute)


def test_releasing_resolvers_at_the_moment_of_a_query_does_not_wait_for_late_sockets(name):
    """liblsl closes such sockets only after 5 s, which happens to one of three resolvers."""
    took_s = []

    def open_and_release():
        for _ in range(4):
            resolver = StreamResolver({"name": name})
            threading.Event().wait(Tuning.read().second_half_s)
            before_s = local_clock()
            del resolver
            took_s.append(local_clock() - before_s)

    threads = [threading.Thread(target=open_and_release) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took_s) == 32
    assert max(took_s) < 4.5
