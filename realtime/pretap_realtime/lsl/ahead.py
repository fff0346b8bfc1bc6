"""The stream is asked for and opened before numpy is loaded: its first window fills while the service gets ready.

pylsl needs numpy, which takes longer to load than all that is done here. So liblsl is asked through ctypes, and `lsl`
takes over what came of it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import time
import weakref
from pathlib import Path
from typing import Any, Final

from pretap_realtime.lsl.api_config import find_configuration
from pretap_realtime.lsl.limits import affordable_s
from pretap_realtime.lsl.query import parse_query, predicate

__all__ = ["BUFFER_S", "FORGET_S", "QUIET", "Ahead"]

BUFFER_S: Final = 10  # what liblsl keeps for us while we are busy
FORGET_S: Final = 5.0  # an outlet that answered no longer is off the list
QUIET: Final = "[log]\nlevel = -3\n"  # liblsl's own log off the terminal: the service says in words what happens
_NUMBERS: Final = {1: "float32", 2: "float64", 4: "int32", 5: "int16", 6: "int8", 7: "int64"}  # liblsl's codes
_LOOK_S: Final = 0.0005
_int, _double, _text, _pointer = ctypes.c_int, ctypes.c_double, ctypes.c_char_p, ctypes.c_void_p
_FUNCTIONS: Final[dict[str, tuple[Any, list[Any]]]] = {
    "lsl_set_config_content": (None, [_text]),
    "lsl_local_clock": (_double, []),
    "lsl_create_continuous_resolver_bypred": (_pointer, [_text, _double]),
    "lsl_resolver_results": (_int, [_pointer, _pointer, ctypes.c_uint]),
    "lsl_destroy_continuous_resolver": (None, [_pointer]),
    "lsl_get_channel_format": (_int, [_pointer]),
    "lsl_get_channel_count": (_int, [_pointer]),
    "lsl_get_nominal_srate": (_double, [_pointer]),
    "lsl_get_uid": (_text, [_pointer]),
    "lsl_destroy_streaminfo": (None, [_pointer]),
    "lsl_create_inlet": (_pointer, [_pointer, _int, _int, _int]),
    "lsl_open_stream": (_int, [_pointer, _double, _pointer]),
    "lsl_destroy_inlet": (None, [_pointer]),
}


class Ahead:
    """Asks for the streams of a query from now on; `look` opens the one that has answered, where it `opens`.

    Without the library that pylsl brings nothing is asked, and what is unusual is not opened: `lsl` sees to all that.

    Attributes
    ----------
    library
        The file of the library that was asked; empty where there is none.
    since_s
        When it was asked, on LSL's clock.

    Raises
    ------
    UsageError
        See `parse_query`.
    """

    def __init__(self, query: str, *, opens: bool) -> None:
        asked = predicate(parse_query(query)).encode()
        self._opens, self._uid, self.library, self.since_s = opens, "", "", 0.0
        self._owned: dict[str, int] = {}  # liblsl's resolver and inlet, until somebody takes them
        file, lsl = _load()
        if lsl is None:
            return
        since_s, resolver = lsl.lsl_local_clock(), lsl.lsl_create_continuous_resolver_bypred(asked, FORGET_S)
        if resolver:
            self._lsl, self.library, self.since_s = lsl, file, since_s
            self._owned["resolver"] = resolver
            self._end = weakref.finalize(self, _destroy, lsl, self._owned)

    def look(self, wait_s: float = 0.0) -> None:
        """Open the stream that has answered, after waiting up to `wait_s` for it; samples flow soon after."""
        if not self._opens or "resolver" not in self._owned:
            return
        infos, until_s = (ctypes.c_void_p * 2)(), time.monotonic() + wait_s
        while not (n_found := self._lsl.lsl_resolver_results(self._owned["resolver"], infos, 2)):
            if time.monotonic() >= until_s:
                return
            time.sleep(_LOOK_S)
        if n_found == 1:
            self._open(infos[0])
        self._opens = False
        for info in infos:
            self._lsl.lsl_destroy_streaminfo(info)  # of None: nothing

    def _open(self, info: int | None) -> None:
        lsl = self._lsl
        format_ = _NUMBERS.get(lsl.lsl_get_channel_format(info))
        n_channels, sfreq_hz = lsl.lsl_get_channel_count(info), lsl.lsl_get_nominal_srate(info)
        try:
            if format_ is None or affordable_s(n_channels, sfreq_hz, format_) < BUFFER_S:
                return
        except ValueError:
            return
        inlet = lsl.lsl_create_inlet(info, BUFFER_S, 0, 0)
        if inlet:
            self._owned["inlet"] = inlet
            lsl.lsl_open_stream(inlet, 0.0, ctypes.byref(ctypes.c_int()))  # begins, and does not wait
            self._uid = lsl.lsl_get_uid(info).decode("utf-8", "replace")

    def take_resolver(self) -> int:
        """Hand over liblsl's continuous resolver; 0 where there is none."""
        return self._owned.pop("resolver", 0)

    def take_inlet(self, uid: str) -> int:
        """Hand over liblsl's inlet of the stream with this uid; 0 where there is none."""
        return self._owned.pop("inlet", 0) if uid == self._uid else 0

    def close(self) -> None:
        """End what nobody took."""
        if self.library:
            self._end()


def _load() -> tuple[str, ctypes.CDLL | None]:
    """Load the library that pylsl will load: the one that is named, else the one that came with it; gives its file."""
    package = importlib.util.find_spec("pylsl")
    if package is None or package.origin is None:
        return "", None
    folder = Path(package.origin).parent / "lib"
    own = [str(folder / name) for name in ("liblsl.so", "liblsl.dylib", "lsl.dll")]
    try:
        file = next(file for file in (os.environ.get("PYLSL_LIB", ""), *own) if Path(file).is_file())
        lsl = ctypes.CDLL(file)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(lsl, name)
            function.restype, function.argtypes = result, arguments
    except (StopIteration, OSError, AttributeError):  # `lsl` says what is wrong
        return "", None
    if find_configuration() is None:  # what is set replaces every file
        lsl.lsl_set_config_content(QUIET.encode())
    return file, lsl


def _destroy(lsl: ctypes.CDLL, owned: dict[str, int]) -> None:
    if "inlet" in owned:
        lsl.lsl_destroy_inlet(owned.pop("inlet"))
    if "resolver" in owned:
        lsl.lsl_destroy_continuous_resolver(owned.pop("resolver"))
