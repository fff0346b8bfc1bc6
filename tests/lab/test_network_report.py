"""``pretap doctor --network`` on computers of the lab: what it sees, and whether its advice helps."""

from __future__ import annotations

import re

import pytest

from lab.experiment import write_recording


@pytest.fixture
def eeg(tmp_path):
    return str(write_recording(tmp_path / "eeg.xdf", seconds=20.0))


def play(host, eeg, name):
    host.pretap("replay", eeg, "--name", name, "--loop").wait_for("4 channels at 100 Hz")


def test_computers_interfaces_clocks_and_streams_are_listed(lab, eeg):
    amp, decoder = lab.host("amp", clock_s=5000), lab.host("decoder")
    decoder.join("wifi", "10.79.0.2/24")
    play(amp, eeg, "cap")
    doctor = decoder.pretap("doctor", "--network")
    assert doctor.wait() == 0, doctor.said
    assert "this computer: decoder-pc, eth0 10.77.0.2, eth1 10.79.0.2" in doctor.said
    ahead_s = re.search(r"amp-pc, 10\.77\.0\.1: its clock is ([\d,.]+) s ahead of this computer's", doctor.said)[1]
    assert float(ahead_s.replace(",", "")) == pytest.approx(5000.0, abs=1e-3)
    assert "'cap' (type EEG, 4 x float32, 100 Hz" in doctor.said
    assert "'cap-markers' (type Markers" in doctor.said
    assert "lsl_api.cfg" not in doctor.said


def test_behind_a_router_the_advice_of_the_report_makes_streams_visible(lab, eeg):
    amp = lab.host("amp", clock_s=5000, address="10.78.0.1/24", network="patients")
    decoder = lab.host("decoder", address="10.77.0.1/24")
    router = lab.router(amp, decoder)
    play(amp, eeg, "cap")
    blind = decoder.pretap("doctor", "--network")
    assert blind.wait() == 0
    assert "Name the computers that should have streams" in blind.said
    told = decoder.pretap("doctor", "--network", "--peer", "10.78.0.1")
    assert told.wait() == 8
    assert "no search reaches it: multicast is blocked on the way" in told.said
    advice = re.search(r"\[lab\]\nSessionID = \S+\nKnownPeers = \{10\.78\.0\.1\}\n", told.said)[0]
    text = decoder.config.read_text()
    decoder.config.write_text(re.sub(r"\[lab\]\n.*\n.*\n", advice, text))
    mended = decoder.pretap("doctor", "--network")
    assert mended.wait() == 0
    assert re.search(r"amp-pc, 10\.78\.0\.\d+: its clock is [\d,.]+ s ahead of this computer's", mended.said)
    router.ip("rule add ipproto udp blackhole")
    walled = decoder.pretap("doctor", "--network", "--peer", "10.78.0.1")
    assert walled.wait() == 8
    assert "10.78.0.1 has LSL streams, but does not answer over UDP: a firewall drops it" in walled.said
