"""Trials, recipes and comparisons that the tests of the laboratory share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec.structs import replace as changed

from pretap.config.train import FitConfig, ScalingConfig, TrainConfig
from pretap.networks import LstmSpec
from pretap.recordings.epochs import Epochs
from pretap_offline.lab.bench import set_up
from pretap_offline.lab.compare import compare, plan
from pretap_offline.lab.fits import Fit, Fitted
from pretap_offline.lab.running import open_laboratory
from pretap_offline.lab.store import Store

RECIPE = TrainConfig(
    network=LstmSpec(hidden=(2,)),
    scaling=ScalingConfig(block_ms=100.0, divide_uv=10.0),
    fit=FitConfig(optimizer="adamw", learning_rate=3e-2, batch_size=10, max_epochs=2, calibrate=False),
)
OTHER = changed(RECIPE, network=LstmSpec(hidden=(3,)))
RECIPE_TOML = """
[scaling]
block_ms = 100.0
divide_uv = 10.0
[network]
kind = "lstm"
hidden = [{hidden}]
[fit]
optimizer = "adamw"
learning_rate = 3e-2
batch_size = 10
max_epochs = 2
"""
GOOD = """
[space]
"fit.learning_rate" = { low = 1e-3, high = 1e-1, log = true }
fit.max_epochs = { low = 1, high = 3 }
"network.hidden" = [[2], [3]]
"""
FITTED = Fitted([[0.1, 0.9], [1 / 3, 2 / 3]], 0.5, 12)


def trials(*, n=40, effect_uv=15.0, n_classes=2, in_order=False, seed=0) -> Epochs:
    """Half a second of noise at 100 Hz, and a shift of one channel for each class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % n_classes)
    x = rng.normal(0, 5, (n, 50, 3))
    x[np.arange(n), :, labels] += np.linspace(0, effect_uv, 50)
    return Epochs(
        x_uv=x.astype(np.float32),
        labels=labels,
        classes=("left", "right", "foot")[:n_classes],
        channels=("C3", "C4", "Cz"),
        sfreq_hz=100.0,
        window_end_ms=-130.0,
        source="noise",
        at_s=np.arange(n) * 2.0 if in_order else None,
    )


def ran(bench, store: Store):
    """A way to run fits here, which counts those that were not in the store."""
    fresh = []

    def run(wanted: list[Fit]) -> list[Fitted]:
        fresh.append(len({fit.key for fit in wanted}) - store.count({fit.key for fit in wanted}))
        with open_laboratory(store, bench.data, n_workers=1, cluster=None) as run_fits:
            return run_fits(wanted)

    return run, fresh


def compared(epochs: Epochs, store: Store, configs=None, *, folds=4, repeats=1, seed=0, **options):
    configs = configs or {"a": RECIPE}
    bench = set_up(epochs, list(configs.values()), folds=folds, repeats=repeats, seed=seed)
    run, fresh = ran(bench, store)
    return compare(plan(bench, configs, **options), run, files=dict.fromkeys(configs, "")), sum(fresh)


def space_file(folder: Path, text: str, base: str = "base.toml") -> Path:
    (folder / "base.toml").write_text(RECIPE_TOML.format(hidden=2))
    path = folder / "space.toml"
    path.write_text(f'base = "{base}"\n{text}')
    return path
