"""The candidates of a recipe: a recipe of one network each, if it can read the trials. Used by `selection`."""

from __future__ import annotations

from msgspec.structs import replace

from pretap.bundle.file import refusal
from pretap.config.train import TrainConfig, TrialsConfig
from pretap.errors import DataError, UsageError
from pretap.recordings.epochs import Epochs
from pretap_offline.fit.estimator import make_estimator, make_fir
from pretap_offline.fit.fitting import make_manifest
from pretap_offline.trials.source import cropped


def candidates_of(epochs: Epochs, config: TrainConfig) -> tuple[dict[str, TrainConfig], dict[str, str]]:
    """Return the recipe of each candidate that can read these trials, and why the others cannot.

    With `config.search.window`, each network is a candidate once for each window.

    Raises
    ------
    UsageError
        If no candidate can read the trials.
    """
    recipes, refused = {}, {}
    for name, wanted in config.candidates.items():
        for suffix, trials in _windows(config):
            recipe = replace(config, network=wanted.network, fit=wanted.fit, trials=trials, candidates={})
            try:
                _check(cropped(epochs, recipe), recipe)
            except (UsageError, DataError) as error:
                refused[name + suffix] = str(error)
            else:
                recipes[name + suffix] = recipe
    if not recipes:
        reasons = "".join(f"\n{name}: {reason}" for name, reason in refused.items())
        raise UsageError(f"None of the candidates can read these trials:{reasons}")
    return recipes, refused


def with_search(config: TrainConfig) -> TrainConfig:
    """Return the recipe that also chooses its window, with trials that contain all of the windows.

    Raises
    ------
    UsageError
        If the recipe has no windows or no candidates.
    """
    windows_ms = config.search.window_ms
    if not windows_ms or not config.candidates:
        raise UsageError(
            "--search window: expected a recipe with [candidates], and with windows to choose among, such as "
            "[search] window_ms = [[0, 2000], [500, 2500]]. The presets taps, cued-taps and imagery have both."
        )
    starts, ends = zip(*windows_ms, strict=True)
    trials = replace(config.trials, window_ms=(min(starts), max(ends)))
    return replace(config, trials=trials, search=replace(config.search, window=True))


def _check(epochs: Epochs, config: TrainConfig) -> None:
    """Refuse a recipe that cannot be fitted on these trials, or that no bundle can hold."""
    manifest = make_manifest(epochs, config, seed=0)
    refused = refusal(manifest)
    if refused:
        raise UsageError(refused)
    fir = make_fir(config, manifest.scaling, sfreq_hz=epochs.sfreq_hz, n_window=epochs.n_samples)
    make_estimator(config, manifest.scaling, like=epochs, seed=0, fir=fir)


def _windows(config: TrainConfig) -> list[tuple[str, TrialsConfig]]:
    """Return the settings of [trials] for each window to look at, and what they add to a candidate's name."""
    if not config.search.window:
        return [("", config.trials)]
    return [
        (f", {start_ms:g} to {end_ms:g} ms", replace(config.trials, window_ms=(start_ms, end_ms)))
        for start_ms, end_ms in config.search.window_ms
    ]
