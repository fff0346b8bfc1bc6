"""The publisher: sends what the loop decides, and never lets the loop wait for an outlet.

A peer can freeze an LSL outlet for ever (liblsl #156), so the loop that decodes must not wait until something was sent.
Handing it to another thread does that, but that thread's wake-up comes on top of every latency: 40 to 100 us of 500.
So one thread leads: it runs the loop and sends what comes out itself. Another one watches it. When sending takes long,
the watcher takes the lead and has a new thread watch; what comes is put into a bounded queue, which the first thread
empties once it gets on, and then it ends. When it does not get on at all, an outlet is frozen: the watcher leaves that
thread behind, has the sink replace the outlet, and sends what waits in its stead.

A thread that was left behind cannot be ended, and neither can the one of liblsl that it waits for, which spins: that
gets the lowest priority. At the fourth, `run` raises, and a supervisor starts a new process. All threads are daemons:
one that hangs does not keep the process alive. The main thread only waits, so that signals are heard.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pretap.errors import OutletFrozenError, PretapError
from pretap_realtime.send import runaway_threads as spinning
from pretap_realtime.send.latencies import Latencies
from pretap_realtime.send.messages import Message
from pretap_realtime.send.sink import Call, Item, Sink
from pretap_realtime.send.watchdog import new_watch

__all__ = ["Publisher"]

_MOST_WAITING = 4096  # items: four seconds at 1000 decisions a second
_MOST_TOGETHER = 256  # items sent in one step: some milliseconds
_SLOW_S, _WATCH_S = 0.005, 0.03  # sending takes 0.1 ms; the loop waits for an outlet for less than 50 ms
_CALM_LOOK, _FROZEN_LOOKS = 2, 7  # 0.4 s. Looks, not time: where the whole process stood still, nothing is frozen
_MOST_LEFT_BEHIND = 3
_LOOK_S = 0.1 if os.name == "nt" else 0.5  # Ctrl-C is seen when a wait ends, where another thread took the signal


class Publisher:
    """Numbers items and hands them to the sinks; runs the loop that makes them, see the module.

    A sink that raises is left out from then on: the session is worth more than one of its outputs. Only a `PretapError`
    of a sink ends it.

    Attributes
    ----------
    latencies
        Of each valid decision: time of sending minus the stamp of the window's last sample.
    watch
        Since when the leader sends.
    n_dropped
        Items that found too many waiting, or were left when the service ended: an outlet hung.

    Parameters
    ----------
    say
        Takes a sentence for the operator.
    first_seq, keep_seq
        Where the numbers begin, and what is told the next one before each sending: a service that comes after this one
        goes on there.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        classes: Sequence[str],
        clock: Callable[[], float],
        say: Callable[[str], None],
        first_seq: int = 0,
        keep_seq: Callable[[int], None] | None = None,
    ) -> None:
        self.latencies = Latencies()
        self.n_dropped = 0
        self._sinks, self._classes, self._clock, self._say = list(sinks), tuple(classes), clock, say
        self._seq, self._keep_seq = first_seq, keep_seq
        self._waiting: deque[Item] = deque()
        self._newest: Item | None = None  # of those that were taken to be sent
        # What is being sent, the first one now: (sink, what it is to do, with what); without a sink it is numbering.
        self._steps: deque[tuple[Sink | None, Callable[[Any], object], Any]] = deque()
        self._n_steps = 0  # that were done
        self._sending = threading.Lock()  # held while something is sent
        self._sender: threading.Thread | None = None  # who sends; another one than before: that was left behind
        self._changing = threading.Lock()  # held by who changes the leader or the sender
        self._leader: threading.Thread | None = None
        self.watch = new_watch()
        self._wanted: Call | None = None  # what the loop wants before it goes on
        self._call: Call | None = None  # what the leader does now
        self._held_up_s = 0.0  # how long the loop waited when the lead changed
        self._hangs_since_s = 0.0
        self._n_left_behind = 0
        self._running = threading.Lock()  # held until the loop has ended
        self._running.acquire()
        self._error: BaseException | None = None

    def put(self, *items: Item) -> None:
        """Say what became ready together; never blocks."""
        if len(self._waiting) + len(items) > _MOST_WAITING:
            self.n_dropped += len(items)
        else:
            self._waiting.extend(items)

    def run(self, loop: Iterator[Call | None]) -> None:
        """Run a loop that yields when it has `put` something or wants a call, to its end or the error that ends it.

        Raises
        ------
        OutletFrozenError
            When outlets froze more often than threads may be left behind.
        PretapError
            What a sink raised on purpose.
        """
        self._start(self._work, loop)
        while not self._has_ended(_LOOK_S):
            pass
        if self._error is not None:
            raise self._error

    @staticmethod
    def _start(work: Callable[..., object], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, name="decode", daemon=True)
        thread.start()
        return thread

    def _has_ended(self, wait_s: float) -> bool:
        """Wait for the end of the loop. A plain lock: `threading.Event` costs ten times as much a look."""
        if not self._running.acquire(timeout=wait_s):
            return False
        self._running.release()
        return True

    def close(self, *, timeout_s: float) -> bool:
        """Send what is still waiting; False where that hangs: then all sinks but that one get it."""
        if not isinstance(self._error, OutletFrozenError):  # else it is known to hang
            thread = self._start(self._send_rest)
            thread.join(timeout_s)
            if not thread.is_alive():
                return True
        for _ in list(self._sinks):
            thread = self._start(self._send_without_who_hangs)
            thread.join(timeout_s)
            if not thread.is_alive():
                return False
        self.n_dropped += len(self._waiting)
        return False

    def _work(self, loop: Iterator[Call | None]) -> None:
        """Watch until something is to be done; then have another thread watch, and do it."""
        me = threading.current_thread()
        duty = self._watch(me)
        if duty is not None:
            self._start(self._work, loop)
            duty(loop, me)

    def _watch(self, me: threading.Thread) -> Callable[[Iterator[Call | None], threading.Thread], None] | None:
        """Watch until this thread has to lead, or to send; None where the loop has ended."""
        n_looks, n_steps, since_s = 0, -1, 0.0
        while True:
            if self._takes_the_lead(me):
                return self._lead
            if not self._sending.locked() or self._sender is self._leader:  # who leads does not hang, or not yet
                n_looks = 0
                if not self.watch.wait_until_slow(_SLOW_S):
                    return None
                continue
            if self._n_steps == n_steps:
                n_looks += 1
                if n_looks == _CALM_LOOK:
                    spinning.calm()  # what spins meanwhile must not take a core from who decodes
                if n_looks >= _FROZEN_LOOKS and self._leaves_behind(n_steps, me):
                    self._hangs_since_s = since_s
                    return self._rescue
            else:
                n_looks, n_steps, since_s = 0, self._n_steps, time.monotonic()
            if self._has_ended(_WATCH_S):
                return None

    def _takes_the_lead(self, me: threading.Thread) -> bool:
        with self._changing:
            took_s = time.monotonic() - self.watch.since_s
            if self._leader is not None and took_s <= _SLOW_S:
                return False
            self._held_up_s = took_s if self._leader is not None else 0.0
            self._leader, self.watch.since_s = me, math.inf
            if self._call is not None:  # it hangs: what it sends becomes a step that is under way
                self._steps.append((self._call.sink if self._call.stop() else None, _nothing, None))
                self._call = None
        return True

    def _still_leads(self, me: threading.Thread) -> bool:
        """Note that nothing is being sent any more; False where that took so long that another thread leads."""
        with self._changing:
            if self._leader is me:
                self.watch.since_s = math.inf
            return self._leader is me

    def _lead(self, loop: Iterator[Call | None], me: threading.Thread) -> None:
        """Run the loop, and send, until the loop ends or another thread leads."""
        try:
            if not self._do(self._wanted, me):  # where the leader before hung in sending, and had not come to it
                return
            for call in loop:
                if self._error is not None:  # of a thread that had lost the lead
                    break
                self._wanted = call
                if self._waiting and self._sending.acquire(blocking=False):
                    self.watch.since_s = time.monotonic()
                    self._send(me)
                    if not self._still_leads(me):
                        return
                if not self._do(call, me):
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that called `run`
            self._error = self._error or error
            if self._leader is not me:
                return  # who leads ends the loop, and then `run` raises
        with self._changing:
            self.watch.since_s = math.inf
            if self._running.locked():
                self._running.release()
        self.watch.end()

    def _do(self, call: Call | None, me: threading.Thread) -> bool:
        """Do what the loop wants; False where that hung, and another thread leads."""
        self._wanted = None
        if call is None:
            return True
        # Where another thread sends, or something waits that it has not come to, nothing may go out before that.
        if self._waiting or not self._sending.acquire(blocking=False):
            call(may_send=False)
            return True
        self._sender, self._call = me, call
        call(may_send=True)
        with self._changing:
            leads, sends = self._leader is me, self._sender is me
            if leads:
                self._call, self.watch.since_s = None, math.inf
            elif sends:
                if self._steps.popleft()[0] is not None:
                    call.returns()
                self._n_steps += 1
        if leads:
            self._sending.release()
        elif sends:
            self._send(me)  # what waited meanwhile
        return leads

    def _send(self, me: threading.Thread) -> None:
        """Send all that waits, then let go of `_sending`; or stop where another thread sends instead."""
        self._sender = me
        while True:
            while self._steps or self._waiting:
                if not self._steps:
                    self._take()
                sink, do, what = self._steps[0]
                failed: Exception | None = None
                try:
                    do(what)
                except Exception as error:  # noqa: BLE001 - said below
                    failed = error
                with self._changing:
                    if self._sender is not me:
                        return
                    self._steps.popleft()
                    self._n_steps += 1
                if failed is not None:
                    self._leave_out(sink, failed)
            self._sending.release()
            # Something may have come after the last look, and found this thread sending.
            if not (self._waiting and self._sending.acquire(blocking=False)):
                return
            self._sender = me

    def _take(self) -> None:
        """Take what waits, and note what is to be done with it."""
        items: list[Item] = []
        are_out = True
        for _ in range(min(len(self._waiting), _MOST_TOGETHER)):
            item = self._waiting.popleft()
            are_out = are_out and item.is_out
            items.append(item)
        self._newest = items[-1]
        if are_out:
            self._number(items)
            return
        for sink in self._sinks:
            self._steps.append((sink, sink.hurry, items))
        self._steps.append((None, self._number, items))

    def _number(self, items: Sequence[Item]) -> None:
        batch: list[tuple[Message, Item]] = []
        for item in items:
            batch.append((self._message(item, self._seq), item))
            self._seq += 1
        if self._keep_seq is not None:
            self._keep_seq(self._seq)
        for sink in self._sinks:
            self._steps.append((sink, sink.send, batch))

    def _leave_out(self, sink: Sink | None, error: Exception) -> None:
        if sink is None:
            self._sending.release()
            raise error  # a bug in here
        self._drop(sink)
        if isinstance(error, PretapError):  # there is no session without it
            self._error = self._error or error
            self._announce(str(error))
        else:
            self._announce(f"{type(sink).__name__} failed ({error!r}): the session goes on without it")

    def _drop(self, sink: Sink) -> None:
        self._sinks = [each for each in self._sinks if each is not sink]
        self._steps = deque(step for step in self._steps if step[0] is not sink)

    def _announce(self, why: str) -> None:
        """Say it to the operator, and in a message of the newest state."""
        self._say(f"WARNING: {why}")
        if self._newest is not None:
            t_s, n_lost = self._clock(), self._newest.n_lost
            self._waiting.appendleft(Item("state", self._newest.state, t_s, why=why, n_lost=n_lost))

    def _leaves_behind(self, n_steps: int, me: threading.Thread) -> bool:
        """Take over from the thread that sends; False where it has moved on since."""
        with self._changing:
            if self._n_steps != n_steps or not self._sending.locked() or self._error is not None:
                return False
            sink = self._steps[0][0] if self._steps else None
            if sink is None or not sink.may_hang:  # it is slow
                return False
            self._sender = me
        self._n_left_behind += 1
        return True

    def _rescue(self, loop: Iterator[Call | None], me: threading.Thread) -> None:  # noqa: ARG002 - called as `_lead` is
        """Send in the stead of a thread that was left behind."""
        sink, _, _ = self._steps[0]
        assert sink is not None
        if self._n_left_behind > _MOST_LEFT_BEHIND:
            self._error = OutletFrozenError(
                f"Outlets froze {self._n_left_behind} times: {_MOST_LEFT_BEHIND} threads are left behind in liblsl, "
                "and only a new process gets rid of them. `pretap serve --supervise` starts one by itself."
            )
            self._announce(str(self._error))
            return  # the leader ends, and `close` does what is left
        self._steps[0] = (sink, self._replace, sink)
        try:
            self._send(me)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that called `run`
            self._error = self._error or error
        spinning.calm()

    def _replace(self, sink: Sink) -> None:
        what = sink.rescue()
        hung_ms = 1000 * (time.monotonic() - self._hangs_since_s)
        self._announce(
            f"{what} (it hung for {hung_ms:.0f} ms, decoding was held up for {1000 * self._held_up_s:.0f} ms; "
            f"{self.n_dropped} messages were dropped so far; {self._n_left_behind} of {_MOST_LEFT_BEHIND} times)"
        )
        self._held_up_s = 0.0

    def _send_rest(self) -> None:
        self._sending.acquire()
        self._send(threading.current_thread())

    def _send_without_who_hangs(self) -> None:
        me = threading.current_thread()
        with self._changing:
            self._sender = me
        if self._steps and self._steps[0][0] is not None:
            self._drop(self._steps[0][0])
        self._send(me)

    def _message(self, item: Item, seq: int) -> Message:
        sent_s = self._clock()
        valid = item.type != "verdict" or not item.why
        probs = {}
        if item.probs is not None and valid:
            probs = dict(zip(self._classes, item.probs.tolist(), strict=True))
            if item.stamp_to_clock_s is not None:
                self.latencies.add(sent_s - item.t_s - item.stamp_to_clock_s)
        return Message(
            type=item.type,
            seq=seq,
            label=item.label,
            command=item.command,
            p=probs,
            state=item.state,
            valid=valid,
            why=item.why,
            lost=item.n_lost,
            t=item.stamp_s,
            sent=sent_s,
            cue=item.cue,
            bad=item.bad,
        )


def _nothing(_: object) -> None:
    """Stand for what another thread does."""
