"""Lanes in C, called through ctypes: the compiled engine of `Decoder`.

The source is `lanes.c`, and `hatch_build.py` builds the library. It is optional: without it everything runs in numpy.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.decoder.output import Native
from pretap.decoder.plan import Steps
from pretap.networks import LrpErdLstmSpec, LstmSpec, RecomputeError, Tensors
from pretap.networks.bandpass import BANDPASS, second_order_sections
from pretap.networks.lrp_erd_lstm import FLOOR

LIBRARY: Final = Path(__file__).parent / "lanes.so"  # the same name on every system, since only ctypes loads it
_SOURCE: Final = Path(__file__).parent / "lanes.c"
_PADDED: Final = 8  # rows of doubles are padded to a multiple of this
_GATES: Final = 4

_Floats = NDArray[np.float64]
_int, _double, _pointer = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p


class _Plan(ctypes.Structure):
    """The struct `plan` of lanes.c, field by field."""

    _fields_ = [
        *((name, _int) for name in ("n_channels", "n_window", "hop", "reference")),
        *((name, _int) for name in ("n_steps", "stride", "first_end", "n_burst")),
        *((name, _int) for name in ("n_fir", "n_starting", "n_baseline")),
        *((name, _pointer) for name in ("fir", "starting", "baseline")),
        ("n_reach", _int),
        ("n_features", _int),
        ("projection", _pointer),
        ("n_members", _int),
        ("n_classes", _int),
        ("temperature", _double),
        ("n_layers", _int),
        ("hidden", _pointer),
        ("weights", _pointer),
        ("n_weights", _int),
        *((name, _int) for name in ("blocks", "lrp", "erd")),
        ("floor", _double),
        ("n_sections", _int),
        ("sections", _pointer),
    ]


@dataclass(frozen=True)
class _Library:
    """The functions of lanes.c in one variant."""

    variant: str
    new: Callable[..., int]
    process: Callable[..., int]
    catch_up: Callable[..., None]
    reset: Callable[..., None]
    free: Callable[..., None]


_SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "new": (_pointer, [ctypes.POINTER(_Plan)]),
    "process": (_int, [_pointer, _pointer, _int, _pointer, _pointer]),
    "catch_up": (None, [_pointer]),
    "reset": (None, [_pointer]),
    "free": (None, [_pointer]),
}


@functools.cache
def _library(variant: str = "") -> _Library | str:
    """Load the library, by default in the variant for this processor; return the reason if it cannot be used."""
    try:
        # PyDLL keeps the interpreter's lock: a call lasts a few microseconds, and releasing the lock costs as much.
        library = ctypes.PyDLL(str(LIBRARY))
        built_from = ctypes.c_uint32.in_dll(library, "pretap_source_crc").value
        n_bytes = ctypes.c_int64.in_dll(library, "pretap_plan_bytes").value
        library.pretap_variant.restype = ctypes.c_char_p
        variant = variant or library.pretap_variant().decode()
        functions = {name: getattr(library, f"pretap_{name}_{variant}") for name in _SIGNATURES}
        # CDLL releases it, so that the thread that sends the decision can run during `catch_up`.
        functions["catch_up"] = getattr(ctypes.CDLL(str(LIBRARY)), f"pretap_catch_up_{variant}")
    except (OSError, ValueError, AttributeError) as error:
        missing = not LIBRARY.exists()
        return "pretap was built without a C compiler" if missing else f"lanes.so does not load: {str(error)[:200]}"
    if _SOURCE.exists() and zlib.crc32(_SOURCE.read_bytes()) != built_from:
        return "lanes.c was changed since it was built; run: pip install -e ."
    if n_bytes != ctypes.sizeof(_Plan):
        return "lanes.so was built for another version of pretap; install pretap again"
    for name, function in functions.items():
        function.restype, function.argtypes = _SIGNATURES[name]
    return _Library(variant, **functions)


def active_variant() -> str:
    """Return the name of the variant in use on this processor; empty if there is no compiled engine."""
    library = _library()
    return "" if isinstance(library, str) else library.variant


def why_not_compiled() -> str:
    """Return why the compiled engine cannot be used; empty if it can."""
    library = _library()
    return library if isinstance(library, str) else ""


class _Engine:
    """An engine of lanes.c, which is freed with this object; `address` is valid as long as the object exists."""

    def __init__(self, library: _Library, plan: _Plan, arrays: list[NDArray[Any]]) -> None:
        self.address = library.new(plan)
        if not self.address:
            raise MemoryError("no memory for the compiled engine")
        self._arrays = arrays  # that the plan points to: the engine reads them
        # Do not free it at exit: a daemon thread may still be in `catch_up`, which holds no lock.
        weakref.finalize(self, library.free, self.address).atexit = False


class CompiledLanes:
    """The open windows of a stream, advanced together in C; the interface is that of `PythonLanes`.

    Raises
    ------
    RecomputeError
        If the library cannot be used, it does not support this kind of network, or the bundle's band-pass has no
        recursion.
    """

    def __init__(
        self, manifest: Manifest, steps: Steps, tensors: list[Tensors], *, hop: int, variant: str = ""
    ) -> None:
        library = _library(variant)
        if isinstance(library, str):
            raise RecomputeError(f"no compiled engine: {library}")
        if not isinstance(manifest.network, LstmSpec | LrpErdLstmSpec):
            raise RecomputeError(f"it does not support networks of kind {manifest.network.__struct_config__.tag!r}")
        self._library = library
        self._n_channels, self._n_classes, self._hop = len(manifest.channels), len(manifest.classes), hop
        self._engine = _Engine(library, *_plan(manifest, steps, tensors, hop=hop))
        self._allocate(1)

    def reset(self) -> None:
        """Close all windows."""
        self._library.reset(self._engine.address)

    def process(self, x_uv: NDArray[np.float32]) -> tuple[list[int], _Floats]:
        """Return where the windows that samples (n_new, n_channels) fill end, and their probabilities.

        Raises
        ------
        FloatingPointError
            If a value is not finite; then no sample was processed.
        """
        x_uv = np.ascontiguousarray(x_uv, np.float32)
        n_new = len(x_uv)
        if n_new // self._hop >= len(self._ends):
            self._allocate(n_new // self._hop + 1)
        n_found = self._library.process(self._engine.address, x_uv.ctypes.data, n_new, *self._found)
        if n_found < 0:
            raise FloatingPointError
        if not n_found:
            return [], self._probs[:0]
        return self._ends[:n_found].tolist(), self._probs[:n_found].copy()

    def catch_up(self) -> None:
        """Advance the windows that `process` left for later."""
        self._library.catch_up(self._engine.address)

    @functools.cached_property
    def native(self) -> Native:
        """The addresses that C code calls instead of `process` and `catch_up`."""
        addresses = [ctypes.cast(f, _pointer).value for f in (self._library.process, self._library.catch_up)]  # type: ignore[arg-type]
        return Native(addresses[0] or 0, addresses[1] or 0, self._engine.address, self._engine)

    def _allocate(self, n: int) -> None:
        """Allocate the arrays that receive the results of at most `n` windows."""
        self._ends, self._probs = np.empty(n, np.int64), np.empty((n, self._n_classes))
        self._found = self._ends.ctypes.data, self._probs.ctypes.data  # kept, since each look-up takes a microsecond


def _plan(manifest: Manifest, steps: Steps, tensors: list[Tensors], *, hop: int) -> tuple[_Plan, list[NDArray[Any]]]:
    """Return a bundle as the struct that the library reads, and the arrays that the struct points to."""
    network, scaling = manifest.network, manifest.scaling
    assert isinstance(network, LstmSpec | LrpErdLstmSpec)
    branches = network if isinstance(network, LrpErdLstmSpec) else None
    lstm = network if isinstance(network, LstmSpec) else network.lstm
    projection = np.concatenate([_projection(network, each) for each in tensors]) / scaling.divide_uv
    padded = np.zeros((len(manifest.channels), -len(projection) % _PADDED + len(projection)))
    padded[:, : len(projection)] = projection.T
    weights = np.stack([_weights(lstm, each, with_inputs=branches is not None) for each in tensors])
    sections = np.empty((0, 3))
    if branches is not None:
        impulses = [each[BANDPASS] for each in tensors]
        if any(not np.array_equal(each, impulses[0]) for each in impulses):
            raise RecomputeError("its members have different band-passes")
        sfreq_hz = manifest.sfreq_hz / steps.stride
        sections = second_order_sections(impulses[0], branches.band_hz, order=branches.order, sfreq_hz=sfreq_hz)
    arrays: dict[str, NDArray[Any]] = {
        "fir": steps.fir,
        "starting": steps.starting,
        "baseline": steps.baseline,
        "projection": padded,
        "hidden": np.array(lstm.hidden, np.int64),
        "weights": weights,
        "sections": sections,
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # The library reads rows of the projection as whole vectors, whose addresses must be multiples of 64 bytes.
    arrays["projection"] = _aligned(arrays["projection"])
    plan = _Plan(
        n_channels=len(manifest.channels),
        n_window=steps.n_window,
        hop=hop,
        reference=scaling.reference == "average",
        n_steps=steps.n_steps,
        stride=steps.stride,
        first_end=steps.first_end,
        n_burst=steps.n_burst,
        n_fir=len(steps.fir),
        n_starting=len(steps.starting),
        n_baseline=len(steps.baseline),
        n_reach=steps.starting.shape[1],
        n_features=len(projection),
        n_members=len(tensors),
        n_classes=len(manifest.classes),
        temperature=manifest.temperature,
        n_layers=len(lstm.hidden),
        n_weights=weights.shape[1],
        blocks=0 if branches is None else branches.blocks,
        lrp=0 if branches is None else branches.lrp_filters,
        erd=0 if branches is None else branches.erd_filters,
        floor=FLOOR,
        n_sections=len(sections),
        **{name: array.ctypes.data for name, array in arrays.items()},
    )
    return plan, list(arrays.values())


def _projection(network: LstmSpec | LrpErdLstmSpec, tensors: Tensors) -> _Floats:
    """Return the rows that every step is multiplied by: the first layer's gates, or the filters of both branches."""
    if isinstance(network, LrpErdLstmSpec):
        return np.concatenate([tensors["lrp.filters"], tensors["erd.filters"]]).astype(np.float64)
    return _by_unit(tensors["lstm.0.weight_ih"]).reshape(_GATES * network.hidden[0], -1).astype(np.float64)


def _by_unit(rows: NDArray[Any]) -> NDArray[Any]:
    """Sort the rows of gates (4 * n_hidden, ...) by unit, (n_hidden, 4, ...), and halve those of sigmoids.

    The library computes sigmoid(z) as tanh(z / 2) / 2 + 1/2. Halving is exact.
    """
    by_gate = rows.reshape(_GATES, -1, *rows.shape[1:]) * np.array([0.5, 0.5, 1.0, 0.5], rows.dtype).reshape(
        _GATES, *[1] * rows.ndim
    )
    return np.asarray(by_gate.swapaxes(0, 1))


def _weights(lstm: LstmSpec, tensors: Tensors, *, with_inputs: bool) -> NDArray[np.float32]:
    """Return a member's weights in the order of `plan.weights` in lanes.c."""
    parts: list[NDArray[Any]] = []
    for layer in range(len(lstm.hidden)):
        own = _by_unit(tensors[f"lstm.{layer}.weight_hh"])  # (n_hidden, 4, n_hidden)
        if layer or with_inputs:
            own = np.concatenate([_by_unit(tensors[f"lstm.{layer}.weight_ih"]), own], axis=2)
        parts += [own.swapaxes(1, 2), _by_unit(tensors[f"lstm.{layer}.bias"])]
    parts += [tensors["dense.weight"], tensors["dense.bias"]]
    return np.concatenate([part.reshape(-1) for part in parts]).astype(np.float32)


def _aligned(array: NDArray[Any]) -> NDArray[Any]:
    """Copy an array to an address that is a multiple of 64."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[:] = array
    return copy
