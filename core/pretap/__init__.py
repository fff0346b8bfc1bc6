"""pretap decodes which hand is about to move from the last 500 ms of EEG, before the key is tapped.

>>> import pretap
>>> decoder = pretap.load("default.safetensors")      # doctest: +SKIP
>>> decoder.decode(x_uv)                              # doctest: +SKIP
array([0.81, 0.19])

`x_uv` is one window (n_window, n_channels) or many (n, n_window, n_channels), raw microvolts, time first. The decoder
applies the scaling itself. Importing the package imports nothing heavy; `load` imports numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pretap.bundle.file import load
    from pretap.decoder.decoder import Decoder

__all__ = ["Decoder", "__version__", "load"]

__version__ = "0.1.0"

_LAZY = {"Decoder": "pretap.decoder.decoder", "load": "pretap.bundle.file"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'pretap' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
