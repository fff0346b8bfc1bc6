"""Scalp patterns of decisions and of a decoder's spatial filters, for every kind of network. Used by `write`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from scipy.signal import butter, sosfilt

from pretap.decoder.decoder import Decoder
from pretap.networks import (
    ClosedFormSpec,
    CspSpec,
    EegNetSpec,
    LdaSpec,
    LrpErdLstmSpec,
    LstmSpec,
    TangentSpaceSpec,
    Tensors,
)
from pretap.networks.bandpass import BANDPASS, bandpassed, toeplitz
from pretap.networks.closed_form import window_means
from pretap.networks.covariance import n_triangle
from pretap.networks.lrp_erd_lstm import blocked
from pretap.recordings.epochs import Epochs
from pretap.signal.scaling import FIR
from pretap_offline.evaluate.metrics import auc

Signal = NDArray[np.float64]
_MAX_FILTERS = 8  # maps of one group
_N_INTERVALS = 5  # maps of the time course of a window
_BAND_HZ = (12.0, 30.0)
_FLOOR_UV2 = 1e-6  # power of a flat channel


@dataclass(frozen=True, eq=False)
class HeadMap:
    """One value per channel (n_channels,), with a title."""

    title: str
    values: Signal


@dataclass(frozen=True, eq=False)
class Group:
    """Maps that belong together; `one_scale` if their values can be compared."""

    title: str
    maps: tuple[HeadMap, ...]
    one_scale: bool = False


def decision_patterns(epochs: Epochs, probs: NDArray[np.float64]) -> list[Group]:
    """Compute the signal that covaries with decisions `probs` (n_epochs, n_classes) of any kind of decoder.

    The result is potential or log power per standard deviation of the log-odds of the last class:
    ``Cov(x, z) / sd(z)``. `probs` should be out of fold, so that no trial is evidence for a decoder fitted on it.
    """
    logs = np.log(np.clip(probs, 1e-9, None))
    odds = logs[:, -1] - logs[:, :-1].mean(axis=1)  # (n_epochs,)
    z = (odds - odds.mean()) / (odds.std() or 1.0) / len(odds)
    x = epochs.x_uv.astype(np.float64)
    x -= x.mean(axis=2, keepdims=True)
    slow = x - x[:, : max(1, epochs.n_samples // 10)].mean(axis=1, keepdims=True)
    name = epochs.classes[-1]
    maps = _intervals(np.tensordot(z, slow, axes=1), step_ms=1000 / epochs.sfreq_hz, end_ms=epochs.window_end_ms)
    groups = [Group(f"The whole decision: slow potential that goes with {name}", maps, one_scale=True)]
    if epochs.sfreq_hz > 2 * _BAND_HZ[1]:
        fast = sosfilt(butter(2, _BAND_HZ, "bandpass", fs=epochs.sfreq_hz, output="sos"), x - x[:, :1], axis=1)
        power = np.log(np.mean(fast**2, axis=1) + _FLOOR_UV2)  # (n_epochs, n_channels)
        band = HeadMap("{:g} to {:g} Hz".format(*_BAND_HZ), z @ (power - power.mean(axis=0)))
        groups.append(Group(f"The whole decision: log power that goes with {name}", (band,)))
    return groups


def patterns_of(decoder: Decoder, tensors: Tensors, epochs: Epochs) -> list[Group]:
    """Return the maps of a decoder with a single network that was fitted on `epochs`."""
    manifest, spec = decoder.manifest, decoder.manifest.network
    fir = tensors.get(FIR)
    decimation = None if fir is None else manifest.scaling.decimation(fir, n_window=manifest.n_window)
    x = manifest.scaling.apply(epochs.x_uv, decimation=decimation)  # (n_epochs, n_steps, n_channels)
    step_ms = 1000 * manifest.scaling.decimate * manifest.scaling.n_block / epochs.sfreq_hz
    course = partial(_courses, end_ms=epochs.window_end_ms)
    groups: list[Group]
    match spec:
        case LdaSpec():
            groups = course(tensors["dense.weight"], x, name="window", step_ms=step_ms)
        case CspSpec():
            groups = [_ranked_powers(epochs, "CSP", tensors["csp.filters"], _band(tensors, x))]
        case TangentSpaceSpec():
            title = "Band power, main directions of the tangent space's weights"
            filters = _directions(tensors["dense.weight"]) @ tensors["tangent.whitening"]
            groups = [_ranked_powers(epochs, title, filters, _band(tensors, x))]
        case ClosedFormSpec():
            n = n_triangle(x.shape[2])
            erd, lrp = tensors["dense.weight"][:, :n], tensors["dense.weight"][:, n:]
            title = "Band power (ERD), main directions of the log-covariance's weights"
            means = window_means(x, spec.means).reshape(len(x), spec.means, -1)  # (n_epochs, means, n_channels)
            mean_ms = step_ms * (x.shape[1] // spec.means)
            slow_potential = course(lrp, means, name="slow potential (LRP)", step_ms=mean_ms)
            groups = [_ranked_powers(epochs, title, _directions(erd), _band(tensors, x)), *slow_potential]
        case LrpErdLstmSpec():
            slow = np.stack([blocked(each, spec.blocks).mean(axis=1) for each in x])  # (n_epochs, blocks, n_channels)
            groups = [_ranked_powers(epochs, "Band power (ERD)", tensors["erd.filters"], _band(tensors, x))]
            if spec.lrp_filters:
                title = "Slow potential (LRP)"
                groups.insert(0, _ranked_levels(epochs, title, tensors["lrp.filters"], slow - slow[:, :1]))
        case EegNetSpec():
            groups = [_eegnet(spec, tensors, x, epochs)]
        case LstmSpec():
            n_hidden = spec.hidden[0]
            cell = tensors["lstm.0.weight_ih"][2 * n_hidden : 3 * n_hidden]  # the input written to the cells
            groups = [_ranked_levels(epochs, "Input of the first layer's cells", cell, x)]
    return groups


def filter_patterns(filters: Signal, x: Signal) -> Signal:
    """Convert filters (n_filters, n_channels) to their patterns in the signal `x` (..., n_channels), same shape.

    ``A = C W (W' C W)^-1`` with C the covariance of `x` (Haufe et al., NeuroImage 87, 2014). A filter also suppresses
    noise, so its weights do not show where the signal comes from; its pattern does.
    """
    flat = x.reshape(-1, x.shape[-1])
    flat = flat - flat.mean(axis=0)
    output = flat @ filters.T  # (n, n_filters)
    # pseudo-inverse, because an average reference can leave more filters than dimensions
    return np.asarray(np.linalg.pinv(output.T @ output, hermitian=True) @ output.T @ flat)


def _ranked_levels(epochs: Epochs, title: str, filters: Signal, x: Signal) -> Group:
    """Rank filters by their output at the last step, with the sign that makes it higher for the class."""
    return _ranked(epochs, title, filter_patterns(filters, x), x[:, -1] @ filters.T, power=False)


def _ranked_powers(epochs: Epochs, title: str, filters: Signal, x: Signal) -> Group:
    """Rank filters by the power of their output over the window; their sign has no meaning."""
    return _ranked(epochs, title, filter_patterns(filters, x), _power(filters, x), power=True)


def _ranked(epochs: Epochs, title: str, patterns: Signal, feature: Signal, *, power: bool) -> Group:
    """Sort patterns (n_filters, n_channels) by how well `feature` (n_epochs, n_filters) separates the classes.

    Each output is judged alone, on the trials that the filters were fitted on.
    """
    found = []
    for pattern, output in zip(patterns, feature.T, strict=True):
        name, area = _best_class(epochs, output)
        higher = area >= 0.5
        if power:
            label = f"{'more' if higher else 'less'} power: {name}"
            sign = np.sign(pattern[np.abs(pattern).argmax()])
        else:
            label, sign = name, 1.0 if higher else -1.0
        area = max(area, 1 - area)
        found.append((area, HeadMap(f"{label}, AUC {area:.2f}", pattern * (sign or 1.0))))
    found.sort(key=lambda each: -each[0])
    more = f", the best {_MAX_FILTERS} of {len(found)}" if len(found) > _MAX_FILTERS else ""
    return Group(f"{title}: patterns of the filters{more}", tuple(each for _, each in found[:_MAX_FILTERS]))


def _best_class(epochs: Epochs, output: Signal) -> tuple[str, float]:
    """Return the class that the output separates best from the others, and the area under its ROC curve."""
    assert epochs.labels is not None
    two = len(epochs.classes) == 2
    areas = {
        name: auc((epochs.labels == label).astype(np.int64), np.stack([-output, output], axis=1))
        for label, name in enumerate(epochs.classes)
        if (epochs.labels == label).any() and not (two and label == 0)
    }
    name = max(areas, key=lambda each: abs(areas[each] - 0.5))
    return name, areas[name]


def _courses(weight: NDArray[np.float64], x: Signal, *, name: str, step_ms: float, end_ms: float) -> list[Group]:
    """Return maps of a linear score of all steps (n_classes, n_steps * n_channels): its pattern and its weights."""
    score = _contrast(weight)
    n_steps, n_channels = x.shape[1:]
    pattern = filter_patterns(score[None], x.reshape(len(x), -1))[0]
    return [
        Group(
            f"LDA of the {name}: {kind}",
            _intervals(values.reshape(n_steps, n_channels), step_ms=step_ms, end_ms=end_ms),
            one_scale=True,
        )
        for kind, values in (("pattern", pattern), ("weights", score))
    ]


def _intervals(values: Signal, *, step_ms: float, end_ms: float) -> tuple[HeadMap, ...]:
    """Average a time course (n_steps, n_channels) in a few intervals, the oldest first."""
    n_steps = len(values)
    edges_ms = end_ms - step_ms * np.arange(n_steps, -1, -1)  # (n_steps + 1,)
    return tuple(
        HeadMap(f"{edges_ms[steps[0]]:.0f} to {edges_ms[steps[-1] + 1]:.0f} ms", values[steps].mean(axis=0))
        for steps in np.array_split(np.arange(n_steps), min(n_steps, _N_INTERVALS))
    )


def _contrast(weight: NDArray[np.float64]) -> Signal:
    """Return the score (n_features,) of the last class against the others."""
    return np.asarray(weight[-1] - weight[:-1].mean(axis=0), np.float64)


def _directions(weight: NDArray[np.float64]) -> Signal:
    """Return the main directions (n_filters, n_channels) of weights (n_classes, n_triangle) of a symmetric matrix."""
    score = _contrast(weight)
    n = int((np.sqrt(8 * len(score) + 1) - 1) / 2)
    rows, columns = np.triu_indices(n)
    matrix = np.zeros((n, n))
    matrix[rows, columns] = matrix[columns, rows] = score / np.where(rows == columns, 1.0, np.sqrt(2.0))
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors[:, np.argsort(-np.abs(values))[:6]].T)


def _band(tensors: Tensors, x: Signal) -> Signal:
    return np.asarray(bandpassed(x, toeplitz(tensors[BANDPASS])))


def _eegnet(spec: EegNetSpec, tensors: Tensors, x: Signal, epochs: Epochs) -> Group:
    """Rank the spatial filters of each temporal filter on the signal that it passes."""
    patterns, powers = [], []
    spatial = tensors["spatial.weight"].reshape(spec.temporal, spec.spatial, -1)
    for kernel, filters in zip(tensors["temporal.weight"], spatial, strict=True):
        passed = correlate1d(x, kernel.astype(np.float64), axis=1, mode="constant")
        patterns.append(filter_patterns(filters, passed))
        powers.append(_power(filters, passed))
    title = "Power after each temporal filter"
    return _ranked(epochs, title, np.concatenate(patterns), np.concatenate(powers, axis=1), power=True)


def _power(filters: Signal, x: Signal) -> Signal:
    """Compute the mean square of the output of each filter, (n_epochs, n_filters)."""
    return np.asarray(np.mean((x @ filters.T) ** 2, axis=1))
