"""Leader: runs the loop of the service, and keeps it running if sending blocks. Used by `serve`.

A peer can freeze an LSL outlet forever (liblsl #156), so the loop must not wait until something is sent. Passing it to
another thread would do, but waking that thread adds 40 to 100 us to a latency of 500. So one thread, the leader, runs
the loop and sends: normally it does both. The watchdog thread only replaces it if sending takes too long:

1. The leader notes in the `SendingClock` when it begins to send, and clears that note afterwards. A `SendingCall` does
   so itself, before its first row. The watchdog thread sleeps until such a note is older than 5 ms.
2. It then becomes the leader, starts a new watchdog thread, and continues with the loop. The old leader remains the
   thread that sends. It finishes its step, sends what was published meanwhile, and ends. As long as it sends, the
   leader sends nothing: items stay pending and calls may not send, so nothing overtakes the old leader's items.
3. If the old leader was in a `SendingCall`, the new one cancels it and adds it as a step in progress. Either the call
   counts as done, and its rows went out once, or the outlets know which rows they still have to send.
4. If the old leader makes no progress for 0.4 s (0.2 s on systems that cannot check for threads that spin), in a step
   that can block forever, the new watchdog thread becomes the thread that sends and abandons the hung one. The outlets
   are rescued: a new one replaces the frozen one, and gets the rows that the hung thread was pushing.
5. A hung thread that returns after all finds that another thread leads or sends, and ends.

Two roles change hands, and `Sender.lock` protects both. Without it, a leader whose sending ends at the very moment of
step 2 could clear the note of its successor, or both could continue with the loop. A thread that finds nothing pending
could give up sending (`Sender.thread` becomes None) just after the leader published an item and left it to that thread;
the check and the change happen under the lock, so the item is either seen or the leader may send it.

A hung thread cannot be ended. Neither can the thread of liblsl that it waits for, which spins and therefore gets the
lowest priority. At the fourth freeze `run` raises, and a supervisor starts a new process. All threads are daemons, so
one that hangs does not keep the process alive. The main thread only waits, so that signals are handled.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from pretap.errors import OutletFrozenError
from pretap_realtime.send import runaway_threads
from pretap_realtime.send.publisher import Publisher
from pretap_realtime.send.sender import Sender
from pretap_realtime.send.sending_clock import new_sending_clock
from pretap_realtime.send.sink import SendingCall

_SLOW_S: Final = 0.005  # sending takes 0.1 ms; with the sleep of the watchdog the loop waits for less than 50 ms
_POLL_S: Final = 0.03  # between checks whether the thread that sends makes progress
# 0.4 s with the check for threads that spin. Polls are counted, not time: after the whole process stood still, nothing
# is frozen.
_MAX_POLLS: Final = 7
_LOWER_PRIORITY_AT: Final = 2
_WAIT_S: Final = 0.1 if os.name == "nt" else 0.5  # Ctrl-C is seen when a wait ends, if another thread got the signal

_Loop = Iterator[SendingCall | None]


class Leader:
    """Runs a loop that publishes items, and sends them; see the numbered steps above.

    Attributes
    ----------
    sending_clock
        Knows since when the leader has been sending. C code that sends sets it as well.
    """

    def __init__(self, publisher: Publisher) -> None:
        self.sending_clock = new_sending_clock()
        self._publisher = publisher
        self._sender = Sender(publisher)
        self._thread: int | None = None  # identifier of the thread that leads
        self._next_call: SendingCall | None = None  # the loop wants it before it continues
        self._call: SendingCall | None = None  # in progress
        self._has_ended = threading.Event()

    def run(self, loop: _Loop) -> None:
        """Run a loop that yields after it published something or to have a call run, to its end or an error.

        Raises
        ------
        OutletFrozenError
            If outlets froze more often than threads may be abandoned.
        PretapError
            If a sink cannot do without what failed.
        """
        _start(self._work, loop)
        while not self._has_ended.wait(_WAIT_S):
            pass
        if self._sender.error is not None:
            raise self._sender.error

    def close(self, *, timeout_s: float) -> bool:
        """Send what is pending; if the outlets hang, send it to the other sinks and return False."""
        thread = _start(self._sender.send_rest)
        thread.join(timeout_s)
        while thread.is_alive():
            if self._sender.send_rest_without_outlets():
                return False
            thread.join(timeout_s)
        return not isinstance(self._sender.error, OutletFrozenError)

    def _work(self, loop: _Loop) -> None:
        """Be the watchdog thread until there is something to take over; then leave that to a new thread."""
        duty = self._watch(loop)
        if duty is not None:
            _start(self._work, loop)
            duty()

    def _watch(self, loop: _Loop) -> Callable[[], None] | None:
        """Wait until this thread has to lead or to send; return how, or None if the loop has ended."""
        sender = self._sender
        n_polls, n_steps, since_s = 0, -1, 0.0
        while True:
            if self._takes_the_lead():
                return partial(self._lead, loop)
            if sender.thread in (None, self._thread):  # the leader does not hang, or not yet
                n_polls = 0
                if not self.sending_clock.wait_until_slow(_SLOW_S):
                    return None
                continue
            if sender.n_steps != n_steps:
                n_polls, n_steps, since_s = 0, sender.n_steps, time.monotonic()
            else:
                n_polls += 1
                if n_polls == _LOWER_PRIORITY_AT:
                    runaway_threads.lower_priority()  # the leader needs the core
                if n_polls >= _MAX_POLLS and sender.take_over(n_steps=n_steps, hung_since_s=since_s):
                    return sender.rescue
            if self._has_ended.wait(_POLL_S):
                return None

    def _takes_the_lead(self) -> bool:
        """Become the leader if there is none or its sending takes too long."""
        with self._sender.lock:
            busy_s = time.monotonic() - self.sending_clock.since_s
            if self._thread is not None and busy_s <= _SLOW_S:
                return False
            self._sender.held_up_s = busy_s if self._thread is not None else 0.0
            self._thread, self.sending_clock.since_s = threading.get_ident(), math.inf
            if self._call is not None:
                is_in_outlets = self._call.cancel()
                run = self._call.finish if is_in_outlets else _nothing
                self._publisher.add_step(is_in_outlets=is_in_outlets, run=run)
                self._call = None
            return True

    def _lead(self, loop: _Loop) -> None:
        """Run the loop, and send, until the loop ends or another thread leads."""
        sender, me = self._sender, threading.get_ident()
        try:
            if not self._run_call(self._next_call):  # a leader that hung in sending had not come to it
                return
            for call in loop:
                if sender.error is not None:  # of a thread that sends, but does not lead any more
                    break
                self._next_call = call
                if not self._send_pending() or not self._run_call(call):
                    return
        except BaseException as error:  # noqa: BLE001 - `run` raises it
            sender.fail(error)
            if self._thread != me:
                return  # the leader ends the loop
        with sender.lock:
            self.sending_clock.since_s = math.inf
        self._has_ended.set()
        self.sending_clock.stop()

    def _send_pending(self) -> bool:
        """Send what the loop published, unless another thread sends; return whether this thread still leads."""
        if not (self._publisher.has_pending and self._sender.begin()):
            return True
        self.sending_clock.since_s = time.monotonic()
        self._sender.send_pending()
        with self._sender.lock:
            if leads := self._thread == threading.get_ident():
                self.sending_clock.since_s = math.inf
        return leads

    def _run_call(self, call: SendingCall | None) -> bool:
        """Run what the loop wants; return whether this thread still leads."""
        self._next_call = None
        if call is None:
            return True
        sender, me = self._sender, threading.get_ident()
        if not sender.begin():  # what another thread sends was decided earlier: nothing may overtake it
            call(may_send=False)
            return True
        self._call = call
        call(may_send=True)
        with sender.lock:
            leads, sends = self._thread == me, sender.thread == me
            if leads:
                self._call, self.sending_clock.since_s, sender.thread = None, math.inf, None
            elif sends:
                sender.end_call()
        if sends and not leads:
            sender.send_pending()  # what was published meanwhile
        return leads


def _start(work: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, name="decode", daemon=True)
    thread.start()
    return thread


def _nothing() -> None:
    """Stand for a call that is slow but not in the outlets."""
