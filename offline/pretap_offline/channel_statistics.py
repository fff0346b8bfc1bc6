"""Add the statistics of its training trials to a bundle of old: the same weights and figures, in the newest format.

    python -m pretap_offline.channel_statistics BUNDLE... --data DIR

`pretap train` writes them into every bundle by itself.
"""

from __future__ import annotations

from pathlib import Path

import click
from msgspec.structs import replace

from pretap.bundle import read_bundle, write_bundle
from pretap.errors import DataError
from pretap.manifest import FORMAT_VERSION
from pretap.recordings.epochs import Epochs
from pretap.recordings.resample import resample_epochs
from pretap.statistics import gather_statistics
from pretap_offline.data import read_trials

__all__ = ["add_statistics"]


def add_statistics(path: Path, epochs: Epochs) -> str:
    """Write the bundle again with the statistics of `epochs`; gives the new sha256.

    Raises
    ------
    DataError
        When `epochs` are not the trials that the bundle was trained on.
    """
    bundle = read_bundle(path)
    manifest = bundle.manifest
    training = manifest.training
    n_known = training.count_known(epochs.trial_ids)
    if not n_known == len(epochs) == training.n_trials:
        raise DataError(
            f"{path}: expected the {training.n_trials} trials it was trained on; of the {len(epochs)} of "
            f"{epochs.source} it knows {n_known}."
        )
    at_rate = resample_epochs(epochs.pick(manifest.channels), sfreq_hz=manifest.sfreq_hz)
    statistics = gather_statistics(at_rate.x_uv, sfreq_hz=manifest.sfreq_hz)
    weights = {name: tensor for name, tensor in bundle.tensors.items() if not name.startswith("probe.")}
    manifest = replace(manifest, format_version=FORMAT_VERSION, has_statistics=True)
    return write_bundle(path, manifest, {**weights, **statistics.tensors()})


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--data", help="As `pretap train` takes it.")
def _main(bundles: tuple[Path, ...], *, data: str | None) -> None:
    epochs = read_trials(data, part="train")
    for path in bundles:
        click.echo(f"{path}: sha256 {add_statistics(path, epochs)}")


if __name__ == "__main__":
    _main()
