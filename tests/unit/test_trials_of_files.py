"""Trials cut from files: FIF, EDF, BDF, BrainVision and XDF, trigger channels and annotations."""

from __future__ import annotations

import edfio
import mne
import msgspec
import numpy as np
import pytest

from pretap.errors import DataError
from pretap.recordings.continuous import open_recording, recording_from_raw
from pretap.recordings.recording import sample_at
from pretap_offline.trials.cut import cut_trials
from trial_cases import RECIPE, TAPS, changed, noise, recording


def raw_of_taps(*, stim: bool = False, notes: bool = True):
    """Noise at 250 Hz, C3, C4 and Cz, with taps as annotations, as codes 1 and 2, or as both."""
    x_v = noise().T * 1e-6
    types = ["eeg"] * 3
    names = ["C3", "C4", "Cz"]
    if stim:
        codes = np.zeros((1, 5000))
        for sample, text in TAPS:
            codes[0, sample : sample + 5] = 1 + (text == "tap/right")
        x_v, types, names = np.vstack([x_v, codes]), [*types, "stim"], [*names, "STI 014"]
    raw = mne.io.RawArray(x_v, mne.create_info(names, 250.0, types), verbose="error")
    if notes:
        raw.set_annotations(mne.Annotations([s / 250 for s, _ in TAPS], 0, [text for _, text in TAPS]), verbose="error")
    return raw


@pytest.mark.parametrize("kind", ["fif", "edf", "vhdr"])
def test_a_file_of_any_format_gives_the_trials_of_its_raw(tmp_path, kind):
    raw = raw_of_taps()
    path = tmp_path / ("taps_raw.fif" if kind == "fif" else f"taps.{kind}")
    if kind == "fif":
        raw.save(path, verbose="error")
    else:  # EDF through edfio, BrainVision through pybv
        raw.export(path, verbose="error")
    from_file, report = cut_trials([open_recording(path)], RECIPE)
    by_hand, _ = cut_trials([recording_from_raw(raw)], RECIPE)
    assert len(from_file) == len(TAPS)
    assert from_file.labels.tolist() == by_hand.labels.tolist() == [int(text == "tap/right") for _, text in TAPS]
    np.testing.assert_allclose(from_file.x_uv, by_hand.x_uv, atol=0.01)  # a step of EDF is 400 / 65536 uV
    assert report.files[0].source == path.name


def test_codes_of_a_trigger_channel_are_events_in_addition_to_annotations(tmp_path):
    path = tmp_path / "taps_raw.fif"
    raw_of_taps(stim=True).save(path, verbose="error")
    coded = msgspec.structs.replace(RECIPE, events={"left": ("1",), "right": ("2",)})
    (one, _), (other, _) = (cut_trials([open_recording(path)], config) for config in (coded, RECIPE))
    np.testing.assert_array_equal(one.x_uv, other.x_uv)
    assert one.labels.tolist() == other.labels.tolist()


@pytest.mark.parametrize(("idle", "codes"), [(0, ("1", "2")), (0xFF00, ("1", "2")), (0x1D0000, ("1", "2"))])
def test_state_bits_and_floating_lines_of_biosemi_are_removed_from_the_code(idle, codes):
    raw = raw_of_taps(stim=True, notes=False).rename_channels({"STI 014": "Status"}, verbose="error")
    raw.apply_function(lambda x: x + idle, picks="stim", verbose="error")
    assert {event.text for event in recording_from_raw(raw).events} == set(codes)


def test_sixteen_used_lines_give_sixteen_bits():
    raw = raw_of_taps(stim=True, notes=False).rename_channels({"STI 014": "Status"}, verbose="error")
    raw.apply_function(lambda x: x * 256, picks="stim", verbose="error")
    assert {event.text for event in recording_from_raw(raw).events} == {"256", "512"}


def test_bad_annotations_and_boundaries_of_mne_become_bad_spans_and_segments():
    raw = raw_of_taps()
    raw.annotations.append([4.0, 8.0, 12.0], [0.5, 0.0, 0.0], ["bad blink", "BAD boundary", "New Segment/"])
    found = recording_from_raw(raw)
    assert found.bad == ((1000, 1125),)
    assert found.segments == (0, 2000, 3000)
    joined = mne.concatenate_raws([raw_of_taps(), raw_of_taps()], verbose="error")
    assert recording_from_raw(joined).segments == (0, 5000)
    epochs, report = cut_trials([found], changed(window_ms=(-200.0, 0.0)))
    assert dict(report.files[0].dropped) == {"in a span marked bad": 1}
    assert len(epochs) == len(TAPS) - 1


def test_the_raw_of_the_caller_is_not_changed():
    raw = raw_of_taps(stim=True)
    names, first = list(raw.ch_names), raw.get_data().copy()
    cut_trials([recording_from_raw(raw)], RECIPE)
    assert raw.ch_names == names
    np.testing.assert_array_equal(raw.get_data(), first)


def test_a_bdf_of_biosemi_has_its_codes_without_the_amplifier_s_state(tmp_path):
    x_uv = noise(n=5000)
    status = np.full(5000, 0x1DFF00, np.int64)  # CMS in range, battery good; lines 8 to 15 have no cable
    for sample, text in TAPS:
        status[sample : sample + 5] += 1 + (text == "tap/right")
    signals = [
        edfio.BdfSignal(x, 250, label=name, physical_dimension="uV", physical_range=(-400, 400))
        for x, name in zip(x_uv.T, ("C3", "C4", "Cz"), strict=True)
    ]
    full = (-(2.0**23), 2.0**23 - 1)
    signals.append(edfio.BdfSignal(status.astype(float), 250, label="Status", physical_range=full))
    path = tmp_path / "taps.bdf"
    edfio.Bdf(signals).write(path)
    found = open_recording(path)
    assert found.channels == ("C3", "C4", "Cz")
    assert [(event.sample, event.text) for event in found.events] == [
        (sample, "2" if text == "tap/right" else "1") for sample, text in TAPS
    ]
    epochs, _ = cut_trials([found], msgspec.structs.replace(RECIPE, events={"left": ("1",), "right": ("2",)}))
    sample = TAPS[0][0]
    np.testing.assert_allclose(epochs.x_uv[0], x_uv[sample - 49 : sample - 11], atol=1e-3)


def test_an_xdf_with_breaks_gives_windows_that_lie_in_one_piece(xdf_dir):
    found = open_recording(xdf_dir / "clock_resets.xdf")
    config = msgspec.structs.replace(RECIPE, events={"x": ("XXX",), "test": ("Test",)})
    epochs, report = cut_trials([found], config)
    fs = found.sfreq_hz
    n = round(0.15 * fs)
    wanted = sorted(
        (sample_at(found, e, offset_s=-0.05), e.text == "Test") for e in found.events if e.text in ("XXX", "Test")
    )
    assert sum(report.files[0].n_events) == len(wanted)
    ends = np.searchsorted(found.t_s - found.t_s[0], epochs.at_s - 0.1 / fs)
    kept = [(int(end), bool(label)) for end, label in zip(ends, epochs.labels, strict=True)]
    assert set(kept) <= set(wanted)
    for end, x in zip(ends, epochs.x_uv, strict=True):
        np.testing.assert_array_equal(x, found.read(end - n + 1, end + 1))
        assert not any(end - n + 1 < start <= end for start in found.segments)


def test_a_file_without_windows_is_reported_and_refused_if_it_is_the_only_one():
    empty = recording(TAPS, n=5000, x=noise(), bad=((0, 5000),), source="empty")
    epochs, report = cut_trials([recording(TAPS, n=5000, x=noise()), empty], RECIPE)
    assert len(epochs) == len(TAPS)
    assert report.files[1].dropped == (("in a span marked bad", len(TAPS)),)
    with pytest.raises(DataError, match=r"A class has no trial left:\n0 trials"):
        cut_trials([empty], RECIPE)
