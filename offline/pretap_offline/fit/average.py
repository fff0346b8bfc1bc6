"""Averages of networks: takes a recipe apart, and puts fitted bundles together. Used by `fitting` and training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.config.train import FitConfig, TrainConfig
from pretap.errors import UsageError
from pretap.networks import AverageSpec, Tensors, WeightedNetwork
from pretap.networks.kind import member_prefixes
from pretap.signal.scaling import FIR


def part_recipes(config: TrainConfig) -> list[TrainConfig]:
    """Return the recipe of each network of an average; of any other kind, the recipe itself.

    [fit] applies to the networks that torch trains, and `members` comes from each network.

    Raises
    ------
    UsageError
        If [fit] has members.
    """
    network = config.network
    if not isinstance(network, AverageSpec):
        return [config]
    if config.fit.members > 1:
        raise UsageError(
            f"fit.members = {config.fit.members}: each network of an average has its own members. Set members under "
            "[[network.networks]], and leave out fit.members."
        )
    in_closed_form = config.fit if "torch" not in _engines(network) else FitConfig(calibrate=config.fit.calibrate)
    return [
        replace(
            config,
            network=each.network,
            fit=replace(config.fit if "torch" in each.network.engines else in_closed_form, members=each.members),
        )
        for each in network.networks
    ]


def _engines(network: AverageSpec) -> set[str]:
    """Return the engines that compute at least one of the networks."""
    return {engine for each in network.networks for engine in each.network.engines}


def part_manifests(manifest: Manifest) -> list[Manifest]:
    """Return the manifest of each network of an average as a bundle of its own."""
    return [
        replace(
            manifest,
            network=recipe.network,
            n_members=recipe.fit.members,
            training=replace(manifest.training, config=recipe),
        )
        for recipe in part_recipes(manifest.training.config)
    ]


def join(parts: Sequence[tuple[Manifest, Tensors]]) -> dict[str, NDArray[Any]]:
    """Return the tensors of an average from those of its networks; each has its tensors under its prefix.

    The first part gives the tensors that do not belong to a network: the filters of the scaling, for example.
    """
    first, tensors = parts[0]
    own = _network_names(first)
    joined = {name: tensor for name, tensor in tensors.items() if name not in own}
    for index, (manifest, tensors) in enumerate(parts):
        joined |= {f"networks.{index}.{name}": tensors[name] for name in _network_names(manifest)}
    return joined


def _network_names(manifest: Manifest) -> set[str]:
    layout = manifest.network.tensors(
        n_steps=manifest.n_steps, n_inputs=len(manifest.channels), n_classes=len(manifest.classes)
    )
    return {prefix + name for prefix in member_prefixes(manifest.n_members) for name in layout}


def average_of(
    parts: Sequence[tuple[Manifest, Tensors]], *, weights: Sequence[float]
) -> tuple[Manifest, dict[str, NDArray[Any]]]:
    """Build the average of fitted bundles without fitting again.

    Parameters
    ----------
    parts
        Manifest and tensors of each bundle. They were fitted on the same trials with the same scaling and seed. Each
        one's `temperature` becomes that of its network in the average.
    weights
        The weight of each; their sum is 1.

    Returns
    -------
    The manifest and the tensors. The manifest has the tolerance of the least accurate part, no metrics, and the
    temperature 1.

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
        temperature=1.0,
        metrics=None,
        training=replace(first.training, config=config),
        self_test_tolerance=max(manifest.self_test_tolerance for manifest, _ in parts),
        versions={name: version for manifest, _ in parts for name, version in manifest.versions.items()},
    )
    for (manifest, own), expected in zip(parts, part_manifests(average), strict=True):
        _check_part(manifest, expected)
        if not np.array_equal(own.get(FIR, 0), tensors.get(FIR, 0)):
            raise UsageError("The parts of an average have different filters in their scaling: expected the same.")
    return average, join(parts)


_OWN_FIELDS = frozenset({"temperature", "metrics", "self_test_tolerance", "versions", "created"})


def _check_part(manifest: Manifest, expected: Manifest) -> None:
    """Check that a part is what the recipe of the average would fit."""
    names = [name for name in manifest.__struct_fields__ if name not in _OWN_FIELDS]
    different = [name for name in names if getattr(manifest, name) != getattr(expected, name)]
    if different == ["training"]:
        found, wanted = manifest.training, expected.training
        different = [name for name in found.__struct_fields__ if getattr(found, name) != getattr(wanted, name)]
        if different == ["config"]:
            names = [n for n in found.config.__struct_fields__ if getattr(found.config, n) != getattr(wanted.config, n)]
            different = [f"[{name}]" for name in names]
    if different:
        kind = manifest.network.__struct_config__.tag
        raise UsageError(
            f"The network of kind {kind!r} differs from the others of the average in {', '.join(different)}: expected "
            "the same trials, scaling, seed and [fit]. Fit it with theirs."
        )
