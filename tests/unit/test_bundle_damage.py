"""A damaged or foreign file is refused with `BundleError` and no other exception."""

from __future__ import annotations

import hashlib
import json
import os
import pickle

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from bundle_files import (
    N_CHANNELS,
    N_WINDOW,
    join,
    manifest,
    refused,
    split,
    weights,
    with_manifest,
    with_tensor,
)
from pretap.bundle.file import (
    MAX_FILE_BYTES,
    MAX_HEADER_BYTES,
    load,
    read_bundle,
    self_test,
)
from pretap.errors import BundleError


def test_a_file_truncated_anywhere_is_refused(good_bundle, scratch):
    n_head = len(good_bundle) - len(split(good_bundle)[2])
    for n in {*range(20), *range(20, n_head - 20, 97), *range(n_head - 20, len(good_bundle))}:
        refused(scratch, good_bundle[:n])


@given(position=st.integers(0, 10**6), flip=st.integers(1, 255))
@settings(deadline=None, max_examples=200)
@pytest.mark.filterwarnings("error")
def test_a_flipped_byte_is_a_bundle_error_or_the_bundle_passes_its_self_test(good_bundle, scratch, position, flip):
    data = bytearray(good_bundle)
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
def test_any_bytes_for_a_header_or_a_manifest_are_refused(good_bundle, scratch, junk):
    header, _, body = split(good_bundle)
    refused(scratch, len(junk).to_bytes(8, "little") + junk + body)
    refused(scratch, join(header, junk.decode("latin-1"), body))


@given(st.binary(min_size=1, max_size=20))
@settings(deadline=None, max_examples=60)
def test_garbage_before_or_after_is_refused(good_bundle, scratch, junk):
    refused(scratch, junk + good_bundle)
    follow = "bytes follow" if len(junk) > 1 else "byte follows"
    assert f"{len(junk)} {follow} the last tensor" in refused(scratch, good_bundle + junk)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(name=st.sampled_from(sorted(msgspec.to_builtins(manifest()))), value=json_values)
@settings(deadline=None, max_examples=100)
def test_any_json_value_in_any_field_of_the_manifest_is_refused_or_harmless(good_bundle, scratch, name, value):
    scratch.write_bytes(with_manifest(good_bundle, **{name: value}))
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
def test_any_json_value_in_a_tensor_s_entry_is_refused(good_bundle, scratch, name, key, value):
    header, fields, body = split(good_bundle)
    assume(header[name].get(key) != value)
    header[name] = {**header[name], key: value}
    refused(scratch, join(header, json.dumps(fields), body))


def test_an_announced_header_over_the_limit_is_refused(good_bundle, scratch):
    padded = good_bundle[8:] + b" " * MAX_HEADER_BYTES
    assert "no safetensors header" in refused(scratch, (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + padded)
    assert "no safetensors header" in refused(scratch, (2**64 - 1).to_bytes(8, "little") + padded)


def test_a_header_nested_100_000_deep_is_refused(good_bundle, scratch):
    header, _, body = split(good_bundle)
    deep = b'{"a":' + b"[" * 100_000
    refused(scratch, len(deep).to_bytes(8, "little") + deep + body)
    refused(scratch, join(header, '{"a":' + "[" * 100_000, body))


def test_a_file_over_16_mib_is_refused_without_reading_the_rest(good_bundle, scratch):
    scratch.write_bytes(good_bundle)
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


def test_a_second_metadata_key_is_refused(good_bundle, scratch):
    header, fields, body = split(good_bundle)
    assert "it has no manifest" in refused(scratch, join(header, json.dumps(fields), body, format="pt"))


def test_a_missing_file_and_a_directory_are_a_bundle_error(tmp_path):
    with pytest.raises(BundleError, match=r"No such file or directory.*`pretap train`"):
        load(tmp_path / "none.safetensors")
    with pytest.raises(BundleError, match="Is a directory"):
        load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_and_a_device_are_refused_at_once(tmp_path, good_bundle):
    pipe, link = tmp_path / "pipe.safetensors", tmp_path / "link.safetensors"
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    for path in (pipe, link):
        with pytest.raises(BundleError, match="not a regular file"):
            load(path)
    real = tmp_path / "real.safetensors"
    real.write_bytes(good_bundle)
    link.unlink()
    link.symlink_to(real)
    assert load(link).sha256 == hashlib.sha256(good_bundle).hexdigest()


def test_a_repeated_key_is_refused_in_header_and_manifest(good_bundle, scratch):
    header, fields, body = split(good_bundle)
    raw = good_bundle[8 : len(good_bundle) - len(body)].rstrip()
    name = next(iter(header))
    twice = raw[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}}}".encode()
    assert "a key is repeated" in refused(scratch, len(twice).to_bytes(8, "little") + twice + body)
    manifest_twice = json.dumps(fields)[:-1] + ', "unit": "microvolts"}'
    assert "a key is repeated" in refused(scratch, join(header, manifest_twice, body))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", [*sorted(weights()), "probe.probabilities"])
def test_one_non_finite_value_in_a_tensor_is_refused_by_the_tensor_s_name(good_bundle, scratch, name, value):
    def change(values):
        values[0] = value

    assert f"tensor {name!r} has NaN or infinite" in refused(scratch, with_tensor(good_bundle, name, change))


def test_unknown_and_missing_tensors_are_named(good_bundle, scratch):
    header, fields, body = split(good_bundle)
    text = json.dumps(fields)
    renamed = {"dense.bios" if name == "dense.bias" else name: entry for name, entry in header.items()}
    message = refused(scratch, join(renamed, text, body))
    assert "missing ['dense.bias'], unknown ['dense.bios']" in message
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [len(body), len(body)]}
    assert "unknown ['empty']" in refused(scratch, join({**header, "empty": empty}, text, body))


@pytest.mark.parametrize("changes", [{"dtype": "F16"}, {"dtype": "I32"}, {"shape": [1, 2]}, {"shape": [1]}])
def test_a_tensor_of_another_dtype_or_shape_is_named_with_both(good_bundle, scratch, changes):
    header, fields, body = split(good_bundle)
    header["dense.bias"] |= changes
    message = refused(scratch, join(header, json.dumps(fields), body))
    assert "tensor 'dense.bias' should be F32 (2,), it is" in message


def test_tensors_that_overlap_or_leave_gaps_are_refused(good_bundle, scratch):
    header, fields, body = split(good_bundle)
    text = json.dumps(fields)
    start, stop = header["dense.bias"]["data_offsets"]
    for shift in (-4, 4):
        moved = {**header, "dense.bias": {**header["dense.bias"], "data_offsets": [start + shift, stop + shift]}}
        assert "has the wrong offsets for its shape" in refused(scratch, join(moved, text, body))
    lifted = {n: {**e, "data_offsets": [k + 4 for k in e["data_offsets"]]} for n, e in header.items()}
    assert "has the wrong offsets for its shape" in refused(scratch, join(lifted, text, b"\0" * 4 + body))
