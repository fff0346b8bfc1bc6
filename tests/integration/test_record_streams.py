"""``pretap record`` on streams that lose samples, disappear, return or appear late."""

from __future__ import annotations

import secrets
import signal

import numpy as np
import pytest
import pyxdf

from pretap.recordings.continuous import open_recording
from pretap_realtime.lsl import limits as memory
from pretap_realtime.lsl.outlet import Outlet
from xdf_files import counted, load, n_saved


def test_a_stream_that_returns_is_continued_and_a_different_one_is_not(recorder, kit):
    amp = kit.Amplifier(source_id="same")
    child = recorder(amp)
    amp.push(counted(100))
    name = amp.name
    kit.until(lambda: n_saved(recorder.path) == {name: 100}, "the samples in the file")
    del amp.outlet
    child.wait_for(f"{name} has disappeared")
    amp = kit.Amplifier(name=name, source_id="same")
    child.wait_for(f"{name} is back; its recording continues")
    t_s = amp.stamps(100)
    amp.push(counted(100, first=100))
    kit.until(lambda: n_saved(recorder.path) == {name: 200}, "the samples in the file")
    del amp.outlet
    kit.until(lambda: child.said.count(f"{name} has disappeared") == 2, "the second death")
    other = kit.Amplifier(name=name, source_id="same", labels=("C3", "Cz", "C4", "Pz"))
    kit.until(lambda: child.said.count(f"recording '{name}'") == 2, "the other stream")
    other.push(counted(50))
    kit.until(lambda: n_saved(recorder.path) == {name: 50}, "the samples in the file")  # of the second of the name
    assert child.interrupt() == 0
    streams, _ = pyxdf.load_xdf(recorder.path, dejitter_timestamps=False, synchronize_clocks=False)
    assert [stream["info"]["stream_id"] for stream in streams] == [1, 2]
    assert streams[0]["time_series"][:, 0].tolist() == list(range(200))
    assert streams[0]["time_stamps"][100:].tolist() == t_s.tolist()
    assert streams[0]["footer"]["info"]["interruptions"] == ["1"]
    assert streams[1]["time_series"][:, 0].tolist() == list(range(50))


def test_a_computer_that_loses_power_and_returns_is_continued_under_the_same_id(start, recorder, xdf_dir, kit):
    name = f"frozen-{secrets.token_hex(4)}"
    play = ("replay", str(xdf_dir / "clock_resets.xdf"), "--name", name, "--wait")
    first = start(*play)
    child = start("record", str(recorder.path), "--query", f"name={name}", "--wait-s", "120")
    child.wait_for(f"recording '{name}'")
    kit.until(lambda: n_saved(recorder.path).get(name, 0) > 20, "samples in the file")
    first.process.send_signal(signal.SIGSTOP)  # the connection is not closed, as when the power fails
    child.wait_for(f"{name} has sent nothing for 3 s")
    n_before = n_saved(recorder.path)[name]
    second = start(*play)
    child.wait_for(f"{name} is back; its recording continues")
    kit.until(lambda: n_saved(recorder.path)[name] > n_before + 20, "samples of the second")
    second.end()
    assert child.interrupt() == 0
    streams, _ = pyxdf.load_xdf(recorder.path, dejitter_timestamps=False)
    assert [stream["info"]["stream_id"] for stream in streams] == [1]
    original = load(xdf_dir / "clock_resets.xdf")["BioSemi"]["time_series"]
    values, stamps = streams[0]["time_series"], streams[0]["time_stamps"]
    assert np.array_equal(values[:n_before], original[:n_before])
    assert np.array_equal(values[n_before:], original[: len(values) - n_before])
    assert np.flatnonzero(np.diff(stamps) > 3).tolist() == [n_before - 1]


def test_a_stream_that_appears_late_is_added(start, kit, recorder):
    kind = f"Kind{secrets.token_hex(4)}"
    first = kit.Amplifier(kind=kind)
    child = start("record", str(recorder.path), "--query", f"type={kind}")
    child.wait_for(f"recording '{first.name}'")
    first.push(counted(50))
    late = kit.Amplifier(kind=kind)
    child.wait_for(f"recording '{late.name}'")
    late.push(counted(60))
    first.push(counted(50, first=50))
    kit.until(lambda: n_saved(recorder.path) == {first.name: 100, late.name: 60}, "the samples in the file")
    assert child.interrupt() == 0
    streams = load(recorder.path)
    assert streams[first.name]["time_series"][:, 0].tolist() == list(range(100))
    assert streams[late.name]["time_series"][:, 0].tolist() == list(range(60))


def test_losses_are_counted_exactly_in_the_footer_and_the_summary(recorder, kit):
    amp = kit.Amplifier()
    child = recorder(amp)
    for n_skipped in (1, 7, 100, 0):
        amp.push(counted(300, first=amp.n))
        amp.skip(n_skipped)
    kit.until(lambda: n_saved(recorder.path) == {amp.name: 1200}, "the samples in the file")
    assert child.interrupt() == 0
    stream = load(recorder.path)[amp.name]
    assert stream["footer"]["info"]["lost_samples"] == ["108"]
    assert len(stream["time_stamps"]) + 108 == amp.n
    assert f"{amp.name}: 1200 samples, 108 lost" in child.said


def test_a_stream_of_an_impossible_rate_is_refused_once_and_the_others_are_recorded(start, recorder, kit):
    kind = f"Kind{secrets.token_hex(4)}"
    mad = Outlet(f"mad-{kind}", kind, labels=["a", "b"], format="float32", sfreq_hz=1.1e6)
    amp = kit.Amplifier(kind=kind)
    child = start("record", str(recorder.path), "--query", f"type={kind}")
    child.wait_for(f"recording '{amp.name}'")
    child.wait_for("is not recorded: a rate of 1.1e.06 Hz cannot be: expected at most 1 MHz")
    amp.push(counted(150))
    kit.until(lambda: n_saved(recorder.path) == {amp.name: 150}, "the samples in the file")
    assert child.interrupt() == 0
    assert child.said.count("is not recorded") == 1
    assert not mad.has_consumers()


@pytest.mark.parametrize(
    ("fmt", "n_channels", "sfreq_hz", "affordable_s"),
    [("float32", 64, 2000.0, 524), ("float32", 64, 0.0, 10485), ("int16", 256, 30_000.0, 17), ("int8", 1, 1e6, 268)],
)
def test_the_buffer_of_a_stream_holds_at_most_256_mb(fmt, n_channels, sfreq_hz, affordable_s):
    assert memory.affordable_s(n_channels, sfreq_hz, fmt) == affordable_s
    for rate_hz, n in ((1.1e6, 1), (float("nan"), 1), (-1.0, 1), (1e6, 300)):
        with pytest.raises(ValueError, match=r"cannot be|are too much"):
            memory.affordable_s(n, rate_hz, "float32")


def test_a_recording_of_a_replay_equals_the_original(start, xdf_dir, kit, recorder):
    """With a restart in the middle, a rate 7 % off and jitter of 0.3 s, the copy reads as the original."""
    source = xdf_dir / "clock_resets.xdf"
    name = f"copy-{secrets.token_hex(4)}"
    replay = start("replay", str(source), "--name", name, "--wait", "--speed", "60")
    child = start(
        "record", str(recorder.path), *("--query", f"name={name}", "--query", f"name={name}-markers"), "--wait-s", "120"
    )
    assert replay.wait() == 0
    assert replay.said.count("the recording has a break after 138.2 s") == 1
    assert child.interrupt() == 0

    def both(path):
        streams, _ = pyxdf.load_xdf(path)
        return sorted(streams, key=lambda stream: stream["info"]["channel_format"][0])

    (eeg, text), (eeg_copy, text_copy) = both(source), both(recorder.path)
    assert eeg_copy["time_series"].shape == (27815, 8)
    assert eeg_copy["time_series"].tobytes() == eeg["time_series"].tobytes()
    assert len(text["time_series"]) == 175
    assert text_copy["time_series"] == text["time_series"]
    for stream, copy in ((eeg, eeg_copy), (text, text_copy)):
        late_s = (copy["time_stamps"] - eeg_copy["time_stamps"][0]) - (stream["time_stamps"] - eeg["time_stamps"][0])
        assert np.abs(late_s).max() < 5e-3  # half a sample: pyxdf fits all timestamps, and replay the ends of packets
    ours, ours_copy = open_recording(source), open_recording(recorder.path)
    assert np.array_equal(ours.read(0, 27815), ours_copy.read(0, 27815))
    assert ours_copy.segments == ours.segments == (0, 12613, 12876)
    assert ours_copy.sfreq_hz == pytest.approx(ours.sfreq_hz, rel=1e-9)
    assert ours_copy.t_s - ours_copy.t_s[0] == pytest.approx(ours.t_s - ours.t_s[0], abs=1e-6)
    for event, copy in zip(ours.events, ours_copy.events, strict=True):
        assert (copy.sample, copy.text) == (event.sample, event.text)
        assert copy.late_s == pytest.approx(event.late_s, abs=1e-6)


def test_a_recorder_that_is_stopped_for_a_while_loses_nothing(recorder, kit):
    amp = kit.Amplifier(sfreq_hz=1000.0)
    child = recorder(amp)
    amp.push(counted(500))
    child.process.send_signal(signal.SIGSTOP)
    for _ in range(100):  # 100 s of samples: far more than a connection holds on its way
        amp.outlet.push_chunk(counted(1000, first=amp.n), amp.stamps(1000))
        amp.n += 1000
    child.process.send_signal(signal.SIGCONT)
    kit.until(lambda: recorder.path.stat().st_size > 100_500 * 25, "the samples in the file")
    assert child.interrupt() == 0
    stream = load(recorder.path)[amp.name]
    assert stream["time_series"][:, 0].tolist() == list(range(100_500))
    assert stream["footer"]["info"]["lost_samples"] == ["0"]
