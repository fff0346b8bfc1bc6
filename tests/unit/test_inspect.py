"""`pretap inspect` describes a bundle and runs its self-test on every available engine."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from command_line import invoke, run
from pretap.bundle.file import read_bundle, write_bundle
from pretap.bundle.manifest import Metrics
from pretap.errors import UsageError
from pretap.signal.interpolation import INTERPOLATION
from pretap.signal.scaling import Scaling
from pretap.signal.statistics import COVARIANCE, SCALE


def test_inspect_writes_the_json_to_a_file_or_in_place_of_its_report(noise_bundle, tmp_path):
    file = tmp_path / "inspected.json"
    report = invoke("inspect", noise_bundle)
    assert invoke("inspect", noise_bundle, "--json", file) == f"{report}wrote {file}\n"
    assert invoke("inspect", noise_bundle, "--json", "-") == file.read_text(encoding="utf-8")
    with pytest.raises(UsageError, match=r"Cannot write .*: File exists"):
        invoke("inspect", noise_bundle, "--json", file / "x.json")


def test_inspect_json_has_manifest_self_tests_and_hash(noise_bundle):
    done = run("inspect", str(noise_bundle), "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    content = read_bundle(noise_bundle)
    assert report["sha256"] == content.sha256
    assert msgspec.convert(report["manifest"], type(content.manifest)) == content.manifest
    assert set(report["self_test"]) == {"compiled", "numpy", "torch"}
    assert all(0 <= error <= 1e-6 for error in report["self_test"].values())
    n_window, hop = content.manifest.n_window, round(0.05 * content.manifest.sfreq_hz)
    n_open = -(-n_window // hop)
    assert report["streams"] == (
        f"compiled: {n_open} window{'s' * (n_open > 1)} open at once, each advanced sample by sample "
        f"(a decision each {hop} samples)"
    )
    assert f"live          {report['streams']}" in invoke("inspect", noise_bundle).splitlines()


def test_inspect_shows_chance_and_verdict_if_the_bundle_has_them(noise_bundle, tmp_path):
    lines = invoke("inspect", noise_bundle).splitlines()
    assert "accuracy      not measured" in lines
    assert not any(line.startswith(("chance", "verdict")) for line in lines)
    content = read_bundle(noise_bundle)
    metrics = Metrics(
        protocol="5-fold",
        n_trials=8,
        accuracy=0.75,
        accuracy_sd=0.0,
        accuracy_ci95=(0.4, 0.9),
        kappa=0.5,
        nll=0.6,
        balanced_accuracy=0.75,
        chance=0.5,
        p_chance=0.1445,
        verdict="going live makes sense: expect about 19 of 20 right",  # as an older version advised
    )
    measured = tmp_path / "measured.safetensors"
    weights = {name: tensor for name, tensor in content.tensors.items() if not name.startswith("probe.")}
    write_bundle(measured, msgspec.structs.replace(content.manifest, metrics=metrics), weights)
    lines = invoke("inspect", measured).splitlines()
    assert "chance        0.500, the share of the commonest class; p = 0.14 (one-sided exact binomial test)" in lines
    advised = "8 trials can promise nothing yet: so far the accuracy is not distinguishable from chance (p = 0.14)"
    assert f"verdict       {advised}; record at least 32 more before going live" in lines


def test_inspect_shows_members_temperature_decimation_and_the_cost_of_a_decision(noise_bundle, tmp_path):
    content = read_bundle(noise_bundle)
    weights = {name: tensor for name, tensor in content.tensors.items() if not name.startswith("probe.")}
    shared = {name: weights.pop(name) for name in (INTERPOLATION, SCALE, COVARIANCE)}
    shared["scaling.fir"] = np.array([[0.5, 0.5, 0], [0.25, 0.5, 0.25]])
    members = {f"members.{i}.{name}": tensor for i in range(2) for name, tensor in weights.items()}
    changed = msgspec.structs.replace(
        content.manifest,
        n_members=2,
        temperature=1.25,
        scaling=Scaling(decimate=2, n_taps=3, divide_uv=10),
    )
    write_bundle(tmp_path / "b", changed, members | shared)
    n_parameters = 2 * sum(tensor.size for tensor in weights.values())
    lines = invoke("inspect", tmp_path / "b").splitlines()
    rate = changed.sfreq_hz / 2
    assert f"scaling       low-pass of 3 taps to {rate:g} Hz, divided by 10 uV" in lines
    assert f"network       mean of 2: LSTM 3 -> 2, {n_parameters} parameters" in lines
    assert "temperature   1.25" in lines
    cost = changed.streaming.multiply_adds
    assert f"a decision    forward-only, from {changed.n_window} samples, {cost} multiply-adds" in lines


def test_without_torch_inspect_tests_the_engine_that_is_there(noise_bundle, base_install):
    done = run("inspect", str(noise_bundle), env=base_install, options=("-S",))
    assert (done.returncode, done.stderr) == (0, "")
    assert "torch: not installed" in done.stdout
