"""The laboratory: amplifier, task, decoder and game on computers of their own, each with its own clock."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from lab.experiment import SFREQ_HZ, Experiment
from lab.hosts import Lab
from real_lsl import until
from xdf_files import load

CLOCKS_S = {"amp": 5000, "task": 90_000, "decoder": 0, "game": 40_000}


def four_hosts(lab: Lab, *, hostname: str = "", **more) -> Experiment:
    hosts = {name: lab.host(name, clock_s=clock_s, hostname=hostname) for name, clock_s in CLOCKS_S.items()}
    return Experiment(lab, **hosts, **more)


def test_four_computers_with_four_clocks_and_a_recorder_on_the_task_s(lab, tmp_path):
    experiment = four_hosts(lab)
    path = tmp_path / "task.xdf"
    recorder = experiment.task.pretap("record", str(path))
    service = experiment.run()
    recorder.wait_for(rf"recording 'task-{experiment.name}'")
    experiment.begin(service)
    experiment.wait_for_answers(20)
    assert service.interrupt() == 0
    assert recorder.interrupt() == 0
    assert "20 decisions" in service.said
    assert "latency, last sample to sending: p50" in service.said
    experiment.check_all()
    raw, synchronized = load(path), load(path, synchronize_clocks=True)
    hosts = {
        experiment.name: experiment.amp,
        f"task-{experiment.name}": experiment.task,
        f"out-{experiment.name}-markers": experiment.decoder,
    }
    for name, host in hosts.items():
        own_s, recorded_s = raw[name]["time_stamps"], synchronized[name]["time_stamps"]
        assert len(own_s)
        true_s = [experiment.task.time_at(host.real_time(t_s)) for t_s in own_s]
        assert recorded_s == pytest.approx(true_s, abs=1e-3)


def test_four_computers_with_one_name_and_a_monitor_on_the_game_s(lab, tmp_path):
    experiment = four_hosts(lab, hostname="lab-pc")
    monitor = experiment.game.pretap("monitor", "--port", "0", "--cue-query", f"name=task-{experiment.name}")
    port = re.search(r":(\d+)/", monitor.wait_for(r"http://127\.0\.0\.1:\d+/"))[1]
    log = tmp_path / "page.jsonl"
    service = experiment.run()
    experiment.game.python(experiment.script("page.py"), port, str(log)).wait_for("page: open")
    experiment.begin(service)

    def updates():
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def judged():
        return [each for update in updates() for each in update.get("judged", [])]

    until(lambda: len(judged()) >= 20, lambda: f"20 judged markers, there are {len(judged())}")
    assert service.interrupt() == 0
    experiment.check_all()
    answers, sent = experiment.logged(), experiment.sent_cues()
    for mark, answer, (cue_s, text) in zip(judged(), answers, sent, strict=True):
        marked_s = experiment.game.time_at(experiment.task.real_time(cue_s))
        assert mark["t"] == pytest.approx(marked_s, abs=0.5 / SFREQ_HZ + 1e-3)  # placed by the window's last sample
        assert (mark["truth"], mark["label"]) == (text.removeprefix("tap/"), answer["label"])
    latencies = [each["figures"]["latency_ms"] for each in updates() if each.get("figures")]
    shown = [each for each in latencies if each is not None]
    assert shown
    assert min(each[0] for each in shown) > 0


def test_who_joins_late_finds_everything_right_from_the_first_cue_on(lab):
    experiment = four_hosts(lab)
    service = experiment.start_service()
    service.wait_for("WAITING")
    experiment.start_amp()
    service.wait_for("no cue stream yet")
    experiment.start_task(n=20)
    experiment.begin(service)
    experiment.wait_for_answers(5)
    experiment.start_game().wait_for("game: reads")
    experiment.wait_for_answers(20)
    assert service.interrupt() == 0
    assert all(row["valid"] for row in experiment.check_times())
    experiment.check_game(is_late=True)
    experiment.check_score(is_late=True)


@pytest.mark.skipif(shutil.which("cc") is None, reason="a clock that drifts needs a C compiler")
@pytest.mark.parametrize("n", [40, pytest.param(600, marks=pytest.mark.long)])
def test_a_clock_that_drifts_by_100_ppm_is_followed(lab, n):
    experiment = four_hosts(lab)
    experiment.amp.set_drift(100.0)
    service = experiment.run(n=n)
    experiment.begin(service)
    experiment.wait_for_answers(n)
    assert service.interrupt() == 0
    experiment.check_all()
    offsets = [row["origin"]["eeg_offset_s"] for row in experiment.logged()]
    assert offsets[-1] < offsets[0] - 0.5 * 100e-6 * 0.4 * n


@pytest.mark.parametrize("which", ["amp", pytest.param("task", marks=pytest.mark.long)])
def test_a_link_that_is_down_for_3_s_costs_the_cues_of_that_time_alone(lab, which):
    experiment = four_hosts(lab)
    host = getattr(experiment, which)
    service = experiment.run(n=40)
    experiment.begin(service)
    experiment.wait_for_answers(5)
    began_s = host.time_at(lab.now())
    host.set_link("down")
    lab.wait(3.0)
    host.set_link("up")
    experiment.wait_for_answers(40)
    ended_s = began_s + 3.0
    assert service.interrupt() == 0
    answers = experiment.check_times()
    for row in answers:
        cue_s = host.time_at(experiment.task.real_time(row["origin"]["t_s"]))
        if not began_s - 1.0 < cue_s < ended_s + 3.0:  # then TCP sends again what was lost
            assert row["valid"], row["why"]
    assert sum(row["valid"] for row in answers) >= 20
    assert ", 0 lost" in service.said
    experiment.check_score()


def test_without_multicast_known_peers_lead_to_the_streams(lab):
    amp = lab.host("amp", clock_s=5000, address="10.78.0.1/24", network="patients")
    task = lab.host("task", clock_s=90_000, address="10.78.0.2/24", network="patients")
    peers = ("10.78.0.1", "10.78.0.2")
    decoder = lab.host("decoder", address="10.77.0.1/24", peers=peers)
    game = lab.host("game", clock_s=40_000, address="10.77.0.2/24")
    lab.router(amp, decoder, task, game)
    experiment = Experiment(lab, amp=amp, task=task, decoder=decoder, game=game)
    service = experiment.run()
    experiment.begin(service)
    experiment.wait_for_answers(20)
    assert service.interrupt() == 0
    experiment.check_all()


def test_two_interfaces_show_each_stream_once(lab):
    experiment = four_hosts(lab)
    experiment.amp.join("wifi", "10.79.0.1/24")
    experiment.decoder.join("wifi", "10.79.0.2/24")
    service = experiment.run()
    experiment.begin(service)
    experiment.wait_for_answers(20)
    assert service.interrupt() == 0
    assert "another stream answers" not in service.said
    experiment.check_all()


def test_a_firewall_that_drops_udp_hides_the_streams_and_costs_nothing_later(lab):
    amp = lab.host("amp", clock_s=5000, address="10.78.0.1/24", network="patients")
    task = lab.host("task", clock_s=90_000, address="10.78.0.2/24", network="patients")
    decoder = lab.host("decoder", address="10.77.0.1/24", peers=("10.78.0.1", "10.78.0.2"))
    game = lab.host("game", clock_s=40_000, address="10.77.0.2/24")
    router = lab.router(amp, decoder, task, game)
    experiment = Experiment(lab, amp=amp, task=task, decoder=decoder, game=game)
    router.ip("rule add ipproto udp blackhole")
    experiment.start_amp()
    refused = decoder.pretap("serve", str(experiment.bundle), "--query", f"name={experiment.name}", "--wait-s", "4")
    assert refused.wait() == 3
    assert "there is no stream on the network" in refused.said
    router.ip("rule del ipproto udp blackhole")
    service = experiment.start_service()
    experiment.start_game().wait_for("game: reads")
    experiment.start_task(n=30)
    experiment.begin(service)
    experiment.wait_for_answers(5)
    router.ip("rule add ipproto udp blackhole")
    experiment.wait_for_answers(30)
    assert service.interrupt() == 0
    experiment.check_all()
