"""A bundle reads back bit for bit, is written atomically, and must pass its self-test."""

from __future__ import annotations

import hashlib
import json
import math

import msgspec
import numpy as np
import pytest
from safetensors import safe_open

import pretap
from bundle_files import (
    N_CHANNELS,
    N_WINDOW,
    manifest,
    refused,
    weights,
    with_manifest,
    with_tensor,
)
from pretap.bundle.file import (
    MAX_HEADER_BYTES,
    load,
    probe_windows,
    read_bundle,
    self_test,
    write_bundle,
)
from pretap.bundle.manifest import Manifest
from pretap.decoder.decoder import ENGINES, Decoder
from pretap.errors import BundleError, UsageError
from pretap.signal.scaling import Scaling


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
def test_load_returns_the_decoder_that_was_written(tmp_path, engine):
    path = tmp_path / "b.safetensors"
    sha256 = write_bundle(path, manifest(), weights())
    decoder = pretap.load(path, engine=engine)
    assert (decoder.engine, decoder.sha256, decoder.manifest) == (engine, sha256, manifest())
    x = np.random.default_rng(1).normal(0, 20, (5, N_WINDOW, N_CHANNELS)).astype(np.float32)
    np.testing.assert_array_equal(decoder.decode(x), Decoder(manifest(), weights(), engine=engine).decode(x))
    np.testing.assert_array_equal(pretap.load(str(path), engine=engine).decode(x), decoder.decode(x))


def test_an_unknown_engine_is_a_usage_error_and_not_a_bundle_error(good_bundle, scratch):
    scratch.write_bytes(good_bundle)
    with pytest.raises(UsageError, match="Unknown engine 'onnx'"):
        load(scratch, engine="onnx")


def test_the_bytes_depend_on_the_arguments_alone(tmp_path):
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    write_bundle(paths[0], manifest(), weights())
    backwards = manifest(versions=dict(reversed(manifest().versions.items())))
    write_bundle(paths[1], backwards, dict(reversed(weights().items())))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_file_is_plain_safetensors_with_exactly_one_metadata_key_of_sorted_json(good_bundle, scratch):
    scratch.write_bytes(good_bundle)
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
def test_non_contiguous_arrays_are_stored_correctly(tmp_path, good_bundle, scramble):
    """`safetensors.numpy.save` silently scrambles them."""
    scattered = {name: scramble(weight) for name, weight in weights().items()}
    assert any(not weight.flags.c_contiguous for weight in scattered.values())
    path = tmp_path / "b.safetensors"
    write_bundle(path, manifest(), scattered)
    assert path.read_bytes() == good_bundle


def test_the_probes_are_int16_in_tenths_of_a_microvolt_with_float64_probabilities(good_bundle, scratch):
    scratch.write_bytes(good_bundle)
    bundle = read_bundle(scratch)
    x, p = bundle.tensors["probe.windows"], bundle.tensors["probe.probabilities"]
    assert (x.dtype, x.shape) == (np.int16, (2, N_WINDOW, N_CHANNELS))
    assert (p.dtype, p.shape) == (np.float64, (2, 2))
    np.testing.assert_array_equal(x, probe_windows(N_WINDOW, N_CHANNELS))
    assert 50 < np.abs(x).max() < 5000  # 5 to 500 uV: an EEG's size
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(pretap.load(scratch).decode(x / 10), p, rtol=0, atol=1e-6)


def test_a_bundle_replaces_an_older_one_and_leaves_nothing_else_behind(tmp_path, good_bundle):
    path = tmp_path / "b.safetensors"
    path.write_bytes(b"older")
    write_bundle(path, manifest(), weights())
    assert path.read_bytes() == good_bundle
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
def test_an_invalid_bundle_is_not_written_and_an_older_one_stays(tmp_path, bad_manifest, bad_weights, sentence):
    path = tmp_path / "b.safetensors"
    path.write_bytes(b"older")
    with pytest.raises(BundleError, match=sentence):
        write_bundle(path, bad_manifest, bad_weights)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_written_is_a_bundle_error_and_leaves_nothing_behind(tmp_path):
    directory, file = tmp_path / "directory", tmp_path / "file"
    directory.mkdir()
    file.write_bytes(b"")
    for path in (directory, file / "b.safetensors"):
        with pytest.raises(BundleError, match="Cannot write the bundle"):
            write_bundle(path, manifest(), weights())
    assert sorted(tmp_path.iterdir()) == [directory, file]
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", sorted(weights()))
def test_one_changed_weight_fails_the_self_test_which_names_error_and_tolerance(good_bundle, scratch, name, engine):
    def change(values):
        values[-1] += 0.5  # the last: of the output gate or the second class, which always count

    scratch.write_bytes(with_tensor(good_bundle, name, change))
    bundle = read_bundle(scratch)  # the file itself is consistent
    error = self_test(Decoder(bundle.manifest, bundle.tensors, engine=engine), bundle)
    assert error > 1e-4
    with pytest.raises(BundleError) as refusal:
        load(scratch, engine=engine)
    assert f"engine '{engine}' failed" in str(refusal.value)
    assert f"differ by {error:.2g}" in str(refusal.value)
    assert "1e-06 is allowed" in str(refusal.value)


def test_changed_probabilities_and_changed_scaling_fail_the_self_test(good_bundle, scratch):
    def change(values):
        values[:2] = values[1::-1].copy()

    assert "self-test" in refused(scratch, with_tensor(good_bundle, "probe.probabilities", change))
    scaling = {"reference": "average", "n_baseline": 2, "n_block": 2, "divide_uv": 11.0}
    assert "self-test" in refused(scratch, with_manifest(good_bundle, scaling=scaling))


def test_the_self_test_s_error_on_an_intact_bundle_is_within_its_tolerance_on_every_engine(good_bundle, scratch):
    scratch.write_bytes(good_bundle)
    bundle = read_bundle(scratch)
    for engine in ENGINES:
        error = self_test(Decoder(bundle.manifest, bundle.tensors, engine=engine), bundle)
        assert 0 <= error <= 1e-6


@pytest.mark.filterwarnings("error")
def test_weights_that_overflow_are_refused_without_a_warning_from_numpy(good_bundle, scratch):
    huge = good_bundle
    for name in weights():
        huge = with_tensor(huge, name, lambda values: values.fill(3e38))
    assert "self-test" in refused(scratch, huge)


def test_the_pinned_bundle_is_read_and_another_one_refused_with_both_hashes(good_bundle, scratch):
    scratch.write_bytes(good_bundle)
    sha256 = hashlib.sha256(good_bundle).hexdigest()
    assert load(scratch, sha256=sha256).sha256 == sha256
    with pytest.raises(BundleError, match=f"expected the bundle with sha256 {'0' * 64} .*, found {sha256}"):
        load(scratch, sha256="0" * 64)


def test_a_pin_is_checked_before_the_file_is_parsed(scratch):
    scratch.write_bytes(b"no bundle at all")
    with pytest.raises(BundleError, match="expected the bundle with sha256"):
        load(scratch, sha256="0" * 64)


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
