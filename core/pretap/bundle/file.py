"""The bundle: one safetensors file with weights, scaling, provenance and a self-test. Never pickle.

A bundle may come from strangers. The file is read once, with a limit on its size. Its header is parsed and checked
before any tensor is. Then the decoder must reproduce the probabilities that are stored for two probe windows.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.bundle.manifest import FORMAT_VERSION, Manifest, Streaming
from pretap.bundle.shipped import find_bundle, shipped_bundles
from pretap.decoder.decoder import AUTO, Decoder, in_float64
from pretap.errors import BundleError
from pretap.files import write_whole, writing
from pretap.networks import Layout
from pretap.networks.kind import member_prefixes
from pretap.signal.interpolation import INTERPOLATION
from pretap.signal.scaling import FIR
from pretap.signal.statistics import COVARIANCE, SCALE
from pretap.spelling import counted, did_you_mean

MAX_FILE_BYTES = 16 * 2**20
MAX_DECIMATION = 2**24  # values in the matrix of the decimation: 128 MiB
MAX_MULTIPLY_ADDS = 2**31  # per decision: one to two seconds
MAX_HEADER_BYTES = 4 * 2**20  # a trial takes 21 bytes: 256 KiB would hold 12,000 trials only
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I16": np.dtype("<i2")}
_PROBE_X, _PROBE_P = "probe.windows", "probe.probabilities"
N_PROBES = 2


@dataclass(frozen=True, eq=False)
class Bundle:
    """The content of a bundle file: manifest, tensors (weights and probes) and the sha256 of its bytes."""

    manifest: Manifest
    tensors: Mapping[str, NDArray[Any]]
    sha256: str


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _Version(msgspec.Struct, frozen=True):
    format_version: int


def load(path: str | Path, *, engine: str = AUTO, sha256: str = "") -> Decoder:
    """Read a bundle, run its self-test, and return the decoder.

    Parameters
    ----------
    path
        A file, or the name of a shipped bundle, such as ``ensemble-1000hz``.
    engine
        One of `pretap.decoder.decoder.ENGINES`, or ``auto`` for the fastest one available.
    sha256
        If given, a file with another hash is refused.

    Raises
    ------
    BundleError
        If the file is missing, damaged, too large, not a bundle, of another format or hash, or fails its self-test.
    """
    bundle = read_bundle(path, sha256=sha256)
    decoder = Decoder(bundle.manifest, bundle.tensors, engine=engine, sha256=bundle.sha256)
    error = self_test(decoder, bundle)
    if not error <= bundle.manifest.self_test_tolerance:
        raise BundleError(
            f"{path}: the self-test of engine '{decoder.engine}' failed: its probabilities differ by {error:.2g} from "
            f"those in the bundle, {bundle.manifest.self_test_tolerance:.2g} is allowed. Do not use the bundle; train "
            "it again."
        )
    return decoder


def self_test(decoder: Decoder, bundle: Bundle) -> float:
    """Return the largest difference between the probabilities of `decoder` and those stored with the probe windows."""
    windows = bundle.tensors[_PROBE_X].astype(np.float32) / 10  # int16 steps of 0.1 uV -> uV
    with np.errstate(all="ignore"):  # damaged weights may overflow, which the difference shows
        return float(np.abs(decoder.decode(windows) - bundle.tensors[_PROBE_P]).max())


def probe_windows(n_window: int, n_channels: int) -> NDArray[np.int16]:
    """Generate the probe windows (N_PROBES, n_window, n_channels) in 0.1 uV: noise with offsets and slow drifts."""
    rng = np.random.default_rng(0)
    drift_uv = rng.normal(0, 30, (N_PROBES, 2, n_channels))
    ramp = np.linspace(0, 1, n_window)[:, None]
    x_uv = rng.normal(0, 15, (N_PROBES, n_window, n_channels)) + drift_uv[:, :1] + ramp * drift_uv[:, 1:]
    return np.rint(x_uv * 10).astype(np.int16)


def reference_probs(manifest: Manifest, tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Compute in float64 the probabilities of the probe windows, which a bundle stores."""
    windows = probe_windows(manifest.n_window, len(manifest.channels)).astype(np.float32) / 10
    return Decoder(manifest, in_float64(tensors)).decode(windows)


def write_bundle(path: Path, manifest: Manifest, weights: Mapping[str, NDArray[Any]]) -> str:
    """Write a bundle atomically, read it back, and return the sha256 of the file.

    `weights` holds every tensor except the probes: those of the network and all others that the manifest announces.
    The same arguments give the same bytes.
    """
    from safetensors.numpy import save

    _check_tensor_names(manifest, {**weights, _PROBE_X: None, _PROBE_P: None})
    given = {
        **weights,
        _PROBE_X: probe_windows(manifest.n_window, len(manifest.channels)),
        _PROBE_P: reference_probs(manifest, weights),
    }
    # safetensors silently scrambles non-contiguous arrays
    tensors: dict[str, NDArray[Any]] = {
        name: np.ascontiguousarray(given[name], _DTYPES[dtype]) for name, (dtype, _) in _expected(manifest).items()
    }
    # One metadata key: the order of several would vary from run to run.
    data = save(tensors, metadata={"pretap": _manifest_json(manifest)})
    again = _parse(data, str(path))
    if again.manifest != manifest or any(not np.array_equal(again.tensors[n], t) for n, t in tensors.items()):
        raise BundleError(f"{path}: the written bundle does not read back the same, so it was not saved.")
    with writing(f"the bundle {path}", kind=BundleError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    return again.sha256


def _suggestion(path: str | Path) -> str:
    """Suggest a shipped bundle, or one beside `path`."""
    path = Path(path)
    beside = [str(each) for each in path.parent.glob("*.safetensors")] if path.parent.is_dir() else []
    return did_you_mean(str(path), [*shipped_bundles(), *beside])


def read_bundle(path: str | Path, *, sha256: str = "") -> Bundle:
    """Read and check a bundle without its self-test, see `load`."""
    try:
        with open(find_bundle(path), "rb", opener=_open_nonblocking) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BundleError(f"{path}: not a regular file. Expected a bundle that `pretap train` wrote.")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BundleError(
            f"Cannot read the bundle {path}: {error.strerror}. Make one with `pretap train`. "
            f"Shipped with pretap: {', '.join(shipped_bundles()) or 'none'}.{_suggestion(path)}"
        ) from None
    found = hashlib.sha256(data).hexdigest()
    if sha256 and found != sha256 and len(data) <= MAX_FILE_BYTES:
        raise BundleError(
            f"{path}: expected the bundle with sha256 {sha256} (decode.bundle_sha256), found {found}. It is another "
            "file, or it was changed. Get the right one, or pin this one if you trust it."
        )
    return _parse(data, str(path))


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file without waiting: opening a named pipe would block until it has a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _parse(data: bytes, path: str) -> Bundle:
    if len(data) > MAX_FILE_BYTES:
        raise BundleError(f"{path}: larger than {MAX_FILE_BYTES // 2**20} MiB, so it is not a pretap bundle.")
    n_header = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= n_header <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise BundleError(f"{path}: not a pretap bundle, or cut short: no safetensors header at its start.")
    manifest, entries = _parse_header(data[8 : 8 + n_header], path)
    body = data[8 + n_header :]
    _check_tensor_names(manifest, entries, path)
    expected = _expected(manifest)
    tensors: dict[str, NDArray[Any]] = {}
    offset = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        dtype, shape = expected[name]
        if entry.dtype != dtype or entry.shape != shape:
            raise BundleError(
                f"{path}: tensor {name!r} should be {dtype} {shape}, it is {entry.dtype[:8]!r} {entry.shape[:8]}."
            )
        n_bytes = int(np.prod(shape, dtype=np.int64)) * _DTYPES[dtype].itemsize
        if entry.data_offsets != (offset, offset + n_bytes):
            raise BundleError(f"{path}: tensor {name!r} has the wrong offsets for its shape; the file is damaged.")
        if offset + n_bytes > len(body):
            raise BundleError(f"{path}: cut short in tensor {name!r}; copy the file again.")
        tensors[name] = np.frombuffer(body[offset : offset + n_bytes], _DTYPES[dtype]).reshape(shape)
        if not np.isfinite(tensors[name]).all():
            raise BundleError(f"{path}: tensor {name!r} has NaN or infinite values; train it again.")
        offset += n_bytes
    if offset != len(body):
        surplus = counted(len(body) - offset, "byte follows", "bytes follow")
        raise BundleError(f"{path}: {surplus} the last tensor; the file is damaged.")
    return Bundle(manifest, tensors, hashlib.sha256(data).hexdigest())


def _in_order(manifest: Manifest) -> Manifest:
    """Return the manifest with the training events in the order of the classes, which sorted JSON has lost."""
    config, classes = manifest.training.config, manifest.classes
    if set(config.events) != set(classes):
        return manifest
    config = replace(config, events={name: config.events[name] for name in classes})
    return replace(manifest, training=replace(manifest.training, config=config))


def _parse_header(raw: bytes, path: str) -> tuple[Manifest, dict[str, _Entry]]:
    try:
        json.loads(raw, object_pairs_hook=_unique)
        header: dict[str, msgspec.Raw] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(header.pop("__metadata__", b"{}"), type=dict[str, str])
        entries = {name: msgspec.json.decode(entry, type=_Entry) for name, entry in header.items()}
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not a pretap bundle: its safetensors header is invalid ({error}).") from None
    if set(metadata) != {"pretap"}:
        raise BundleError(f"{path}: a safetensors file, but not a pretap bundle: it has no manifest.")
    text = metadata["pretap"]
    try:
        json.loads(text, object_pairs_hook=_unique)
        version = msgspec.json.decode(text, type=_Version).format_version
        if version != FORMAT_VERSION:
            advice = "Update pretap" if version > FORMAT_VERSION else "Train the bundle again with `pretap train`"
            raise BundleError(
                f"{path}: expected a bundle of format {FORMAT_VERSION}, found format {version}. {advice}."
            )
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        streaming = msgspec.json.decode(fields.pop("streaming", b"null"), type=Streaming)
        manifest = _in_order(msgspec.json.decode(msgspec.json.encode(fields), type=Manifest))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: its manifest is not valid: {error}.") from None
    for what, names in (("channel", manifest.channels), ("class", manifest.classes)):
        if len(set(names)) < len(names):
            raise BundleError(f"{path}: two of its {what} names are the same.")
    refused = refusal(manifest)
    if refused:
        raise BundleError(f"{path}: {refused}")
    own = manifest.streaming
    # multiply-adds are an estimate: a later version of it must not refuse the file
    if replace(streaming, multiply_adds=own.multiply_adds) != own:
        raise BundleError(f"{path}: the manifest says {streaming}, but its network has {own}.")
    return manifest, entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a repeated key: parsers differ in which of the two values they use."""
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("a key is repeated")
    return unique


def refusal(manifest: Manifest) -> str:
    """Return why a bundle with this manifest is refused; empty if it is not.

    It is refused if it is impossible, or if a decision would take too much time or memory. This is known before
    anything is computed.
    """
    scaling, n_window = manifest.scaling, manifest.n_window
    if manifest.n_steps < 1:
        return f"{scaling.n_taps} taps and blocks of {scaling.n_block} samples leave nothing of the window."
    n_matrix = n_window * scaling.n_kept(n_window)
    if scaling.n_taps and n_matrix > MAX_DECIMATION:
        return (
            f"Decimating a window of {n_window} samples takes a matrix of {n_matrix} values: expected at most "
            f"{MAX_DECIMATION}. Use a shorter window or a lower rate."
        )
    refused = manifest.network.refusal(n_steps=manifest.n_steps, n_members=manifest.n_members)
    if refused:
        return refused
    work = manifest.streaming.multiply_adds
    if work > MAX_MULTIPLY_ADDS:
        return f"A decision takes {work} multiply-adds: expected at most {MAX_MULTIPLY_ADDS}. Use a smaller network."
    n_bytes = sum(math.prod(shape) * _DTYPES[dtype].itemsize for dtype, shape in _expected(manifest).values())
    if n_bytes > MAX_FILE_BYTES:
        return (
            f"The bundle's tensors take {n_bytes} bytes: expected at most {MAX_FILE_BYTES}. Use a smaller network, "
            "fewer members, a shorter window or a lower rate."
        )
    return ""


def _expected(manifest: Manifest) -> Layout:
    n_channels, n_classes = len(manifest.channels), len(manifest.classes)
    network = manifest.network.tensors(n_steps=manifest.n_steps, n_inputs=n_channels, n_classes=n_classes)
    prefixes = member_prefixes(manifest.n_members)
    expected: Layout = {prefix + name: entry for prefix in prefixes for name, entry in network.items()}
    if manifest.scaling.n_taps:
        n_filters = len(manifest.scaling.filter_lengths(manifest.n_window))
        expected[FIR] = ("F64", (n_filters, manifest.scaling.n_taps))
    if manifest.interpolates:
        expected[INTERPOLATION] = ("F64", (n_channels, n_channels))
    if manifest.has_statistics:
        expected[SCALE] = ("F32", (2, n_channels))
        expected[COVARIANCE] = ("F32", (n_channels, n_channels))
    expected[_PROBE_X] = ("I16", (N_PROBES, manifest.n_window, n_channels))
    expected[_PROBE_P] = ("F64", (N_PROBES, n_classes))
    return expected


def _check_tensor_names(manifest: Manifest, found: Mapping[str, object], path: str = "bundle") -> None:
    expected = set(_expected(manifest))
    if set(found) != expected:
        missing, extra = sorted(expected - set(found))[:3], [name[:64] for name in sorted(set(found) - expected)[:3]]
        raise BundleError(f"{path}: its tensors do not match the manifest: missing {missing}, unknown {extra}.")


def _manifest_json(manifest: Manifest) -> str:
    builtins = msgspec.to_builtins(manifest) | {"streaming": msgspec.to_builtins(manifest.streaming)}
    try:
        # allow_nan=False: msgspec would write NaN as null, and the bundle could not be read again
        return json.dumps(builtins, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise BundleError("A metric or a setting is NaN or infinite; a bundle can hold finite numbers only.") from None
