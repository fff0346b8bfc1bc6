"""A decoder turns raw microvolts into probabilities, one window at a time or along a stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError, UsageError
from pretap.interpolation import INTERPOLATION
from pretap.manifest import Manifest
from pretap.networks import Engine, Tensors, softmax
from pretap.ring import Ring
from pretap.scaling import FIR

__all__ = ["ENGINES", "Decoder", "DecoderStream", "Output", "check_engine"]

_LOOKS_LIKE_VOLTS = 1e-3  # no EEG in microvolts stays below it throughout; in volts, this would be 1 mV


def _numpy_engine(manifest: Manifest, tensors: Tensors) -> Engine:
    return manifest.network.engine(tensors)


def _torch_engine(manifest: Manifest, tensors: Tensors) -> Engine:
    import torch

    from pretap.torch_networks import module_of, one_thread

    network = module_of(manifest.network).from_tensors(
        manifest.network,
        tensors,
        n_steps=manifest.n_steps,
        n_inputs=len(manifest.channels),
        n_classes=len(manifest.classes),
    )

    @torch.inference_mode()
    def logits(x: NDArray[np.float64]) -> NDArray[Any]:
        with one_thread():
            return np.asarray(network(torch.from_numpy(x)[None])[0])

    return logits


ENGINES: dict[str, Callable[[Manifest, Tensors], Engine]] = {"numpy": _numpy_engine, "torch": _torch_engine}


def check_engine(manifest: Manifest, engine: str) -> None:
    """Refuse an engine that is unknown, or that the bundle's kind of network does not have."""
    if engine not in ENGINES:
        raise UsageError(f"Unknown engine {engine!r}: expected one of {', '.join(sorted(ENGINES))}.")
    available = manifest.network.engines
    if engine not in available:
        kind = manifest.network.__struct_config__.tag
        raise UsageError(
            f"A network of kind {kind!r} has no engine {engine!r}: expected {' or '.join(available)}. "
            f"Set the engine to {available[0]}."
        )


def _member_tensors(tensors: Tensors, member: int, *, n_members: int) -> Tensors:
    """Give one member's tensors under the names of its kind; a single network's have no prefix."""
    if n_members == 1:
        return tensors
    prefix = f"members.{member}."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Output:
    """What a stream's decoder says: `n_end` samples had been pushed since the reset when the window was full."""

    n_end: int
    probs: NDArray[np.float64]  # (n_classes,)


class DecoderStream(Protocol):
    """A decoder that follows a stream sample by sample; the seam for engines that share work between windows."""

    def push(self, x_uv: NDArray[np.float32]) -> list[Output]:
        """Take finite samples (n_new, n_channels) in microvolts; give every decision that they complete, in order."""
        ...

    def push_newest(self, x_uv: NDArray[np.float32]) -> tuple[list[Output], int]:
        """Take samples, give only the newest decision they complete, and say how many were skipped (overload)."""
        ...

    def reset(self) -> None:
        """Forget all samples: the next decision comes `n_window` samples later."""
        ...


class Decoder:
    """A trained network, or several, with its scaling, behind one engine.

    Attributes
    ----------
    manifest
        What the bundle says about itself: channels, rate, classes, training, metrics.
    engine
        ``numpy`` (no torch) or ``torch`` (the reference).
    sha256
        The hash of the bundle file that was loaded; empty for a decoder that never was a file.
    interpolation
        The weights for `pretap.interpolation`, (n_channels, n_channels); None where the bundle carries none.
    """

    def __init__(self, manifest: Manifest, tensors: Tensors, *, engine: str = "numpy", sha256: str = "") -> None:
        check_engine(manifest, engine)
        self.manifest, self.engine, self.sha256 = manifest, engine, sha256
        self.interpolation = tensors.get(INTERPOLATION)
        fir = tensors.get(FIR)
        self._decimation = None if fir is None else manifest.scaling.decimation(fir, n_window=manifest.n_window)
        n_members = manifest.n_members
        self._members = [
            ENGINES[engine](manifest, _member_tensors(tensors, member, n_members=n_members))
            for member in range(n_members)
        ]

    def decode(self, x_uv: NDArray[Any]) -> NDArray[np.float64]:
        """Give the class probabilities of one window, or of many.

        Parameters
        ----------
        x_uv
            One window (n_window, n_channels) or many (n, n_window, n_channels): raw microvolts, time first, channels in
            the order of ``manifest.channels``.

        Returns
        -------
        float64, (n_classes,) or (n, n_classes), in the order of ``manifest.classes``. Many windows are decoded one by
        one, so that a window's bits do not depend on its neighbours.

        Raises
        ------
        DataError
            Windows of another shape, that are not finite, or that look like volts: not all zero, and nowhere
            above 1e-3.
        """
        x_uv = np.asarray(x_uv)
        expected = (self.manifest.n_window, len(self.manifest.channels))
        if x_uv.ndim not in (2, 3) or x_uv.shape[-2:] != expected:
            hint = " It looks transposed: time comes first." if x_uv.shape[-2:] == expected[::-1] else ""
            raise DataError(f"Expected windows of shape (n_window, n_channels) = {expected}, got {x_uv.shape}.{hint}")
        if not np.isfinite(x_uv).all():
            raise DataError("A window holds NaN or infinite values; decode only whole, finite windows.")
        peak = max(float(x_uv.max()), -float(x_uv.min())) if x_uv.size else 0.0
        if 0 < peak <= _LOOKS_LIKE_VOLTS:
            raise DataError(
                f"No value exceeds {peak:.2g}: that looks like volts. Expected microvolts; multiply by 1e6 (MNE's data "
                "are in volts)."
            )
        if x_uv.ndim == 2:
            return self._decode_one(x_uv)
        probs = np.empty((len(x_uv), len(self.manifest.classes)))
        for row, window in zip(probs, x_uv, strict=True):
            row[:] = self._decode_one(window)
        return probs  # (n, n_classes)

    def stream(self, hop: int) -> DecoderStream:
        """Follow a stream with one decision each `hop` samples, the first after `n_window` samples."""
        if hop < 1:
            raise UsageError(f"The hop must be at least 1 sample, got {hop}.")
        return _Recompute(self._decode_one, hop=hop, manifest=self.manifest)

    def _decode_one(self, window_uv: NDArray[Any]) -> NDArray[np.float64]:
        x = self.manifest.scaling.apply(window_uv, decimation=self._decimation)  # (n_steps, n_channels)
        logits = np.stack([member(x) for member in self._members]).mean(axis=0, dtype=np.float64)  # (n_classes,)
        return softmax(logits / self.manifest.temperature)


class _Recompute:
    """The plain way: keep the last window, and run the whole network at each hop."""

    def __init__(
        self, decode_one: Callable[[NDArray[Any]], NDArray[np.float64]], *, hop: int, manifest: Manifest
    ) -> None:
        self._decode_one, self._hop, self._n_window = decode_one, hop, manifest.n_window
        self._ring = Ring(manifest.n_window, len(manifest.channels))

    def reset(self) -> None:
        self._ring.reset()

    def push(self, x_uv: NDArray[np.float32]) -> list[Output]:
        if not np.isfinite(x_uv).all():
            raise DataError("A sample is NaN or infinite: reset the stream there, and push only finite samples.")
        outputs = []
        done = 0
        for n_end in self._ends(len(x_uv)):
            take = n_end - self._ring.n_seen
            self._ring.push(x_uv[done : done + take])
            done += take
            outputs.append(Output(n_end, self._decode_one(self._ring.window(n_end, self._n_window))))
        self._ring.push(x_uv[done:])
        return outputs

    def push_newest(self, x_uv: NDArray[np.float32]) -> tuple[list[Output], int]:
        ends = self._ends(len(x_uv))
        if len(ends) < 2:
            return self.push(x_uv), 0
        # Everything up to the hop before the last goes in undecoded; what is left completes one window.
        split = ends[-2] - self._ring.n_seen
        self._ring.push(x_uv[:split])
        return self.push(x_uv[split:]), len(ends) - 1

    def _ends(self, n_new: int) -> range:
        """Where windows end within the next `n_new` samples, counted since the reset."""
        seen = self._ring.n_seen
        hops_done = max(0, (seen - self._n_window) // self._hop + 1)
        return range(self._n_window + hops_done * self._hop, seen + n_new + 1, self._hop)
