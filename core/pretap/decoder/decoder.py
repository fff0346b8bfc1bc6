"""`Decoder`: raw microvolts to probabilities, one window at a time or along a stream. Used by every command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.decoder.average import AverageLanes, combined, networks_of
from pretap.decoder.compiled import CompiledLanes
from pretap.decoder.plan import make_steps
from pretap.decoder.python import PythonLanes
from pretap.decoder.stream import DecoderStream, Lanes
from pretap.errors import DataError, UsageError
from pretap.networks import AverageSpec, Engine, Network, RecomputeError, Tensors, softmax
from pretap.networks.average import naming
from pretap.networks.kind import member_prefixes, under
from pretap.signal.interpolation import INTERPOLATION
from pretap.signal.scaling import FIR
from pretap.signal.statistics import Statistics

_MAX_PEAK_OF_VOLTS = 1e-3  # EEG in microvolts always exceeds it somewhere; EEG in volts does not reach it (1 mV)
AUTO = "auto"
ENGINES = ("compiled", "numpy", "torch")
# The audit allows 10 times the self-test's tolerance, which only two windows have to meet. A fault in a lane changes
# probabilities by 1e-3 or more.
_AUDIT_FACTOR = 10.0
_DecodeOne = Callable[[NDArray[Any]], NDArray[np.float64]]


def check_engine(manifest: Manifest, engine: str) -> None:
    """Check an engine's name; raise UsageError if it is unknown or cannot run the bundle's kind of network."""
    if engine not in ENGINES:
        raise UsageError(f"Unknown engine {engine!r}: expected one of {', '.join((AUTO, *ENGINES))}.")
    available = manifest.network.engines
    if engine != "compiled" and engine not in available:
        kind = manifest.network.__struct_config__.tag
        raise UsageError(
            f"A network of kind {kind!r} has no engine {engine!r}: expected {' or '.join(available)}. "
            f"Set the engine to {available[0]}."
        )


def in_float64(tensors: Tensors) -> dict[str, NDArray[np.float64]]:
    """Convert a bundle's tensors to float64, so that a decoder with them computes in float64 throughout."""
    return {name: np.asarray(each, np.float64) for name, each in tensors.items()}


def _torch_engine(network: Network, tensors: Tensors) -> Engine:
    if isinstance(network, AverageSpec):
        return network.combined(tensors, _torch_engine)
    import torch

    from pretap.torch_networks import module_of, one_thread

    module = module_of(network).from_tensors(network, tensors)

    @torch.inference_mode()
    def logits(x: NDArray[np.float64]) -> NDArray[Any]:
        with one_thread():
            return np.asarray(module(torch.from_numpy(x)[None])[0])

    return logits


class Decoder:
    """A trained network or an ensemble, with its scaling, run by one engine.

    Attributes
    ----------
    manifest
        The bundle's description: channels, rate, classes, training, metrics.
    engine
        ``compiled`` (the fastest; needs a build with a C compiler), ``numpy``, or ``torch`` (the trained modules).
    sha256
        The hash of the bundle file; empty if the decoder was not loaded from a file.
    interpolation
        The weights for `pretap.signal.interpolation`, (n_channels, n_channels); None if the bundle has none.
    statistics
        Statistics of the training signal, see `pretap.signal.statistics`; None if the bundle has none.
    """

    def __init__(self, manifest: Manifest, tensors: Tensors, *, engine: str = "numpy", sha256: str = "") -> None:
        self.manifest, self.sha256 = manifest, sha256
        self._all = tensors
        self.interpolation = tensors.get(INTERPOLATION)
        self.statistics = Statistics.from_tensors(tensors)
        self._fir = tensors.get(FIR)
        self._tensors = [under(tensors, prefix) for prefix in member_prefixes(manifest.n_members)]
        self._networks: list[Decoder] = []  # of an average, each for itself, if the engine is compiled
        if engine != AUTO:
            check_engine(manifest, engine)
        self.engine = "compiled" if engine == AUTO else engine
        try:
            self._decode_one = self._compiled() if self.engine == "compiled" else self._by_members(engine)
        except RecomputeError as reason:
            if engine != AUTO:
                raise UsageError(f"Engine 'compiled': {reason}. Set the engine to numpy.") from None
            self._decode_one, self.engine = self._by_members("numpy"), "numpy"

    def _compiled(self) -> _DecodeOne:
        """Return a function that decodes a window as the only lane of a stream."""
        manifest = self.manifest
        if isinstance(manifest.network, AverageSpec):
            return self._compiled_average(manifest.network)
        lane = CompiledLanes(manifest, make_steps(manifest, self._fir), self._tensors, hop=manifest.n_window)

        def decode_one(window_uv: NDArray[Any]) -> NDArray[np.float64]:
            lane.reset()
            probs: NDArray[np.float64] = lane.process(window_uv)[1][0]
            return probs

        return decode_one

    def _compiled_average(self, network: AverageSpec) -> _DecodeOne:
        """Return a function that decodes a window with every network of an average, compiled if possible."""
        own = networks_of(self.manifest, network, self._all)
        networks = [Decoder(manifest, tensors, engine=AUTO) for manifest, tensors in own]
        if all(each.engine != "compiled" for each in networks):
            raise RecomputeError("it supports none of the networks of this average")
        self._networks = networks
        return lambda window_uv: combined([each._decode_one(window_uv) for each in networks])

    def _by_members(self, engine: str) -> _DecodeOne:
        """Return a function that decodes a window as a whole, with every member in numpy or torch."""
        manifest = self.manifest
        if engine == "torch":
            members = [_torch_engine(manifest.network, each) for each in self._tensors]
        else:
            members = [manifest.network.engine(each) for each in self._tensors]
        return self._decode_with(members)

    def _decode_with(self, members: Sequence[Engine]) -> _DecodeOne:
        """Return a function that decodes a window as a whole with these engines, one for each member."""
        manifest, scale = self.manifest, self._scaling()

        def decode_one(window_uv: NDArray[Any]) -> NDArray[np.float64]:
            x = scale(window_uv)  # (n_steps, n_channels)
            with np.errstate(invalid="ignore"):  # false alarms: OpenBLAS computes and drops unset lanes
                logits = np.stack([member(x) for member in members]).mean(axis=0, dtype=np.float64)  # (n_classes,)
            return softmax(logits / manifest.temperature)

        return decode_one

    def _scaling(self) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
        """Return the function that scales a window (n_window, n_channels) to the steps of the network."""
        scaling, fir = self.manifest.scaling, self._fir
        decimation = None if fir is None else scaling.decimation(fir, n_window=self.manifest.n_window)
        return partial(scaling.apply, decimation=decimation)

    def decode(self, x_uv: NDArray[Any]) -> NDArray[np.float64]:
        """Compute the class probabilities of one window, or of many.

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
            If windows have another shape, are not finite, or look like volts, that is: not all values are zero, and
            none exceeds 1e-3.
        """
        x_uv = np.asarray(x_uv)
        expected = (self.manifest.n_window, len(self.manifest.channels))
        if x_uv.ndim not in (2, 3) or x_uv.shape[-2:] != expected:
            hint = " It looks transposed: time comes first." if x_uv.shape[-2:] == expected[::-1] else ""
            raise DataError(f"Expected windows of shape (n_window, n_channels) = {expected}, got {x_uv.shape}.{hint}")
        if not np.isfinite(x_uv).all():
            raise DataError("A window holds NaN or infinite values; decode only whole, finite windows.")
        peak = max(float(x_uv.max()), -float(x_uv.min())) if x_uv.size else 0.0
        if 0 < peak <= _MAX_PEAK_OF_VOLTS:
            raise DataError(
                f"No value exceeds {peak:.2g}: that looks like volts. Expected microvolts; multiply by 1e6 (MNE's data "
                "are in volts)."
            )
        if x_uv.ndim == 2:
            return self._decode_one(x_uv)
        probs = [self._decode_one(window) for window in x_uv]
        return np.array(probs).reshape(len(x_uv), len(self.manifest.classes))  # (n, n_classes)

    def stream(self, hop: int, *, recompute: bool = False) -> DecoderStream:
        """Return a stream of decisions: the first after `n_window` samples, then one every `hop` samples.

        Windows are advanced sample by sample (`pretap.decoder`) if the network allows it and windows leave no samples
        out between them. Otherwise, or with `recompute`, each is recomputed. The stream's `describe` tells which, and
        why.
        """
        if hop < 1:
            raise UsageError(f"The hop must be at least 1 sample, got {hop}.")
        n_window = self.manifest.n_window
        n_lanes = -(-n_window // hop)
        exact = cache(self.exact)  # built at the first audit

        def decode_exactly(window_uv: NDArray[Any]) -> NDArray[np.float64]:
            return exact()._decode_one(window_uv)

        lanes: Lanes | None = None
        decode_window = self._decode_one
        try:
            lanes, decode_window = self._lanes(hop, n_lanes, recompute=recompute), decode_exactly
            how = f"{n_lanes} window{'s' * (n_lanes > 1)} open at once, each advanced sample by sample"
        except RecomputeError as reason:
            how = f"every window is recomputed, {reason}"
        return DecoderStream(
            lanes,
            decode_window,
            n_channels=len(self.manifest.channels),
            n_window=n_window,
            hop=hop,
            tolerance=_AUDIT_FACTOR * self.manifest.self_test_tolerance,
            description=f"{self.engine}: {how}",
        )

    def _lanes(self, hop: int, n_lanes: int, *, recompute: bool) -> Lanes:
        manifest = self.manifest
        if recompute:
            raise RecomputeError("as requested")
        if hop > manifest.n_window:
            raise RecomputeError(f"the hop of {hop} samples is longer than the window of {manifest.n_window}")
        if self.engine == "torch":
            raise RecomputeError("which torch does faster than step by step")
        if self._networks:
            return self._average_lanes(hop, n_lanes)
        steps = make_steps(manifest, self._fir)
        if self.engine == "compiled":
            return CompiledLanes(manifest, steps, self._tensors, hop=hop)
        size = {"n_steps": steps.n_steps, "n_lanes": n_lanes}
        sfreq_hz = manifest.sfreq_hz / steps.stride
        cells = [manifest.network.cells(each, **size, sfreq_hz=sfreq_hz) for each in self._tensors]
        return PythonLanes(manifest, steps, cells, hop=hop, n_lanes=n_lanes)

    def _average_lanes(self, hop: int, n_lanes: int) -> AverageLanes:
        lanes = []
        for each in self._networks:
            with naming(each.manifest.network):
                lanes.append(each._lanes(hop, n_lanes, recompute=False))
        return AverageLanes(lanes)

    def exact(self) -> Decoder:
        """Return the same decoder in numpy and float64 throughout, the reference for every engine."""
        return Decoder(self.manifest, in_float64(self._all))
