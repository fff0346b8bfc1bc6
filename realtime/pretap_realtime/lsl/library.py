"""liblsl through pylsl, loaded once: its clock, its errors, and the one way to report that it cannot open something.

The other modules of this package take pylsl from here, so that a missing library is reported in one place, and liblsl's
log is silent before its first call.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any, Final

from pretap.errors import MissingPackageError, UsageError
from pretap_realtime.lsl.api_config import find_configuration

try:
    import pylsl
    from pylsl.lib import lib
    from pylsl.util import InternalError, LostError, handle_error
    from pylsl.util import TimeoutError as LslTimeoutError
except (ImportError, RuntimeError, OSError) as _error:  # RuntimeError: pylsl is installed, the C library is not
    raise MissingPackageError(
        f"liblsl cannot be loaded ({str(_error).splitlines()[0]}). Run: pip install 'pylsl>=1.18' (Linux, Windows), "
        "or: brew install labstreaminglayer/tap/lsl (macOS)."
    ) from None

__all__ = ["LslTimeoutError", "handle_error", "lib", "pylsl"]  # of pylsl: other modules import them from here

if find_configuration() is None:  # setting a configuration would replace the user's file
    pylsl.set_config_content("[log]\nlevel = -3\n")  # pretap reports itself what happens to streams

lib.lsl_time_correction_ex.restype = ctypes.c_double  # pylsl leaves it at an integer

local_clock: Callable[[], float] = lib.lsl_local_clock  # `pylsl.local_clock` is a function around it
library_version: Callable[[], int] = pylsl.library_version

BUFFER_S: Final = 10  # of samples that liblsl keeps for an inlet while nothing pulls
OPEN_S: Final = 0.5  # for a peer to answer: blocking calls of liblsl do not see Ctrl-C
LOST_ERRORS: Final = (LostError, InternalError)  # what liblsl raises if a source is gone
FORMATS: Final = {
    pylsl.cf_float32: "float32",
    pylsl.cf_double64: "float64",
    pylsl.cf_string: "string",
    pylsl.cf_int32: "int32",
    pylsl.cf_int16: "int16",
    pylsl.cf_int8: "int8",
    pylsl.cf_int64: "int64",
}


class ConnectionLostError(Exception):
    """The stream's source is gone, or does not answer."""


@contextlib.contextmanager
def opening(what: str) -> Iterator[None]:
    """Raise a `UsageError` that says what to do if liblsl cannot open something."""
    try:
        yield
    except RuntimeError:
        raise UsageError(
            f"liblsl cannot open {what}: expected room for more open files, and free ports. Raise the limit of open "
            "files (ulimit -n), or widen PortRange in lsl_api.cfg."
        ) from None


def address_of(function: Any) -> int:
    """Return the address of a function of the library."""
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address
