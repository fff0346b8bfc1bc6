"""Training through skorch: wraps torch modules as scikit-learn classifiers. Used by `estimator`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, LRScheduler
from torch.optim.lr_scheduler import LambdaLR

from pretap.config.train import TrainConfig
from pretap.recordings.epochs import Epochs
from pretap.torch_networks import LstmNetwork, module_of, one_thread
from pretap_offline.fit.dropping import dropping_maps
from pretap_offline.fit.mirror import mirror_partners
from pretap_offline.trials.montage import interpolation_weights

# Keras's Nadam: its epsilon is 1e-7 and its momentum schedule decays by 0.004 (torch's defaults: 1e-8, 0.004).
_OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, float]]] = {
    "nadam": (torch.optim.NAdam, {"eps": 1e-7, "momentum_decay": 0.004}),
    "adamw": (torch.optim.AdamW, {}),
}


class _InterruptedError(Exception):
    """Carries Ctrl-C past skorch, which would swallow a KeyboardInterrupt."""


class NetworkClassifier(NeuralNetClassifier):  # type: ignore[misc]  # skorch has no types
    """skorch classifier with a `random_state`: equal data and state produce equal weights, bit for bit.

    Training windows are mirrored with probability `mirror` (see `pretap_offline.fit.mirror`); `partners` holds the
    mirror image of each input. With probability `drop`, a random one of the matrices `maps` drops an electrode (see
    `pretap_offline.fit.dropping`). ``fit`` restores torch's global generator and computes on one thread.
    """

    def __init__(
        self,
        module: Any = LstmNetwork,
        *args: Any,
        random_state: int = 0,
        mirror: float = 0.0,
        partners: tuple[int, ...] = (),
        drop: float = 0.0,
        maps: NDArray[np.float64] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, *args, **kwargs)
        self.random_state, self.mirror, self.partners = random_state, mirror, partners
        self.drop, self.maps = drop, maps

    def fit(self, X: Any, y: Any, **fit_params: Any) -> NetworkClassifier:  # noqa: N803 - scikit-learn's name
        """Train on scaled windows (n_epochs, n_steps, n_inputs) float64 and class indices (n_epochs,) int64."""
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            try:
                super().fit(X, y, **fit_params)
            except _InterruptedError:
                raise KeyboardInterrupt from None
        return self

    def fit_loop(self, *args: Any, **kwargs: Any) -> NetworkClassifier:
        """Run skorch's loop and pass on Ctrl-C; skorch alone would continue with the half-trained network."""
        try:
            super().fit_loop(*args, **kwargs)
        except KeyboardInterrupt:
            raise _InterruptedError from None
        return self

    def train_step_single(self, batch: Any, **fit_params: Any) -> Any:
        """Mirror some windows (batch, n_steps, n_inputs) and labels (batch,), drop electrodes, then do the step."""
        x, y = batch
        if self.mirror:
            swap = torch.rand(len(y)) < self.mirror  # (batch,)
            x = torch.where(swap[:, None, None], x[:, :, list(self.partners)], x)
            y = torch.where(swap, 1 - y, y)
        if self.drop and self.maps is not None and len(self.maps):
            picked = torch.from_numpy(self.maps)[
                torch.randint(len(self.maps), (len(y),))
            ]  # (batch, n_inputs, n_inputs)
            is_dropped = torch.rand(len(y)) < self.drop  # (batch,)
            x = torch.where(is_dropped[:, None, None], x @ picked.mT.to(x.dtype), x)
        return super().train_step_single((x, y), **fit_params)

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:  # noqa: N803
        """Initialise the module from the training windows, if it supports that."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        if hasattr(self.module_, "initialise_from"):
            with torch.no_grad():
                self.module_.initialise_from(torch.from_numpy(X))

    def export(self) -> dict[str, NDArray[Any]]:
        """Return the fitted tensors under the names used in a bundle."""
        return dict(self.module_.export())

    def predict_proba(self, X: Any) -> NDArray[np.float32]:  # noqa: N803 - scikit-learn's name
        """Return the class probabilities (n_epochs, n_classes) of scaled windows."""
        with one_thread():
            return np.asarray(super().predict_proba(X))


class _EpochProgress(Callback):  # type: ignore[misc]
    def __init__(self, advance: Callable[[int], None], n_trials: int) -> None:
        self.advance, self.n_trials = advance, n_trials

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.advance(self.n_trials)


def cosine_factor(n_done: int, *, n_batches: int) -> float:
    """Return the factor of the learning rate after `n_done` of `n_batches`.

    It rises linearly over the first tenth, and then decays like a cosine.
    """
    n_warm = max(1, round(0.1 * n_batches))
    if n_done < n_warm:
        return (n_done + 1) / n_warm
    return 0.5 + 0.5 * math.cos(math.pi * (n_done - n_warm + 1) / (n_batches - n_warm + 1))


def make_network_classifier(
    config: TrainConfig,
    *,
    like: Epochs,
    n_steps: int,
    fixed: Mapping[str, Any],
    seed: int,
    advance: Callable[[int], None] | None,
) -> NetworkClassifier:
    """Build the untrained classifier of windows of `n_steps`, to be fitted on as many trials as `like` has.

    `fixed` holds arguments of the module that are not learned. `advance` is called with the number of trials after each
    epoch.
    """
    fit, n_classes = config.fit, len(like.classes)
    callbacks: list[Callback] = []
    if fit.schedule == "cosine":
        factor = partial(cosine_factor, n_batches=fit.max_epochs * math.ceil(len(like) / fit.batch_size))
        callbacks.append(LRScheduler(LambdaLR, step_every="batch", lr_lambda=factor))
    if advance is not None:
        callbacks.append(_EpochProgress(advance, len(like)))
    optimizer, settings = _OPTIMIZERS[fit.optimizer]
    return NetworkClassifier(
        module_of(config.network),
        module__spec=config.network,
        module__n_steps=n_steps,
        module__n_inputs=len(like.channels),
        module__n_classes=n_classes,
        **{f"module__{name}": value for name, value in fixed.items()},
        random_state=seed,
        mirror=fit.mirror,
        partners=tuple(mirror_partners(like.channels, n_classes=n_classes).tolist()) if fit.mirror else (),
        drop=fit.drop_electrodes,
        maps=dropping_maps(interpolation_weights(like.channels), reference=config.scaling.reference)
        if fit.drop_electrodes
        else None,
        criterion=torch.nn.CrossEntropyLoss,  # on logits
        optimizer=optimizer,
        lr=fit.learning_rate,
        optimizer__weight_decay=fit.weight_decay,
        optimizer__betas=fit.betas,
        **{f"optimizer__{key}": value for key, value in settings.items()},
        batch_size=fit.batch_size,
        max_epochs=fit.max_epochs,
        iterator_train__shuffle=True,
        train_split=None,
        classes=list(range(n_classes)),
        callbacks=callbacks,
        verbose=0,
    )
