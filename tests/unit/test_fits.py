"""Fits: identified by everything that their result depends on."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import replace as changed

from lab_cases import OTHER, RECIPE, trials
from pretap.config.train import ScalingConfig
from pretap.errors import UsageError
from pretap_offline.fit.fitting import fit_decoder
from pretap_offline.lab.fits import Fit, code_version, data_sha256, run_fit, source_sha256, versions
from pretap_offline.training import prepare


def a_fit(**change) -> Fit:
    fields = {"config": RECIPE, "fit_on": np.arange(8), "score_on": np.array([8]), "seed": 0, "shuffle": None}
    return Fit(**(fields | {"data": "d", "code": "c"} | change))


@pytest.mark.parametrize(
    "change",
    [
        {"config": OTHER},
        {"fit_on": np.arange(7)},
        {"score_on": np.array([9])},
        {"seed": 1},
        {"shuffle": 0},
        {"data": "e"},
        {"code": "e"},
    ],
)
def test_the_key_of_a_fit_changes_with_anything_it_depends_on(change):
    assert a_fit().key == a_fit().key
    assert a_fit(**change).key != a_fit().key


def test_the_sha256_of_trials_changes_with_a_sample_a_label_or_a_name():
    epochs = trials()
    other = epochs.x_uv.copy()
    other[3, 2, 1] += 1e-3
    labels = epochs.labels.copy()
    labels[0] = 1 - labels[0]
    variants = [
        epochs,
        replace(epochs, x_uv=other),
        replace(epochs, labels=labels),
        replace(epochs, channels=("C3", "C4", "Pz")),
        replace(epochs, sfreq_hz=50.0),
    ]
    assert len({data_sha256(each) for each in variants}) == 5
    assert data_sha256(replace(epochs, source="another file")) == data_sha256(epochs)


def test_the_code_version_depends_on_imported_modules_only(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "fits_probe"
    package.mkdir()
    for name, text in {"__init__": "", "a": "def f():\n    from fits_probe import b", "b": "X = 1", "c": ""}.items():
        (package / f"{name}.py").write_text(text)

    def of_a() -> str:
        return source_sha256("fits_probe.a", packages=frozenset({"fits_probe"}))

    before = of_a()
    (package / "c.py").write_text("Y = 2")
    assert of_a() == before
    (package / "b.py").write_text("X = 2")
    assert of_a() != before


def test_versions_cover_the_libraries_of_every_kind_and_mark_missing_ones():
    assert {"mne", "numpy", "pyriemann", "scikit-learn", "scipy", "skorch", "torch"} == versions().keys()
    assert versions(("numpy", "no-such-library")) == {"numpy": np.__version__, "no-such-library": "not installed"}


def test_the_parameters_of_a_fit_are_those_of_its_bundle_without_fixed_filters():
    epochs = prepare(trials(), changed(RECIPE, signal=changed(RECIPE.signal, sfreq_hz=250.0)))
    scaling = ScalingConfig(divide_uv=10.0, decimate_to_hz=100.0)
    for config in (RECIPE, changed(RECIPE, scaling=scaling)):
        fit = a_fit(config=config, fit_on=np.arange(30), code=code_version())
        decoder, _ = fit_decoder(epochs.select(fit.fit_on), config, seed=0)
        assert decoder.manifest.streaming.n_parameters == 54
        assert run_fit(fit, epochs).n_parameters == 54


def test_a_worker_with_other_code_is_refused_with_both_versions():
    with pytest.raises(
        UsageError, match=r"A worker runs pretap .*, this command 0\.0\.0\+old: install the same version"
    ):
        run_fit(a_fit(code="0.0.0+old"), trials())


def test_the_version_of_the_code_names_the_package():
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\+[0-9a-f]{16}", code_version())
