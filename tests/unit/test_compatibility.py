"""Does a stream fit a bundle? Descriptions in, a mapping or a reason out."""

from dataclasses import replace

import pytest

from pretap.config.serve import StreamConfig
from pretap.errors import StreamRefusedError, UsageError
from pretap.signal.channels import MISSING
from pretap_offline.trials.montage import interpolation_weights
from pretap_realtime.signal.compatibility import (
    Description,
    changes,
    check_stream,
    describe_mapping,
    describe_rate,
    same_rate,
)

CHANNELS = ("Fz", "C3", "Cz", "C4", "Pz", "O1", "O2", "FC1")
STREAM = Description(
    name="Amp",
    hostname="lab",
    format="float32",
    n_channels=8,
    sfreq_hz=100.0,
    labels=CHANNELS,
    units=("microvolts",) * 8,
)


@pytest.fixture(scope="module")
def manifest(make_decoder):
    return make_decoder(channels=CHANNELS).manifest


@pytest.fixture(scope="module")
def weights():
    return interpolation_weights(CHANNELS)


@pytest.mark.parametrize(("one", "other", "same"), [(1000, 1000, True), (990, 1000, True), (989, 1000, False)])
def test_rates_within_one_percent_are_the_same(one, other, same):
    assert same_rate(one, other) is same


@pytest.mark.parametrize(("sfreq_hz", "fits"), [(9.9, False), (10.0, True), (25600.0, True), (25601.0, False)])
def test_rates_from_a_tenth_to_256_times_are_taken(manifest, sfreq_hz, fits):
    stream = replace(STREAM, sfreq_hz=sfreq_hz)
    if fits:
        assert check_stream(stream, manifest, StreamConfig()).sfreq_hz == sfreq_hz
        return
    with pytest.raises(StreamRefusedError, match="what can be resampled to it"):
        check_stream(stream, manifest, StreamConfig())


def test_the_configuration_says_the_rate_where_the_stream_does_not_or_wrongly(manifest):
    for found in (0.0, 250.0):
        mapping = check_stream(replace(STREAM, sfreq_hz=found), manifest, StreamConfig(sfreq_hz=128.0))
        assert mapping.sfreq_hz == 128.0


def test_without_the_bundle_s_interpolation_a_missing_channel_is_refused(manifest):
    stream = replace(STREAM, n_channels=7, labels=CHANNELS[:7], units=("uV",) * 7)
    with pytest.raises(StreamRefusedError, match=r"lacks 1 of the 8 channels of the bundle: FC1\."):
        check_stream(stream, manifest, StreamConfig())


def test_with_it_a_missing_or_bad_channel_has_no_place_in_the_stream(manifest, weights):
    stream = replace(STREAM, n_channels=7, labels=CHANNELS[:7], units=("uV",) * 7)
    mapping = check_stream(stream, manifest, StreamConfig(), interpolation=weights)
    assert (mapping.missing, mapping.order[7], mapping.factors[7]) == ((7,), MISSING, 0.0)
    mapping = check_stream(STREAM, manifest, StreamConfig(bad=("EEG cz",)), interpolation=weights)
    assert mapping.missing == (2,)


def test_a_bad_electrode_that_the_bundle_does_not_have_is_a_mistake_in_the_configuration(manifest, weights):
    with pytest.raises(UsageError, match=r"stream\.bad: the bundle has no electrode 'P9'; it has Fz, C3"):
        check_stream(STREAM, manifest, StreamConfig(bad=("P9",)), interpolation=weights)


def test_the_mapping_in_words(manifest, weights):
    labels = ("Trigger", "c3", *CHANNELS[2:], "Fz")
    stream = replace(STREAM, n_channels=9, labels=labels, units=("",) + ("mV",) * 8)
    config = StreamConfig(bad=("O2",))
    mapping = check_stream(stream, manifest, config, interpolation=weights)
    lines = describe_mapping(mapping, manifest, delay_s=0.0).splitlines()
    assert lines[0] == "  Fz     <- channel   9 'Fz' x 1000 uV"
    assert lines[1] == "  C3     <- channel   2 'c3' x 1000 uV"
    assert lines[6] == "  O2     <- missing: interpolated from its neighbours"
    assert lines[8:] == ["  not used: Trigger, O2", "  100 Hz, as the bundle takes it"]
    assert describe_rate(512.0, 100.0, delay_s=0.08).startswith(
        "resampled from 512 to 100 Hz: every decision comes 80.0 ms"
    )


@pytest.mark.parametrize(
    "new, said",
    [
        ({}, ""),
        ({"source_id": "b"}, "not as before: source_id '', now 'b'"),
        ({"hostname": "den"}, "not as before: host 'lab', now 'den'"),
        ({"sfreq_hz": 250.0}, "not as before: rate '100 Hz', now '250 Hz'"),
        ({"units": ("volts",) * 8}, "not as before: unit 'microvolts', now 'volts'"),
        ({"labels": CHANNELS[::-1]}, "not as before: the channels are in another order"),
        ({"labels": ("F9", *CHANNELS[1:])}, "not as before: the channels have other names"),
        ({"subject": "\x1b[2Jeve", "format": "int16"}, "not as before: format 'float32', now 'int16'; "
         "subject '', now '?[2Jeve'"),
    ],
)  # fmt: skip
def test_what_changed_in_a_stream_that_returned_is_said(new, said):
    assert changes(STREAM, replace(STREAM, **new)) == said


def test_a_counter_is_found_by_its_label_and_is_no_channel_of_the_bundle(manifest):
    stream = replace(STREAM, n_channels=9, labels=("COUNT", *CHANNELS), units=("",) + ("uV",) * 8)
    mapping = check_stream(stream, manifest, StreamConfig(counter="COUNT"))
    assert (mapping.counter, mapping.order[0]) == (0, 1)
    lines = describe_mapping(mapping, manifest, delay_s=0.0).splitlines()
    assert "  counter <- channel   1 'COUNT'" in lines
    assert not [line for line in lines if "not used" in line]


def test_a_trigger_channel_is_found_by_its_label_and_needs_no_unit(manifest):
    stream = replace(STREAM, n_channels=9, labels=(*CHANNELS, "TTL"), units=("uV",) * 8 + ("none",))
    mapping = check_stream(stream, manifest, StreamConfig(), cue_channel="TTL")
    assert (mapping.cue_channel, mapping.counter) == (8, None)
    assert "  cues   <- channel   9 'TTL'" in describe_mapping(mapping, manifest, delay_s=0.0).splitlines()
    with pytest.raises(StreamRefusedError, match=r"has 0 channels 'ttl': expected one, the one with the cues"):
        check_stream(stream, manifest, StreamConfig(), cue_channel="ttl")


@pytest.mark.parametrize(("labels", "n"), [(("Fz2", *CHANNELS), 0), (("COUNT", "COUNT", *CHANNELS), 2)])
def test_a_stream_without_the_one_counter_that_is_configured_is_refused(manifest, labels, n):
    stream = replace(STREAM, n_channels=len(labels), labels=labels, units=("uV",) * len(labels))
    with pytest.raises(StreamRefusedError, match=rf"has {n} channels 'COUNT': expected one, its counter"):
        check_stream(stream, manifest, StreamConfig(counter="COUNT"))
