"""Scalp patterns of a decoder's spatial filters, for every kind of network. Used by `write`."""

from __future__ import annotations

from functools import partial

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from pretap.bundle.manifest import Manifest
from pretap.decoder.average import networks_of
from pretap.decoder.decoder import Decoder
from pretap.networks import (
    AverageSpec,
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
from pretap.networks.kind import member_prefixes, under
from pretap.networks.lrp_erd_lstm import blocked
from pretap.recordings.epochs import Epochs
from pretap.signal.scaling import FIR
from pretap_offline.evaluate.decision_patterns import Group, HeadMap, intervals
from pretap_offline.evaluate.metrics import auc

Signal = NDArray[np.float64]
_MAX_FILTERS = 8  # maps of one group


def patterns_of(decoder: Decoder, tensors: Tensors, epochs: Epochs) -> list[Group]:
    """Return the maps of a decoder that was fitted on `epochs`: a single network, or an average.

    Of an average, they are those of the first member of each network.
    """
    manifest, spec = decoder.manifest, decoder.manifest.network
    if isinstance(spec, AverageSpec):
        first = [_first_member(*part) for part in networks_of(manifest, spec, tensors)]
        return [group for part, own in first for group in patterns_of(Decoder(part, own), own, epochs)]
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


def _first_member(manifest: Manifest, tensors: Tensors) -> tuple[Manifest, Tensors]:
    """Return the first network of an ensemble as a decoder of its own, with the scaling's filters."""
    first = under(tensors, member_prefixes(manifest.n_members)[0])
    shared = {FIR: tensors[FIR]} if FIR in tensors else {}
    return replace(manifest, n_members=1), {**first, **shared}


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
            intervals(values.reshape(n_steps, n_channels), step_ms=step_ms, end_ms=end_ms),
            one_scale=True,
        )
        for kind, values in (("pattern", pattern), ("weights", score))
    ]


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
