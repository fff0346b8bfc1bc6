"""Outlets: streams of ours, always with a stable source_id and a timestamp for each sample.

Used by `serve`, `replay` and `doctor`.
"""

from __future__ import annotations

import ctypes
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pretap_realtime.lsl import sockets
from pretap_realtime.lsl.library import FORMATS, address_of, handle_error, opening, pylsl

_CODES: Final = {name: code for code, name in FORMATS.items()}
_CLOSE_S: Final = 0.5  # it takes some milliseconds
_POLL_S: Final = 0.001
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
        with opening(f"the outlet {name!r}"):
            self._outlet = _StreamOutlet(info)
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
        network = self._outlet.network
        thread = threading.Thread(target=self._destroy, name="close", daemon=True)
        thread.start()
        thread.join(_CLOSE_S)
        if thread.is_alive():
            network.cut()

    def _destroy(self) -> None:
        del self._outlet  # its finalizer destroys it, unless a thread still pushes

    def abandon(self) -> bool:
        """Disconnect it from the network while a thread hangs in it; return whether that worked.

        It cannot be destroyed: liblsl would wait for the thread that hangs. Meanwhile it would answer queries, as a
        twin of the outlet that replaces it.
        """
        return self._outlet.network.cut() > 0


class _StreamOutlet(pylsl.StreamOutlet):  # type: ignore[misc]
    """pylsl's outlet, which has no connection any more when it is destroyed.

    With connections, liblsl could crash:

    1. `lsl_destroy_outlet` goes through the list of connections. For each, it takes a reference, tells liblsl's thread
       to close the connection, and drops the reference.
    2. That thread closes the connection, and drops all other references. On a busy machine, it can be the first.
    3. So the destruction drops the last reference. This deletes the connection, and its entry in the list.
    4. The destruction reads from the deleted entry which one is next: a segmentation fault.

    liblsl closes the socket of a connection only after it has deleted the entry. Without the remedy, 12 of 74 services
    crashed at Ctrl-C while readers came and went (pylsl 1.18.6, two cores, load 20); with it, none of 74 did.
    """

    def __init__(self, info: Any) -> None:
        with _OPENING:
            before = sockets.of_this_process()
            super().__init__(info)
            found = sockets.of_this_process() - before
        self.network = _OutletSockets(found, self.get_info().as_xml())

    def __del__(self) -> None:
        if not self.obj:  # it did not open
            return
        # A thread of liblsl that waits for a sample sees only then that its connection has ended: it gets one to send.
        last = ["" if self.channel_format == pylsl.cf_string else 0] * self.channel_count
        if self.network.end_connections(lambda: self.push_sample(last)):
            super().__del__()


class _OutletSockets:
    """The sockets of an outlet.

    Parameters
    ----------
    candidates
        The sockets that appeared while it opened; some may be those of others.
    xml
        The outlet's description, which names its ports.
    """

    def __init__(self, candidates: frozenset[sockets.Socket], xml: str) -> None:
        kinds = {"data": socket.SOCK_STREAM, "service": socket.SOCK_DGRAM}
        found = re.findall(r"<v[46](data|service)_port>([1-9]\d*)<", xml)
        self._candidates, self._ports = candidates, [(kinds[kind], int(port)) for kind, port in found]
        self._is_cut = False

    def cut(self) -> int:
        """Disconnect the outlet from the network, so that it cannot be destroyed; return how many sockets that were."""
        self._is_cut = True
        return sockets.cut(self._candidates, ports=self._ports)

    def end_connections(self, push: Callable[[], object]) -> bool:
        """End all connections; return whether the outlet can be destroyed. If not, it is disconnected.

        Windows does not list sockets: there it is destroyed with its connections.

        Parameters
        ----------
        push
            Pushes a sample, which no reader receives any more.
        """
        ending = sockets.end_connections(port for kind, port in self._ports if kind == socket.SOCK_STREAM)
        deadline_s = time.monotonic() + _CLOSE_S
        while ending & sockets.of_this_process():
            if time.monotonic() > deadline_s:
                self.cut()
                break
            push()
            time.sleep(_POLL_S)
        return not self._is_cut


def _describe_facts(desc: Any, facts: Mapping[str, str]) -> None:
    for path, value in facts.items():
        *parents, leaf = path.split("/")
        node = desc
        for parent in parents:
            child = node.child(parent)
            node = node.append_child(parent) if child.empty() else child
        node.append_child_value(leaf, value)
