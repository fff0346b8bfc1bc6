"""Trials of recordings: exact windows, dropped trials and their reasons, channels, files."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from pretap.config.train import FitConfig, ScalingConfig, SignalConfig
from pretap.errors import DataError, UsageError
from pretap.recordings.mne_epochs import epochs_to_mne
from pretap.signal.interpolation import interpolating_matrix
from pretap_offline.evaluate.evaluation import evaluate_trials
from pretap_offline.fit.fitting import fit_decoder
from pretap_offline.trials.cut import cut_trials
from pretap_offline.trials.montage import interpolation_weights
from pretap_realtime.decide.modes import CueLocked
from pretap_realtime.score.run import run_over
from trial_cases import RECIPE, TAPS, changed, noise, recording


@pytest.mark.parametrize("sfreq_hz", [100.0, 250.0, 256.0, 512.0, 1000.0, 2048.0, 5000.0])
@pytest.mark.parametrize("window_ms", [(-630.0, -130.0), (-200.0, -50.0), (-100.0, 300.0), (0.0, 33.0), (-7.3, 0.0)])
def test_every_window_ends_with_the_sample_nearest_to_event_and_end(sfreq_hz, window_ms):
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
    assert epochs.is_in_order
    assert report.n_trials == (5, 4)


def test_windows_at_the_edges_are_kept_and_one_sample_further_are_dropped():
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


def test_events_exported_after_resampling_keep_their_times():
    taps = [(sample, ("tap/left", "tap/right")[k % 2]) for k, sample in enumerate(range(1003, 18_000, 1017))]
    segments = (0, 6000, 12_000)
    source = recording(taps, sfreq_hz=1000.0, n=20_000, x=noise(20_000), segments=segments)
    config = msgspec.structs.replace(changed(window_ms=(0.0, 500.0)), signal=SignalConfig(sfreq_hz=250.0))
    epochs, _ = cut_trials([source], config)
    kept = [sample for sample, _ in taps if not any(sample < start <= sample + 531 for start in segments)]
    exported = epochs_to_mne(epochs).events[:, 0]
    assert len(exported) == len(kept)
    assert np.abs(exported - np.array(kept) / 4).max() <= 1


def test_trials_stay_in_order_if_the_clock_of_the_recorder_was_set_back():
    t_s = np.arange(5000) / 250 + 100
    t_s[2500:] -= 15
    epochs, _ = cut_trials([recording(TAPS, n=5000, x=noise(), t_s=t_s, segments=(0, 2500))], RECIPE)
    assert epochs.is_in_order
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
    assert report.files[0].dropped == (("in a pause or outside the recording", 2),)


def test_a_repeated_event_is_one_trial_and_two_classes_on_one_sample_are_dropped():
    events = [(300, "tap/left"), (300, "tap/left"), (400, "tap/left"), (400, "tap/right"), (600, "tap/right")]
    epochs, report = cut_trials([recording(events)], RECIPE)
    assert epochs.labels.tolist() == [0, 1]
    assert report.files[0].n_events == (3, 2)
    assert dict(report.files[0].dropped) == {
        "at the same sample as an event of the same class": 1,
        "at the same sample as an event of another class": 2,
    }


def test_a_marker_in_a_break_does_not_replace_the_tap_whose_sample_is_the_nearest():
    taps = [(300, "tap/left"), (500, "tap/right", 0.0), (500, "tap/right", 0.3), (500, "tap/left", 1.1)]
    for events in (taps, taps[::-1]):
        epochs, report = cut_trials([recording(events, segments=(0, 501))], RECIPE)
        assert epochs.labels.tolist() == [0, 1]
        assert report.files[0].n_events == (2, 2)
        assert report.files[0].dropped == (("in a pause or outside the recording", 2),)


@pytest.mark.parametrize("sfreq_hz", [250.0, 125.0])
@pytest.mark.parametrize("seed", range(20))
def test_every_event_is_a_trial_or_is_dropped_for_a_reason(seed, sfreq_hz):
    rng = np.random.default_rng(seed)
    x, n = noise(n_channels=4, seed=seed), 60
    for where in rng.integers(0, 5000, 4):
        x[where, rng.integers(0, 3)] = np.nan
    x[rng.integers(0, 5000, 3), 0] += 1000
    x[: rng.integers(0, 5000), 3] = np.nan  # this channel is dropped, or costs trials
    samples = np.concatenate([rng.integers(0, 5000, n), rng.integers(0, 40, n) * 125])  # many share a sample
    late_s = rng.choice([0.0, 0.001, -0.0015, 0.3, 2.0], 2 * n)
    texts = rng.choice(["tap/left", "tap/right", "rest"], 2 * n)
    source = recording(
        sorted(zip(samples.tolist(), texts.tolist(), late_s.tolist(), strict=True)),
        n=5000,
        channels=("C3", "C4", "Cz", "Fz"),
        x=x,
        segments=(0, *sorted(set(rng.integers(1, 5000, 3).tolist()))),
        bad=((int(samples[0]), int(samples[0]) + 100),),
    )
    config = msgspec.structs.replace(changed(reject_uv=500.0, flat_uv=0.1), signal=SignalConfig(sfreq_hz=sfreq_hz))
    epochs, report = cut_trials([source], config)
    (file,) = report.files
    assert sum(file.n_events) == sum(text != "rest" for text in texts)
    assert sum(file.n_events) == len(epochs) + sum(count for _, count in file.dropped)
    assert file.n_trials == report.n_trials == tuple(np.bincount(epochs.labels, minlength=2))


def test_bad_channels_are_dropped_before_trials_and_both_are_reported():
    x = noise(n_channels=4)
    x[:, 1] = 3.0  # flat
    x[:, 2] *= 100  # always too large
    x[1000:1005, 0] += 500  # a jump in one window
    config = changed(window_ms=(-400.0, 0.0), reject_uv=200.0, flat_uv=0.5)
    epochs, report = cut_trials([recording(TAPS, n=5000, channels=("C3", "C4", "Cz", "Fz"), x=x)], config)
    assert epochs.channels == report.channels == ("C3", "Fz")
    assert [name for name, _ in report.dropped_channels] == ["C4", "Cz"]
    assert "flat (below 0.5 uV) in 23 of 23 trials" in report.describe()
    assert "above 200 uV peak to peak in 23 of 23 trials" in report.describe()
    assert len(epochs) == 22  # the jump lies in the window of the event at 1100 alone
    assert report.files[0].dropped == (("of unusual amplitude (C3 1)", 1),)


def test_a_channel_without_finite_values_is_dropped_and_named_instead_of_every_trial():
    x = noise(n_channels=3)
    x[:, 1] = np.nan
    x[:2600, 2], x[2600:, 2] = 0.0, np.nan  # unusable throughout, for two reasons
    epochs, report = cut_trials([recording(TAPS, n=5000, x=x)], changed(reject_uv=200.0, flat_uv=0.5))
    assert (epochs.channels, len(epochs)) == (("C3",), len(TAPS))
    dropped = dict(report.dropped_channels)
    assert dropped["C4"] == "not finite in 23 of 23 trials"
    assert dropped["Cz"] == "not finite in 11 and flat (below 0.5 uV) in 12 of 23 trials"


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
    assert report.files[0].dropped == (("with values that are not finite (C3 1, C4 1, Cz 1)", 1),)
    with pytest.raises(DataError, match=r"Every channel is bad, such as C3: flat .* Expected EEG in volts"):
        cut_trials([recording(TAPS, n=5000, x=noise() * 1e-6)], changed(flat_uv=0.5))


def test_a_class_without_a_trial_left_is_refused_with_the_whole_report():
    bad = tuple((s - 60, s) for s, text in TAPS if text == "tap/left")
    with pytest.raises(DataError, match=r"A class has no trial left:\n12 trials \(0 left, 12 right\)[^$]*marked bad"):
        cut_trials([recording(TAPS, n=5000, x=noise(), bad=bad)], RECIPE)


def test_channels_are_included_and_excluded_by_electrode():
    source = recording(TAPS, n=5000, channels=("EEG C3-Ref", "T3", "EOG"))
    assert cut_trials([source], changed(exclude=("eog",)))[0].channels == ("EEG C3-Ref", "T3")
    epochs, _ = cut_trials([source], changed(channels=("T7", "C3")))
    assert epochs.channels == ("T3", "EEG C3-Ref")
    assert epochs.x_uv[0, 0, 0] - epochs.x_uv[0, 0, 1] == 10_000
    with pytest.raises(DataError, match=r"trials.channels: ramp lacks 1 of the 1 channels .* Pz"):
        cut_trials([source], changed(channels=("Pz",)))
    with pytest.raises(DataError, match=r"trials.exclude names channels that no recording has: M1"):
        cut_trials([source], changed(exclude=("M1",)))


def test_a_channel_that_is_no_eeg_may_be_excluded_and_is_not_chosen_without_the_setting():
    source = recording(TAPS, n=5000, left_out=(("VEOG", "EOG by its label"),))
    epochs, report = cut_trials([source], changed(exclude=("VEOG", "Cz")))
    assert epochs.channels == ("C3", "C4")
    assert "left out (EOG by its label): VEOG" in report.describe()
    with pytest.raises(DataError, match=r"names VEOG, which is left out of ramp: EOG by its label.*\[recording\] eeg"):
        cut_trials([source], changed(channels=("VEOG",)))


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
    assert "channel replaced by its neighbours: Cz, flat (below 0.5 uV) in" in report.describe()
    whole = x.copy()
    whole[:, 2] = (x @ interpolating_matrix(weights, [2]).T)[:, 2]
    other, _ = cut_trials([recording(TAPS, n=5000, channels=names, x=whole)], changed(flat_uv=0.5), channels=names)
    assert np.abs(epochs.x_uv - other.x_uv).max() < 1e-4
    have = [0, 1, 3, 4, 5, 6, 7]
    fewer = recording(TAPS, n=5000, channels=tuple(names[i] for i in have), x=x[:, have])
    again, report = cut_trials([fewer], changed(flat_uv=0.5), **settings)
    assert np.array_equal(again.x_uv, epochs.x_uv)


def test_trials_are_dropped_if_more_channels_are_bad_than_the_service_replaces():
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
    assert dict(report.dropped_channels) == {"Cz": "missing from two", "Oz": "missing from one"}
    n = len(TAPS)
    assert (epochs.x_uv[0, :, 0] + 10_000 == epochs.x_uv[n, :, 0]).all()
    assert (epochs.x_uv[0, :, 1] - 20_000 == epochs.x_uv[n, :, 1]).all()
    assert epochs.files.tolist() == [0] * n + [1] * n
    assert epochs.is_in_order
    assert [sum(file.n_trials) for file in report.files] == [n, n]
    assert epochs.source == "one, two"


def test_recordings_are_resampled_to_the_configured_rate_or_that_of_the_first():
    one, two = recording(TAPS, n=5000, x=noise()), recording(TAPS, n=5000, x=noise(), sfreq_hz=500.0)
    epochs, report = cut_trials([one, two], RECIPE)
    assert (epochs.sfreq_hz, report.recorded_hz, epochs.resampled_from_hz) == (250.0, (250.0, 500.0), 500.0)
    assert "resampled from 500 Hz" in report.describe()
    config = msgspec.structs.replace(RECIPE, signal=SignalConfig(sfreq_hz=125.0))
    epochs, _ = cut_trials([one, two], config)
    assert (epochs.sfreq_hz, epochs.n_samples) == (125.0, 19)


def test_a_class_without_events_lists_the_existing_markers():
    config = msgspec.structs.replace(RECIPE, events={"left": ("tap/left",), "rest": ("rest", "pause*")})
    with pytest.raises(
        DataError, match=r"class 'rest': expected markers like 'rest', 'pause\*'; .* 'tap/right' \(12\)"
    ):
        cut_trials([recording(TAPS, n=5000)], config)


def test_without_events_the_error_shows_an_example():
    with pytest.raises(UsageError, match=r"\[events\]\n  left = [^$]*'tap/left' \(1\), 'tap/right' \(1\)"):
        cut_trials([recording()], msgspec.structs.replace(RECIPE, events={}))


def test_a_marker_that_fits_two_classes_is_refused():
    with pytest.raises(UsageError, match="the marker 'tap/left' fits both 'left' and 'any'"):
        cut_trials([recording()], msgspec.structs.replace(RECIPE, events={"left": ("tap/left",), "any": ("tap/*",)}))


@pytest.mark.parametrize("window_ms", [(0.0, 0.0), (100.0, -100.0), (float("nan"), 0.0), (0.0, float("inf"))])
def test_a_window_without_samples_is_refused(window_ms):
    with pytest.raises(UsageError, match=r"trials.window_ms"):
        cut_trials([recording()], changed(window_ms=window_ms))


@pytest.mark.parametrize("sfreq_hz", [100.0, 125.0, 256.0, 1000.0])
@pytest.mark.parametrize("window_ms", [(-200.0, -50.0), (500.0, 2500.0), (12.5, 37.5), (-1000.0, 3000.0)])
def test_cropped_trials_are_those_cut_from_the_recording(sfreq_hz, window_ms):
    taps = [(round(2 * sfreq_hz) + k * 317, ("tap/left", "tap/right")[k % 2]) for k in range(9)]
    source = recording(taps, sfreq_hz=sfreq_hz, n=round(6 * sfreq_hz) + 3000)
    long, _ = cut_trials([source], changed(window_ms=(-1000.0, 3000.0)))
    wanted, cropped = cut_trials([source], changed(window_ms=window_ms))[0], long.crop(*window_ms)
    np.testing.assert_array_equal(cropped.x_uv, wanted.x_uv)
    np.testing.assert_allclose(cropped.at_s, wanted.at_s, rtol=0, atol=1e-9)
    assert (cropped.trial_ids, cropped.window_end_ms) == (wanted.trial_ids, wanted.window_end_ms)


def test_a_window_outside_the_trials_is_refused_with_what_they_have():
    long, _ = cut_trials([recording()], changed(window_ms=(0.0, 1000.0)))
    for window_ms in ((-4.0, 500.0), (500.0, 1004.0)):
        with pytest.raises(DataError, match="they have 4 to 1000 ms relative to the event"):
            long.crop(*window_ms)
    with pytest.raises(UsageError, match="holds no sample"):
        long.crop(500.0, 500.0)


def test_drift_and_a_common_signal_reject_nothing_but_a_jump_does_and_a_bundle_drops_the_same_trials():
    x = noise(n_channels=4)
    x[1000:1005, 0] += 400
    x += np.linspace(0, 50_000, len(x))[:, None]  # 10 uV each sample: 1000 uV in a window
    x += 3000 * np.sin(np.arange(len(x)))[:, None]  # mains in all channels, which the average reference removes
    names = ("C3", "C4", "Cz", "Fz")
    config = changed(window_ms=(-400.0, 0.0), reject_uv=1000.0, flat_uv=0.5)
    average = msgspec.structs.replace(config, scaling=ScalingConfig(reference="average"))
    epochs, report = cut_trials([recording(TAPS, n=5000, channels=names, x=x)], average)
    assert epochs.channels == names
    assert report.warnings == ()
    assert report.files[0].dropped == (("of unusual amplitude (C3 1)", 1),)
    again, _ = cut_trials([recording(TAPS, n=5000, channels=names, x=x)], average, channels=names)
    assert again.trial_ids == epochs.trial_ids
    everything, _ = cut_trials([recording(TAPS, n=5000, channels=names, x=x)], changed(window_ms=(-400.0, 0.0)))
    assert len(everything) == len(TAPS)


def test_two_files_are_judged_apart_so_each_alone_drops_the_same_trials():
    quiet, loud = noise(seed=1), noise(seed=2, uv=60.0)
    quiet[1000:1005, 0] += 300
    files = [recording(TAPS, n=5000, x=x, source=name) for x, name in ((quiet, "quiet"), (loud, "loud"))]
    config = changed(window_ms=(-400.0, 0.0), reject_uv=2000.0)
    both, report = cut_trials(files, config)
    assert [sum(file.n_trials) for file in report.files] == [22, 23]
    alone = [cut_trials([file], config, channels=both.channels)[0].trial_ids for file in files]
    assert both.trial_ids == alone[0] + alone[1]


def test_losing_the_electrode_nearest_to_a_hand_area_or_a_third_of_the_trials_is_a_warning():
    x = noise(n_channels=4)
    x[:, 1] = 0.0
    bad = tuple((s - 60, s) for s, _ in TAPS[:8])
    source = recording(TAPS, n=5000, channels=("Cz", "CP4", "CP3", "O1"), x=x, bad=bad)
    _, report = cut_trials([source], changed(reject_uv=1000.0, flat_uv=0.5))
    assert [warning.split()[0] for warning in report.warnings] == ["CP4", "8"]
    assert "8 of 23 events gave no trial, 8 of them in a span marked bad." in report.warnings[1]
    assert "WARNING: CP4 is over a hand area" in report.describe()
    with_all = recording(TAPS, n=5000, channels=("Cz", "CP4", "CP3", "O1"), x=noise(n_channels=4), bad=bad[:6])
    assert cut_trials([with_all], changed(flat_uv=0.5))[1].warnings == ()
