"""The networks of an average, each with a recipe and a manifest of its own. Used by `fitting`, `average` and `lab`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.config.train import FitConfig, TrainConfig
from pretap.errors import UsageError
from pretap.networks import AverageSpec, Tensors
from pretap.networks.kind import member_prefixes


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
    in_closed_form = (
        config.fit
        if "torch" not in _engines(network)
        else FitConfig(calibrate=config.fit.calibrate, drop_electrodes=config.fit.drop_electrodes)
    )
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
