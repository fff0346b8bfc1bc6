"""Recording: which streams there are, their samples on the way to the file, and what becomes of streams that go.

Three kinds of threads, so that nothing makes samples wait: the loop here only pulls, every 4 ms; one thread writes and
syncs the file (`disk`); connecting to a stream and measuring its clock happen in threads of their own.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pretap.errors import NoStreamError, StreamRefusedError
from pretap_realtime.console.stopping import Stop
from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.lsl.inlets import RawInlet
from pretap_realtime.lsl.library import ConnectionLostError, local_clock
from pretap_realtime.lsl.resolver import StreamResolver
from pretap_realtime.record import xdf_writer
from pretap_realtime.record.disk import Disk
from pretap_realtime.record.tracks import Identity, Track

__all__ = ["Recorder"]

# What is unread when a source dies is lost: liblsl drops it with the connection, 3 ms after. Of 12 deaths at 1000 Hz
# (2 cores, 2026-11-23), 0 lost samples so at ticks of 2 and 4 ms, 1 at 10 ms, 6 at 50 ms; what the source pushed in the
# instant of its own kill -9 aside.
_TICK_S: Final = 0.004
_LOOK_EVERY_S: Final = 0.25
_RETRY_S: Final = 1.0
_MUTE_S: Final = 1.0  # a stream with a rate, beside one that says it is the same
_SILENT_S: Final = 3.0
_WRITE_EVERY_S: Final = 0.25  # what `kill -9` costs at most, with the time a write takes
_BOUNDARY_EVERY_S: Final = 10.0
_CLOCK_EVERY_S: Final = 5.0
_SAME_CLOCK_S: Final = 0.005  # measured across one machine: noise of 0.1 ms, milliseconds under load
_BUFFER_S: Final = 360  # liblsl's, 256 MB at most: a recorder that stalls that long loses nothing
_MAX_WAITING_BYTES: Final = 256 << 20
_GRACE_S: Final = 0.1  # for samples on their way

Say = Callable[[str], None]


class Recorder:
    """Records every stream that answers a query, until `stop`.

    Parameters
    ----------
    queries
        See `pretap_realtime.lsl.query`; empty: all streams.
    """

    def __init__(
        self,
        path: Path,
        queries: Sequence[dict[str, str]],
        *,
        force: bool = False,
        stop: Stop,
        say: Say,
        clock: Callable[[], float] = local_clock,
    ) -> None:
        self.tracks: list[Track] = []
        self.started_s: float | None = None
        self._path, self._force, self._stop, self._say, self._clock = path, force, stop, say, clock
        self._watches = [StreamResolver(query) for query in queries] or [StreamResolver()]
        self._doors = _Doors(clock)
        self._sources: dict[str, _Source] = {}  # by uid
        self._listed: set[str] = set()  # uids that the network knows
        self._batch: list[xdf_writer.Chunk] = []
        self._disk: Disk | None = None

    @property
    def n_bytes(self) -> int:
        return self._disk.file.n_bytes if self._disk is not None else 0

    def run(self, *, wait_s: float, seconds: float | None, progress: Callable[[Recorder], None]) -> None:
        """Record; `progress` is called a few times a second.

        Raises
        ------
        NoStreamError
            When no stream answers within `wait_s`.
        DataError
            When the disk takes no more; what it took is whole.
        """
        began_s = look_s = write_s = boundary_s = self._clock()
        try:
            while not self._stop.wait(_TICK_S):
                now_s = self._clock()
                if now_s >= look_s:
                    look_s = now_s + _LOOK_EVERY_S
                    self._look()
                    self._admit(now_s)
                    progress(self)
                self._pull()
                if now_s >= write_s:
                    write_s = now_s + _WRITE_EVERY_S
                    if now_s >= boundary_s + _BOUNDARY_EVERY_S and self._disk is not None:
                        boundary_s = now_s
                        self._batch.append(xdf_writer.boundary())
                    self._hand_over()
                if self.started_s is None and now_s > began_s + wait_s:
                    raise NoStreamError(self._nobody(wait_s))
                if self.started_s is not None and seconds is not None and now_s >= self.started_s + seconds:
                    break
            self._finish()
        finally:
            self._close()

    def _nobody(self, wait_s: float) -> str:
        return (
            f"No stream answered within {wait_s:g} s, so {self._path.name} was not written. See `pretap streams` for "
            "what is on the network, or wait longer with --wait-s."
        )

    def _look(self) -> None:
        """Connect, beside the loop, to streams that are not recorded yet."""
        there = {found.uid: found for watch in self._watches for found in watch.streams()}
        for uid, found in there.items():
            if uid not in self._sources:
                self._doors.knock(found)
        self._listed = set(there)
        for source in self._sources.values():
            if line := source.silence(self._clock()):
                self._say(line)

    def _admit(self, now_s: float) -> None:
        for found, opened in self._doors.answers():
            if not isinstance(opened, RawInlet):
                if opened:
                    self._say(f"{found} is not recorded: {opened}")
                continue
            if self._disk is None:
                self._disk = Disk(xdf_writer.XdfFile(self._path, force=self._force), clock=self._clock)
                self.started_s = now_s
            self._sources[found.uid] = _Source(opened, self._track(found, opened), clock=self._clock)

    def _track(self, found: StreamInfo, inlet: RawInlet) -> Track:
        """Give the track of a stream that came back, or a new one."""
        identity = Identity.of(inlet.description, kind=found.type, source_id=found.source_id)
        for uid, source in list(self._sources.items()):
            # A computer that lost power says no goodbye: its connection stays open for ever.
            if source.track.identity == identity and (uid not in self._listed or source.is_mute(self._clock())):
                self._drop(uid)
        taken = {source.track.id for source in self._sources.values()}
        track = next((t for t in self.tracks if t.identity == identity and t.id not in taken), None)
        if track is None:
            track = Track(len(self.tracks) + 1, identity)
            self.tracks.append(track)
            self._batch.append(xdf_writer.stream_header(track.id, inlet.xml))
            self._say(f"recording {found}")
        else:
            track.came_back()
            self._say(f"{track.name} is back; its recording goes on")
        return track

    def _drop(self, uid: str) -> None:
        source = self._sources.pop(uid)
        source.close()
        self._say(f"{source.track.name} is gone; its recording goes on when it comes back")

    def _pull(self) -> None:
        if self._disk is not None and self._disk.n_waiting_bytes > _MAX_WAITING_BYTES:
            return  # a disk that stalls: liblsl keeps the samples for us
        for uid, source in list(self._sources.items()):
            try:
                source.pull()
            except ConnectionLostError:
                self._drop(uid)

    def _hand_over(self) -> None:
        """Give the disk what has come since the last time."""
        if self._disk is None:
            return
        for source in self._sources.values():
            self._batch += source.take_offsets()
        for track in self.tracks:
            self._batch += track.seal()
        self._disk.put(self._batch)
        self._batch = []

    def _finish(self) -> None:
        """Take what has been sent, and close the file with its footers."""
        end_s = self._clock() + _GRACE_S
        while self._clock() < end_s:
            self._pull()
            time.sleep(_TICK_S)
        self._hand_over()
        if self._disk is not None:
            self._disk.put([track.footer() for track in self.tracks])
            self._disk.finish()

    def _close(self) -> None:
        for source in self._sources.values():
            source.close()
        if self._disk is not None:
            self._disk.end()


class _Source:
    """A live stream and the track that it feeds."""

    def __init__(self, inlet: RawInlet, track: Track, *, clock: Callable[[], float]) -> None:
        self.track = track
        self._inlet, self._clock = inlet, clock
        self._heard_s, self._is_silent = clock(), False
        self._offsets: queue.SimpleQueue[tuple[float, float]] = queue.SimpleQueue()
        self._closed = threading.Event()
        threading.Thread(target=self._follow_clock, name="clock", daemon=True).start()

    def pull(self) -> None:
        """Take all that is there."""
        while True:
            values, t_s = self._inlet.pull()
            self.track.add(values, t_s)
            if t_s.size:
                self._heard_s = self._clock()
            if t_s.size < self._inlet.max_samples:
                return

    def is_mute(self, now_s: float) -> bool:
        return self.track.counts_losses and now_s > self._heard_s + _MUTE_S

    def silence(self, now_s: float) -> str:
        """Say that a stream with a rate has fallen silent, or speaks again; empty where nothing is new."""
        is_silent = self.track.counts_losses and now_s > self._heard_s + _SILENT_S
        if is_silent == self._is_silent:
            return ""
        self._is_silent = is_silent
        return (
            f"{self.track.name} has sent nothing for {_SILENT_S:g} s" if is_silent else f"{self.track.name} sends again"
        )

    def take_offsets(self) -> list[xdf_writer.Chunk]:
        chunks = []
        while not self._offsets.empty():
            measured_s, offset_s = self._offsets.get()
            chunks.append(self.track.clock_offset(measured_s=measured_s, offset_s=offset_s))
        return chunks

    def _follow_clock(self) -> None:
        while not self._closed.is_set():
            try:
                offset_s = self._inlet.time_correction(_CLOCK_EVERY_S)
            except ConnectionLostError:
                self._closed.wait(_RETRY_S)
                continue
            if self._inlet.is_local and abs(offset_s) < _SAME_CLOCK_S:
                offset_s = 0.0  # one clock: the rest is noise, which a reader would fit a drift to
            self._offsets.put((self._clock() - offset_s, offset_s))
            self._closed.wait(_CLOCK_EVERY_S)

    def close(self) -> None:
        self._closed.set()
        self._inlet.close()


class _Doors:
    """Connects to streams, each in a thread of its own: one that does not answer takes half a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._busy: set[str] = set()
        self._again_s: dict[str, float] = {}  # by uid: not before
        self._answers: queue.SimpleQueue[tuple[StreamInfo, RawInlet | str]] = queue.SimpleQueue()
        self._told: set[str] = set()

    def knock(self, found: StreamInfo) -> None:
        """Connect, unless that is under way, or failed a moment ago."""
        if found.uid in self._busy or self._clock() < self._again_s.get(found.uid, 0.0):
            return
        self._busy.add(found.uid)
        threading.Thread(target=self._connect, args=(found,), name="connect", daemon=True).start()

    def _connect(self, found: StreamInfo) -> None:
        try:
            inlet = RawInlet(found, buffer_s=_BUFFER_S)
            inlet.xml = xdf_writer.sound_xml(inlet.xml)
            inlet.start()
        except ConnectionLostError:
            self._answers.put((found, ""))  # dead, but still listed: no word
        except (ValueError, RuntimeError, StreamRefusedError) as error:  # RuntimeError: pylsl could not make an inlet
            self._answers.put((found, str(error)))
        else:
            self._answers.put((found, inlet))

    def answers(self) -> list[tuple[StreamInfo, RawInlet | str]]:
        """Give the streams that have been connected to, and why others were not (told once)."""
        answers: list[tuple[StreamInfo, RawInlet | str]] = []
        while not self._answers.empty():
            found, opened = self._answers.get()
            self._busy.discard(found.uid)
            self._again_s[found.uid] = self._clock() + _RETRY_S
            if isinstance(opened, str):
                if found.uid in self._told:
                    continue
                self._told.add(found.uid)
            answers.append((found, opened))
        return answers
