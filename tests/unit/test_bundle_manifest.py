"""A manifest states the cost of a decision; an impossible or too costly one is refused."""

from __future__ import annotations

import json
import math

import msgspec
import pytest

from bundle_files import (
    join,
    manifest,
    refused,
    split,
    with_manifest,
)
from pretap.bundle.file import (
    load,
    refusal,
)
from pretap.bundle.manifest import Streaming
from pretap.networks import ClosedFormSpec, CspSpec, EegNetSpec, LrpErdLstmSpec, LstmSpec, TangentSpaceSpec
from pretap.signal.scaling import Scaling


@pytest.mark.parametrize(
    ("version", "todo"),
    [(5, "Update pretap."), *((old, "Train the bundle again with `pretap train`.") for old in (0, 1, 2, 3))],
)
def test_another_format_is_refused_by_its_number_even_if_the_rest_is_unknown(good_bundle, scratch, version, todo):
    sentence = f"expected a bundle of format 4, found format {version}. {todo}"
    assert sentence in refused(scratch, with_manifest(good_bundle, format_version=version))
    unknown = with_manifest(good_bundle, format_version=version, network={"kind": "transformer"}, new=1)
    assert sentence in refused(scratch, unknown)


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1},
        {"unit": "volts"},
        {"classes": ["left"]},
        {"channels": []},
        {"sfreq_hz": 0},
        {"sfreq_hz": None},
        {"n_window": 0},
        {"n_window": 8.5},
        {"self_test_tolerance": 1},
        {"self_test_tolerance": 0},
        {"network": {"kind": "gru", "hidden": [3, 2]}},
        {"network": {"kind": "lstm", "hidden": []}},
        {"scaling": {"n_block": 9}},
        {"scaling": {"n_taps": 9, "n_start": 9}},
        {"scaling": {"n_taps": 2, "n_start": 3}},
        {"scaling": {"n_taps": 2}, "n_window": 900_000},  # a matrix of 800 thousand million numbers
        {"scaling": {"decimate": 2}},
        {"n_members": 0},
        {"temperature": 0},
        {"metrics": {"nll": None}},
    ],
)
def test_an_invalid_manifest_is_refused(good_bundle, scratch, changes):
    refused(scratch, with_manifest(good_bundle, **changes))


def test_nan_in_the_manifest_is_refused(good_bundle, scratch):
    header, fields, body = split(good_bundle)
    fields["window_end_ms"] = math.nan
    text = json.dumps(fields)
    assert '"window_end_ms": NaN' in text
    refused(scratch, join(header, text, body))


def test_a_manifest_without_its_costs_is_refused(good_bundle, scratch):
    header, fields, body = split(good_bundle)
    del fields["streaming"]
    assert "its manifest is not valid" in refused(scratch, join(header, json.dumps(fields), body))


def test_trained_trials_are_counted_by_the_first_digits_of_their_hash():
    assert manifest().training.count_known(["1" * 64, "2" * 64, "3" * 64]) == 2


def test_a_trial_is_recognised_by_the_first_16_digits_of_its_hash():
    training = manifest().training
    assert training.count_known(["1" * 16 + "a" * 48, "1" * 15 + "2" * 49, "2" * 64]) == 2
    assert training.count_known([]) == 0


def test_the_cost_of_a_decision_is_that_counted_by_hand():
    # 8 samples of 3 channels: reference 24, baseline of 8 steps 24, blocks 24, division of 4 steps 12; LSTM (3, 2) over
    # 4 steps: 4 * 3 * (4 * (3 + 3) + 8) + 4 * 2 * (4 * (3 + 2) + 8), dense 2 * 2
    cost = manifest(n_members=5).streaming
    assert (cost.forward_only, cost.n_window) == (True, 8)
    assert cost.multiply_adds == 24 + 24 + 24 + 12 + 5 * (384 + 224 + 4)
    # one bias a gate; dense 2 * 2 + 2
    assert cost.n_parameters == 5 * (4 * 3 * (3 + 3 + 1) + 4 * 2 * (3 + 2 + 1) + 6)


def test_the_file_states_the_cost_of_a_decision_and_a_wrong_one_is_refused(good_bundle, scratch):
    said = split(good_bundle)[1]["streaming"]
    assert said == {"forward_only": True, "n_window": 8, "n_parameters": 138, "multiply_adds": 696}
    assert msgspec.convert(said, Streaming) == manifest().streaming
    for name, lie in (("forward_only", False), ("n_window", 9), ("n_parameters", 139)):
        message = refused(scratch, with_manifest(good_bundle, streaming={**said, name: lie}))
        assert f"{name}={lie}" in message
        assert "but its network has Streaming(forward_only=True, n_window=8" in message
    assert "manifest is not valid" in refused(scratch, with_manifest(good_bundle, streaming={**said, "new": 1}))


def test_another_estimate_of_the_multiply_adds_is_accepted_and_replaced_by_our_own(good_bundle, scratch):
    said = split(good_bundle)[1]["streaming"]
    scratch.write_bytes(with_manifest(good_bundle, streaming={**said, "multiply_adds": 1}))
    assert load(scratch).manifest.streaming.multiply_adds == 696


LONG = Scaling(divide_uv=1.0)
TO_100_HZ = Scaling(decimate=50, n_taps=295, n_start=150, divide_uv=1.0)
BEST = LrpErdLstmSpec()
EEG_256 = tuple(f"E{i}" for i in range(256))


@pytest.mark.parametrize(
    ("network", "n_window", "n_members", "sentence"),
    [
        (BEST, 5000, 1, "A band-pass over 5000 steps in 1 member(s): expected at most 4096 steps."),
        (BEST, 4096, 64, "A band-pass over 4096 steps in 64 member(s): expected at most 512 steps."),
        (CspSpec(), 4097, 1, "A band-pass over 4097 steps"),
        (TangentSpaceSpec(), 4097, 1, "A band-pass over 4097 steps"),
        (ClosedFormSpec(), 4097, 1, "A band-pass over 4097 steps"),
        (ClosedFormSpec(means=1000), 10, 1, "network.means = 1000: expected at most the window's 10 steps."),
        (LrpErdLstmSpec(blocks=1000), 10, 1, "network.blocks = 1000: expected at most the 10 steps"),
        (EegNetSpec(temporal=256, spatial=4, kernel=256), 500_000, 1, "over 500000 steps: expected at most 4096 "),
        (LstmSpec(hidden=(1,) * 8), 200_000, 64, "takes 102400000 sequential steps, expected at most 131072."),
        (LstmSpec(hidden=(400,)), 5000, 1, "takes 3224005800 multiply-adds: expected at most 2147483648."),
        (LstmSpec(hidden=(1024,)), 10, 2, "tensors take 33636440 bytes: expected at most 16777216."),
    ],
)  # fmt: skip
def test_a_network_too_large_for_memory_or_time_is_refused_before_it_runs(
    scratch, network, n_window, n_members, sentence
):
    hostile = manifest(network=network, n_window=n_window, n_members=n_members, channels=("Cz",), scaling=LONG)
    claimed = {"forward_only": True, "n_window": n_window, "n_parameters": 1, "multiply_adds": 1}
    text = json.dumps(msgspec.to_builtins(hostile) | {"streaming": claimed})
    assert sentence in refused(scratch, join({}, text, b""))


@pytest.mark.parametrize(
    ("network", "n_window", "n_members", "scaling"),
    [
        (BEST, 2500, 1, TO_100_HZ),  # 500 ms at 5 kHz
        (BEST, 2500, 64, TO_100_HZ),
        (ClosedFormSpec(), 2500, 1, TO_100_HZ),
        (TangentSpaceSpec(), 2500, 1, LONG),
        (BEST, 500, 64, LONG),
        (EegNetSpec(), 2500, 10, LONG),
        (LstmSpec(hidden=(10, 10, 5)), 2500, 10, LONG),  # the tutorial's
    ],
)
def test_256_electrodes_at_5_khz_and_64_members_are_accepted(network, n_window, n_members, scaling):
    large = manifest(network=network, n_window=n_window, n_members=n_members, channels=EEG_256, scaling=scaling)
    assert refusal(large) == ""
