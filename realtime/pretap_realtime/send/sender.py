"""Sender: runs the publisher's steps in one thread at a time, and replaces a thread that hangs. Used by `leader`."""

from __future__ import annotations

import threading
import time
from typing import Final

from pretap.errors import OutletFrozenError, PretapError
from pretap_realtime.send import runaway_threads
from pretap_realtime.send.publisher import Publisher
from pretap_realtime.send.sink import Sink

_MAX_ABANDONED: Final = 3  # threads
_POLL_S: Final = 0.001


class Sender:
    """Knows which thread sends. The numbered steps in `leader.py` describe how threads take turns.

    Attributes
    ----------
    lock
        Held for any change of the thread that leads or the thread that sends.
    thread
        Identifier of the thread that sends; None if none does.
    n_steps
        Steps that were finished.
    held_up_s
        How long the loop waited for the outlets when another thread took over the lead.
    error
        The error that ends the session.
    """

    def __init__(self, publisher: Publisher) -> None:
        self.lock = threading.Lock()
        self.thread: int | None = None
        self.n_steps = 0
        self.held_up_s = 0.0
        self.error: BaseException | None = None
        self._publisher = publisher
        self._n_abandoned = 0
        self._hung_since_s = 0.0

    def begin(self) -> bool:
        """Make the current thread the one that sends; return False if another thread is."""
        with self.lock:
            if self.thread is not None:
                return False
            self.thread = threading.get_ident()
            return True

    def send_pending(self) -> None:
        """Run steps until nothing is pending, or another thread has taken over."""
        publisher, me = self._publisher, threading.get_ident()
        while True:
            step = publisher.next_step()
            if step is None:
                with self.lock:
                    if publisher.has_pending:
                        continue
                    self.thread = None
                    return
            sink, run = step
            failure: Exception | None = None
            try:
                run()
            except Exception as error:  # noqa: BLE001 - announced below
                failure = error
            with self.lock:
                if self.thread != me:
                    return
                publisher.end_step()
                self.n_steps += 1
            if failure is not None:
                self._leave_out(sink, failure)

    def _leave_out(self, sink: Sink | None, failure: Exception) -> None:
        if sink is None:  # numbering failed, so nothing can be announced either
            self.fail(failure)
            return
        self._publisher.drop(sink)
        if isinstance(failure, PretapError):  # there is no session without this sink
            self.fail(failure)
            self._publisher.announce(str(failure))
        else:
            name = type(sink).__name__
            self._publisher.announce(f"{name} failed ({failure!r}): the session goes on without it")

    def end_call(self) -> None:
        """Finish the step of a call that was cancelled and has returned to the thread that sends; hold the lock."""
        step = self._publisher.next_step()
        assert step is not None
        step[1]()
        self._publisher.end_step()
        self.n_steps += 1

    def take_over(self, *, n_steps: int, hung_since_s: float) -> bool:
        """Replace the thread that sends if it still hangs in the outlets, in step number `n_steps`."""
        with self.lock:
            if self.n_steps != n_steps or self.thread is None or self.error is not None:
                return False
            outlets = self._publisher.outlets
            if outlets is None or not (self._publisher.is_in_outlets and outlets.group.may_hang):  # it is only slow
                return False
            self.thread = threading.get_ident()
        self._n_abandoned += 1
        self._hung_since_s = hung_since_s
        return True

    def rescue(self) -> None:
        """Make the outlets finish what the abandoned thread hangs in, then send what is pending.

        After too many freezes the session ends, and only the other sinks get the rest.
        """
        publisher = self._publisher
        if self._n_abandoned > _MAX_ABANDONED:
            error = OutletFrozenError(
                f"Outlets froze {self._n_abandoned} times: more than {_MAX_ABANDONED} threads hang in liblsl, and "
                "only a new process gets rid of them. `pretap serve --supervise` starts one by itself."
            )
            self.fail(error)
            publisher.drop(publisher.outlets)
            publisher.announce(str(error))
        else:
            publisher.end_step()
            publisher.add_step(is_in_outlets=True, run=self._replace_outlet)
        self.send_pending()
        runaway_threads.lower_priority()

    def fail(self, error: BaseException) -> None:
        """End the session with this error, unless an earlier one ends it."""
        self.error = self.error or error

    def send_rest(self) -> None:
        """Send what is pending as soon as no other thread sends."""
        while not self.begin():
            time.sleep(_POLL_S)
        self.send_pending()

    def send_rest_without_outlets(self) -> bool:
        """Send what is pending to the other sinks if a thread is in the outlets; return whether one is."""
        with self.lock:
            if not self._publisher.is_in_outlets:
                return False
            self.thread = threading.get_ident()
            self._publisher.drop(self._publisher.outlets)
        self.send_pending()
        return True

    def _replace_outlet(self) -> None:
        publisher = self._publisher
        assert publisher.outlets is not None
        what = publisher.outlets.group.rescue()
        hung_ms = 1000 * (time.monotonic() - self._hung_since_s)
        publisher.announce(
            f"{what} (it hung for {hung_ms:.0f} ms, decoding was held up for {1000 * self.held_up_s:.0f} ms; "
            f"{publisher.n_dropped} messages were dropped so far; {self._n_abandoned} of {_MAX_ABANDONED} times)"
        )
        self.held_up_s = 0.0
