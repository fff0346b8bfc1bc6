"""The XDF writer: pyxdf reads what it writes, and a full disk leaves a readable file."""

from __future__ import annotations

import errno
import logging
import os
import resource
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pylsl
import pytest
import pyxdf
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap.errors import DataError
from pretap.recordings.continuous import open_recording
from pretap_realtime.record import xdf_writer
from pretap_realtime.record.tracks import Identity, Track

FORMATS = ["int8", "int16", "int32", "int64", "float32", "float64"]


def xml(fmt: str, *, n: int = 2, sfreq_hz: float = 100.0, name: str = "Amp", kind: str = "EEG", desc: str = "") -> str:
    return (
        f"<?xml version='1.0'?><info><name>{name}</name><type>{kind}</type><channel_count>{n}</channel_count>"
        f"<channel_format>{fmt.replace('float64', 'double64')}</channel_format><source_id>id-{name}</source_id>"
        f"<nominal_srate>{sfreq_hz}</nominal_srate><desc>{desc}</desc></info>"
    )


def write(path: Path, *chunks: xdf_writer.Chunk) -> Path:
    file = xdf_writer.XdfFile(path, force=True)
    file.write(chunks)
    file.close()
    assert file.n_bytes == path.stat().st_size
    return path


def load(path: Path, **options):
    """Return the streams as pyxdf reads them, which must log no error."""
    complaints: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())
    logger = logging.getLogger("pyxdf.pyxdf")
    logger.addHandler(handler)
    try:
        streams, header = pyxdf.load_xdf(path, **options)
    finally:
        logger.removeHandler(handler)
    assert complaints == []
    return streams, header


RAW = {"dejitter_timestamps": False, "synchronize_clocks": False}


@pytest.mark.parametrize("fmt", FORMATS)
def test_numbers_of_every_format_come_back_to_the_bit(tmp_path, fmt):
    dtype = np.dtype(fmt)
    raw = np.random.default_rng(0).integers(0, 256, 300 * 3 * dtype.itemsize, dtype=np.uint8)
    values = raw.view(dtype).reshape(300, 3)  # NaN, infinities and denormals among them
    t_s = 1e6 + np.arange(300) / 100
    path = write(tmp_path / "x.xdf", xdf_writer.stream_header(1, xml(fmt, n=3)), xdf_writer.samples(1, values, t_s))
    (stream,), header = load(path, **RAW)
    assert stream["time_series"].dtype == dtype
    assert stream["time_series"].tobytes() == values.tobytes()
    assert np.array_equal(stream["time_stamps"], t_s)
    assert header["info"]["version"] == ["1.0"]


def test_strings_of_any_length_and_number_of_channels_come_back(tmp_path):
    texts = [["", "a"], ["ü" * 200, "x" * 70_000], ["tap/left", "é\n<b>&"]]
    values = np.array([[text.encode() for text in row] for row in texts], object)
    path = write(
        tmp_path / "x.xdf",
        xdf_writer.stream_header(7, xml("string", sfreq_hz=0)),
        xdf_writer.samples(7, values, np.array([3.0, 1.0, 2.0])),
    )
    (stream,), _ = load(path)
    assert stream["time_series"] == texts
    assert stream["time_stamps"].tolist() == [3.0, 1.0, 2.0]
    assert stream["info"]["stream_id"] == 7


def test_bytes_that_are_not_utf8_are_written_unchanged_and_counted(tmp_path):
    identity = Identity("Cues", "Markers", "c", "string", 1, 0.0, ())
    track = Track(1, identity)
    track.append(np.array([[b"ok"], [b"\xff\xfe left"]], object), np.array([1.0, 2.0]))
    path = write(
        tmp_path / "x.xdf", xdf_writer.stream_header(1, xml("string", n=1, sfreq_hz=0)), *track.flush(), track.footer()
    )
    assert b"\xff\xfe left" in path.read_bytes()
    (stream,), _ = load(path)
    assert [row[0] for row in stream["time_series"]] == ["ok", "\ufffd\ufffd left"]
    assert stream["footer"]["info"]["samples_not_utf8"] == ["1"]
    assert str(track) == "Cues: 2 samples, 1 of them not UTF-8, written unchanged"


@pytest.mark.parametrize("n_samples", [1, 27, 28, 1000])
def test_a_chunk_of_less_and_more_than_255_bytes_is_read(tmp_path, n_samples):
    values = np.arange(n_samples, dtype=np.int8)[:, None]
    chunk = xdf_writer.samples(1, values, np.arange(n_samples) / 100)
    assert chunk[0] == (1 if n_samples == 1 else 4 if len(chunk) > 257 else 1)
    path = write(tmp_path / "x.xdf", xdf_writer.stream_header(1, xml("int8", n=1)), chunk)
    (stream,), _ = load(path, **RAW)
    assert np.array_equal(stream["time_series"], values)


def test_footers_say_stamps_counts_clock_offsets_and_losses(tmp_path):
    track = Track(3, Identity("Amp", "EEG", "a", "float32", 2, 100.0, ()))
    t_s = 50 + np.arange(500) / 100
    t_s[300:] += 0.05  # five samples are missing
    chunks = []
    for start in range(0, 500, 50):
        track.append(np.zeros((50, 2), np.float32), t_s[start : start + 50])
        chunks += track.flush()
    chunks.append(track.clock_offset(measured_s=52.0, offset_s=-1.5))
    path = write(tmp_path / "x.xdf", xdf_writer.stream_header(3, xml("float32")), *chunks, track.footer())
    (stream,), _ = load(path, dejitter_timestamps=False)
    info = stream["footer"]["info"]
    assert [float(info[key][0]) for key in ("first_timestamp", "last_timestamp", "sample_count", "lost_samples")] == [
        50.0,
        t_s[-1],
        500,
        5,
    ]
    assert info["clock_offsets"][0]["offset"][0] == {"time": ["52.0"], "value": ["-1.5"]}
    assert (stream["clock_times"], stream["clock_values"]) == ([52.0], [-1.5])
    assert stream["time_stamps"][0] == 48.5  # on the recorder's clock


def test_a_stream_without_a_sample_is_read_as_empty(tmp_path):
    track = Track(2, Identity("Cues", "Markers", "c", "string", 1, 0.0, ()))
    assert track.flush() == []
    path = write(tmp_path / "x.xdf", xdf_writer.stream_header(2, xml("string", n=1, sfreq_hz=0)), track.footer())
    (stream,), _ = load(path)
    assert len(stream["time_series"]) == 0
    assert stream["footer"]["info"]["sample_count"] == ["0"]


def test_the_whole_description_comes_back_without_characters_that_xml_forbids(tmp_path):
    desc = "<channels><channel><label>C3</label></channel></channels><note>a\x01b &lt;&amp; ü</note>"
    valid = xdf_writer.valid_xml(xml("float32", desc=desc))
    (stream,), _ = load(write(tmp_path / "x.xdf", xdf_writer.stream_header(1, valid)))
    assert stream["info"]["desc"][0]["channels"][0]["channel"][0]["label"] == ["C3"]
    assert stream["info"]["desc"][0]["note"] == ["a?b <& ü"]
    with pytest.raises(ValueError, match="is not valid XML"):
        xdf_writer.valid_xml("<info><name>a</info>")


@pytest.mark.parametrize("character", ["\x01", "\x1f", "\x7f", "\ufffe", "☃", "\u202e", "\n", "'\"<&>"])
def test_what_liblsl_writes_of_a_stream_is_valid_whatever_its_name_and_description_hold(character):
    info = pylsl.StreamInfo(f"a{character}b", "Markers", 1, 0, "string", "id")
    info.desc().append_child_value("note", f"c{character}d")
    found = ElementTree.fromstring(xdf_writer.valid_xml(info.as_xml()))
    kept = "?" if character in "\x01\x1f\ufffe" else character
    assert (found.findtext("name"), found.findtext("desc/note")) == (f"a{kept}b", f"c{kept}d")


@given(st.integers(0, 0x200000), st.sampled_from(["&#{};", "&#x{:x};", "&#x{:X};", "&#{:09};", "&#x{:08x};"]))
def test_references_to_characters_that_xml_allows_are_kept(code, written):
    reference = written.format(code)
    valid = xdf_writer.valid_xml(f"<info>{reference}</info>")
    is_valid = code in (9, 10, 13) or 32 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0x10000 <= code < 0x110000
    assert valid == f"<info>{reference if is_valid else '?'}</info>"


@st.composite
def recordings(draw):
    """Streams of any format, and chunks of them in any order."""
    formats = draw(st.lists(st.sampled_from([*FORMATS, "string"]), min_size=1, max_size=3))
    counts = [draw(st.integers(1, 4)) for _ in formats]
    order = draw(st.lists(st.tuples(st.integers(0, len(formats) - 1), st.integers(1, 40)), max_size=8))
    return formats, counts, order, draw(st.integers(0, 2**32 - 1))


@settings(max_examples=60, deadline=None)
@given(recordings())
def test_any_recording_comes_back_as_it_was_written(tmp_path_factory, recording):
    formats, counts, order, seed = recording
    rng = np.random.default_rng(seed)
    chunks = [
        xdf_writer.stream_header(i, xml(fmt, n=n, sfreq_hz=0))
        for i, (fmt, n) in enumerate(zip(formats, counts, strict=True))
    ]
    written = [([], []) for _ in formats]
    for i, n in order:
        shape = (n, counts[i])
        if formats[i] == "string":
            values = np.empty(shape, object)
            values[:] = [[rng.bytes(rng.integers(0, 9)).hex().encode() for _ in range(shape[1])] for _ in range(n)]
        else:
            values = rng.integers(-128, 128, shape).astype(formats[i])
        t_s = rng.uniform(-1e6, 1e6, n)
        chunks += [xdf_writer.samples(i, values, t_s), xdf_writer.boundary()]
        written[i][0].extend(values.tolist())
        written[i][1].extend(t_s.tolist())
    streams, _ = load(write(tmp_path_factory.mktemp("any") / "x.xdf", *chunks), **RAW)
    for stream, (values, t_s) in zip(streams, written, strict=True):
        got = stream["time_series"]
        if stream["info"]["channel_format"] == ["string"]:
            assert got == [[text.decode() for text in row] for row in values]
        else:
            assert got.tolist() == values
        assert stream["time_stamps"].tolist() == t_s


@pytest.mark.parametrize("name", ["minimal.xdf", "clock_resets.xdf", "empty_streams.xdf"])
def test_rewritten_files_of_the_xdf_project_read_the_same(xdf_dir, tmp_path, name):
    raw, _ = pyxdf.load_xdf(xdf_dir / name, **RAW)
    chunks = []
    for stream in raw:
        i = stream["info"]["stream_id"]
        info = {key: value[0] for key, value in stream["info"].items() if isinstance(value, list) and value}
        header = "".join(
            f"<{key}>{info[key]}</{key}>"
            for key in ("name", "type", "channel_count", "channel_format", "nominal_srate")
        )
        chunks.append(xdf_writer.stream_header(i, f"<info>{header}</info>"))
        values = stream["time_series"]
        if isinstance(values, list):
            rows = np.empty((len(values), int(info["channel_count"])), object)
            rows[:] = [[text.encode() for text in row] for row in values] if values else rows
            values = rows
        if len(values):
            chunks.append(xdf_writer.samples(i, values, stream["time_stamps"]))
        chunks += [
            xdf_writer.clock_offset(i, measured_s=t, offset_s=value)
            for t, value in zip(stream["clock_times"], stream["clock_values"], strict=True)
        ]
    path = write(tmp_path / name, *chunks)
    for ours, theirs in zip(pyxdf.load_xdf(path)[0], pyxdf.load_xdf(xdf_dir / name)[0], strict=True):
        assert np.array_equal(ours["time_stamps"], theirs["time_stamps"])
        assert np.array_equal(ours["time_series"], theirs["time_series"])
        assert ours["info"]["segments"] == theirs["info"]["segments"]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rate=st.floats(0.9, 1.1),
    gaps=st.lists(
        st.tuples(st.sampled_from([4, 700, 715, 2000, 2990]), st.sampled_from([0.05, 0.3, 0.7, 3.0, 30.0])), max_size=3
    ),
)
def test_pyxdf_reads_a_copy_with_replayed_timestamps_like_the_original(tmp_path_factory, seed, rate, gaps):
    """Our times show short gaps that pyxdf smears; it must smear them equally, to half a sample, in a copy."""
    folder, rng = tmp_path_factory.mktemp("copy"), np.random.default_rng(seed)
    t_s = 1000 + np.arange(3000) / (100 * rate) + rng.normal(0, 0.003, 3000)
    for at, gap_s in gaps:
        t_s[at:] += gap_s
    values = np.arange(3000, dtype=np.float32)[:, None]

    def read(name, stamps, sfreq_hz):
        header = xdf_writer.stream_header(1, xml("float32", n=1, sfreq_hz=sfreq_hz))
        path = write(folder / name, header, xdf_writer.samples(1, values, stamps))
        return path, load(path)[0][0]["time_stamps"]

    path, original_s = read("a.xdf", t_s, 100.0)
    recording = open_recording(path)
    if recording.t_s is None:  # n / fs to a tenth of a sample
        return
    _, copy_s = read("b.xdf", recording.t_s, recording.sfreq_hz)
    assert copy_s == pytest.approx(original_s, abs=5e-3)


def test_an_existing_file_is_kept_unless_forced(tmp_path):
    path = tmp_path / "x.xdf"
    path.write_bytes(b"precious")
    with pytest.raises(DataError, match="File exists"):
        xdf_writer.XdfFile(path)
    assert path.read_bytes() == b"precious"
    xdf_writer.XdfFile(path, force=True).close()
    assert path.read_bytes().startswith(b"XDF:")


FILL = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
from pretap.errors import DataError
from pretap_realtime.record import xdf_writer
file = xdf_writer.XdfFile(Path(sys.argv[1]))
file.write([xdf_writer.stream_header(1, sys.argv[2])])
try:
    for n in range(0, 10_000_000, 200):
        halves = [np.arange(a, a + 100) for a in (n, n + 100)]
        file.write([xdf_writer.samples(1, np.stack([h, h], 1).astype(np.float32), h / 100) for h in halves])
except DataError as error:
    print(file.n_samples, file.n_bytes, error)
"""


def test_a_full_disk_keeps_all_whole_chunks_and_reports_what_is_saved(tmp_path):
    path = tmp_path / "x.xdf"
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(path), xml("float32")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        capture_output=True,
        text=True,
        check=True,
    )
    n_samples, n_bytes, said = done.stdout.split(" ", 2)
    assert os.strerror(errno.EFBIG) in said
    assert f"{n_samples} samples (0.1 MB) are saved and readable. Free some space" in said
    assert path.stat().st_size == int(n_bytes) <= 100_000
    (stream,), _ = load(path, **RAW)
    assert stream["time_series"][:, 0].tolist() == list(range(int(n_samples)))
    assert int(n_samples) > 5700  # of the 17 bytes a sample
    recording = open_recording(path)
    assert recording.n_samples == int(n_samples)
    assert "truncated" not in recording.source


def test_chunks_carry_the_lengths_and_tags_of_the_specification():
    assert xdf_writer.boundary()[:4] == struct.pack("<BBH", 1, 18, 5)
    assert xdf_writer.clock_offset(9, measured_s=1.0, offset_s=2.0) == struct.pack("<BBHIdd", 1, 22, 4, 9, 1.0, 2.0)
    sample = xdf_writer.samples(9, np.array([[5]], np.int16), np.array([1.5]))
    assert sample == struct.pack("<BBHI", 1, 2 + 4 + 2 + 11, 3, 9) + struct.pack("<BB", 1, 1) + struct.pack(
        "<Bdh", 8, 1.5, 5
    )


def test_the_date_has_the_format_of_labrecorder_which_mnelab_requires(tmp_path):
    _, header = load(write(tmp_path / "a.xdf"))
    (written,) = header["info"]["datetime"]
    moment = datetime.fromisoformat(written[:-2] + ":" + written[-2:])  # what MNELAB 1.4 does with it
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60
