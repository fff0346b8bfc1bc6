"""OutletGroup: the three LSL outlets of a service, and what is still to be pushed to them. Used by `outlet_sink`.

Rows are noted before they are pushed, so that another thread can continue if one hangs in liblsl.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from pretap.errors import OutletFrozenError
from pretap_realtime.lsl.outlet import Outlet

_OPEN_S: Final = 30.0  # to open the outlets: 16 decoders of one process, which start together, take some seconds

OutletKind = Literal["markers", "codes", "probabilities"]
_KINDS: Final[tuple[OutletKind, ...]] = ("markers", "codes", "probabilities")


def source_ids(name: str) -> set[str]:
    """Return the source_ids of the outlets of the service with this name, which are their names, too."""
    return {f"{name}-{kind}" for kind in _KINDS}


class _Push(msgspec.Struct, gc=False):
    """Rows to push, each with its timestamp."""

    kind: OutletKind
    rows: Sequence[Sequence[Any]]
    t_s: Sequence[float]


class _Open(msgspec.Struct, gc=False):
    """The outlets are to be opened, or opened again, with these facts in their descriptions."""

    facts: Mapping[str, str]


class OutletGroup:
    """Opens outlets and pushes rows to them, one operation after the other; the first one noted is in progress.

    Parameters
    ----------
    identity
        Facts for the descriptions of all outlets.
    """

    def __init__(self, name: str, *, classes: Sequence[str], marker_format: str, identity: Mapping[str, str]) -> None:
        self.classes = tuple(classes)
        self._name, self._marker_format, self._identity = name, marker_format, dict(identity)
        self._facts: Mapping[str, str] = {}
        self._outlets: dict[OutletKind, Outlet] = {}
        self._todo: deque[_Push | _Open] = deque()
        self._opening_since_s = 0.0

    def get(self, kind: OutletKind) -> Outlet | None:
        """Return an outlet; None while they are not open."""
        return self._outlets.get(kind)

    def has_readers(self, kind: OutletKind) -> bool:
        """Whether any reader is connected to an outlet. liblsl keeps nothing for readers that come later."""
        outlet = self._outlets.get(kind)
        return outlet is not None and outlet.has_consumers()

    def note_open(self, facts: Mapping[str, str]) -> None:
        """Note that the outlets are to be opened, or opened again with other facts."""
        self._todo.append(_Open(facts))

    def note(self, kind: OutletKind, rows: Sequence[Sequence[Any]], t_s: Sequence[float]) -> None:
        """Note rows that are to be pushed, or that C code is about to push itself; then `end` follows."""
        if rows:
            self._todo.append(_Push(kind, rows, t_s))

    def end(self) -> None:
        """Remove the operation in progress, which is done."""
        self._todo.popleft()

    def work(self) -> None:
        """Do what was noted."""
        todo = self._todo
        while todo:
            task = todo[0]
            if isinstance(task, _Open):
                self._opening_since_s = time.monotonic()
                self.close()  # first: two outlets of one source_id would be twins
                self._facts = task.facts
                opened = {kind: self._open(kind) for kind in _KINDS}
            else:
                self._outlets[task.kind].push_samples(task.rows, task.t_s)
            if todo is not self._todo:
                return  # this thread hung here and was abandoned
            if isinstance(task, _Open):
                self._outlets = opened
            todo.popleft()

    @property
    def may_hang(self) -> bool:
        """Whether the operation in progress can block forever. Opening is only slow."""
        with contextlib.suppress(IndexError):  # nothing is in progress now
            return not isinstance(self._todo[0], _Open) or time.monotonic() - self._opening_since_s > _OPEN_S
        return False

    def rescue(self) -> str:
        """Replace the outlet in which a thread hangs, and do what that thread has left; return what was done.

        Raises
        ------
        OutletFrozenError
            If this system cannot take the frozen outlet off the network.
        """
        self._todo = deque(self._todo)  # by this the abandoned thread sees that it is not responsible any more
        if not self._todo:
            return "the outlets were slow"  # the abandoned thread finished at the last moment
        task = self._todo[0]
        if isinstance(task, _Open):
            self.work()
            return "the outlets hung when they were opened, and were opened again"
        frozen, name = self._outlets[task.kind], f"{self._name}-{task.kind}"
        if not frozen.abandon():
            raise OutletFrozenError(
                f"the outlet {name} was frozen by one of its readers (liblsl #156), and on this system only a new "
                "process can replace it: `pretap serve --supervise` starts one by itself"
            )
        self._outlets[task.kind] = self._open(task.kind)
        n_left = sum(len(each.rows) for each in self._todo if isinstance(each, _Push) and each.kind == task.kind)
        self.work()
        return (
            f"the outlet {name} was frozen by one of its readers (liblsl #156) and is replaced, under the same "
            f"source_id; {n_left} messages were sent again to the new one, and readers that connect later miss them"
        )

    def close(self) -> None:
        """Close the outlets, without waiting for one that hangs."""
        hung = self._todo[0].kind if self._todo and isinstance(self._todo[0], _Push) else None
        outlets, self._outlets = self._outlets, {}
        for kind, outlet in outlets.items():
            if kind == hung:
                outlet.abandon()
            else:
                outlet.close()

    def _open(self, kind: OutletKind) -> Outlet:
        name, facts = f"{self._name}-{kind}", {**self._identity, **self._facts}
        if kind == "markers":
            facts["format"] = self._marker_format
            return Outlet(name, "Markers", labels=["message"], format="string", facts=facts)
        if kind == "codes":
            return Outlet(name, "Markers", labels=["code"], format="int32", facts=facts)
        return Outlet(name, "Probabilities", labels=[*self.classes, "quality"], format="float32", facts=facts)
