"""``pretap latency``: a loopback end to end, and a service that runs already."""

from __future__ import annotations

import json
import secrets

import pytest

STAGES = ["sample to arrival", "arrival to decision", "decision to consumer", "sample to consumer"]


def check(result: dict) -> None:
    stages = result["stages"]
    assert list(stages) == STAGES
    assert result["n_decisions"] > 0
    assert (result["n_missed"], result["n_impossible"]) == (0, 0)
    for each in stages.values():
        assert 0 < each["n"] <= result["n_decisions"]
        assert each["p50_ms"] <= each["p95_ms"] <= each["max_ms"]
    assert stages["sample to consumer"]["n"] == result["n_decisions"]
    # From processes of their own over sockets, so nothing takes no time.
    for name in ("sample to arrival", "decision to consumer", "sample to consumer"):
        assert stages[name]["p5_ms"] > 0
    assert stages["sample to consumer"]["max_ms"] >= stages["decision to consumer"]["p50_ms"]


def test_a_loopback_is_measured_end_to_end(start, tmp_path):
    file = tmp_path / "latency.json"
    child = start("latency", "single-1000hz", "--seconds", "3", "--hop-ms", "20", "--json", str(file))
    assert child.wait() == 0, child.said
    assert "sample to consumer" in child.said
    result = json.loads(file.read_bytes())
    check(result)
    assert (result["service"], result["eeg"]) == ("pretap", "synthetic-amplifier")


def test_a_packet_makes_its_first_samples_late(start, tmp_path):
    """With packets of 100 ms and a hop of 50 ms, every other decision waits for the second half of its packet."""
    file = tmp_path / "latency.json"
    child = start("latency", "single-100hz", "--seconds", "4", "--packet", "10", "--hop-ms", "50", "--json", str(file))
    assert child.wait() == 0, child.said
    arrival = json.loads(file.read_bytes())["stages"]["sample to arrival"]
    assert arrival["p95_ms"] - arrival["p5_ms"] > 25


@pytest.fixture
def measure(start, tmp_path, bundle, kit):
    """Measure a service whose EEG timestamps are `ahead_s` of the clock; return the command, its file and the names."""

    def run(*settings: str, ahead_s: float = 0.0):
        amplifier = kit.Amplifier(name=f"amp-{secrets.token_hex(4)}")
        service, file = f"svc-{amplifier.name}", tmp_path / "latency.json"
        sets = [each for setting in (f"markers.name={service}", *settings) for each in ("--set", setting)]
        start("serve", str(bundle), "--query", amplifier.name, *sets)
        amplifier.wait_for_reader()
        amplifier.start_clock(lead_s=0.0)
        amplifier.set_clock(ahead_s)
        child = start("latency", "--service", service, "--query", amplifier.name, "--seconds", "2", "--json", str(file))
        seed = 0
        while child.process.poll() is None:
            amplifier.push(kit.eeg(10, seed=seed), real_time=True)
            seed += 1
        return child, file, (service, amplifier.name)

    return run


def test_a_running_service_is_measured_by_its_messages(measure):
    child, file, names = measure()
    assert child.wait() == 0, child.said
    result = json.loads(file.read_bytes())
    check(result)
    assert (result["service"], result["eeg"]) == names


def test_timestamps_ahead_of_the_clock_are_an_error_that_is_said(measure):
    child, file, _ = measure(ahead_s=0.1)
    assert child.wait() == 8, child.said
    assert "were sent before their last sample was taken" in child.said
    assert json.loads(file.read_bytes())["n_impossible"] > 0


def test_messages_that_are_not_json_are_refused(measure):
    child, _, _ = measure('markers.format="label"')
    assert child.wait() == 8, child.said
    assert 'Start the service with markers.format = "json"' in child.said


def test_without_a_service_it_says_what_it_waits_for(start):
    child = start("latency", "--service", "nobody", "--query", "nothing")
    assert child.wait() == 3, child.said
    assert "Waiting for the service 'nobody': start pretap serve BUNDLE." in child.said
