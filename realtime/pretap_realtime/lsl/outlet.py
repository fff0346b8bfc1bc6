"""Outlets: streams of ours, always with a stable source_id and a timestamp for each sample.

Used by `serve`, `replay` and `doctor`.
"""

from __future__ import annotations

import ctypes
import re
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pretap_realtime.lsl import sockets
from pretap_realtime.lsl.library import FORMATS, address_of, handle_error, opening, pylsl

_CODES: Final = {name: code for code, name in FORMATS.items()}
_CLOSE_S: Final = 0.5  # it takes some milliseconds
_OPENING: Final = threading.Lock()  # held while an outlet opens: the sockets that appear meanwhile are its own
# liblsl's functions that push a sample: outlet, values (and the lengths of texts), timestamp, whether to send at once.
_PUSH_NUMBERS: Final = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 2, ctypes.c_double, ctypes.c_int)
_PUSH_TEXTS: Final = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3, ctypes.c_double, ctypes.c_int)


class Outlet:
    """A stream of ours.

    Parameters
    ----------
    source_id
        Stable over restarts and unique on the network; by default the name.
    labels, unit
        Of the channels; `unit` is that of all.
    facts
        Further entries of the description, such as ``{"simulated": "true", "subject/id": "synthetic-0"}``.

    Attributes
    ----------
    native
        For C code: the addresses of liblsl's function that pushes a sample, and of its outlet.

    Raises
    ------
    UsageError
        If liblsl cannot open its sockets.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        *,
        labels: Sequence[str],
        format: str,  # noqa: A002 - LSL's word
        sfreq_hz: float = 0.0,
        unit: str = "",
        source_id: str = "",
        facts: Mapping[str, str] | None = None,
    ) -> None:
        info = pylsl.StreamInfo(name, kind, len(labels), sfreq_hz, _CODES[format], source_id or name)
        info.set_channel_labels(list(labels))
        if unit:
            info.set_channel_units(unit)
        info.set_channel_types(kind)
        _describe_facts(info.desc(), {"manufacturer": "pretap", **(facts or {})})
        with _OPENING:
            before = sockets.of_this_process()
            with opening(f"the outlet {name!r}"):
                self._outlet = pylsl.StreamOutlet(info)
            self._sockets = sockets.of_this_process() - before
        self.native = address_of(self._outlet.do_push_sample), self._outlet.obj.value
        # pylsl's `push_sample` makes the arrays for each call, which takes twice the time.
        self._row = self._outlet.sample_type()
        self._lengths = (ctypes.c_uint32 * len(labels))() if format == "string" else None
        self._push = (_PUSH_NUMBERS if self._lengths is None else _PUSH_TEXTS)(self.native[0])
        self._row_address = ctypes.addressof(self._row)
        self._lengths_address = 0 if self._lengths is None else ctypes.addressof(self._lengths)

    def push_sample(self, row: Sequence[Any], t_s: float, *, through: bool = True) -> None:
        """Send one sample, at once or together with the next one that goes `through`."""
        if self._lengths is None:
            self._row[:] = row
            error = self._push(self.native[1], self._row_address, t_s, through)
        else:
            for k, text in enumerate(row):
                self._row[k] = encoded = text if isinstance(text, bytes) else text.encode()
                self._lengths[k] = len(encoded)
            error = self._push(self.native[1], self._row_address, self._lengths_address, t_s, through)
        if error:
            handle_error(error)

    def push_samples(self, rows: Sequence[Sequence[Any]], t_s: Sequence[float]) -> None:
        """Send samples together, each with its own timestamp."""
        last = len(rows) - 1
        for k, row in enumerate(rows):
            self.push_sample(row, t_s[k], through=k == last)

    def push_chunk(self, x: NDArray[np.float32], t_s: NDArray[np.float64]) -> None:
        """Send samples (n_new, n_channels), each with its own timestamp: a single one would hide a loss inside."""
        self._outlet.push_chunk(x, t_s.tolist())

    def has_consumers(self) -> bool:
        return bool(self._outlet.have_consumers())

    def close(self) -> None:
        """Close it; if that hangs because a peer froze it, leave it behind."""
        ports = self._ports()
        thread = threading.Thread(target=self._destroy, name="close", daemon=True)
        thread.start()
        thread.join(_CLOSE_S)
        if thread.is_alive():
            sockets.cut(self._sockets, ports=ports)

    def _destroy(self) -> None:
        del self._outlet  # its finalizer destroys it, unless a thread still pushes

    def abandon(self) -> bool:
        """Disconnect it from the network while a thread hangs in it; return whether that worked.

        It cannot be destroyed: liblsl would wait for the thread that hangs. Meanwhile it would answer queries, as a
        twin of the outlet that replaces it.
        """
        return sockets.cut(self._sockets, ports=self._ports()) > 0

    def _ports(self) -> list[sockets.Port]:
        kinds = {"data": socket.SOCK_STREAM, "service": socket.SOCK_DGRAM}
        found = re.findall(r"<v[46](data|service)_port>(\d+)<", self._outlet.get_info().as_xml())
        return [(kinds[kind], int(port)) for kind, port in found]


def _describe_facts(desc: Any, facts: Mapping[str, str]) -> None:
    for path, value in facts.items():
        *parents, leaf = path.split("/")
        node = desc
        for parent in parents:
            child = node.child(parent)
            node = node.append_child(parent) if child.empty() else child
        node.append_child_value(leaf, value)
