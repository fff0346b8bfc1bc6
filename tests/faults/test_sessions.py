"""Sessions: in parallel, on a full disk, and repeated from their recording."""

from __future__ import annotations

import json
import os
import resource

import pytest

from pretap_realtime.lsl.api_config import isolation
from pretap_realtime.lsl.library import local_clock
from real_lsl import eeg, until


def test_parallel_sessions_see_only_their_own_streams(serve, feeder, tmp_path, measured):
    services = []
    for k in range(3):
        config = tmp_path / f"lsl-{k}.cfg"
        config.write_text(isolation())
        env = os.environ | {"LSLAPICFG": str(config)}
        feeder(name="the-amp", source_id=f"amp-{k}", env=env)
        services.append(serve("name=the-amp", env=env))
    for service in services:
        service.wait_for_verdict()
    for k, service in enumerate(services):
        assert service.interrupt() == 0
        assert service.said.count("found 'the-amp'") == 1
        assert f"source_id 'amp-{k}'" in service.said
        assert "another stream answers" not in service.said
        assert service.accounts()[1] == 0
    measured(
        "three sessions at once, their amplifiers of one name", "each sees only its own",
        f"each found 1 amplifier, its own; {', '.join(str(s.accounts()[0]) for s in services)} samples, 0 lost",
    )  # fmt: skip


def test_score_of_the_recording_equals_the_live_session_exactly(serve, start, amplifier, bundle, tmp_path, measured):
    amp, folder = amplifier(), tmp_path / "session"
    service = serve(amp, "--hop-ms", "50", "--record", str(folder))
    service.wait_for("-> RUNNING")
    amp.push(eeg(200), n_chunk=7, speed=1)  # an overload would skip decisions
    amp.skip(37)
    x = eeg(250, seed=1)
    x[100:110, 1] = float("nan")
    amp.push(x, n_chunk=23, speed=1)
    last_s = amp.t0_s + (amp.n - 1) / 100
    service.wait_for_verdict(lambda row: row["t"] > last_s - 0.05)
    assert service.interrupt() == 0
    received, lost = service.accounts()
    assert amp.n == received + lost == 487
    rerun = tmp_path / "rerun.json"
    child = start("score", str(bundle), str(folder / "session.xdf"), "--xdf-stream", amp.name, "--hop-ms", "50",
                  "--json", str(rerun))  # fmt: skip
    assert child.wait() == 0, child.said
    again = json.loads(rerun.read_text())
    live = service.verdicts()
    assert [row["p"] or None for row in live] == [d["p"] for d in again["decisions"]]
    assert [row["why"] for row in live] == [d["why"] for d in again["decisions"]]
    assert (again["n_received"], again["n_lost"]) == (received, lost)
    measured(
        "a live session with a hole and a burst of NaN, run again from its recording", "equal to the bit",
        f"{len(live)} decisions, reasons and probabilities equal to the bit; sent 487 = received {received} + lost "
        f"{lost} both times",
    )  # fmt: skip


def test_a_full_disk_costs_the_log_and_nothing_else(serve, amplifier, measured):
    amp = amplifier()
    service = serve(amp, "--hop-ms", "10", "--log", "/dev/full")
    listener = service.listener
    amp.wait_for_reader()
    amp.push(eeg(120), speed=1)
    last_s = amp.t0_s + 1.195
    listener.wait_for(lambda m: m.type == "verdict" and m.t > last_s - 0.01, "the last verdict")
    n_valid = sum(m.valid for m in listener.verdicts())
    assert n_valid == 71
    assert service.interrupt() == 0
    assert service.said.count("cannot be written: No space left on device") == 1
    assert service.accounts() == (120, 0)
    measured("the log's disk is full", "said once; decoding goes on", f"said once; {n_valid} of 71 decisions sent")


def test_a_recording_that_may_not_grow_ends_and_decoding_continues(serve, feeder, tmp_path, measured):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    amp = feeder(chunk=50, sfreq_hz=1000.0, labels=["C3", "Cz", "C4", "O1", *(f"X{k}" for k in range(20))])
    service = serve(amp, "--record", str(tmp_path / "session"), preexec_fn=limit)
    service.wait_for("RECORDING HAS STOPPED")
    stopped_s = local_clock()
    later = service.wait_for_verdict(lambda row: row["valid"] and row["t"] > stopped_s)
    assert service.interrupt() == 0
    assert service.accounts()[1] == 0
    assert until(lambda: (tmp_path / "session" / "session.xdf").stat().st_size, "the file") <= 200_000
    measured(
        "the recording's disk is full (a limit of 200 kB)", "said; decoding goes on; the file is whole up to there",
        f"said; the next decision {1000 * (later['sent'] - stopped_s):.0f} ms later, 0 samples lost",
    )  # fmt: skip


@pytest.mark.parametrize("n_files", [28, 40])
def test_a_service_that_cannot_open_its_streams_ends_and_says_what_to_do(serve, amplifier, measured, n_files):
    amp = amplifier()
    service = serve(amp, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n_files, n_files)))
    code = until(service.process.poll, "its end")
    assert code == 2, service.said
    assert "Error: liblsl cannot open the " in service.said
    assert "ulimit -n" in service.said
    measured(
        f"the service may open {n_files} files", "exit code 2 with what to do: nobody would hear its decisions",
        f"exit {code}: {service.said.rpartition('Error: ')[2].partition(':')[0]}",
    )  # fmt: skip
