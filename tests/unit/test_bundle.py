"""A bundle reads back bit for bit, or is refused with `BundleError` and no other exception."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save

import pretap
from pretap.bundle.file import (
    MAX_FILE_BYTES,
    MAX_HEADER_BYTES,
    load,
    probe_windows,
    read_bundle,
    refusal,
    self_test,
    write_bundle,
)
from pretap.bundle.manifest import FORMAT_VERSION, Manifest, Metrics, Streaming, Training
from pretap.config.train import TrainConfig
from pretap.decoder.decoder import ENGINES, Decoder
from pretap.errors import BundleError, UsageError
from pretap.networks import ClosedFormSpec, CspSpec, EegNetSpec, LrpErdLstmSpec, LstmSpec, TangentSpaceSpec
from pretap.signal.scaling import Scaling

N_WINDOW, N_CHANNELS = 8, 3
SPEC = LstmSpec(hidden=(3, 2))


def manifest(**changes) -> Manifest:
    training = Training(
        data="two synthetic trials",
        subject="synthetic-0",
        n_trials=2,
        data_sha256="0" * 64,
        trial_sha256=("1" * 16, "2" * 16),
        resampled_from_hz=100.0,
        seed=3,
        config=TrainConfig(network=SPEC),
    )
    metrics = Metrics(
        protocol="none",
        n_trials=2,
        accuracy=0.5,
        accuracy_sd=0.0,
        accuracy_ci95=(0.1, 0.9),
        kappa=-1 / 3,
        nll=math.log(2),
        balanced_accuracy=0.5,
        chance=0.5,
        p_chance=0.75,
        verdict="record more",
    )
    fields = {
        "format_version": FORMAT_VERSION,
        "classes": ("left", "right"),
        "channels": ("C3", "Cz", "µ-4"),
        "unit": "microvolts",
        "sfreq_hz": 1000.0,
        "n_window": N_WINDOW,
        "window_end_ms": -130.0,
        "scaling": Scaling(reference="average", n_baseline=2, n_block=2, divide_uv=10),
        "network": SPEC,
        "training": training,
        "metrics": metrics,
        "self_test_tolerance": 1e-6,
        "versions": {"numpy": "2.0.0", "pretap": "0.1.0"},
        "created": "2020-01-01",
    }
    return Manifest(**{**fields, **changes})


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    layout = SPEC.tensors(n_steps=1, n_inputs=N_CHANNELS, n_classes=2)
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, (_, shape) in layout.items()}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "good.safetensors"
    write_bundle(path, manifest(), weights())
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A file to overwrite: for hypothesis, which runs many examples in one test."""
    return tmp_path_factory.mktemp("scratch") / "scratch.safetensors"


def split(data: bytes) -> tuple[dict, dict, bytes]:
    """header without metadata, manifest, body"""
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    return header, json.loads(header.pop("__metadata__")["pretap"]), data[8 + n :]


def join(header: dict, text: str | None, body: bytes, **metadata: str) -> bytes:
    if text is not None:
        metadata["pretap"] = text
    raw = json.dumps({"__metadata__": metadata, **header}).encode()
    return len(raw).to_bytes(8, "little") + raw + body


def with_manifest(data: bytes, **changes) -> bytes:
    header, fields, body = split(data)
    return join(header, json.dumps({**fields, **changes}), body)


def with_tensor(data: bytes, name: str, change) -> bytes:
    """Apply `change` to one tensor's values in place, so that the file is consistent in every other way."""
    header, _, body = split(data)
    start, stop = header[name]["data_offsets"]
    dtype = {"F32": "<f4", "F64": "<f8", "I16": "<i2"}[header[name]["dtype"]]
    values = np.frombuffer(body[start:stop], dtype).copy()
    change(values)
    return data[: len(data) - len(body)] + body[:start] + values.tobytes() + body[stop:]


def refused(scratch, data: bytes) -> str:
    scratch.write_bytes(data)
    with pytest.raises(BundleError) as error:
        load(scratch)
    return str(error.value)


# -- round trip --------------------------------------------------------------------------------------------------


def test_what_is_written_reads_back_bit_for_bit(tmp_path):
    path, original = tmp_path / "deep" / "er" / "b.safetensors", weights()
    sha256 = write_bundle(path, manifest(), original)
    bundle = read_bundle(path)
    assert bundle.manifest == manifest()
    assert bundle.sha256 == sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(bundle.tensors) == {*original, "probe.windows", "probe.probabilities"}
    for name, weight in original.items():
        assert bundle.tensors[name].tobytes() == weight.tobytes()
        assert (bundle.tensors[name].dtype, bundle.tensors[name].shape) == (np.float32, weight.shape)


@pytest.mark.parametrize("engine", ENGINES)
def test_load_gives_the_decoder_that_was_written(tmp_path, engine):
    path = tmp_path / "b.safetensors"
    sha256 = write_bundle(path, manifest(), weights())
    decoder = pretap.load(path, engine=engine)
    assert (decoder.engine, decoder.sha256, decoder.manifest) == (engine, sha256, manifest())
    x = np.random.default_rng(1).normal(0, 20, (5, N_WINDOW, N_CHANNELS)).astype(np.float32)
    np.testing.assert_array_equal(decoder.decode(x), Decoder(manifest(), weights(), engine=engine).decode(x))
    np.testing.assert_array_equal(pretap.load(str(path), engine=engine).decode(x), decoder.decode(x))


def test_an_unknown_engine_is_the_caller_s_mistake_and_not_the_bundle_s(good, scratch):
    scratch.write_bytes(good)
    with pytest.raises(UsageError, match="Unknown engine 'onnx'"):
        load(scratch, engine="onnx")


def test_the_bytes_depend_on_the_arguments_alone(tmp_path):
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    write_bundle(paths[0], manifest(), weights())
    backwards = manifest(versions=dict(reversed(manifest().versions.items())))
    write_bundle(paths[1], backwards, dict(reversed(weights().items())))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_file_is_plain_safetensors_with_exactly_one_metadata_key_of_sorted_json(good, scratch):
    scratch.write_bytes(good)
    with safe_open(scratch, framework="numpy") as file:
        metadata = file.metadata()
        names = set(file.keys())
    assert set(metadata) == {"pretap"}
    fields = json.loads(metadata["pretap"])
    assert json.dumps(fields, sort_keys=True, separators=(",", ":")) == metadata["pretap"]
    assert fields == msgspec.to_builtins(manifest()) | {
        key: json.loads(msgspec.json.encode(getattr(manifest(), key)))
        for key in ("classes", "channels", "network", "training", "metrics", "streaming")
    }
    assert names == {*weights(), "probe.windows", "probe.probabilities"}


@pytest.mark.parametrize("scramble", [np.asfortranarray, lambda w: np.repeat(w, 2, axis=-1)[..., ::2]])
def test_arrays_that_do_not_lie_in_one_piece_are_stored_right(tmp_path, good, scramble):
    """`safetensors.numpy.save` itself scrambles them without a word."""
    scattered = {name: scramble(weight) for name, weight in weights().items()}
    assert any(not weight.flags.c_contiguous for weight in scattered.values())
    path = tmp_path / "b.safetensors"
    write_bundle(path, manifest(), scattered)
    assert path.read_bytes() == good


def test_the_probes_are_int16_in_tenths_of_a_microvolt_with_float64_probabilities(good, scratch):
    scratch.write_bytes(good)
    bundle = read_bundle(scratch)
    x, p = bundle.tensors["probe.windows"], bundle.tensors["probe.probabilities"]
    assert (x.dtype, x.shape) == (np.int16, (2, N_WINDOW, N_CHANNELS))
    assert (p.dtype, p.shape) == (np.float64, (2, 2))
    np.testing.assert_array_equal(x, probe_windows(N_WINDOW, N_CHANNELS))
    assert 50 < np.abs(x).max() < 5000  # 5 to 500 uV: an EEG's size
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(pretap.load(scratch).decode(x / 10), p, rtol=0, atol=1e-6)


# -- written whole, or not at all ----------------------------------------------------------------------------------


def test_a_bundle_replaces_an_older_one_and_leaves_nothing_else_behind(tmp_path, good):
    path = tmp_path / "b.safetensors"
    path.write_bytes(b"older")
    write_bundle(path, manifest(), weights())
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]


def nan_metric() -> Manifest:
    return manifest(metrics=msgspec.structs.replace(manifest().metrics, nll=math.nan))


@pytest.mark.parametrize(
    ("bad_manifest", "bad_weights", "sentence"),
    [
        (nan_metric(), weights(), "NaN or infinite"),
        (manifest(window_end_ms=math.inf), weights(), "NaN or infinite"),
        (manifest(), weights() | {"dense.bias": np.float32([0, np.nan])}, "NaN or infinite"),
        (manifest(), {n: w for n, w in weights().items() if n != "dense.bias"}, r"missing \['dense.bias'\]"),
        (manifest(), weights() | {"extra": np.zeros(1, np.float32)}, r"unknown \['extra'\]"),
        (manifest(created="x" * MAX_HEADER_BYTES), weights(), "no safetensors header"),
    ],
)
def test_what_no_reader_would_take_is_not_written_and_an_older_bundle_stays(
    tmp_path, bad_manifest, bad_weights, sentence
):
    path = tmp_path / "b.safetensors"
    path.write_bytes(b"older")
    with pytest.raises(BundleError, match=sentence):
        write_bundle(path, bad_manifest, bad_weights)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_a_bundle_error_and_leaves_nothing_behind(tmp_path):
    directory, file = tmp_path / "directory", tmp_path / "file"
    directory.mkdir()
    file.write_bytes(b"")
    for path in (directory, file / "b.safetensors"):
        with pytest.raises(BundleError, match="Cannot write the bundle"):
            write_bundle(path, manifest(), weights())
    assert sorted(tmp_path.iterdir()) == [directory, file]
    assert list(directory.iterdir()) == []


# -- the self-test -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", sorted(weights()))
def test_one_weight_changed_within_the_file_fails_the_self_test_which_names_both_numbers(good, scratch, name, engine):
    def change(values):
        values[-1] += 0.5  # the last: of the output gate or the second class, which always count

    scratch.write_bytes(with_tensor(good, name, change))
    bundle = read_bundle(scratch)  # the file itself is consistent
    error = self_test(Decoder(bundle.manifest, bundle.tensors, engine=engine), bundle)
    assert error > 1e-4
    with pytest.raises(BundleError) as refusal:
        load(scratch, engine=engine)
    assert f"engine '{engine}' failed" in str(refusal.value)
    assert f"differ by {error:.2g}" in str(refusal.value)
    assert "1e-06 is allowed" in str(refusal.value)


def test_changed_probabilities_and_changed_scaling_fail_it_too(good, scratch):
    def change(values):
        values[:2] = values[1::-1].copy()

    assert "self-test" in refused(scratch, with_tensor(good, "probe.probabilities", change))
    scaling = {"reference": "average", "n_baseline": 2, "n_block": 2, "divide_uv": 11.0}
    assert "self-test" in refused(scratch, with_manifest(good, scaling=scaling))


def test_the_self_test_s_error_on_an_intact_bundle_is_within_its_tolerance_on_every_engine(good, scratch):
    scratch.write_bytes(good)
    bundle = read_bundle(scratch)
    for engine in ENGINES:
        error = self_test(Decoder(bundle.manifest, bundle.tensors, engine=engine), bundle)
        assert 0 <= error <= 1e-6


@pytest.mark.filterwarnings("error")
def test_weights_that_overflow_are_refused_without_a_warning_from_numpy(good, scratch):
    huge = good
    for name in weights():
        huge = with_tensor(huge, name, lambda values: values.fill(3e38))
    assert "self-test" in refused(scratch, huge)


# -- damage --------------------------------------------------------------------------------------------------------


def test_cut_short_anywhere_it_is_refused(good, scratch):
    n_head = len(good) - len(split(good)[2])
    for n in {*range(20), *range(20, n_head - 20, 97), *range(n_head - 20, len(good))}:
        refused(scratch, good[:n])


@given(position=st.integers(0, 10**6), flip=st.integers(1, 255))
@settings(deadline=None, max_examples=200)
@pytest.mark.filterwarnings("error")
def test_a_flipped_byte_gives_a_bundle_error_or_a_bundle_that_passes_its_self_test(good, scratch, position, flip):
    data = bytearray(good)
    data[position % len(data)] ^= flip
    scratch.write_bytes(data)
    try:
        decoder = load(scratch)
    except BundleError:
        return
    bundle = read_bundle(scratch)
    assert self_test(decoder, bundle) <= bundle.manifest.self_test_tolerance


@given(st.binary(max_size=400))
@settings(deadline=None, max_examples=100)
def test_any_other_bytes_are_refused(scratch, data):
    refused(scratch, data)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=100)
def test_any_bytes_for_a_header_or_a_manifest_are_refused(good, scratch, junk):
    header, _, body = split(good)
    refused(scratch, len(junk).to_bytes(8, "little") + junk + body)
    refused(scratch, join(header, junk.decode("latin-1"), body))


@given(st.binary(min_size=1, max_size=20))
@settings(deadline=None, max_examples=60)
def test_garbage_before_or_after_is_refused(good, scratch, junk):
    refused(scratch, junk + good)
    assert f"{len(junk)} bytes follow the last tensor" in refused(scratch, good + junk)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(name=st.sampled_from(sorted(msgspec.to_builtins(manifest()))), value=json_values)
@settings(deadline=None, max_examples=100)
def test_any_json_value_in_any_field_of_the_manifest_is_refused_or_harmless(good, scratch, name, value):
    scratch.write_bytes(with_manifest(good, **{name: value}))
    try:
        decoder = load(scratch)
    except BundleError:
        return
    assert decoder.decode(np.zeros((N_WINDOW, N_CHANNELS))).shape == (2,)


@given(
    name=st.sampled_from([*sorted(weights()), "probe.windows", "probe.probabilities"]),
    key=st.sampled_from(["dtype", "shape", "data_offsets", "more"]),
    value=json_values,
)
@settings(deadline=None, max_examples=100)
def test_any_json_value_in_a_tensor_s_entry_is_refused(good, scratch, name, key, value):
    header, fields, body = split(good)
    assume(header[name].get(key) != value)
    header[name] = {**header[name], key: value}
    refused(scratch, join(header, json.dumps(fields), body))


def test_an_announced_header_of_more_than_256_kib_is_refused(good, scratch):
    padded = good[8:] + b" " * MAX_HEADER_BYTES
    assert "no safetensors header" in refused(scratch, (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + padded)
    assert "no safetensors header" in refused(scratch, (2**64 - 1).to_bytes(8, "little") + padded)


def test_a_header_nested_100_000_deep_is_refused(good, scratch):
    header, _, body = split(good)
    deep = b'{"a":' + b"[" * 100_000
    refused(scratch, len(deep).to_bytes(8, "little") + deep + body)
    refused(scratch, join(header, '{"a":' + "[" * 100_000, body))


def test_a_file_over_16_mib_is_refused_without_reading_the_rest(good, scratch):
    scratch.write_bytes(good)
    with scratch.open("r+b") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(BundleError, match="larger than 16 MiB"):
        load(scratch)
    with scratch.open("r+b") as file:
        file.truncate(2**40)  # a sparse file of 1 TiB: reading it all would end the test run
    with pytest.raises(BundleError, match="larger than 16 MiB"):
        load(scratch)


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        pickle.dumps({"weights": [1.0, 2.0]}),
        save({"w": np.zeros(3, np.float32)}),
        save({"w": np.zeros(3, np.float32)}, metadata={"format": "pt"}),
        save(weights(), metadata={"model": "lstm"}),
    ],
)
def test_foreign_files_are_refused(scratch, foreign):
    assert "not a pretap bundle" in refused(scratch, foreign)


def test_a_second_metadata_key_is_refused(good, scratch):
    header, fields, body = split(good)
    assert "it has no manifest" in refused(scratch, join(header, json.dumps(fields), body, format="pt"))


def test_no_file_and_a_directory_are_a_bundle_error(tmp_path):
    with pytest.raises(BundleError, match=r"No such file or directory.*`pretap train`"):
        load(tmp_path / "none.safetensors")
    with pytest.raises(BundleError, match="Is a directory"):
        load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, good):
    pipe, link = tmp_path / "pipe.safetensors", tmp_path / "link.safetensors"
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    for path in (pipe, link):
        with pytest.raises(BundleError, match="not a regular file"):
            load(path)
    real = tmp_path / "real.safetensors"
    real.write_bytes(good)
    link.unlink()
    link.symlink_to(real)
    assert load(link).sha256 == hashlib.sha256(good).hexdigest()


def test_the_pinned_bundle_is_read_and_another_one_refused_with_both_hashes(good, scratch):
    scratch.write_bytes(good)
    sha256 = hashlib.sha256(good).hexdigest()
    assert load(scratch, sha256=sha256).sha256 == sha256
    with pytest.raises(BundleError, match=f"expected the bundle with sha256 {'0' * 64} .*, found {sha256}"):
        load(scratch, sha256="0" * 64)


def test_a_pin_is_checked_before_the_file_is_parsed(scratch):
    scratch.write_bytes(b"no bundle at all")
    with pytest.raises(BundleError, match="expected the bundle with sha256"):
        load(scratch, sha256="0" * 64)


def test_a_key_that_stands_twice_is_refused_in_header_and_manifest(good, scratch):
    header, fields, body = split(good)
    raw = good[8 : len(good) - len(body)].rstrip()
    name = next(iter(header))
    twice = raw[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}}}".encode()
    assert "a key is repeated" in refused(scratch, len(twice).to_bytes(8, "little") + twice + body)
    manifest_twice = json.dumps(fields)[:-1] + ', "unit": "microvolts"}'
    assert "a key is repeated" in refused(scratch, join(header, manifest_twice, body))


@pytest.mark.parametrize(
    ("version", "todo"),
    [(5, "Update pretap."), *((old, "Train the bundle again with `pretap train`.") for old in (0, 1, 2, 3))],
)
def test_another_format_is_refused_by_its_number_even_if_the_rest_is_unknown(good, scratch, version, todo):
    sentence = f"expected a bundle of format 4, found format {version}. {todo}"
    assert sentence in refused(scratch, with_manifest(good, format_version=version))
    unknown = with_manifest(good, format_version=version, network={"kind": "transformer"}, new=1)
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
def test_a_manifest_that_says_something_else_is_refused(good, scratch, changes):
    refused(scratch, with_manifest(good, **changes))


def test_nan_in_the_manifest_is_refused(good, scratch):
    header, fields, body = split(good)
    fields["window_end_ms"] = math.nan
    text = json.dumps(fields)
    assert '"window_end_ms": NaN' in text
    refused(scratch, join(header, text, body))


def test_a_manifest_without_its_costs_is_refused(good, scratch):
    header, fields, body = split(good)
    del fields["streaming"]
    assert "its manifest is not valid" in refused(scratch, join(header, json.dumps(fields), body))


def test_trained_trials_are_counted_by_the_first_digits_of_their_hash():
    assert manifest().training.count_known(["1" * 64, "2" * 64, "3" * 64]) == 2


def test_members_and_taps_are_tensors_of_the_bundle_and_a_missing_one_is_named(tmp_path, scratch):
    scaling = Scaling(decimate=2, n_taps=3, n_start=2, divide_uv=10)
    both = manifest(n_members=2, scaling=scaling, temperature=0.5)
    tensors = {f"members.{i}.{name}": tensor for i in range(2) for name, tensor in weights(i).items()}
    tensors["scaling.fir"] = np.array([[0.5, 0.5, 0.0], [0.25, 0.5, 0.25]])
    write_bundle(tmp_path / "b", both, tensors)
    bundle = read_bundle(tmp_path / "b")
    assert bundle.manifest == both
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(bundle.tensors[name], tensor)
    with pytest.raises(BundleError, match=r"missing \['scaling.fir'\]"):
        write_bundle(scratch, both, {name: t for name, t in tensors.items() if name != "scaling.fir"})
    with pytest.raises(BundleError, match=r"unknown \['members.0.dense.bias'"):
        write_bundle(scratch, manifest(), tensors)


def test_what_a_decision_costs_by_hand():
    # 8 samples of 3 channels: reference 24, baseline of 8 steps 24, blocks 24, division of 4 steps 12; LSTM (3, 2) over
    # 4 steps: 4 * 3 * (4 * (3 + 3) + 8) + 4 * 2 * (4 * (3 + 2) + 8), dense 2 * 2
    cost = manifest(n_members=5).streaming
    assert (cost.forward_only, cost.n_window) == (True, 8)
    assert cost.multiply_adds == 24 + 24 + 24 + 12 + 5 * (384 + 224 + 4)
    # one bias a gate; dense 2 * 2 + 2
    assert cost.n_parameters == 5 * (4 * 3 * (3 + 3 + 1) + 4 * 2 * (3 + 2 + 1) + 6)


def test_the_file_itself_says_what_a_decision_costs_and_a_lie_is_refused(good, scratch):
    said = split(good)[1]["streaming"]
    assert said == {"forward_only": True, "n_window": 8, "n_parameters": 138, "multiply_adds": 696}
    assert msgspec.convert(said, Streaming) == manifest().streaming
    for name, lie in (("forward_only", False), ("n_window", 9), ("n_parameters", 139)):
        message = refused(scratch, with_manifest(good, streaming={**said, name: lie}))
        assert f"{name}={lie}" in message
        assert "but its network has Streaming(forward_only=True, n_window=8" in message
    assert "manifest is not valid" in refused(scratch, with_manifest(good, streaming={**said, "new": 1}))


def test_another_estimate_of_the_multiply_adds_is_no_lie_and_the_own_one_counts(good, scratch):
    said = split(good)[1]["streaming"]
    scratch.write_bytes(with_manifest(good, streaming={**said, "multiply_adds": 1}))
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
def test_what_would_fill_the_memory_or_take_minutes_is_refused_before_it_is_tried(
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
def test_256_electrodes_at_5_khz_and_64_members_are_not_too_much(network, n_window, n_members, scaling):
    large = manifest(network=network, n_window=n_window, n_members=n_members, channels=EEG_256, scaling=scaling)
    assert refusal(large) == ""


def test_a_trial_is_recognised_by_the_first_16_digits_of_its_hash():
    training = manifest().training
    assert training.count_known(["1" * 16 + "a" * 48, "1" * 15 + "2" * 49, "2" * 64]) == 2
    assert training.count_known([]) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", [*sorted(weights()), "probe.probabilities"])
def test_one_non_finite_value_in_a_tensor_is_refused_by_the_tensor_s_name(good, scratch, name, value):
    def change(values):
        values[0] = value

    assert f"tensor {name!r} holds NaN or infinite" in refused(scratch, with_tensor(good, name, change))


def test_unknown_and_missing_tensors_are_named(good, scratch):
    header, fields, body = split(good)
    text = json.dumps(fields)
    renamed = {"dense.bios" if name == "dense.bias" else name: entry for name, entry in header.items()}
    message = refused(scratch, join(renamed, text, body))
    assert "missing ['dense.bias'], unknown ['dense.bios']" in message
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [len(body), len(body)]}
    assert "unknown ['empty']" in refused(scratch, join({**header, "empty": empty}, text, body))


@pytest.mark.parametrize("changes", [{"dtype": "F16"}, {"dtype": "I32"}, {"shape": [1, 2]}, {"shape": [1]}])
def test_a_tensor_of_another_dtype_or_shape_is_named_with_both(good, scratch, changes):
    header, fields, body = split(good)
    header["dense.bias"] |= changes
    message = refused(scratch, join(header, json.dumps(fields), body))
    assert "tensor 'dense.bias' should be F32 (2,), it is" in message


def test_tensors_that_overlap_or_leave_gaps_are_refused(good, scratch):
    header, fields, body = split(good)
    text = json.dumps(fields)
    start, stop = header["dense.bias"]["data_offsets"]
    for shift in (-4, 4):
        moved = {**header, "dense.bias": {**header["dense.bias"], "data_offsets": [start + shift, stop + shift]}}
        assert "does not lie where its shape says" in refused(scratch, join(moved, text, body))
    lifted = {n: {**e, "data_offsets": [k + 4 for k in e["data_offsets"]]} for n, e in header.items()}
    assert "does not lie where its shape says" in refused(scratch, join(lifted, text, b"\0" * 4 + body))
