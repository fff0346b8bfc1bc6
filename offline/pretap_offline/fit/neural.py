"""Training through skorch: wraps torch modules as scikit-learn classifiers. Used by `estimator`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
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
from pretap.torch_networks import STACKED, LstmNetwork, module_of, one_thread
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

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:  # noqa: FBT001, FBT002 - skorch's signature
        """Return the batches of an epoch."""
        return _Batches(dataset, self, generators=None) if training else super().get_iterator(dataset)

    def export(self) -> list[dict[str, NDArray[Any]]]:
        """Return the fitted tensors of each member under the names used in a bundle."""
        return [self.module_.export()]

    def losses(self) -> list[float]:
        """Return the mean loss of a member on the training trials, for each epoch."""
        return [float(loss) for loss in self.history[:, "train_loss"]]

    def predict_proba(self, X: Any) -> NDArray[np.float32]:  # noqa: N803 - scikit-learn's name
        """Return the class probabilities (n_epochs, n_classes) of scaled windows."""
        with one_thread():
            return np.asarray(super().predict_proba(X))


class StackedClassifier(NetworkClassifier):
    """Classifier of a module in `STACKED`: all members are trained at once, each on its own order of the trials."""

    def partial_fit(self, X: Any, y: Any = None, *args: Any, **fit_params: Any) -> NetworkClassifier:  # noqa: N803
        """Train on what the module needs of the windows, which is computed once."""
        with torch.no_grad():
            condensed = self.module_.condense(torch.from_numpy(X))
        super().partial_fit(condensed, y, *args, **fit_params)
        return self

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:  # noqa: N803
        """Initialise the module from the condensed training windows."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self.module_.initialise_from(X, torch.from_numpy(y))

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:  # noqa: ARG002, FBT001, FBT002 - skorch's
        """Return the batches of a training epoch, (batch, n_members, ...)."""
        return _Batches(dataset, self, generators=self.module_.generators)

    def infer(self, x: Any, **fit_params: Any) -> Any:  # noqa: ARG002 - skorch's signature
        """Return the logits (batch, n_members, n_classes) of condensed windows (batch, n_members, ...)."""
        return self.module_.logits(x.transpose(0, 1)).transpose(0, 1)

    def get_loss(self, y_pred: Any, y_true: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the sum of the members' losses, so that each has the gradient that it would have alone."""
        loss = super().get_loss(y_pred.flatten(0, 1), y_true.flatten(), *args, **kwargs)
        return y_true.shape[1] * loss

    def export(self) -> list[dict[str, NDArray[Any]]]:
        """Return the fitted tensors of each member under the names used in a bundle."""
        return list(self.module_.export())

    def losses(self) -> list[float]:
        """Return the mean loss of a member on the training trials, for each epoch."""
        return [loss / len(self.module_.generators) for loss in super().losses()]

    @torch.no_grad()
    def predict_proba(self, X: Any) -> NDArray[np.float32]:  # noqa: N803 - scikit-learn's name
        """Return the class probabilities (n_epochs, n_classes) of scaled windows, from the members' mean logits."""
        with one_thread():
            return np.asarray(self.module_.eval()(torch.from_numpy(X)).softmax(dim=1).numpy())


class _Batches:
    """Draws training batches, each by one indexing: torch's loader takes as long as the training step.

    With `generators`, each draws the order, the mirrored windows and the dropped electrodes of one member, and batches
    are (batch, n_members, ...). Without them, torch's global generator draws, and batches are (batch, ...).
    """

    def __init__(self, dataset: Any, net: NetworkClassifier, *, generators: list[torch.Generator] | None) -> None:
        self._x, self._y = torch.as_tensor(dataset.X), torch.as_tensor(dataset.y)
        self._batch_size, self._mirror, self._generators = net.batch_size, net.mirror, generators
        if net.mirror:  # row n_epochs + k is the mirror image of row k
            self._x = torch.cat([self._x, self._x[..., list(net.partners)]])
            self._y = torch.cat([self._y, 1 - self._y])
        self._drop = net.drop if net.maps is not None and len(net.maps) else 0.0
        if self._drop:  # map 0 drops no electrode
            n_inputs = self._x.shape[-1]
            self._maps = torch.cat([torch.eye(n_inputs)[None], torch.as_tensor(net.maps)]).to(self._x.dtype)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        rows = self._of_members(self._rows)  # (n_epochs,), or (n_epochs, n_members)
        maps = self._of_members(self._dropping) if self._drop else rows
        for batch, which in zip(torch.split(rows, self._batch_size), torch.split(maps, self._batch_size), strict=True):
            x = self._x[batch]
            if self._drop:
                picked = self._maps[which].mT  # (*batch, n_inputs, n_inputs)
                x = x @ picked.view(*which.shape, *[1] * (x.ndim - which.ndim - 2), *picked.shape[-2:])
            yield x, self._y[batch]

    def _of_members(self, draw: Callable[[torch.Generator | None], torch.Tensor]) -> torch.Tensor:
        if self._generators is None:
            return draw(None)
        return torch.stack([draw(each) for each in self._generators], dim=1)

    def _dropping(self, generator: torch.Generator | None) -> torch.Tensor:
        """Draw the map of each window of an epoch."""
        n_epochs = len(self._y) // 2 if self._mirror else len(self._y)
        which = torch.randint(1, len(self._maps), (n_epochs,), generator=generator)
        return which * (torch.rand(n_epochs, generator=generator) < self._drop)

    def _rows(self, generator: torch.Generator | None) -> torch.Tensor:
        """Draw an order of the training trials, some of them mirrored."""
        if not self._mirror:
            return torch.randperm(len(self._y), generator=generator)
        n_epochs = len(self._y) // 2
        is_mirrored = torch.rand(n_epochs, generator=generator) < self._mirror
        return torch.randperm(n_epochs, generator=generator) + n_epochs * is_mirrored


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
    seeds: tuple[int, ...],
    advance: Callable[[int], None] | None,
) -> NetworkClassifier:
    """Build the untrained classifier of windows of `n_steps`, to be fitted on as many trials as `like` has.

    `fixed` holds arguments of the module that are not learned. There is a member for each of `seeds` if the module is
    stacked, and otherwise one. `advance` is called with the number of trials shown after each epoch.
    """
    fit, n_classes, module = config.fit, len(like.classes), module_of(config.network)
    is_stacked = module in STACKED
    callbacks: list[Callback] = []
    if fit.schedule == "cosine":
        factor = partial(cosine_factor, n_batches=fit.max_epochs * math.ceil(len(like) / fit.batch_size))
        callbacks.append(LRScheduler(LambdaLR, step_every="batch", lr_lambda=factor))
    if advance is not None:
        callbacks.append(_EpochProgress(advance, len(like) * (len(seeds) if is_stacked else 1)))
    optimizer, settings = _OPTIMIZERS[fit.optimizer]
    return (StackedClassifier if is_stacked else NetworkClassifier)(
        module,
        module__spec=config.network,
        module__n_steps=n_steps,
        module__n_inputs=len(like.channels),
        module__n_classes=n_classes,
        **{f"module__{name}": value for name, value in fixed.items()},
        **({"module__seeds": seeds} if is_stacked else {}),
        random_state=seeds[0],
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
        train_split=None,
        classes=list(range(n_classes)),
        callbacks=callbacks,
        verbose=0,
    )
