"""Builds one bundle from several that were fitted on the same trials. Used by training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import asdict, replace
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.errors import UsageError
from pretap.networks import AverageSpec, Tensors, WeightedNetwork
from pretap.signal.scaling import FIR
from pretap_offline.fit.fitting import self_test_tolerance
from pretap_offline.fit.parts import join, part_manifests


def average_of(
    parts: Sequence[tuple[Manifest, Tensors]], *, weights: Sequence[float], temperature: float = 1.0
) -> tuple[Manifest, dict[str, NDArray[Any]]]:
    """Build the average of fitted bundles without fitting again.

    Parameters
    ----------
    parts
        Manifest and tensors of each bundle. They were fitted on the same trials with the same scaling and seed. Each
        one's `temperature` becomes that of its network in the average.
    weights
        The weight of each; their sum is 1.
    temperature
        Divides the averaged logits.

    Returns
    -------
    The manifest, without metrics, and the tensors.

    Raises
    ------
    UsageError
        If the parts differ in more than the network and [fit], two that torch trained differ in [fit], or a part is an
        average.
    """
    first, tensors = parts[0]
    networks = []
    for (manifest, _), weight in zip(parts, weights, strict=True):
        if isinstance(manifest.network, AverageSpec):
            raise UsageError("A network of kind 'average' cannot be part of another one. Pass its networks instead.")
        networks.append(
            WeightedNetwork(
                network=manifest.network, weight=weight, members=manifest.n_members, temperature=manifest.temperature
            )
        )
    network = AverageSpec(networks=tuple(networks))
    recipes = [manifest.training.config for manifest, _ in parts]
    by_torch = [recipe.fit for recipe in recipes if "torch" in recipe.network.engines] or [recipes[0].fit]
    config = replace(recipes[0], network=network, fit=replace(by_torch[0], members=1))
    average = replace(
        first,
        network=network,
        n_members=1,
        temperature=temperature,
        metrics=None,
        training=replace(first.training, config=config),
        versions={name: version for manifest, _ in parts for name, version in manifest.versions.items()},
    )
    for (manifest, own), expected in zip(parts, part_manifests(average), strict=True):
        _check_part(manifest, expected)
        if not np.array_equal(own.get(FIR, 0), tensors.get(FIR, 0)):
            raise UsageError("The parts of an average have different filters in their scaling: expected the same.")
    joined = join(parts)
    return replace(average, self_test_tolerance=self_test_tolerance(average, joined)), joined


_OWN = frozenset({"temperature", "metrics", "self_test_tolerance", "versions", "created", "training", "config"})


def _check_part(manifest: Manifest, expected: Manifest) -> None:
    """Check that a part is what the recipe of the average would fit."""
    found, wanted = _fields(manifest), _fields(expected)
    different = [name for name in found if found[name] != wanted[name] and name not in _OWN]
    if different:
        kind = manifest.network.__struct_config__.tag
        raise UsageError(
            f"The network of kind {kind!r} differs from the others of the average in {', '.join(different)}: expected "
            "the same trials, scaling, seed and [fit]. Fit it with theirs."
        )


def _fields(manifest: Manifest) -> dict[str, Any]:
    """Return the fields of a manifest, of its training and of its recipe."""
    recipe = {f"[{name}]": value for name, value in asdict(manifest.training.config).items()}
    return asdict(manifest) | asdict(manifest.training) | recipe
