"""Recorder: pulls samples from all matching streams and passes them to the file. Used by ``pretap record``.

Three kinds of threads keep samples from waiting. The loop in this module only pulls, every 4 ms. One thread writes and
syncs the file (`disk_writer`). Connecting to a stream (`connector`) has threads of its own, and liblsl measures the
clocks in another one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pretap.errors import NoStreamError
from pretap_realtime.console.stopping import Stop
from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.lsl.inlets import RawInlet
from pretap_realtime.lsl.library import ConnectionLostError, local_clock
from pretap_realtime.record import xdf_writer
from pretap_realtime.record.connector import Connector
from pretap_realtime.record.disk_writer import DiskWriter
from pretap_realtime.record.source import Source
from pretap_realtime.record.tracks import Identity, Track

# When a source dies, liblsl drops its unread samples with the connection, 3 ms later. Of 12 deaths at 1000 Hz (2 cores,
# 2026-11-23), none lost samples at ticks of 2 and 4 ms, 1 did at 10 ms and 6 at 50 ms. Samples that a source sent in
# the instant of its own kill -9 are not counted.
_TICK_S: Final = 0.004
_RESOLVE_EVERY_S: Final = 0.25
_WRITE_EVERY_S: Final = 0.25  # `kill -9` costs at most this, plus the time of a write
_BOUNDARY_EVERY_S: Final = 10.0
_MAX_PENDING_BYTES: Final = 256 << 20
_GRACE_S: Final = 0.1  # for samples that are still on their way


class Recorder:
    """Records every stream that matches a query, until `stop` is set.

    Parameters
    ----------
    queries
        See `parse_query`. If empty, all streams are recorded.
    """

    def __init__(
        self,
        path: Path,
        queries: Sequence[dict[str, str]],
        *,
        force: bool = False,
        stop: Stop,
        say: Callable[[str], None],
    ) -> None:
        self.tracks: list[Track] = []
        self.started_s: float | None = None
        self._path, self._force, self._stop, self._say = path, force, stop, say
        self._connector = Connector(queries, clock=local_clock)
        self._sources: dict[str, Source] = {}  # by uid
        self._disk: DiskWriter | None = None

    @property
    def n_bytes(self) -> int:
        return self._disk.file.n_bytes if self._disk is not None else 0

    def run(self, *, wait_s: float, seconds: float | None, progress: Callable[[Recorder], None]) -> None:
        """Record; `progress` is called a few times per second.

        Raises
        ------
        NoStreamError
            If no stream answers within `wait_s`.
        DataError
            If the disk is full or fails. What was written before is intact.
        """
        began_s = resolve_s = write_s = boundary_s = local_clock()
        try:
            while not self._stop.wait(_TICK_S):
                now_s = local_clock()
                if now_s >= resolve_s:
                    resolve_s = now_s + _RESOLVE_EVERY_S
                    self._connect()
                    progress(self)
                self._pull()
                if now_s >= write_s:
                    write_s = now_s + _WRITE_EVERY_S
                    if now_s >= boundary_s + _BOUNDARY_EVERY_S and self._disk is not None:
                        boundary_s = now_s
                        self._disk.append(xdf_writer.boundary())
                    self._write()
                if self.started_s is None and now_s > began_s + wait_s:
                    raise NoStreamError(
                        f"No stream answered within {wait_s:g} s, so {self._path.name} was not written. Run `pretap "
                        "streams` to see what is on the network, or wait longer with --wait-s."
                    )
                if self.started_s is not None and seconds is not None and now_s >= self.started_s + seconds:
                    break
            self._finish()
        finally:
            for source in self._sources.values():
                source.close()
            if self._disk is not None:
                self._disk.close()

    def _connect(self) -> None:
        """Record the streams that have been connected to, and start to connect to new ones."""
        self._connector.connect_to_new(known=self._sources)
        for source in self._sources.values():
            if line := source.silence():
                self._say(line)
        for found, opened in self._connector.results():
            if isinstance(opened, str):
                self._say(f"{found} is not recorded: {opened}")
                continue
            if self._disk is None:
                self._disk = DiskWriter(xdf_writer.XdfFile(self._path, force=self._force), clock=local_clock)
                self.started_s = local_clock()
            self._sources[found.uid] = Source(opened, self._track_of(found, opened, self._disk), clock=local_clock)

    def _track_of(self, found: StreamInfo, inlet: RawInlet, disk: DiskWriter) -> Track:
        """Return the track of a stream that was recorded before, otherwise a new one."""
        labels, n_channels, sfreq_hz = inlet.description.labels, found.n_channels, found.sfreq_hz
        identity = Identity(found.name, found.type, found.source_id, found.format, n_channels, sfreq_hz, labels)
        for uid, source in list(self._sources.items()):
            # A computer that loses power closes nothing: its connection stays open forever.
            if source.track.identity == identity and (uid not in self._connector.listed or source.is_mute()):
                self._drop(uid)
        in_use = {source.track.id for source in self._sources.values()}
        track = next((t for t in self.tracks if t.identity == identity and t.id not in in_use), None)
        if track is None:
            track = Track(len(self.tracks) + 1, identity)
            self.tracks.append(track)
            disk.append(xdf_writer.stream_header(track.id, inlet.xml))
            self._say(f"recording {found}")
        else:
            track.resume()
            self._say(f"{track.name} is back; its recording continues")
        return track

    def _drop(self, uid: str) -> None:
        source = self._sources.pop(uid)
        source.close()
        self._say(f"{source.track.name} has disappeared; its recording continues if it returns")

    def _pull(self) -> None:
        if self._disk is not None and self._disk.n_pending_bytes > _MAX_PENDING_BYTES:
            return  # the disk stalls: meanwhile liblsl buffers the samples
        for uid, source in list(self._sources.items()):
            try:
                source.pull()
            except ConnectionLostError:
                self._drop(uid)

    def _write(self) -> None:
        """Pass everything that has arrived since the last call to the disk."""
        if self._disk is None:
            return
        for source in self._sources.values():
            with contextlib.suppress(ConnectionLostError):  # the next pull raises it
                self._disk.append(*source.clock_offset())
        for track in self.tracks:
            self._disk.append(*track.flush())
        self._disk.flush()

    def _finish(self) -> None:
        """Record the last samples, and close the file with its footers."""
        end_s = local_clock() + _GRACE_S
        while local_clock() < end_s:
            self._pull()
            time.sleep(_TICK_S)
        self._write()
        if self._disk is not None:
            self._disk.append(*(track.footer() for track in self.tracks))
            self._disk.finish()
