"""Trials out of recordings: exact windows, what is dropped and why, which channels, which files."""

from __future__ import annotations

import edfio
import mne
import msgspec
import numpy as np
import pytest

from pretap.config.train import FitConfig, SignalConfig, TrainConfig, TrialsConfig
from pretap.errors import DataError, UsageError
from pretap.networks import LstmSpec
from pretap.recordings.continuous import open_recording, recording_from_raw
from pretap.recordings.mne_epochs import epochs_to_mne
from pretap.recordings.recording import Event, Recording, sample_at
from pretap.signal.interpolation import interpolating_matrix
from pretap_offline.evaluate.evaluation import evaluate_trials
from pretap_offline.fit.fitting import fit_decoder
from pretap_offline.trials.cut import cut_trials
from pretap_offline.trials.montage import interpolation_weights
from pretap_realtime.decide.modes import CueLocked
from pretap_realtime.score.run import run_over

RECIPE = TrainConfig(
    network=LstmSpec(hidden=(2,)),
    events={"left": ("tap/left",), "right": ("tap/right",)},
    trials=TrialsConfig(window_ms=(-200.0, -50.0), reject_uv=0.0, flat_uv=0.0),
)


def recording(
    events=((300, "tap/left"), (600, "tap/right")),
    *,
    sfreq_hz=250.0,
    n=1000,
    channels=("C3", "C4", "Cz"),
    x=None,
    **more,
) -> Recording:
    """Each sample of each channel is its own index in microvolts, plus 10 000 a channel."""
    ramp = np.arange(n)[:, None] + 10_000.0 * np.arange(len(channels))  # (n_samples, n_channels)
    values = (ramp if x is None else x).astype(np.float32)
    return Recording(
        channels=channels,
        sfreq_hz=sfreq_hz,
        n_samples=n,
        events=tuple(Event(*event) for event in events),
        read=lambda start, stop: values[start:stop],
        source=more.pop("source", "ramp"),
        **more,
    )


def changed(**trials) -> TrainConfig:
    return msgspec.structs.replace(RECIPE, trials=msgspec.structs.replace(RECIPE.trials, **trials))


def noise(n=5000, n_channels=3, *, seed=0, uv=10.0):
    return np.random.default_rng(seed).normal(0, uv, (n, n_channels))


TAPS = tuple((s, "tap/left" if i % 2 else "tap/right") for i, s in enumerate(range(300, 4800, 200)))


# -- windows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sfreq_hz", [100.0, 250.0, 256.0, 512.0, 1000.0, 2048.0, 5000.0])
@pytest.mark.parametrize("window_ms", [(-630.0, -130.0), (-200.0, -50.0), (-100.0, 300.0), (0.0, 33.0), (-7.3, 0.0)])
def test_every_window_holds_exactly_the_samples_that_end_with_the_one_the_rule_names(sfreq_hz, window_ms):
    n_window = round((window_ms[1] - window_ms[0]) / 1000 * sfreq_hz)
    at = [round(2 * sfreq_hz) + k * 317 for k in range(9)]
    taps = [(sample, ("tap/left", "tap/right")[k % 2]) for k, sample in enumerate(at)]
    config = changed(window_ms=window_ms)
    epochs, report = cut_trials([recording(taps, sfreq_hz=sfreq_hz, n=round(6 * sfreq_hz) + 3000)], config)
    assert epochs.x_uv.shape == (9, n_window, 3)
    for x, sample in zip(epochs.x_uv, at, strict=True):
        last = sample + round(window_ms[1] / 1000 * sfreq_hz)
        expected = np.arange(last - n_window + 1, last + 1)[:, None] + [0, 10_000, 20_000]
        np.testing.assert_allclose(x, expected, rtol=0, atol=2e-3)  # float32 of 30 000
    assert epochs.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert epochs.window_end_ms == window_ms[1]
    assert epochs.in_order
    assert report.n_trials == (5, 4)


def test_windows_at_the_very_edges_are_kept_and_one_sample_further_are_dropped():
    last, n = -12, 38  # -50 ms is -12.5: to the even one; 150 ms are 37.5: 38
    first_whole, last_whole = n - 1 - last, 999 - last
    events = [(first_whole - 1, "tap/left"), (first_whole, "tap/left"), (last_whole, "tap/right"), (990, "tap/right")]
    shifted = changed(window_ms=(-200.0, -50.0))
    epochs, report = cut_trials([recording([e for e in events if e[0] < 1000])], shifted)
    assert epochs.x_uv[0, 0, 0] == 0
    assert report.files[0].dropped == (("too close to an end of the recording", 1),)
    after = changed(window_ms=(0.0, 100.0))
    epochs, report = cut_trials([recording([(100, "tap/left"), (974, "tap/right"), (975, "tap/right")])], after)
    assert epochs.x_uv[1, -1, 0] == 999
    assert report.files[0].dropped == (("too close to an end of the recording", 1),)


_CLOCKS = {  # of 1000 Hz for 20 s: as nominal, with a break, 500 ppm slow
    "nominal": (None, (0,)),
    "a break": (np.arange(20_000) / 1000 + 1000 + 3.0123 * (np.arange(20_000) >= 9000), (0, 9000)),
    "500 ppm": (np.arange(20_000) / 1000 * 1.0005 + 7, (0,)),
}


@pytest.mark.parametrize("clock", list(_CLOCKS))
@pytest.mark.parametrize("sfreq_hz", [1000.0, 512.0, 250.0, 256.0, 100.0])
def test_evaluate_and_score_give_the_same_probabilities_trial_by_trial(sfreq_hz, clock):
    t_s, segments = _CLOCKS[clock]
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(0, 3, (20_000, 3)), axis=0)
    # every 337th sample: 4 ms and 10 ms steps meet half-way ties; every third event lies between two samples
    taps = [
        (sample, ("tap/left", "tap/right")[k % 2], float(rng.uniform(-0.0005, 0.0005)) if k % 3 == 0 else 0.0)
        for k, sample in enumerate(range(50, 19_999, 337))
    ]
    source = recording(taps, sfreq_hz=1000.0, n=20_000, x=x, t_s=t_s, segments=segments)
    config = msgspec.structs.replace(
        changed(window_ms=(-630.0, -130.0)), signal=SignalConfig(sfreq_hz=sfreq_hz), fit=FitConfig(max_epochs=2)
    )
    epochs, _ = cut_trials([source], config)
    decoder, _ = fit_decoder(epochs, config, seed=0)
    mode, decisions = CueLocked(decoder, offset_s=-0.13, patterns=("tap/*",)), []
    run_over(source, decoder, mode, n_chunk=77, on_decisions=decisions.extend)
    decided = [d for d in decisions if d.probs is not None]
    assert len(epochs) == len(decided) > 50
    offline = evaluate_trials(decoder, epochs).probs
    np.testing.assert_allclose(offline, [d.probs for d in decided], rtol=0, atol=1e-6)
    assert np.ptp(offline[:, 0]) > 1e-3  # the windows do differ to this network
    start_s = 0.0 if t_s is None else t_s[0]
    np.testing.assert_allclose(epochs.at_s, [d.t_s - start_s for d in decided], rtol=0, atol=1e-9)


def test_events_that_are_exported_after_resampling_lie_where_the_file_has_them():
    taps = [(sample, ("tap/left", "tap/right")[k % 2]) for k, sample in enumerate(range(1003, 18_000, 1017))]
    segments = (0, 6000, 12_000)
    source = recording(taps, sfreq_hz=1000.0, n=20_000, x=noise(20_000), segments=segments)
    config = msgspec.structs.replace(changed(window_ms=(0.0, 500.0)), signal=SignalConfig(sfreq_hz=250.0))
    epochs, _ = cut_trials([source], config)
    kept = [sample for sample, _ in taps if not any(sample < start <= sample + 531 for start in segments)]
    exported = epochs_to_mne(epochs).events[:, 0]
    assert len(exported) == len(kept)
    assert np.abs(exported - np.array(kept) / 4).max() <= 1


def test_trials_stay_in_order_where_the_recorder_s_clock_was_set_back():
    t_s = np.arange(5000) / 250 + 100
    t_s[2500:] -= 15
    epochs, _ = cut_trials([recording(TAPS, n=5000, x=noise(), t_s=t_s, segments=(0, 2500))], RECIPE)
    assert epochs.in_order
    assert np.diff(epochs.at_s).min() > 0.5


def test_no_window_crosses_the_start_of_a_segment_or_touches_a_bad_span():
    # windows are [sample - 49, sample - 12]
    events = [(s, "tap/left") for s in (300, 349, 350, 311, 312)] + [(s, "tap/right") for s in (600, 700)]
    cut = recording(events, segments=(0, 300), bad=((540, 551), (688, 689), (660, 661)))
    epochs, report = cut_trials([cut], changed(window_ms=(-200.0, -48.0)))
    # 300 and 311 end before the break that they come after; 349: starts at 300, with the segment; 312: ends at 300
    kept = (epochs.x_uv[:, -1, 0] + 12).astype(int).tolist()
    assert kept == [349, 350, 600]
    assert dict(report.files[0].dropped) == {"across a break": 3, "in a span marked bad": 1}


def test_a_break_between_window_and_event_drops_the_trial():
    # 250 Hz: the window of the tap at 320 ends 32 samples before it, at 288, and that was before the break at 300
    _, report = cut_trials([recording([(320, "tap/left"), *TAPS[1:]], n=5000, segments=(0, 300))], RECIPE)
    assert report.files[0].dropped == (("across a break", 1),)


def test_an_event_more_than_a_sample_from_the_nearest_one_is_dropped():
    events = [(300, "tap/left", 0.0039), (400, "tap/left", 0.0041), (500, "tap/right", -0.0041), (600, "tap/right")]
    epochs, report = cut_trials([recording(events)], RECIPE)  # a sample is 4 ms
    assert len(epochs) == 2
    assert report.files[0].dropped == (("more than a sample from the nearest one", 2),)


def test_one_event_sent_twice_is_one_trial_and_two_classes_on_one_sample_are_none():
    events = [(300, "tap/left"), (300, "tap/left"), (400, "tap/left"), (400, "tap/right"), (600, "tap/right")]
    epochs, report = cut_trials([recording(events)], RECIPE)
    assert epochs.labels.tolist() == [0, 1]
    assert report.files[0].dropped == (("on one sample with another class", 2),)


# -- channels and amplitudes ---------------------------------------------------------------------------------------


def test_bad_channels_go_first_then_trials_and_the_report_says_so():
    x = noise(n_channels=4)
    x[:, 1] = 3.0  # flat
    x[:, 2] *= 100  # always too large
    x[1000:1005, 0] += 500  # a jump in one window
    config = changed(window_ms=(-400.0, 0.0), reject_uv=200.0, flat_uv=0.5)
    epochs, report = cut_trials([recording(TAPS, n=5000, channels=("C3", "C4", "Cz", "Fz"), x=x)], config)
    assert epochs.channels == report.channels == ("C3", "Fz")
    assert [name for name, _ in report.dropped_channels] == ["C4", "Cz"]
    assert "flat (below 0.5 uV) in 23 of 23 trials" in report.words()
    assert "above 200 uV peak to peak in 23 of 23 trials" in report.words()
    assert len(epochs) == 22  # the jump lies in the window of the event at 1100 alone
    assert report.files[0].dropped == (("of amplitude outside 0.5 to 200 uV (C3 1)", 1),)


def test_an_offset_of_100_millivolts_rejects_nothing_and_costs_no_accuracy():
    x = noise()
    config = changed(reject_uv=200.0, flat_uv=0.5)
    plain, _ = cut_trials([recording(TAPS, n=5000, x=x)], config)
    shifted, _ = cut_trials([recording(TAPS, n=5000, x=x + 100_000)], config)
    assert len(plain) == len(shifted) == len(TAPS)
    assert np.abs(shifted.x_uv - 100_000 - plain.x_uv).max() < 0.01  # half a float32 step at 100 000 is 0.004


def test_windows_with_nan_are_dropped_and_a_recording_in_volts_taken_as_microvolts_is_refused():
    x = noise()
    x[1060] = np.nan
    epochs, report = cut_trials([recording(TAPS, n=5000, x=x)], changed(reject_uv=200.0))
    assert len(epochs) == len(TAPS) - 1
    assert report.files[0].dropped == (("with values that are not finite", 1),)
    with pytest.raises(DataError, match=r"Every channel is bad, such as C3: flat .* Expected EEG in volts"):
        cut_trials([recording(TAPS, n=5000, x=noise() * 1e-6)], changed(flat_uv=0.5))


def test_a_class_without_a_trial_left_is_refused_with_the_whole_account():
    bad = tuple((s - 60, s) for s, text in TAPS if text == "tap/left")
    with pytest.raises(DataError, match=r"A class has no trial left:\n12 trials \(0 left, 12 right\)[^$]*marked bad"):
        cut_trials([recording(TAPS, n=5000, x=noise(), bad=bad)], RECIPE)


def test_channels_are_picked_and_left_out_by_electrode():
    source = recording(TAPS, n=5000, channels=("EEG C3-Ref", "T3", "EOG"))
    assert cut_trials([source], changed(exclude=("eog",)))[0].channels == ("EEG C3-Ref", "T3")
    epochs, _ = cut_trials([source], changed(channels=("T7", "C3")))
    assert epochs.channels == ("T3", "EEG C3-Ref")
    assert epochs.x_uv[0, 0, 0] - epochs.x_uv[0, 0, 1] == 10_000
    with pytest.raises(DataError, match=r"trials.channels: ramp lacks 1 of the 1 channels .* Pz"):
        cut_trials([source], changed(channels=("Pz",)))
    with pytest.raises(DataError, match=r"trials.exclude names channels that no recording has: M1"):
        cut_trials([source], changed(exclude=("M1",)))


# -- several files -------------------------------------------------------------------------------------------------


def test_a_biosemi_recording_is_trained_under_the_names_of_the_electrodes():
    labels = tuple(f"{bank}{k}" for bank in "AB" for k in range(1, 33))
    epochs, _ = cut_trials([recording(TAPS, n=5000, channels=labels)], changed(channels=("C3", "C4"), flat_uv=0.0))
    assert epochs.channels == ("C3", "C4")
    assert epochs.x_uv.shape[2] == 2


def test_for_a_bundle_flat_and_missing_channels_are_replaced_as_live():
    names = ("Fz", "C3", "Cz", "C4", "Pz", "O1", "O2", "FC1")
    weights = interpolation_weights(names)
    x = noise(n_channels=8)
    x[:, 2] = 0.0
    settings = {"channels": names, "interpolation": weights}
    epochs, report = cut_trials([recording(TAPS, n=5000, channels=names, x=x)], changed(flat_uv=0.5), **settings)
    assert report.replaced_channels[0][0] == "Cz"
    assert "channel replaced by its neighbours: Cz, flat (below 0.5 uV) in" in report.words()
    whole = x.copy()
    whole[:, 2] = (x @ interpolating_matrix(weights, [2]).T)[:, 2]
    other, _ = cut_trials([recording(TAPS, n=5000, channels=names, x=whole)], changed(flat_uv=0.5), channels=names)
    assert np.abs(epochs.x_uv - other.x_uv).max() < 1e-4
    have = [0, 1, 3, 4, 5, 6, 7]
    fewer = recording(TAPS, n=5000, channels=tuple(names[i] for i in have), x=x[:, have])
    again, report = cut_trials([fewer], changed(flat_uv=0.5), **settings)
    assert np.array_equal(again.x_uv, epochs.x_uv)


def test_more_channels_than_live_would_replace_cost_the_trials():
    names = ("Fz", "C3", "Cz", "C4", "Pz", "O1", "O2", "FC1")
    x = noise(n_channels=8)
    x[:, [2, 3]] = 0.0
    weights = interpolation_weights(names)
    with pytest.raises(DataError, match="A class has no trial left"):
        cut_trials(
            [recording(TAPS, n=5000, channels=names, x=x)], changed(flat_uv=0.5), channels=names, interpolation=weights
        )


def test_files_share_electrodes_not_positions_and_the_rest_is_reported():
    one = recording(TAPS, n=5000, channels=("C3", "Cz", "T3"), source="one")
    two = recording(TAPS, n=5000, channels=("T7", "C3", "Oz"), source="two")
    epochs, report = cut_trials([one, two], RECIPE)
    assert epochs.channels == ("C3", "T3")
    assert dict(report.dropped_channels) == {"Cz": "not in every recording", "Oz": "not in every recording"}
    n = len(TAPS)
    assert (epochs.x_uv[0, :, 0] + 10_000 == epochs.x_uv[n, :, 0]).all()
    assert (epochs.x_uv[0, :, 1] - 20_000 == epochs.x_uv[n, :, 1]).all()
    assert epochs.files.tolist() == [0] * n + [1] * n
    assert epochs.in_order
    assert [sum(file.n_trials) for file in report.files] == [n, n]
    assert epochs.source == "one, two"


def test_recordings_at_other_rates_are_brought_to_the_configured_one_or_the_first_one_s():
    one, two = recording(TAPS, n=5000, x=noise()), recording(TAPS, n=5000, x=noise(), sfreq_hz=500.0)
    epochs, report = cut_trials([one, two], RECIPE)
    assert (epochs.sfreq_hz, report.recorded_hz, epochs.resampled_from_hz) == (250.0, (250.0, 500.0), 500.0)
    assert "resampled from 500 Hz" in report.words()
    config = msgspec.structs.replace(RECIPE, signal=SignalConfig(sfreq_hz=125.0))
    epochs, _ = cut_trials([one, two], config)
    assert (epochs.sfreq_hz, epochs.n_samples) == (125.0, 19)


# -- configuration -------------------------------------------------------------------------------------------------


def test_a_class_without_events_lists_the_markers_that_are_there():
    config = msgspec.structs.replace(RECIPE, events={"left": ("tap/left",), "rest": ("rest", "pause*")})
    with pytest.raises(
        DataError, match=r"class 'rest': expected markers like 'rest', 'pause\*'; .* 'tap/right' \(12\)"
    ):
        cut_trials([recording(TAPS, n=5000)], config)


def test_without_events_the_error_says_what_to_write():
    with pytest.raises(UsageError, match=r"\[events\]\n  left = [^$]*'tap/left' \(1\), 'tap/right' \(1\)"):
        cut_trials([recording()], msgspec.structs.replace(RECIPE, events={}))


def test_a_marker_that_fits_two_classes_is_refused():
    with pytest.raises(UsageError, match="the marker 'tap/left' fits both 'left' and 'any'"):
        cut_trials([recording()], msgspec.structs.replace(RECIPE, events={"left": ("tap/left",), "any": ("tap/*",)}))


@pytest.mark.parametrize("window_ms", [(0.0, 0.0), (100.0, -100.0), (float("nan"), 0.0), (0.0, float("inf"))])
def test_a_window_without_samples_is_refused(window_ms):
    with pytest.raises(UsageError, match=r"trials.window_ms"):
        cut_trials([recording()], changed(window_ms=window_ms))


# -- from files ----------------------------------------------------------------------------------------------------


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


def test_codes_of_a_trigger_channel_are_events_beside_the_annotations(tmp_path):
    path = tmp_path / "taps_raw.fif"
    raw_of_taps(stim=True).save(path, verbose="error")
    coded = msgspec.structs.replace(RECIPE, events={"left": ("1",), "right": ("2",)})
    (one, _), (other, _) = (cut_trials([open_recording(path)], config) for config in (coded, RECIPE))
    np.testing.assert_array_equal(one.x_uv, other.x_uv)
    assert one.labels.tolist() == other.labels.tolist()


@pytest.mark.parametrize(("idle", "codes"), [(0, ("1", "2")), (0xFF00, ("1", "2")), (0x1D0000, ("1", "2"))])
def test_biosemi_s_state_bits_and_floating_lines_are_no_part_of_the_code(idle, codes):
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


def test_a_raw_handed_in_is_left_as_it_is():
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


def test_a_file_without_a_single_window_is_reported_and_alone_refused():
    empty = recording(TAPS, n=5000, x=noise(), bad=((0, 5000),), source="empty")
    epochs, report = cut_trials([recording(TAPS, n=5000, x=noise()), empty], RECIPE)
    assert len(epochs) == len(TAPS)
    assert report.files[1].dropped == (("in a span marked bad", len(TAPS)),)
    with pytest.raises(DataError, match=r"A class has no trial left:\n0 trials"):
        cut_trials([empty], RECIPE)
