"""The estimator: scaling and network as one scikit-learn pipeline, for every kind of network. Used by `fitting`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from pretap.config.train import FitConfig, TrainConfig
from pretap.errors import UsageError
from pretap.networks import ClosedFormSpec, CspSpec, EegNetSpec, LdaSpec, LrpErdLstmSpec, TangentSpaceSpec
from pretap.recordings.epochs import Epochs
from pretap.signal.scaling import Scaling
from pretap_offline.fit.bandpass import bandpass_impulse
from pretap_offline.fit.baselines import export_baseline, make_csp, make_lda, make_tangent_space
from pretap_offline.fit.closed_form import ClosedFormClassifier
from pretap_offline.fit.decimation import design_fir


def make_scaling(config: TrainConfig, *, sfreq_hz: float, n_window: int, n_channels: int) -> Scaling:
    """Convert the configuration's milliseconds to samples at `sfreq_hz`.

    Durations are rounded to the nearest number of samples, at least 1: 50 ms at 256 Hz are 13 samples.

    Raises
    ------
    UsageError
        If a duration is longer than the window, a rate does not fit, or a single channel has the average reference.
    """
    wanted = config.scaling
    if wanted.reference == "average" and n_channels == 1:
        raise UsageError(
            "scaling.reference = 'average' of a single channel is the channel itself, so only zeros would be left. "
            "Set scaling.reference = 'none' (--set scaling.reference=none)."
        )
    decimate, n_taps, n_start = _decimation(config, sfreq_hz=sfreq_hz)
    plain = Scaling(
        reference=wanted.reference, divide_uv=wanted.divide_uv, decimate=decimate, n_taps=n_taps, n_start=n_start
    )
    n_kept = plain.n_kept(n_window)
    if decimate > n_window:
        raise UsageError(
            f"scaling.decimate_to_hz = {wanted.decimate_to_hz:g} keeps one sample in {decimate} at {sfreq_hz:g} Hz, "
            f"but the window has {n_window}: expected at least {sfreq_hz / n_window:g} Hz."
        )
    if n_kept < 1:
        raise UsageError(
            f"scaling.start_ms = {wanted.start_ms:g} is {n_start} samples at {sfreq_hz:g} Hz: expected at most the "
            f"window's {n_window}."
        )
    kept_hz = sfreq_hz / decimate
    n_baseline = _n_samples(wanted.baseline_ms, "scaling.baseline_ms", sfreq_hz=kept_hz, n_window=n_kept)
    n_block = _n_samples(wanted.block_ms, "scaling.block_ms", sfreq_hz=kept_hz, n_window=n_kept)
    return replace(plain, n_baseline=n_baseline, n_block=max(1, n_block))


def _decimation(config: TrainConfig, *, sfreq_hz: float) -> tuple[int, int, int]:
    """Return the factor, and the taps of the longest and the shortest filter; (1, 0, 0) without decimation."""
    wanted = config.scaling
    if wanted.decimate_to_hz is None or sfreq_hz < 2 * wanted.decimate_to_hz:
        return 1, 0, 0
    decimate = int(sfreq_hz // wanted.decimate_to_hz)
    if not wanted.pass_hz < wanted.stop_hz < sfreq_hz / 2:
        raise UsageError(
            f"scaling.pass_hz = {wanted.pass_hz:g} and stop_hz = {wanted.stop_hz:g}: expected pass_hz < stop_hz < "
            f"{sfreq_hz / 2:g}, half the rate of the data."
        )
    kept_hz = sfreq_hz / decimate
    if wanted.stop_hz > kept_hz - wanted.pass_hz:
        raise UsageError(
            f"scaling.decimate_to_hz = {wanted.decimate_to_hz:g} keeps {kept_hz:g} samples per second: what the filter "
            f"leaves below stop_hz = {wanted.stop_hz:g} would partly alias into the band up to pass_hz = "
            f"{wanted.pass_hz:g}. Expected decimate_to_hz of at least pass_hz + stop_hz = "
            f"{wanted.pass_hz + wanted.stop_hz:g}."
        )
    n_taps = max(1, round(wanted.fir_ms * sfreq_hz / 1000))
    return decimate, n_taps, min(n_taps, max(1, round(wanted.start_ms * sfreq_hz / 1000)))


def make_fir(config: TrainConfig, scaling: Scaling, *, sfreq_hz: float, n_window: int) -> NDArray[np.float64] | None:
    """Design the filters that `scaling` decimates with, (n_filters, n_taps); None if it does not decimate."""
    if not scaling.n_taps:
        return None
    lengths = scaling.filter_lengths(n_window)
    filters = np.zeros((len(lengths), scaling.n_taps))
    for row, n_taps in zip(filters, lengths, strict=True):
        row[:n_taps] = design_fir(config.scaling, n_taps=n_taps, sfreq_hz=sfreq_hz)
    return filters


def make_estimator(
    config: TrainConfig,
    scaling: Scaling,
    *,
    like: Epochs,
    seed: int,
    fir: NDArray[np.float64] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Pipeline:
    """Build the untrained pipeline for epochs `like` these, in raw microvolts (n_epochs, n_window, n_channels).

    The last step is named ``network``. It holds all members if they are trained at once, otherwise the one of `seed`.
    `advance` is called after each training epoch of kinds trained by torch.
    """
    decimation = None if fir is None else scaling.decimation(fir, n_window=like.n_samples)
    scale = FunctionTransformer(scaling.apply, kw_args={"decimation": decimation})
    network = _network(config, scaling, like=like, seed=seed, advance=advance)
    return Pipeline([("scaling", scale), ("network", network)])


def export_members(fitted: Pipeline) -> list[dict[str, NDArray[Any]]]:
    """Return the tensors of each fitted network, under the names of its kind."""
    network = fitted.named_steps["network"]
    return [export_baseline(network)] if isinstance(network, Pipeline) else list(network.export())


def member_seed(seed: int, member: int) -> int:
    """Return the seed of a member: the ensemble's own for the first one, and seeds derived from it for the others."""
    return seed if member == 0 else int(np.random.SeedSequence([seed, member]).generate_state(1)[0] >> 1)


def is_trained_by_torch(config: TrainConfig) -> bool:
    """Whether the configured kind is trained by torch, in epochs and from a seed."""
    return "torch" in config.network.engines


def _network(
    config: TrainConfig, scaling: Scaling, *, like: Epochs, seed: int, advance: Callable[[int], None] | None
) -> BaseEstimator:
    spec, n_steps = config.network, scaling.n_steps(like.n_samples)
    sfreq_hz = like.sfreq_hz / scaling.decimate / scaling.n_block
    if not is_trained_by_torch(config):
        _check_fit(config)
    refusal = spec.refusal(n_steps=n_steps, n_members=config.fit.members)
    if refusal:
        raise UsageError(refusal)
    if isinstance(spec, EegNetSpec):
        _check_batches(spec, n_steps=n_steps, n_trials=len(like), batch_size=config.fit.batch_size)
    match spec:
        case LdaSpec():
            return make_lda(spec)
        case CspSpec():
            return make_csp(spec, sfreq_hz=sfreq_hz, n_steps=n_steps, n_channels=len(like.channels))
        case TangentSpaceSpec():
            return make_tangent_space(spec, sfreq_hz=sfreq_hz, n_steps=n_steps)
        case ClosedFormSpec():
            impulse = bandpass_impulse(spec.band_hz, order=spec.order, sfreq_hz=sfreq_hz, n_steps=n_steps)
            return ClosedFormClassifier(spec, impulse, random_state=seed)
        case _:
            from pretap_offline.fit.neural import make_network_classifier

            fixed: dict[str, Any] = {}  # arguments of the module that are not learned
            if isinstance(spec, LrpErdLstmSpec):
                fixed["impulse"] = bandpass_impulse(spec.band_hz, order=spec.order, sfreq_hz=sfreq_hz, n_steps=n_steps)
            seeds = tuple(member_seed(seed, member) for member in range(config.fit.members))
            return make_network_classifier(
                config, like=like, n_steps=n_steps, fixed=fixed, seeds=seeds, advance=advance
            )


def _check_fit(config: TrainConfig) -> None:
    """Refuse [fit] settings that have no effect on this kind."""
    defaults = FitConfig(calibrate=config.fit.calibrate, drop_electrodes=config.fit.drop_electrodes)
    changed = [name for name in defaults.__struct_fields__ if getattr(config.fit, name) != getattr(defaults, name)]
    if changed:
        kind = config.network.__struct_config__.tag
        raise UsageError(
            f"fit.{', fit.'.join(changed)}: a network of kind {kind!r} is fitted in closed form, without "
            "training epochs. Leave these settings out; only fit.calibrate and fit.drop_electrodes apply."
        )


def _check_batches(spec: EegNetSpec, *, n_steps: int, n_trials: int, batch_size: int) -> None:
    """Refuse a last batch with one value per map, because batch normalisation needs two."""
    if n_steps < 2 * spec.pool and (n_trials - 1) % batch_size == 0:
        raise UsageError(
            f"network.pool = {spec.pool} leaves 1 of {n_steps} steps, and fit.batch_size = {batch_size} leaves 1 of "
            f"{n_trials} trials in the last batch: batch normalisation needs two values. Set a smaller network.pool or "
            "another fit.batch_size."
        )


def _n_samples(duration_ms: float, key: str, *, sfreq_hz: float, n_window: int) -> int:
    """Return the nearest number of samples, at least 1 unless the duration is 0."""
    if duration_ms == 0:
        return 0
    n = max(1, round(duration_ms * sfreq_hz / 1000))
    if n > n_window:
        raise UsageError(
            f"{key} = {duration_ms:g} is {n} samples at {sfreq_hz:g} Hz: expected at most the window's {n_window}."
        )
    return n
