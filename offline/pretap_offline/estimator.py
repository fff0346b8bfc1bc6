"""The estimator: scaling and network as one scikit-learn pipeline, trained through skorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback

from pretap.config import FitConfig, TrainConfig
from pretap.errors import UsageError
from pretap.networks import LstmSpec
from pretap.scaling import Scaling
from pretap.torch_networks import LstmNetwork, one_thread

__all__ = ["LstmClassifier", "make_estimator", "make_scaling"]

# Keras's Nadam: its epsilon is 1e-7 and its momentum schedule decays by 0.004 (torch's defaults: 1e-8, 0.004).
_OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, float]]] = {
    "nadam": (torch.optim.NAdam, {"eps": 1e-7, "momentum_decay": 0.004}),
    "adamw": (torch.optim.AdamW, {}),
}


class _InterruptedError(Exception):
    """Ctrl-C, on its way past skorch."""


class LstmClassifier(NeuralNetClassifier):  # type: ignore[misc]  # skorch has no types
    """skorch's classifier with a `random_state`: the same data and state give the same weights, bit for bit.

    ``fit`` leaves torch's global generator as it was; all is computed on one thread.
    """

    def __init__(self, module: Any = LstmNetwork, *args: Any, random_state: int = 0, **kwargs: Any) -> None:
        super().__init__(module, *args, **kwargs)
        self.random_state = random_state

    def fit(self, X: Any, y: Any, **fit_params: Any) -> LstmClassifier:  # noqa: N803 - scikit-learn's name
        """Train on scaled windows (n_epochs, n_steps, n_inputs) float32 and class indices (n_epochs,) int64."""
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            try:
                super().fit(X, y, **fit_params)
            except _InterruptedError:
                raise KeyboardInterrupt from None
        return self

    def fit_loop(self, *args: Any, **kwargs: Any) -> LstmClassifier:
        """Run skorch's loop and let Ctrl-C through; skorch alone would go on with the half-trained network."""
        try:
            super().fit_loop(*args, **kwargs)
        except KeyboardInterrupt:
            raise _InterruptedError from None
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float32]:  # noqa: N803 - scikit-learn's name
        """Give the class probabilities (n_epochs, n_classes) of scaled windows."""
        with one_thread():
            return np.asarray(super().predict_proba(X))


class _EpochProgress(Callback):  # type: ignore[misc]
    def __init__(self, advance: Callable[[], None]) -> None:
        self.advance = advance

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.advance()


def make_scaling(config: TrainConfig, *, sfreq_hz: float, n_window: int, n_channels: int) -> Scaling:
    """Turn the configuration's milliseconds into samples at `sfreq_hz`; the one place where that is done.

    A duration that is no whole number of samples becomes the nearest, at least 1: 50 ms at 256 Hz are 13 samples.

    Raises
    ------
    UsageError
        When a duration is longer than the window, or the average reference is that of one channel.
    """
    wanted = config.scaling
    if wanted.reference == "average" and n_channels == 1:
        raise UsageError(
            "scaling.reference = 'average' of a single channel is the channel itself: nothing but zeros would be left. "
            "Set scaling.reference = 'none' (--set scaling.reference=none)."
        )
    n_baseline = _n_samples(wanted.baseline_ms, "scaling.baseline_ms", sfreq_hz=sfreq_hz, n_window=n_window)
    n_block = _n_samples(wanted.block_ms, "scaling.block_ms", sfreq_hz=sfreq_hz, n_window=n_window)
    return Scaling(
        reference=wanted.reference, n_baseline=n_baseline, n_block=max(1, n_block), divide_uv=wanted.divide_uv
    )


def make_estimator(
    config: TrainConfig,
    scaling: Scaling,
    *,
    n_channels: int,
    n_classes: int,
    seed: int,
    advance: Callable[[], None] | None = None,
) -> Pipeline:
    """Build the untrained pipeline; it takes raw microvolts (n_epochs, n_window, n_channels).

    `advance` is called after each training epoch.
    """
    return Pipeline(
        [
            ("scaling", FunctionTransformer(_scale, kw_args={"scaling": scaling})),
            ("network", _classifier(config.network, config.fit, n_channels, n_classes, seed=seed, advance=advance)),
        ]
    )


def _classifier(
    network: LstmSpec,
    fit: FitConfig,
    n_inputs: int,
    n_classes: int,
    *,
    seed: int,
    advance: Callable[[], None] | None,
) -> LstmClassifier:
    optimizer, settings = _OPTIMIZERS[fit.optimizer]
    return LstmClassifier(
        LstmNetwork,
        module__spec=network,
        module__n_inputs=n_inputs,
        module__n_classes=n_classes,
        random_state=seed,
        criterion=torch.nn.CrossEntropyLoss,  # on logits
        optimizer=optimizer,
        lr=fit.learning_rate,
        optimizer__weight_decay=fit.weight_decay,
        **{f"optimizer__{key}": value for key, value in settings.items()},
        batch_size=fit.batch_size,
        max_epochs=fit.max_epochs,
        iterator_train__shuffle=True,
        train_split=None,
        classes=list(range(n_classes)),
        callbacks=[] if advance is None else [_EpochProgress(advance)],
        verbose=0,
    )


def _scale(x_uv: NDArray[np.float32], *, scaling: Scaling) -> NDArray[np.float32]:
    return scaling.apply(x_uv).astype(np.float32)  # (n_epochs, n_steps, n_channels)


def _n_samples(duration_ms: float, key: str, *, sfreq_hz: float, n_window: int) -> int:
    """Give the nearest number of samples, at least 1; 0 ms is none."""
    if duration_ms == 0:
        return 0
    n = max(1, round(duration_ms * sfreq_hz / 1000))
    if n > n_window:
        raise UsageError(
            f"{key} = {duration_ms:g} is {n} samples at {sfreq_hz:g} Hz: expected at most the window's {n_window}."
        )
    return n
