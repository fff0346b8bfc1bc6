"""``pretap latency --analyse``: the known delay of a simulated photodiode, from files of two independent writers."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bundle_files import manifest, weights
from command_line import invoke, run
from diode_files import Diode, write_by_hand, write_ours
from pretap.bundle.file import write_bundle
from pretap.config.serve import load_decoders
from pretap.errors import DataError, UsageError
from pretap_realtime.latency.diode import DiodeResult, analyse

WRITERS = [write_ours, write_by_hand]


def check(found: DiodeResult, diode: Diode, *, within_samples: float = 0.1) -> None:
    """Compare with the truth."""
    truth_ms = 1000 * np.array(diode.delays_s)
    truth_ms = truth_ms[np.isfinite(truth_ms)]
    delay, tolerance_ms = found.markers.delay, within_samples * 1000 / diode.sfreq_hz
    assert (found.markers.n_markers, found.markers.n_missed) == (60, 60 - len(truth_ms))
    assert found.markers.n_extra == 0
    assert delay.n == len(truth_ms) == sum(each.n for each in delay.histogram)
    assert delay.p50_ms == pytest.approx(np.median(truth_ms), abs=tolerance_ms)
    assert delay.p5_ms == pytest.approx(np.percentile(truth_ms, 5), abs=3 * tolerance_ms)
    assert delay.p95_ms == pytest.approx(np.percentile(truth_ms, 95), abs=3 * tolerance_ms)
    assert delay.sd_ms == pytest.approx(truth_ms.std(ddof=1), abs=tolerance_ms)
    assert found.markers.on_is_rise == (diode.polarity > 0)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("polarity", [1.0, -1.0])
@pytest.mark.parametrize("sfreq_hz", [100.0, 250.0, 512.0, 1000.0, 2048.0])
def test_delay_and_jitter_are_found_at_every_rate_and_polarity(tmp_path, write, polarity, sfreq_hz):
    diode = Diode(sfreq_hz=sfreq_hz, polarity=polarity, delay_s=0.043, jitter_s=0.005)
    check(analyse(write(tmp_path / "a.xdf", diode), channel="DIODE"), diode)


@pytest.mark.parametrize("baseline", ["drift", "sway", "highpass"])
@pytest.mark.parametrize("polarity", [1.0, -1.0])
def test_a_baseline_that_moves_changes_nothing(tmp_path, baseline, polarity):
    diode = Diode(baseline=baseline, polarity=polarity, jitter_s=0.005)
    check(analyse(write_ours(tmp_path / "a.xdf", diode), channel="DIODE"), diode, within_samples=0.25)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("baseline", ["flat", "drift"])
def test_flips_without_light_are_counted_as_missed(tmp_path, write, baseline):
    diode = Diode(share_missed=0.2, baseline=baseline, jitter_s=0.005)
    assert 4 < np.isnan(diode.delays_s).sum() < 30
    check(analyse(write(tmp_path / "a.xdf", diode), channel="DIODE"), diode)


@pytest.mark.parametrize("delay_s", [-0.02, 0.0, 0.3])
def test_a_delay_may_be_long_or_negative(tmp_path, delay_s):
    diode = Diode(delay_s=delay_s, jitter_s=0.004)
    check(analyse(write_ours(tmp_path / "a.xdf", diode), channel="DIODE"), diode)


def test_noise_of_a_tenth_of_the_step_and_spikes_are_no_edges(tmp_path):
    diode = Diode(noise=0.03, jitter_s=0.005)
    diode.x[700:2000:61, 1] += 3000.0
    check(analyse(write_ours(tmp_path / "a.xdf", diode), channel="DIODE"), diode, within_samples=0.5)


def test_light_without_a_marker_is_counted(tmp_path):
    diode = Diode()
    del diode.markers[40:44]
    found = analyse(write_ours(tmp_path / "a.xdf", diode), channel="DIODE").markers
    assert (found.n_markers, found.n_missed, found.n_extra) == (56, 0, 4)


def test_other_markers_are_named_by_patterns_and_on_alone_suffices(tmp_path):
    diode = Diode(words=("stimulus/7", "blank"), delay_s=0.03)
    path = write_ours(tmp_path / "a.xdf", diode)
    with pytest.raises(DataError, match=r"no marker matches 'flash/on' or 'flash/off'. It has blank, stimulus/7"):
        analyse(path, channel="DIODE")
    found = analyse(path, channel="DIODE", on="stimulus/*")
    assert (found.markers.n_markers, found.markers.n_missed, found.markers.n_extra) == (30, 0, 0)
    assert found.markers.delay.p50_ms == pytest.approx(30, abs=0.2)
    assert found.loop is None
    assert analyse(path, channel="DIODE", on="stimulus/*", markers="task").markers == found.markers


def test_the_whole_loop_is_measured_from_the_decision(tmp_path):
    diode = Diode(delay_s=0.02)
    decisions = [(t_s - 0.005, text.replace("flash", "decision")) for t_s, text in diode.markers]
    diode.markers = sorted(diode.markers + decisions)
    found = analyse(write_ours(tmp_path / "a.xdf", diode), channel="DIODE")
    assert found.markers.delay.p50_ms == pytest.approx(20, abs=0.2)
    assert found.loop is not None
    assert (found.loop.delay.p50_ms, found.loop.n_missed) == (pytest.approx(25, abs=0.2), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channel": "LIGHT"}, "'amp' has no channel 'LIGHT', which a setting or option names. It has C3, DIODE, C4"),
        ({"channel": "C3"}, "expected edges of 'C3' near its 60 markers and nowhere else"),
        (
            {"channel": "DIODE", "markers": "game"},
            "is called 'game' (--markers). Beside the EEG, it has 'task'",
        ),
    ],
)
def test_a_wrong_channel_or_stream_is_refused_by_name(tmp_path, options, message):
    with pytest.raises(DataError) as refused:
        analyse(write_ours(tmp_path / "a.xdf", Diode()), **options)
    assert message in str(refused.value)


@pytest.fixture
def bundle_with_events(tmp_path) -> Path:
    """A bundle whose window ends 130 ms before its events."""
    training = manifest().training
    config = msgspec.structs.replace(training.config, events={"left": ("tap/left",), "right": ("tap/right",)})
    path = tmp_path / "events.safetensors"
    write_bundle(path, manifest(training=msgspec.structs.replace(training, config=config)), weights())
    return path


def test_the_command_writes_an_offset_that_serve_reads(tmp_path, bundle_with_events):
    path = write_ours(tmp_path / "a.xdf", Diode(delay_s=0.0371))
    out, figure, file = tmp_path / "offset.toml", tmp_path / "delays.svg", tmp_path / "delays.json"
    analysis = ["latency", bundle_with_events, "--analyse", path, "--channel", "DIODE", "--out", out]
    said = invoke(*analysis, "--figure", figure, "--json", file)
    [(_, config)] = load_decoders(out)
    assert config.cue.offset_ms == pytest.approx(-130 + 37.1, abs=0.2)
    assert f"--set cue.offset_ms={config.cue.offset_ms:.1f}" in said
    assert json.loads(file.read_bytes())["markers"]["delay"]["n"] == 60
    assert figure.read_text().lstrip().startswith("<?xml")
    with pytest.raises(UsageError, match="already exists"):
        invoke(*analysis)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--analyse", "a.xdf"], "--analyse needs the --channel"),
        (["--analyse", "a.xdf", "--channel", "D", "--out", "o.toml"], "--out needs the BUNDLE"),
        (["--analyse", "a.xdf", "--channel", "D", "--flash"], "--flash is for --flash, not for --analyse"),
        (["--service", "pretap", "--hop-ms", "20"], "--hop-ms is for a loopback, not for --service"),
        (["--channel", "D"], "--channel is for --analyse, not for a loopback"),
    ],
)
def test_an_option_of_another_way_of_measuring_is_refused(arguments, message):
    done = run("latency", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_an_analysis_of_a_missing_file_ends_with_the_code_for_bad_data():
    done = run("latency", "--analyse", str(Path("nowhere") / "a.xdf"), "--channel", "DIODE")
    assert done.returncode == 7
    assert "a.xdf" in done.stderr
