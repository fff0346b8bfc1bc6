"""Reading of XDF files: good ones as pyxdf reads them, damaged ones around the damage, and what devices describe."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import pyxdf

from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.continuous import open_recording
from pretap.recordings.recording import Event
from pretap.recordings.xdf.load import load_streams
from pretap_realtime.record import xdf_writer

FORMATS = ["int8", "int16", "int32", "int64", "float32", "double64"]
FS = 100


def header(stream, name="Amp", kind="EEG", *, n=2, fmt="float32", sfreq_hz=FS, desc="", source_id="dev"):
    xml = (
        f"<info><name>{name}</name><type>{kind}</type><channel_count>{n}</channel_count>"
        f"<source_id>{source_id}</source_id><channel_format>{fmt}</channel_format>"
        f"<nominal_srate>{sfreq_hz}</nominal_srate><desc>{desc}</desc></info>"
    )
    return xdf_writer.stream_header(stream, xml)


def channels(*labels, tag="label", unit="<unit>uV</unit>"):
    return "<channels>" + "".join(f"<channel><{tag}>{each}</{tag}>{unit}</channel>" for each in labels) + "</channels>"


TWO = channels("C3", "C4")


def chunk(tag, content):
    return b"\x04" + struct.pack("<IH", len(content) + 2, tag) + content


def packed(stream, t_s, values):
    """A chunk of samples, of which those with the time None have no timestamp in the file."""
    rows = b"".join(
        (b"\0" if t is None else b"\x08" + struct.pack("<d", t)) + np.asarray(row).tobytes()
        for t, row in zip(t_s, values, strict=True)
    )
    return chunk(3, struct.pack("<I", stream) + b"\x04" + struct.pack("<I", len(values)) + rows)


def counting(first, n):
    return np.repeat(np.arange(first, first + n, dtype=np.float32)[:, None], 2, axis=1)


def eeg_chunks(stream=1, n_chunks=10, *, first_s=0.0):
    """Chunks of 100 samples that count, a second each."""
    times = np.arange(100) / FS
    return [xdf_writer.samples(stream, counting(100 * k, 100), first_s + k + times) for k in range(n_chunks)]


def texts(stream, *found):
    values = np.array([[text.encode()] for _, text in found], object)
    return xdf_writer.samples(stream, values, np.array([t for t, _ in found], float))


def footer(stream, n):
    return xdf_writer.footer(stream, n_samples=n, first_s=0.0, last_s=1.0, offsets=[], facts={})


def task(stream=2, name="task"):
    return header(stream, name, "Markers", n=1, fmt="string", sfreq_hz=0, source_id=name)


def write(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"XDF:" + xdf_writer.file_header() + b"".join(parts))
    return path


# -- equal to pyxdf ------------------------------------------------------------------------------------------------


def assert_equals_pyxdf(path):
    for synchronize in (True, False):
        expected, _ = pyxdf.load_xdf(path, dejitter_timestamps=False, synchronize_clocks=synchronize)
        found = load_streams(path, synchronize=synchronize).streams
        assert [each.id for each in found] == [str(each["info"]["stream_id"]) for each in expected]
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours.t_s, theirs["time_stamps"])
            if ours.is_text:
                assert ours.values == theirs["time_series"]
            else:
                np.testing.assert_array_equal(ours.read(0, len(ours.t_s)), theirs["time_series"])


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("given", ["all", "first", "none", "some"])
def test_samples_of_every_format_equal_those_of_pyxdf(tmp_path, fmt, given):
    rng = np.random.default_rng(1)
    parts, n_done = [header(7, n=3, fmt=fmt), task()], 0
    for size in (1, 400, 37, 2):
        kind = np.dtype("<f8" if fmt == "double64" else fmt)
        values = rng.integers(-100, 100, (size, 3)).astype(kind)
        is_given = {
            "all": np.ones(size, bool),
            "first": np.arange(size) == 0,
            "none": np.zeros(size, bool),
            "some": rng.random(size) < 0.5,
        }[given]
        t_s = [1000 + (n_done + k) / FS + rng.normal(0, 1e-3) if is_given[k] else None for k in range(size)]
        parts += [packed(7, t_s, values), texts(2, (1000.5, "tap/left"), (1000.7, "täp"))]
        n_done += size
    assert_equals_pyxdf(write(tmp_path / "x.xdf", *parts, footer(7, n_done), footer(2, 8)))


@pytest.mark.parametrize("restart", [False, True])
def test_clock_offsets_move_timestamps_as_pyxdf_does(tmp_path, restart):
    rng = np.random.default_rng(2)
    parts = [header(1, desc=TWO), task()]
    for k in range(60):
        clock_s = -500.0 if restart and k >= 30 else 0.0  # a computer that restarted counts from a smaller number
        offset_s = 3.0 - clock_s + 1e-5 * k + rng.normal(0, 2e-4) + (0.02 if k % 11 == 5 else 0.0)
        parts.append(eeg_chunks(first_s=600 + clock_s + k)[0])
        if k % 5 == 0:
            parts += [
                xdf_writer.clock_offset(stream, measured_s=600 + clock_s + k, offset_s=offset_s) for stream in (1, 2)
            ]
    parts.append(texts(2, (601.0, "a"), (629.0, "b")))
    assert_equals_pyxdf(write(tmp_path / "x.xdf", *parts, footer(1, 6000), footer(2, 2)))


def test_what_an_outlet_sent_while_it_ended_is_left_out_as_by_pyxdf(tmp_path):
    offsets = [xdf_writer.clock_offset(1, measured_s=float(k), offset_s=1.0 + 1e-4 * (k % 3)) for k in range(10)]
    garbage = xdf_writer.clock_offset(1, measured_s=4e7, offset_s=-3e5)
    late = xdf_writer.samples(1, counting(1000, 1), np.array([10.0]))
    path = write(tmp_path / "x.xdf", header(1, desc=TWO), *offsets, *eeg_chunks(), late, garbage, footer(1, 1000))
    assert_equals_pyxdf(path)
    recording = open_recording(path)
    assert recording.n_samples == 1000
    assert "At the end of 'Amp', 1 sample is left out that its outlet sent as it ended." in recording.notes


def test_the_example_files_equal_pyxdf(xdf_dir):
    for name in ("minimal", "clock_resets", "empty_streams"):
        assert_equals_pyxdf(xdf_dir / f"{name}.xdf")


@pytest.mark.parametrize("head", [1, 2])
@pytest.mark.parametrize("session", range(1, 7))
def test_the_sessions_of_labrecorder_equal_pyxdf(openbci_dir, head, session):
    assert_equals_pyxdf(openbci_dir / f"head-{head}" / f"session-{session}.xdf")


def test_spans_across_chunks_and_blocks_equal_the_whole(tmp_path):
    n = 20_000  # of 64 channels: 5 MB, in blocks of one
    values = np.random.default_rng(3).normal(0, 10, (n, 64)).astype(np.float32)
    t_s = np.arange(n) / FS
    edges = [0, 1, 9000, 9001, n]
    parts = [xdf_writer.samples(1, values[a:b], t_s[a:b]) for a, b in pairwise(edges)]
    recording = open_recording(write(tmp_path / "x.xdf", header(1, n=64), *parts, footer(1, n)))
    for start, stop in ((0, n), (8990, 9010), (3, 3), (n - 5, n + 7), (4000, 12_000), (12_000, 12_010), (0, 1)):
        np.testing.assert_array_equal(recording.read(start, stop), values[start:stop])


def test_a_file_that_is_replaced_while_it_is_read_is_an_error(tmp_path):
    values, t_s = np.zeros((20_000, 64), np.float32), np.arange(20_000) / FS
    parts = [header(1, n=64), xdf_writer.samples(1, values, t_s)]
    path = write(tmp_path / "x.xdf", *parts)
    recording = open_recording(path)
    write(tmp_path / "other.xdf", *parts).replace(path)
    with pytest.raises(DataError, match="was replaced or truncated while it was being read"):
        recording.read(0, 20_000)


# -- damage --------------------------------------------------------------------------------------------------------


def opened_with(tmp_path, parts, **config):
    return open_recording(write(tmp_path / "x.xdf", *parts), config=RecordingConfig(**config))


def the_note(recording, beginning):
    (found,) = [note for note in recording.notes if note.startswith(beginning)]
    return found


WHOLE = [header(1, desc=TWO), task(), *eeg_chunks(), texts(2, (2.5, "left"), (7.5, "right"))]
FOOTERS = [footer(1, 1000), footer(2, 2)]


def test_a_good_file_has_no_notes(tmp_path):
    recording = opened_with(tmp_path, WHOLE + FOOTERS)
    assert (recording.notes, recording.source, recording.n_samples) == ((), "x.xdf", 1000)


@pytest.mark.parametrize("content", [b"<?xml version='1.0'?><info><first_time", b"", b"\xff\xfe\x00", b"<info></inf>"])
def test_a_damaged_footer_costs_nothing_but_a_note(tmp_path, content):
    recording = opened_with(tmp_path, [*WHOLE, chunk(6, struct.pack("<I", 1) + content), FOOTERS[1]])
    assert recording.n_samples == 1000
    assert recording.events == (Event(250, "left"), Event(750, "right"))
    assert "the footer of 'Amp' at byte" in the_note(recording, "The file is damaged")


@pytest.mark.parametrize(
    "broken",
    [
        chunk(4, struct.pack("<Id", 1, 3.0)),  # half a clock offset
        chunk(5, b"not the mark of a boundary"),
        chunk(77, b"of an unknown kind"),
        chunk(6, struct.pack("<I", 99) + b"<info/>"),
        b"\x07\x00\x00",  # no length
        b"\x04\xff\xff\xff\x7f\x03\x00",  # a length far beyond the end
        bytes(1000),
    ],
)
def test_bytes_that_are_no_chunk_are_left_out_and_everything_else_is_read(tmp_path, broken):
    recording = opened_with(tmp_path, [*WHOLE[:6], broken, *WHOLE[6:], *FOOTERS])
    np.testing.assert_array_equal(recording.read(0, 1000), counting(0, 1000))
    assert recording.events == (Event(250, "left"), Event(750, "right"))
    if broken[5:7] != b"\x05\x00":  # contents of a boundary do not matter
        assert f"The file is damaged: {len(broken)} of its" in the_note(recording, "The file is damaged")


@pytest.mark.parametrize("with_boundary", [False, True])
@pytest.mark.parametrize("at", [0, 2, 5, 12, 60])
def test_a_damaged_chunk_of_samples_is_a_break_at_its_place(tmp_path, with_boundary, at):
    parts = [bytearray(each) for each in WHOLE]
    parts[5][at] ^= 0x55  # the chunk of the fourth second: its length, its tag, its count, a sample
    if with_boundary:
        parts.insert(6, bytearray(xdf_writer.boundary()))
    recording = opened_with(tmp_path, [*map(bytes, parts), *FOOTERS])
    if recording.n_samples == 1000:  # a byte of a value or of a timestamp, which nothing reveals
        assert at == 60
        return
    assert recording.n_samples == 900
    np.testing.assert_array_equal(recording.read(0, 900)[:, 0], [*range(300), *range(400, 1000)])
    assert recording.segments == (0, 300)
    assert recording.events == (Event(250, "left"), Event(650, "right"))
    the_note(recording, "The file is damaged")
    assert "'Amp' announces 1000 samples in its footer, but 900 were found." in recording.notes


def test_after_damage_samples_without_a_timestamp_are_left_out_until_one_has_it(tmp_path):
    """Those that follow a lost chunk at the nominal rate would be a second early."""
    parts = [packed(1, [float(k) if k in {0, 6} else None, *[None] * 99], counting(100 * k, 100)) for k in range(10)]
    whole = opened_with(tmp_path, [header(1, desc=TWO), *parts, footer(1, 1000)])
    assert (whole.n_samples, whole.segments) == (1000, (0,))
    broken = bytearray(parts[3])
    broken[5] = 0x44  # its tag
    recording = opened_with(tmp_path, [header(1, desc=TWO), *parts[:3], bytes(broken), *parts[4:], footer(1, 1000)])
    np.testing.assert_array_equal(recording.read(0, 700)[:, 0], [*range(300), *range(600, 1000)])
    assert recording.times_s(300, 301)[0] - recording.times_s(0, 1)[0] == pytest.approx(6.0)
    assert "200 samples with invalid timestamps are left out." in recording.notes


def test_a_stream_whose_description_is_damaged_keeps_its_samples(tmp_path):
    torn = bytes(header(1, desc=TWO)).replace(b"</channels>", b"</chan\x00\x00ls>")
    recording = opened_with(tmp_path, [torn, *WHOLE[1:], *FOOTERS])
    assert (recording.n_samples, recording.channels) == (1000, ("ch1", "ch2"))
    assert "The description of 'Amp' is damaged, so its channel labels and units were not read." in recording.notes


def test_a_file_without_a_readable_stream_says_what_is_damaged(tmp_path):
    nothing = bytes(header(1)).replace(b"channel_count", b"channel_xxxxx")
    with pytest.raises(DataError, match=r"no EEG stream.*The file is damaged.*no channel count or an unknown format"):
        opened_with(tmp_path, [nothing, *eeg_chunks()])
    (tmp_path / "y.xdf").write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(DataError, match="is not an XDF file"):
        open_recording(tmp_path / "y.xdf")


@pytest.mark.parametrize("unit", ["µV".encode("latin-1"), "µV".encode(), b"uV"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_descriptions_in_latin_1_and_with_a_byte_order_mark_are_read(tmp_path, unit, mark):
    xml = (
        mark
        + b"<?xml version='1.0'?><info><name>A & B</name><type>EEG</type><channel_count>2</channel_count>"
        + b"<channel_format>float32</channel_format><nominal_srate>100</nominal_srate><desc><channels>"
        + b"".join(b"<channel><label>C%d</label><unit>%b</unit></channel>" % (k, unit) for k in (3, 4))
        + b"</channels></desc></info>"
    )
    recording = opened_with(tmp_path, [chunk(2, struct.pack("<I", 1) + xml), *eeg_chunks(), FOOTERS[0]])
    assert (recording.channels, recording.notes) == (("C3", "C4"), ())


# -- descriptions and settings -------------------------------------------------------------------------------------

DESCRIPTIONS = {
    "label": TWO,
    "name": channels("C3", "C4", tag="name"),
    "upper case": channels("C3", "C4", tag="Label").replace("channel", "Channel"),
    "deeper": f"<device><setup>{TWO}</setup></device>",
    "labels alone": "<channels><label>C3</label><label>C4</label></channels><unit>uV</unit>",
    "text": "<channels><channel>C3</channel><channel>C4</channel></channels><unit>uV</unit>",
    "attributes": "<channels><channel label='C3' unit='uV'/><channel label='C4' unit='uV'/></channels>",
}


@pytest.mark.parametrize("desc", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_labels_are_read_however_they_are_written(tmp_path, desc):
    recording = opened_with(tmp_path, [header(1, desc=desc), *eeg_chunks(), FOOTERS[0]])
    assert (recording.channels, recording.notes) == (("C3", "C4"), ())


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ((), "'Amp' has no channel labels, so channels are called ch1 to ch2."),
        (("C3",), "'Amp' has 2 channels, but describes 1, so the description is not used."),
        (("C3", "C4", "Cz"), "'Amp' has 2 channels, but describes 3, so the description is not used."),
    ],
)
def test_without_fitting_labels_channels_are_numbered_or_named_by_the_settings(tmp_path, labels, sentence):
    parts = [header(1, desc=channels(*labels)), *eeg_chunks(), FOOTERS[0]]
    recording = opened_with(tmp_path, parts)
    assert recording.channels == ("ch1", "ch2")
    assert the_note(recording, sentence)
    assert opened_with(tmp_path, parts, channels=("O1", "O2")).channels == ("O1", "O2")
    with pytest.raises(DataError, match=r"'Amp' has 2 channels, but \[recording\] channels names 3. Name all of them"):
        opened_with(tmp_path, parts, channels=("O1", "O2", "Oz"))


@pytest.mark.parametrize(("unit", "factor"), [("", 1.0), ("mV", 1e3), ("V", 1e6), ("nV", 1e-3)])
def test_the_setting_of_the_unit_replaces_that_of_the_file(tmp_path, unit, factor):
    recording = opened_with(tmp_path, [header(1, desc=TWO), *eeg_chunks(), FOOTERS[0]], unit=unit)
    np.testing.assert_allclose(recording.read(7, 8), [[7 * factor, 7 * factor]], rtol=1e-6)
    told = " ".join(opened_with(tmp_path, WHOLE + FOOTERS, unit=unit, sfreq_hz=50.0).notes)
    assert (f"The unit is set to {unit}; the file says uV." in told) == bool(unit)
    assert "The rate is set to 50 Hz; the file says 100 Hz." in told


def test_values_without_a_unit_are_microvolts_only_if_their_size_says_so(tmp_path):
    def opened(spread, unit=""):
        noise = np.random.default_rng(0).normal(0, spread, (1000, 2)).astype(np.float32)
        times = [i / FS for i in range(1000)]
        parts = [header(1, desc=channels("C3", "C4", unit=unit)), packed(1, times, noise), FOOTERS[0]]
        recording = opened_with(tmp_path, parts)
        return recording, float(recording.read(0, 1000).std())

    recording, spread_uv = opened(20.0)
    assert spread_uv == pytest.approx(20, rel=0.05)
    assert "2 channels have no unit. The values are read as microvolts" in recording.notes[0]
    for spread, message in ((2e-5, "As V they would. Set the unit: --unit V"), (4e6, "--unit uV")):
        with pytest.raises(DataError, match=f"'Amp': channel C3 has no unit, .*{message}"):
            opened(spread)
    assert "which no EEG does" in opened(20.0, "<unit>V</unit>")[0].notes[0]
    assert "although they do not vary" in opened(0.0)[0].notes[0]


def test_eeg_of_rate_0_needs_the_setting_that_the_message_names(tmp_path):
    parts = [header(1, desc=TWO, sfreq_hz=0), task(), *eeg_chunks(), WHOLE[-1], *FOOTERS]
    with pytest.raises(DataError, match=r"If the EEG is 'Amp'.*\[recording\] sfreq_hz = 100, which its timestamps"):
        opened_with(tmp_path, parts)
    recording = opened_with(tmp_path, parts, sfreq_hz=100.0)
    assert (recording.sfreq_hz, recording.n_samples, recording.segments) == (100.0, 1000, (0,))
    assert recording.events == (Event(250, "left"), Event(750, "right"))
    gyro = [header(3, "gyro", "Motion", sfreq_hz=FS), *eeg_chunks(3)]
    with pytest.raises(DataError, match="If the EEG is 'Amp'"):  # and not the gyroscope
        opened_with(tmp_path, [*parts, *gyro])


# -- restarts and clocks -------------------------------------------------------------------------------------------


def test_the_two_halves_of_a_restarted_amplifier_are_joined_with_a_break(tmp_path):
    second = eeg_chunks(3, 5, first_s=14.0)
    parts = [*WHOLE, header(3, desc=TWO), *second, texts(2, (12.0, "lost"), (15.0, "again"))]
    recording = opened_with(tmp_path, [*parts, *FOOTERS, footer(3, 500)])
    assert (recording.n_samples, recording.segments) == (1500, (0, 1000))
    np.testing.assert_array_equal(recording.read(990, 1010)[:, 0], [*range(990, 1000), *range(10)])
    assert recording.times_s(1000, 1001)[0] == pytest.approx(14.0)
    found = {event.text: event for event in recording.events}
    assert (found["left"], found["again"]) == (Event(250, "left"), Event(1100, "again"))
    assert abs(found["lost"].late_s) > 1
    sentence = "'Amp' was restarted: its 2 streams (ids 1, 3) are joined, with a break between them (4.0 s)."
    assert sentence in recording.notes
    assert open_recording(tmp_path / "x.xdf", stream="3").n_samples == 500


@pytest.mark.parametrize(
    "other",
    [
        [header(3, desc=TWO), *eeg_chunks(3, 5, first_s=5.0)],  # at the same time
        [header(3, desc=TWO, source_id="another"), *eeg_chunks(3, 5, first_s=14.0)],
        [header(3, desc=channels("C4", "C3")), *eeg_chunks(3, 5, first_s=14.0)],
    ],
)
def test_streams_that_are_not_one_amplifier_need_a_choice(tmp_path, other):
    with pytest.raises(DataError, match="2 streams that could be the EEG: name one with --xdf-stream"):
        opened_with(tmp_path, [*WHOLE, *other])


def test_markers_that_fit_two_runs_of_a_clock_are_left_out_and_counted(tmp_path):
    later = [xdf_writer.samples(1, counting(1000 + 100 * k, 100), 6.0 + k + np.arange(100) / FS) for k in range(10)]
    marks = texts(2, (2.5, "first"), (5.9, "before"), (7.5, "both"), (9.0, "both"), (12.5, "second"))
    recording = opened_with(tmp_path, [*WHOLE[:-1], *later, marks, footer(1, 2000), footer(2, 5)])
    assert recording.segments == (0, 1000)
    assert recording.events == (Event(250, "first"), Event(590, "before"), Event(1650, "second"))
    assert the_note(recording, "A clock was set back in this recording: 2 markers fit samples before and after that")
