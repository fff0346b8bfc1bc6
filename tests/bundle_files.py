"""A small bundle and changes to its bytes, for the tests of bundles."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pretap.bundle.file import load
from pretap.bundle.manifest import FORMAT_VERSION, Manifest, Metrics, Training
from pretap.config.train import TrainConfig
from pretap.errors import BundleError
from pretap.networks import LstmSpec
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
