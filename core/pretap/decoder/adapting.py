"""`AdaptingDecoder`: a decoder with a state that windows move. Used by serve, score and evaluate with ``--adapt``.

The state can be saved with a session and start the next one, see `write_state` and `read_state`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pretap.config.serve import AdaptConfig
from pretap.decoder.decoder import Decoder
from pretap.decoder.stream import Lanes
from pretap.errors import DataError, UsageError
from pretap.files import write_json
from pretap.networks import RecomputeError
from pretap.networks.recentring import Memory
from pretap.spelling import counted

_MAX_STATE_BYTES = 64 * 2**20


class Adapted(msgspec.Struct, frozen=True, gc=False):
    """How far a state has moved: by `n_windows` windows, to a `distance` from the training.

    The distance is that of `pretap.networks.recentring.relative_distance`; of several means, the largest one.
    """

    n_windows: int
    distance: float

    def describe(self) -> str:
        """Return how far it has moved, in words."""
        return f"moved by {counted(self.n_windows, 'window')}, to {self.distance:.2f} from the training"


class _Mean(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    n_windows: Annotated[int, Meta(ge=0)]
    mean: tuple[tuple[float, ...], ...]


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bundle_sha256: str
    means: tuple[_Mean, ...]


class AdaptingDecoder(Decoder):
    """A decoder that follows the signal without labels: `decode` uses the state that the calls of `update` left.

    It computes in numpy, and recomputes each window of a stream.

    Attributes
    ----------
    means
        The state: the running means of all its networks.

    Raises
    ------
    UsageError
        If the bundle's kind of network does not adapt.
    """

    def __init__(self, decoder: Decoder, config: AdaptConfig) -> None:
        manifest, memory = decoder.manifest, Memory(config.n_start, config.n_max)
        super().__init__(manifest, decoder._all, sha256=decoder.sha256)
        engines = [manifest.network.adaptive(each, memory) for each in self._tensors]
        self._engines = [each for each in engines if each is not None]
        if len(self._engines) < len(engines):
            raise UsageError(
                f"--adapt recentre: a network of kind {manifest.network.__struct_config__.tag!r} decodes no covariance "
                "that could be re-centred. Use a bundle of kind 'tangent-space' or 'closed-form', or no --adapt."
            )
        self.means = [mean for engine in self._engines for mean in engine.means]
        self._decode_one = self._decode_with([engine.logits for engine in self._engines])
        self._scale = self._scaling()

    def covariances(self, window_uv: NDArray[Any]) -> list[NDArray[np.float64]]:
        """Compute of a window (n_window, n_channels) in raw microvolts the covariance that moves each of the means."""
        x = self._scale(window_uv)  # (n_steps, n_channels)
        return [covariance for engine in self._engines for covariance in engine.covariances(x)]

    def update(self, window_uv: NDArray[Any]) -> None:
        """Move the state by a window (n_window, n_channels) in raw microvolts."""
        for mean, covariance in zip(self.means, self.covariances(window_uv), strict=True):
            mean.update(covariance)

    @property
    def adapted(self) -> Adapted:
        """How far the state has moved."""
        return Adapted(self.means[0].n_windows, max(mean.distance for mean in self.means))

    def write_state(self, path: Path) -> None:
        """Write the state as JSON, whole or not at all; raise UsageError if that fails."""
        means = tuple(_Mean(each.n_windows, tuple(map(tuple, each.mean.tolist()))) for each in self.means)
        write_json(path, _State(self.sha256, means))

    def read_state(self, path: Path) -> None:
        """Continue from the state in a file.

        Raises
        ------
        DataError
            If the file cannot be read, is no state, or belongs to another bundle.
        """
        try:
            with path.open("rb") as file:
                state = msgspec.json.decode(file.read(_MAX_STATE_BYTES), type=_State)
        except OSError as error:
            raise DataError(f"Cannot read the adaptation state {path}: {error.strerror}.") from None
        except (msgspec.DecodeError, ValueError) as error:
            raise DataError(
                f"{path}: expected a state that `pretap serve --adapt-state` wrote, found something else ({error}). "
                "Choose another file."
            ) from None
        if state.bundle_sha256 != self.sha256:
            raise DataError(
                f"{path}: expected the state of the bundle with sha256 {self.sha256}, found that of "
                f"{state.bundle_sha256[:64]}. Start a new state with another file name, or use that bundle."
            )
        sizes = [len(each.mean) for each in self.means]
        found = [np.array(each.mean) if _is_square(each) else np.empty(0) for each in state.means]
        if [len(each) for each in found] != sizes or not all(map(_is_covariance, found)):
            raise DataError(f"{path}: expected covariances of the sizes {sizes}. The file is damaged: delete it.")
        for own, mean, stored in zip(self.means, found, state.means, strict=True):
            own.restore(mean, n_windows=stored.n_windows)

    def _lanes(self, hop: int, n_lanes: int, *, recompute: bool) -> Lanes:  # noqa: ARG002
        raise RecomputeError("with the state of its moment")


def adapting(decoder: Decoder, config: AdaptConfig, *, state: Path | None = None) -> Decoder:
    """Return the decoder that adapts as configured, from the `state` in a file or from the training on.

    Raises
    ------
    UsageError
        If the bundle cannot adapt, or a state is given and the decoder does not adapt.
    DataError
        If the state cannot be read, see `AdaptingDecoder.read_state`.
    """
    if not config.is_on:
        if state is not None:
            raise UsageError("--adapt-state names the state of an adaptation: give --adapt recentre too.")
        return decoder
    adapted = AdaptingDecoder(decoder, config)
    if state is not None:
        adapted.read_state(state)
    return adapted


def _is_square(stored: _Mean) -> bool:
    return all(len(row) == len(stored.mean) for row in stored.mean)


def _is_covariance(mean: NDArray[np.float64]) -> bool:
    """Whether a matrix is finite, symmetric and positive definite."""
    return bool(np.isfinite(mean).all() and np.array_equal(mean, mean.T) and np.linalg.eigvalsh(mean)[0] > 0)
