"""Continuous recordings: units, events and their samples, streams of XDF files, damage."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import mne
import numpy as np
import pytest

from pretap.config.recording import RecordingConfig
from pretap.errors import DataError, UsageError
from pretap.recordings.continuous import open_recording
from pretap.recordings.recording import Event, Recording
from pretap.recordings.xdf import open_xdf
from pretap.spelling import counted
from pretap_realtime.send.messages import Message, encode

SFREQ_HZ = 200.0


def write_fif(path: Path, *, types: tuple[str, ...] = ("eeg", "stim", "eeg"), crop_s: float = 0.0, dated: bool = True):
    """Each sample of each channel is its own index, in microvolts, plus 10 000 a channel."""
    n = 1000
    x_uv = np.arange(n)[None, :] + 10_000.0 * np.arange(len(types))[:, None]  # (n_channels, n_samples)
    info = mne.create_info([f"E{i}" for i in range(len(types))], SFREQ_HZ, list(types))
    raw = mne.io.RawArray(x_uv * 1e-6, info, verbose="error")
    if dated:
        raw.set_meas_date(1_000_000_000)
    raw.set_annotations(
        mne.Annotations([1.0, 2.5, 4.0, 2.0], [0, 0, 0.5, 0], ["tap/left", "tap/right", "rest", "BAD_x"])
    )
    raw.crop(tmin=crop_s).save(path, overwrite=True, verbose="error")


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("crop_s", [0.0, 1.5])
def test_events_are_at_their_samples_even_in_a_cropped_file(tmp_path: Path, dated: bool, crop_s: float) -> None:
    path = tmp_path / "x_raw.fif"
    write_fif(path, crop_s=crop_s, dated=dated)
    recording = open_recording(path)
    assert recording.channels == ("E0", "E2")
    assert recording.sfreq_hz == SFREQ_HZ
    assert recording.n_samples == 1000 - 200 * crop_s
    expected = [(200, "tap/left"), (400, "BAD_x"), (500, "tap/right"), (800, "rest")]
    first = round(crop_s * SFREQ_HZ)
    assert recording.events == tuple(Event(sample - first, text) for sample, text in expected if sample >= first)
    for event in recording.events:  # the sample's value is its index in the uncropped recording, in microvolts
        value_uv = recording.read(event.sample, event.sample + 1)
        assert value_uv == pytest.approx(np.array([[event.sample + first, event.sample + first + 20_000]]), abs=1e-2)


def test_spans_are_float32_microvolts_time_first_and_equal_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "x_raw.fif"
    write_fif(path)
    recording = open_recording(path)
    whole = recording.read(0, recording.n_samples)
    assert whole.shape == (1000, 2)
    assert whole.dtype == np.float32
    pieces = [recording.read(a, min(a + 37, 1000)) for a in range(0, 1000, 37)]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert recording.read(990, 2000).shape == (10, 2)
    assert recording.read(5, 5).shape == (0, 2)


def test_the_subject_is_the_identifier_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x_raw.fif"
    write_fif(path)
    assert open_recording(path).subject == ""
    raw = mne.io.read_raw(path, verbose="error")
    raw.info["subject_info"] = {"his_id": "synthetic-4", "last_name": "Private"}
    raw.save(tmp_path / "y_raw.fif", verbose="error")
    assert open_recording(tmp_path / "y_raw.fif").subject == "synthetic-4"


def test_other_voltages_are_used_if_no_channel_is_eeg(tmp_path: Path) -> None:
    path = tmp_path / "x_raw.fif"
    write_fif(path, types=("ecog", "stim", "ecog"))
    assert open_recording(path).channels == ("E0", "E2")
    write_fif(path, types=("mag", "stim"))
    with pytest.raises(DataError, match=r"no EEG channels, only E0 \(its type is mag\), E1 \(trigger by its type\)"):
        open_recording(path)
    write_fif(path, types=("misc", "stim"))
    with pytest.raises(DataError, match="not voltages: E0"):
        open_recording(path)


def test_missing_foreign_and_cut_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x_raw.fif"
    with pytest.raises(DataError, match="does not exist"):
        open_recording(path)
    write_fif(path)
    with pytest.raises(UsageError, match="Only XDF files"):
        open_recording(path, stream="x")
    content = path.read_bytes()
    for n_bytes in (0, 3, 100, 2000, len(content) // 4):  # the first buffer of samples is not whole
        path.write_bytes(content[:n_bytes])
        with pytest.raises(DataError, match="cannot be read as a recording"):
            open_recording(path)
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(DataError, match="cannot be read as a recording"):
        open_recording(tmp_path / "x.txt")


@pytest.mark.parametrize("suffix", ["fif", "FIF"])
def test_a_fif_whose_tags_run_in_a_circle_is_refused_before_it_fills_the_memory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"y_raw.{suffix}"
    write_fif(tmp_path / "x_raw.fif")
    content = bytearray((tmp_path / "x_raw.fif").read_bytes())
    size = struct.unpack(">i", content[8:12])[0]
    second = 16 + size
    content[second + 12 : second + 16] = struct.pack(">i", second)  # the second tag is its own successor
    path.write_bytes(content)
    with pytest.raises(DataError, match="chain of tags has a cycle"):
        open_recording(path)


# -- XDF -----------------------------------------------------------------------------------------------------------


def chunk(tag: int, content: bytes) -> bytes:
    return b"\x04" + struct.pack("<IH", len(content) + 2, tag) + content


def stream_header(number: int, *, name: str, kind: str, n: int, sfreq_hz: float, fmt: str, channels: str = "") -> bytes:
    xml = (
        f"<?xml version='1.0'?><info><name>{name}</name><type>{kind}</type><channel_count>{n}</channel_count>"
        f"<nominal_srate>{sfreq_hz}</nominal_srate><channel_format>{fmt}</channel_format><source_id>id-{name}</source_id>"
        f"<created_at>0</created_at><desc>{f'<channels>{channels}</channels>' if channels else ''}</desc></info>"
    )
    return chunk(2, struct.pack("<I", number) + xml.encode())


def samples(number: int, t_s: list[float], rows: list[list[float] | str]) -> bytes:
    content = struct.pack("<I", number) + b"\x04" + struct.pack("<I", len(t_s))
    for t, row in zip(t_s, rows, strict=True):
        content += b"\x08" + struct.pack("<d", t)
        if isinstance(row, str):
            content += b"\x04" + struct.pack("<I", len(row.encode())) + row.encode()
        else:
            content += struct.pack(f"<{len(row)}f", *row)
    return chunk(3, content)


def footer(number: int) -> bytes:
    return chunk(6, struct.pack("<I", number) + b"<?xml version='1.0'?><info><sample_count>0</sample_count></info>")


def channel(label: str, unit: str, kind: str = "EEG") -> str:
    return f"<channel><label>{label}</label><unit>{unit}</unit><type>{kind}</type></channel>"


EEG = {"name": "Amp", "kind": "EEG", "n": 2, "sfreq_hz": 100, "fmt": "float32"}
MARKERS = {"name": "Cues", "kind": "Markers", "n": 1, "sfreq_hz": 0, "fmt": "string"}


def write_xdf(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"XDF:" + chunk(1, b"<?xml version='1.0'?><info><version>1.0</version></info>") + b"".join(parts))
    return path


def test_an_xdf_becomes_microvolts_with_its_markers_on_the_nearest_samples(tmp_path: Path) -> None:
    t_s = [50 + i / 100 for i in range(300)]
    channels = channel("C3", "volts") + channel("C4", "microvolts")
    markers = [
        (50.004, "first"),
        (51.0, "on"),
        (52.004, "left"),
        (49.0, "before"),
        (53.05, "after"),
        (53.0, "next to it"),
    ]
    path = write_xdf(
        tmp_path / "x.xdf",
        stream_header(1, **EEG, channels=channels),
        stream_header(2, **MARKERS),
        samples(1, t_s, [[i * 1e-6, float(i)] for i in range(300)]),
        samples(2, [t for t, _ in markers], [text for _, text in markers]),
        footer(1),
        footer(2),
    )
    recording = open_recording(path)
    assert recording.channels == ("C3", "C4")
    assert (recording.sfreq_hz, recording.n_samples) == (100.0, 300)
    assert recording.read(120, 121) == pytest.approx(np.array([[120.0, 120.0]]), rel=1e-6)
    assert recording.events == (
        Event(0, "before", -1.0),
        Event(0, "first", 0.004),
        Event(100, "on"),
        Event(200, "left", 0.004),
        Event(299, "next to it", 0.01),
        Event(299, "after", 0.06),
    )
    assert (recording.source, recording.notes) == ("x.xdf", ("2 of 6 markers lie outside the samples.",))
    assert (recording.segments, recording.t_s) == ((0,), None)  # stamps that are n / fs need no list


def test_a_gap_is_one_break_and_jittered_or_chunked_timestamps_are_not(tmp_path: Path) -> None:
    def opened(t_s: list[float], *texts_s: float) -> Recording:
        rows = [[float(i), 0.0] for i in range(len(t_s))]
        parts = [stream_header(1, **EEG), stream_header(2, **MARKERS), samples(1, t_s, rows)]
        if texts_s:
            parts.append(samples(2, list(texts_s), ["x"] * len(texts_s)))
        return open_recording(write_xdf(tmp_path / "x.xdf", *parts))

    regular = [i / 100 for i in range(1000)]
    jittered = (np.arange(1000) / 100 + np.random.default_rng(0).normal(0, 0.004, 1000)).tolist()
    chunked = [(i // 8 * 8 + 8) / 100 for i in range(1000)]
    for t_s in (regular, jittered, chunked):
        assert not any("break" in note for note in opened(t_s).notes)
    gap = [t + (0.5 if i >= 400 else 0.0) for i, t in enumerate(regular)]
    recording = opened(gap, 3.99, 4.25, 4.5)  # the middle one lies in the gap
    assert "The timestamps have 1 break; 50 samples were lost." in recording.notes
    assert "1 of 3 markers lie outside the samples." in recording.notes
    assert recording.events == (Event(399, "x"), Event(400, "x", -0.25), Event(400, "x"))
    assert recording.segments == (0, 400)
    assert recording.t_s == pytest.approx(np.array(gap), abs=1e-9)
    short = [t + (0.03 if i >= 400 else 0.0) + (0.02 if i >= 700 else 0.0) for i, t in enumerate(jittered)]
    assert any("The timestamps have 2 breaks" in note for note in opened(short).notes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize(("first", "last"), [(0, 3), (137, 138), (195, 204), (300, 400), (997, 1000)])
def test_invalid_timestamps_are_extrapolated_and_reported(tmp_path: Path, bad: float, first: int, last: int) -> None:
    t_s = (50 + np.arange(1000) / 100).tolist()
    t_s[first:last] = [bad] * (last - first)
    rows: list[list[float] | str] = [[float(i), 0.0] for i in range(1000)]
    path = write_xdf(
        tmp_path / "x.xdf",
        stream_header(1, **EEG),
        stream_header(2, **MARKERS),
        *(samples(1, t_s[a : a + 100], rows[a : a + 100]) for a in range(0, 1000, 100)),
        *(chunk(4, struct.pack("<Idd", n, 50.0 + t, 7.0)) for t in range(10) for n in (1, 2)),
        samples(2, [55.0, bad, 51.37], ["right", "lost", "left"]),
    )
    recording = open_recording(path)
    assert (recording.n_samples, recording.segments, recording.t_s) == (1000, (0,), None)
    assert recording.read(0, 1000)[:, 0].tolist() == list(range(1000))
    assert recording.events == (Event(137, "left"), Event(500, "right"))
    n = last - first
    filled = "1 sample with an invalid timestamp is" if n == 1 else f"{n} samples with invalid timestamps are"
    assert f"{filled} placed by the nominal rate." in recording.notes
    assert "1 marker with an invalid timestamp is left out." in recording.notes


def test_samples_that_never_had_a_time_are_left_out_and_non_finite_clocks_are_named(tmp_path: Path) -> None:
    t_s = [i / 100 for i in range(100)]
    rows: list[list[float] | str] = [[float(i), 0.0] for i in range(100)]
    parts = [stream_header(1, **EEG), samples(1, [np.nan] * 50, rows[:50]), samples(1, t_s[50:], rows[50:])]
    recording = open_recording(write_xdf(tmp_path / "x.xdf", *parts))
    assert recording.read(0, 100)[:, 0].tolist() == list(range(50, 100))
    offset = chunk(4, struct.pack("<Idd", 1, 0.0, np.nan))
    with pytest.raises(
        DataError, match=r"no EEG stream.*The clock offsets of 'Amp' are not finite, so its samples have no time"
    ):
        open_recording(write_xdf(tmp_path / "y.xdf", *parts, offset))


def test_messages_of_the_service_are_not_markers(tmp_path: Path) -> None:
    rows: list[list[float] | str] = [[float(i), 0.0] for i in range(100)]
    message = encode(Message(type="verdict", seq=3, state="RUNNING", t=9.0, sent=9.0)).decode()
    path = write_xdf(
        tmp_path / "x.xdf",
        stream_header(1, **EEG),
        stream_header(2, **MARKERS),
        stream_header(3, **{**MARKERS, "name": "pretap-markers"}),
        samples(1, [i / 100 for i in range(100)], rows),
        samples(2, [0.5], ["left"]),
        samples(3, [0.4, 9.0], [message, message]),
    )
    recording = open_recording(path)
    assert recording.events == (Event(50, "left"),)
    assert not any("outside" in note for note in recording.notes)


def test_of_several_streams_one_must_be_named(tmp_path: Path) -> None:
    t_s = [i / 100 for i in range(20)]
    rows: list[list[float] | str] = [[0.0, 1.0]] * 20
    second = {**EEG, "name": "Other"}
    path = write_xdf(
        tmp_path / "x.xdf",
        stream_header(1, **EEG),
        stream_header(7, **second),
        samples(1, t_s, rows),
        samples(7, t_s, rows),
    )
    with pytest.raises(DataError, match=r"2 streams that could be the EEG.*'Amp' \(id 1, type EEG.*'Other' \(id 7"):
        open_recording(path)
    for name in ("Other", "7", "id-Other"):
        assert "The EEG is the stream 'Other' (id 7)." in open_recording(path, stream=name).notes
    with pytest.raises(DataError, match="0 streams are called 'Nobody'"):
        open_recording(path, stream="Nobody")
    with pytest.raises(DataError, match=r"Did you mean 'Other'\?$"):
        open_recording(path, stream="Othre")


def test_a_unit_other_than_voltage_and_a_file_without_samples_are_refused(tmp_path: Path) -> None:
    t_s = [i / 100 for i in range(20)]
    rows: list[list[float] | str] = [[0.0, 1.0]] * 20
    header = stream_header(1, **EEG, channels=channel("C3", "uV") + channel("T", "celsius"))
    path = write_xdf(tmp_path / "a.xdf", header, samples(1, t_s, rows))
    for config in (RecordingConfig(), RecordingConfig(unit="mV")):
        recording = open_recording(path, config=config)
        assert recording.left_out == (("T", "its unit is celsius, not a voltage"),)
    header = stream_header(1, **EEG, channels=channel("EEG", "uV") * 2)
    assert open_recording(write_xdf(path, header, samples(1, t_s, rows))).channels == ("EEG-0", "EEG-1")
    header = stream_header(1, **EEG, channels=channel("C3", "uV") + channel("C4", "foo"))
    with pytest.raises(DataError, match=r"'Amp': channel C4 has the unit 'foo': expected microvolts"):
        open_recording(write_xdf(tmp_path / "a.xdf", header, samples(1, t_s, rows)))
    header = stream_header(1, **EEG, channels=channel("C3", "µV") + channel("T", "celsius", "Aux"))
    assert open_recording(write_xdf(tmp_path / "b.xdf", header, samples(1, t_s, rows))).channels == ("C3",)
    with pytest.raises(DataError, match=r"no EEG stream .* It has 'Amp' \(id 1, type EEG, 2 x float32, 100 Hz, 0 sam"):
        open_recording(write_xdf(tmp_path / "c.xdf", stream_header(1, **EEG)))
    with pytest.raises(DataError, match="It has no streams at all"):
        open_recording(write_xdf(tmp_path / "d.xdf"))


def test_the_sample_files_of_the_xdf_project_read(xdf_dir: Path) -> None:
    minimal = open_recording(xdf_dir / "minimal.xdf")
    assert (minimal.channels, minimal.sfreq_hz, minimal.n_samples) == (("ch1", "ch2", "ch3"), 10.0, 9)
    assert minimal.read(0, 2).tolist() == [[192.0, 255.0, 238.0], [12.0, 22.0, 32.0]]
    assert Event(2, "Hello") in minimal.events
    resets = open_recording(xdf_dir / "clock_resets.xdf")
    assert (len(resets.channels), resets.n_samples, len(resets.events)) == (8, 27815, 175)
    assert any(note.startswith("The timestamps have 2 breaks; ") for note in resets.notes)  # one is the restart, 273 s
    assert resets.segments == (0, 12613, 12876)
    assert resets.sfreq_hz == pytest.approx(92.93, abs=0.01)
    assert "The nominal rate is 100 Hz, but the timestamps show 92.92 Hz, which is used." in resets.notes
    empty = open_recording(xdf_dir / "empty_streams.xdf")
    assert (empty.channels, empty.n_samples) == (("ch:00",), 10)


def test_an_xdf_file_that_is_missing_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.xdf does not exist: expected an XDF file\.$"):
        open_xdf(tmp_path / "nowhere.xdf")


def test_an_xdf_chunk_that_claims_four_billion_samples_is_left_out(tmp_path: Path) -> None:
    claim = chunk(3, struct.pack("<I", 2) + b"\x04" + struct.pack("<I", 0xFFFFFFFF) + b"\x00" * 40)
    path = write_xdf(tmp_path / "x.xdf", stream_header(1, **EEG), stream_header(2, **MARKERS), claim)
    with pytest.raises(DataError, match="has no EEG stream"):
        open_recording(path)
    eeg = samples(1, [0.0, 0.01], [[1.0, 2.0], [3.0, 4.0]])
    recording = open_recording(write_xdf(path, stream_header(1, **EEG), stream_header(2, **MARKERS), claim, eeg))
    assert recording.n_samples == 2
    assert any("announces 4294967295 samples in 45 bytes" in note for note in recording.notes)


def whole(*, n_chunks: int = 6) -> list[bytes]:
    """The chunks of a sound file: ten samples each, a boundary behind the third, footers."""
    parts = [stream_header(1, **EEG, channels=channel("C3", "uV") * 2), stream_header(2, **MARKERS)]
    for i in range(n_chunks):
        t_s = [(10 * i + k) / 100 for k in range(10)]
        parts.append(samples(1, t_s, [[t, 0.0] for t in t_s]))
        if i == 2:
            parts.append(chunk(5, bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")))
    return [*parts, footer(1), footer(2)]


def test_an_xdf_file_truncated_anywhere_is_read_up_to_its_last_complete_chunk_with_a_note(tmp_path: Path) -> None:
    parts = whole()
    path = write_xdf(tmp_path / "cut.xdf", *parts)
    content = path.read_bytes()
    ends = np.cumsum([len(content) - sum(map(len, parts)), *map(len, parts)]).tolist()
    for n_bytes in range(ends[3], len(content) + 1):
        path.write_bytes(content[:n_bytes])
        recording = open_recording(path)
        n_sample_chunks = sum(end <= n_bytes for i, end in enumerate(ends) if i in {3, 4, 5, 7, 8, 9})
        assert recording.n_samples == 10 * n_sample_chunks, n_bytes
        n_left = n_bytes - max(end for end in ends if end <= n_bytes)
        truncated = f"The file is truncated: {counted(n_left, 'byte')} after its last complete chunk could not be read."
        unclosed = "The file was not closed by its recorder, so it may have ended early."
        assert ((truncated if n_left else unclosed) in recording.notes) == (n_bytes < len(content)), n_bytes


def test_a_cut_xdfz_and_a_tail_of_zeros_are_read_too(tmp_path: Path) -> None:
    content = write_xdf(tmp_path / "a.xdf", *whole()).read_bytes()
    (tmp_path / "a.xdfz").write_bytes(gzip.compress(content)[:-12])
    assert any("is truncated" in note for note in open_recording(tmp_path / "a.xdfz").notes)
    (tmp_path / "a.xdf").write_bytes(content + bytes(4096))  # what a power failure leaves on some file systems
    recording = open_recording(tmp_path / "a.xdf")
    assert recording.n_samples == 60
    assert any("truncated: 4096 bytes" in note for note in recording.notes)


def test_a_truncated_example_file_is_refused_or_noted(xdf_dir: Path, tmp_path: Path) -> None:
    content = (xdf_dir / "minimal.xdf").read_bytes()
    path = tmp_path / "cut.xdf"
    n_read = 0
    for n_bytes in range(0, len(content), 13):
        path.write_bytes(content[:n_bytes])
        try:
            recording = open_recording(path)
        except DataError:
            continue
        n_read += 1
        assert any("truncated" in note or "not closed" in note for note in recording.notes), n_bytes
    assert n_read > 50
