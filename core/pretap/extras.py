"""Imports of packages that only an extra of pretap installs. Used by the modules that read recordings and resample."""

from __future__ import annotations

import importlib
from typing import Any

from pretap.errors import MissingPackageError


def import_extra(name: str, *, needed_by: str, extra: str = "offline") -> Any:
    """Import a module.

    Raises
    ------
    MissingPackageError
        If its package is not installed: the message says that `needed_by` needs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingPackageError.for_extra(needed_by, missing=name.partition(".")[0], extra=extra) from None
