"""Many small LRP-ERD networks trained at once: all tensors have a leading axis of networks, each with its trials.

All folds of all repeats are one stack, which is about ten times as fast as one network after the other. The network is
that of `pretap.networks.LrpErdLstmSpec`, with one logit (for class 1) instead of two, the slow potential in units of
10 uV instead of its spread, and whatever a `Recipe` changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt
from torch import Generator, Tensor, nn

from pretap.networks.lrp_erd_lstm import FLOOR
from pretap_offline.fit.neural import cosine_factor

BATCH_SIZE = 64
LRP_UV = 10.0
CORRELATION_FLOOR = 0.5  # added to the variances; the ERD filters start with a variance of 1
SHRINKAGE = 0.02  # of the covariance that the first ERD filters whiten


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One network and its training; the defaults are configs/single-100hz.toml with half of its epochs."""

    epochs: int = 60
    learning_rate: float = 2e-2
    filter_decay: float = 1e-2  # weight decay of the spatial filters
    lstm_decay: float = 1e-2  # and of everything after them
    dropout: float = 0.3
    mirror: float = 0.3
    average_reference: bool = True
    baseline_ms: float = 50.0
    block_ms: float = 50.0
    lrp_filters: int = 8
    erd_filters: int = 8  # of each band
    bands_hz: tuple[tuple[float, float], ...] = ((14.0, 40.0),)
    order: int = 2
    hidden: int = 16
    accumulate: bool = False  # powers and correlations are those since the window's start
    correlations: bool = False  # of the ERD filters' outputs, as further features
    attention: bool = False  # over the steps, instead of the last one
    shifts: bool = False  # one block less, cut at any offset in training
    distillation: float = 0.0  # weight of the closed form's probabilities in the targets
    both_sides: Literal["no", "test", "always"] = "no"  # (g(x) - g(mirrored x)) / 2
    pretraining_epochs: int = 0


@dataclass(frozen=True, eq=False)
class Views:
    """All views of the trials: each trial at each offset, unchanged and mirrored.

    View ``(2 * offset + mirrored) * n_trials + trial``; offset 0 ends with the window.
    """

    slow: Tensor  # (n_views, n_blocks, n_channels): block means less the baseline, in units of 10 uV
    fast: tuple[Tensor, ...]  # (n_views, n_blocks * n_each, n_channels) microvolts, one for each band
    n_trials: int

    @property
    def n_offsets(self) -> int:
        return len(self.slow) // (2 * self.n_trials)

    def mirrored(self, views: Tensor) -> Tensor:
        """Return the views in which the other hand taps."""
        is_mirrored = views // self.n_trials % 2
        return views + self.n_trials * (1 - 2 * is_mirrored)


def make_views(x_uv: NDArray[np.float64], recipe: Recipe, *, partners: NDArray[np.int64], sfreq_hz: float) -> Views:
    """Cut trials (n_trials, n_samples, n_channels) into the blocks of both branches; the filters run before the cut."""
    x = x_uv - x_uv.mean(axis=2, keepdims=True) if recipe.average_reference else x_uv
    n_trials, n_samples, n_channels = x.shape
    n_each, n_baseline = (round(ms * sfreq_hz / 1000) for ms in (recipe.block_ms, recipe.baseline_ms))
    n_blocks = n_samples // n_each - recipe.shifts
    last = n_samples - n_blocks * n_each
    starts = range(last, -1, -1) if recipe.shifts else (last,)
    filters = [butter(recipe.order, band_hz, "bandpass", fs=sfreq_hz, output="sos") for band_hz in recipe.bands_hz]
    filtered = [sosfilt(sos, x - x[:, :1], axis=1) for sos in filters]  # from rest at the window's start

    def stacked(cuts: list[NDArray[np.float64]]) -> Tensor:
        sides = [side for cut in cuts for side in (cut, cut[..., partners])]
        return torch.tensor(np.concatenate(sides), dtype=torch.float32)

    slow = []
    for start in starts:
        cut = x[:, start : start + n_blocks * n_each]
        baseline = (
            cut[:, :n_baseline].mean(axis=1)[:, None, None] if n_baseline else 0.0
        )  # (n_trials, 1, 1, n_channels)
        blocks = cut.reshape(n_trials, n_blocks, n_each, n_channels) - baseline
        slow.append(blocks.mean(axis=2) / LRP_UV)
    fast = tuple(stacked([f[:, start : start + n_blocks * n_each] for start in starts]) for f in filtered)
    return Views(stacked(slow), fast, n_trials)


class Stack:
    """`n_networks` networks: their weights, and their logits for views (n_networks, batch)."""

    def __init__(self, recipe: Recipe, views: Views, *, train: Tensor, seeds: Sequence[int]) -> None:
        self.recipe, self.views = recipe, views
        rngs = [Generator().manual_seed(seed) for seed in seeds]
        n_channels, n_hidden = views.slow.shape[2], recipe.hidden
        self.lrp = _glorot(rngs, recipe.lrp_filters, n_channels)
        self.erd = [_whitening(rngs, recipe.erd_filters, fast, train) for fast in views.fast]
        n_pairs = recipe.erd_filters * (recipe.erd_filters - 1) // 2 if recipe.correlations else 0
        n_features = recipe.lrp_filters + len(self.erd) * (recipe.erd_filters + n_pairs)
        self.w_in = _glorot(rngs, 4 * n_hidden, n_features)
        self.w_rec = torch.stack([nn.init.orthogonal_(torch.empty(4 * n_hidden, n_hidden), generator=g) for g in rngs])
        self.bias = torch.zeros(len(rngs), 4 * n_hidden)
        self.bias[:, n_hidden : 2 * n_hidden] = 1.0  # the forget gate starts open
        self.dense = _glorot(rngs, 1, n_hidden)
        self.dense_bias = torch.zeros(len(rngs), 1, 1)
        self.query = _glorot(rngs, 1, n_hidden)  # used by the attention alone
        for weights in (*self.filters, *self.lstm, *self.head):
            weights.requires_grad_(requires_grad=True)

    @property
    def filters(self) -> list[Tensor]:
        return [self.lrp, *self.erd]

    @property
    def lstm(self) -> list[Tensor]:
        return [self.w_in, self.w_rec, self.bias]

    @property
    def head(self) -> list[Tensor]:
        return [self.dense, self.dense_bias, *([self.query] if self.recipe.attention else [])]

    def features(self, views: Tensor) -> Tensor:
        """Map views (n_networks, batch) to the input of the LSTM, (n_networks, batch, n_blocks, n_features)."""
        slow = self.views.slow[views]  # (n_networks, batch, n_blocks, n_channels)
        features = [_filtered(slow, self.lrp)]
        for fast, filters in zip(self.views.fast, self.erd, strict=True):
            z = _filtered(fast[views], filters)  # (n_networks, batch, n_steps, erd_filters)
            z = z.unflatten(2, (slow.shape[2], -1))  # (n_networks, batch, n_blocks, n_each, erd_filters)
            power = z.square().mean(dim=3)
            features.append(torch.log((_since_start(power) if self.recipe.accumulate else power) + FLOOR))
            if self.recipe.correlations:
                products = torch.einsum("mbstj,mbstk->mbsjk", z, z) / z.shape[3]
                features.append(_correlations(_since_start(products) if self.recipe.accumulate else products))
        return torch.cat(features, dim=3)

    def logits(self, views: Tensor, *, dropout: Generator | None = None, both_sides: bool = False) -> Tensor:
        """Map views (n_networks, batch) to logits of class 1 of that shape, with dropout if a generator is given."""
        if both_sides:
            mirrored = self.logits(self.views.mirrored(views), dropout=dropout)
            return (self.logits(views, dropout=dropout) - mirrored) / 2
        x = self.features(views)
        x = x * self._kept(x[:, :, :1], dropout)  # a filter is dropped in all blocks alike
        states = lstm_states(x, self.w_in, self.w_rec, self.bias)
        h = states[:, :, -1]  # (n_networks, batch, n_hidden)
        if self.recipe.attention:
            share = (states * self.query[:, None]).sum(dim=3).softmax(dim=2)  # (n_networks, batch, n_blocks)
            h = (states * share[..., None]).sum(dim=2)
        h = h * self._kept(h, dropout)
        return (h @ self.dense.transpose(1, 2) + self.dense_bias)[..., 0]

    def _kept(self, like: Tensor, rng: Generator | None) -> Tensor:
        """Draw the factors of dropout: 0, or the one that preserves the mean."""
        if rng is None:
            return torch.ones(())
        return (torch.rand(like.shape, generator=rng) >= self.recipe.dropout) / (1 - self.recipe.dropout)


def lstm_states(x: Tensor, w_in: Tensor, w_rec: Tensor, bias: Tensor) -> Tensor:
    """Run `torch.nn.LSTM` for each network: (n_networks, batch, n_steps, n_in) to hidden states (..., n_hidden)."""
    n_networks, n_batch, n_steps, _ = x.shape
    gates = torch.baddbmm(bias[:, None], x.flatten(1, 2), w_in.transpose(1, 2)).unflatten(1, (n_batch, n_steps))
    h = c = torch.zeros(n_networks, n_batch, w_rec.shape[2])
    states = []
    for step in range(n_steps):
        i, f, g, o = torch.baddbmm(gates[:, :, step], h, w_rec.transpose(1, 2)).chunk(4, dim=2)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        states.append(h)
    return torch.stack(states, dim=2)


def fit(recipe: Recipe, views: Views, targets: Tensor, *, train: Tensor, seeds: Sequence[int]) -> Stack:
    """Train a network for each row of `train` (n_networks, n_train trials).

    `targets` (n_networks, n_trials) are probabilities of class 1; a mirrored view has the opposite one.
    """
    stack = Stack(recipe, views, train=train, seeds=seeds)
    rng = Generator().manual_seed(seeds[0] + 1)  # of batches, mirrors and dropout; one stream for the whole stack
    if recipe.pretraining_epochs:
        _pretrain(stack, train, rng)
    of_views = torch.cat([targets, 1 - targets], dim=1).repeat(1, views.n_offsets)  # (n_networks, n_views)

    def loss(batch: Tensor) -> Tensor:
        logits = stack.logits(batch, dropout=rng, both_sides=recipe.both_sides == "always")
        each = F.binary_cross_entropy_with_logits(logits, of_views.gather(1, batch), reduction="none")
        return each.mean(dim=1).sum()  # a sum over networks, so that their gradients stay separate

    batches = list(_batches(train, views, recipe.epochs, mirror=recipe.mirror, rng=rng))
    groups = [(stack.filters, recipe.filter_decay), (stack.lstm + stack.head, recipe.lstm_decay)]
    _descend(groups, loss, batches, learning_rate=recipe.learning_rate)
    return stack


def _pretrain(stack: Stack, train: Tensor, rng: Generator) -> None:
    """Pretrain the LSTM to predict the features of the next block, without labels; the filters do not change."""
    recipe, views = stack.recipe, stack.views
    shown = torch.cat([train, views.mirrored(train)], dim=1)  # (n_networks, 2 * n_train)
    with torch.no_grad():
        features = stack.features(shown)  # (n_networks, 2 * n_train, n_blocks, n_features)
        std, mean = torch.std_mean(features, dim=(1, 2), keepdim=True)
    head = torch.zeros(len(train), features.shape[3], recipe.hidden, requires_grad=True)
    head_bias = torch.zeros(len(train), 1, 1, features.shape[3], requires_grad=True)

    def loss(batch: Tensor) -> Tensor:
        with torch.no_grad():
            x = stack.features(batch)
        states = lstm_states(x[:, :, :-1], *stack.lstm)  # (n_networks, batch, n_blocks - 1, n_hidden)
        foretold = states @ head.transpose(1, 2)[:, None] + head_bias
        return (foretold - (x[:, :, 1:] - mean) / std).square().mean(dim=(1, 2, 3)).sum()

    batches = list(_batches(shown, views, recipe.pretraining_epochs, mirror=0.0, rng=rng))
    _descend([([*stack.lstm, head, head_bias], recipe.lstm_decay)], loss, batches, learning_rate=recipe.learning_rate)


def _batches(shown: Tensor, views: Views, n_epochs: int, *, mirror: float, rng: Generator) -> Iterator[Tensor]:
    """Draw views (n_networks, batch) of `shown` (n_networks, n_shown), in a different order for each network."""
    for _ in range(n_epochs):
        order = shown.gather(1, torch.rand(shown.shape, generator=rng).argsort(dim=1))
        for batch in order.split(BATCH_SIZE, dim=1):
            swapped = torch.where(torch.rand(batch.shape, generator=rng) < mirror, views.mirrored(batch), batch)
            yield swapped + 2 * views.n_trials * torch.randint(views.n_offsets, batch.shape, generator=rng)


def _descend(
    groups: Sequence[tuple[list[Tensor], float]],
    loss: Callable[[Tensor], Tensor],
    batches: Sequence[Tensor],
    *,
    learning_rate: float,
) -> None:
    """Minimise `loss` over batches with AdamW and the schedule of `pretap train`; a group has tensors and a decay."""
    optimizer = torch.optim.AdamW([{"params": p, "weight_decay": decay} for p, decay in groups], betas=(0.9, 0.99))
    for n_done, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * cosine_factor(n_done, n_batches=len(batches))
        optimizer.zero_grad()
        loss(batch).backward()
        optimizer.step()


def _glorot(rngs: Sequence[Generator], n_out: int, n_in: int) -> Tensor:
    return torch.stack([nn.init.xavier_uniform_(torch.empty(n_out, n_in), generator=rng) for rng in rngs])


def _whitening(rngs: Sequence[Generator], n_filters: int, fast: Tensor, train: Tensor) -> Tensor:
    """Draw random orthonormal directions in the whitened space of each network's training trials."""
    filters = []
    for rng, trials in zip(rngs, train, strict=True):
        z = fast[trials].flatten(0, 1).double()  # (n_train * n_steps, n_channels)
        covariance = z.T @ z / len(z)
        ridge = SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(covariance))
        eigenvalues, eigenvectors = torch.linalg.eigh((1 - SHRINKAGE) * covariance + ridge)
        whitening = (eigenvectors / eigenvalues.sqrt()) @ eigenvectors.T
        directions = nn.init.orthogonal_(torch.empty(n_filters, len(covariance)), generator=rng)
        filters.append((directions.double() @ whitening).float())
    return torch.stack(filters)  # (n_networks, n_filters, n_channels)


def _filtered(x: Tensor, filters: Tensor) -> Tensor:
    """Apply each network's filters (n_networks, n_filters, n_channels) to (n_networks, batch, n_steps, n_channels)."""
    return torch.bmm(x.flatten(1, 2), filters.transpose(1, 2)).unflatten(1, x.shape[1:3])


def _since_start(x: Tensor) -> Tensor:
    """Replace each block's value (n_networks, batch, n_blocks, ...) by the mean over the blocks so far."""
    count = torch.arange(1, x.shape[2] + 1).reshape(-1, *[1] * (x.ndim - 3))
    return x.cumsum(dim=2) / count


def _correlations(products: Tensor) -> Tensor:
    """Scale products (..., n, n) by their diagonal and return those above it, (..., n * (n - 1) / 2)."""
    scale = (products.diagonal(dim1=-2, dim2=-1) + CORRELATION_FLOOR).sqrt()
    n = products.shape[-1]
    rows, columns = torch.triu_indices(n, n, offset=1)
    return (products / (scale[..., None] * scale[..., None, :]))[..., rows, columns]
