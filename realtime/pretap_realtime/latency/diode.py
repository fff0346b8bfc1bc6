"""``pretap latency --analyse``: the delay from markers to the light that a photodiode has seen, in an XDF recording."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.bundle.file import read_bundle
from pretap.child import run_child
from pretap.config.recording import from_options
from pretap.errors import DataError
from pretap.files import write_json, write_text
from pretap.recordings.events import matches
from pretap.recordings.recording import Recording
from pretap.recordings.xdf import open_xdf
from pretap_realtime.decide.cues import bundle_cues
from pretap_realtime.latency.edges import find_edges, match
from pretap_realtime.latency.figures import Figures

FLASHES: Final = ("flash/on", "flash/off")
DECISIONS: Final = ("decision/on", "decision/off")
_MIN_MATCHED: Final = 5
_MARGIN_S: Final = 4.0  # of the signal before the first and after the last marker


class Delay(msgspec.Struct, frozen=True):
    """By how much the light follows the markers `on` and `off`."""

    on: str
    off: str
    n_markers: int
    n_missed: int
    n_extra: int
    on_is_rise: bool
    delay: Figures


class DiodeResult(msgspec.Struct, frozen=True):
    """Report of ``--analyse``.

    Attributes
    ----------
    markers
        From the markers to the light.
    loop
        From the last sample of a decision to the light that it switched; None if the recording is not of ``--flash``.
    offset_ms
        The ``cue.offset_ms`` for the bundle; None without a bundle.
    """

    recording: str
    channel: str
    sfreq_hz: float
    markers: Delay
    loop: Delay | None
    offset_ms: float | None

    def __str__(self) -> str:
        parts = [f"{self.recording}: {self.channel} at {self.sfreq_hz:g} Hz"]
        for delay, what in ((self.markers, "marker to light"), (self.loop, "last sample of the decision to light")):
            if delay is not None:
                parts.append(_describe(delay, what))
        d = self.markers.delay.p50_ms
        if self.offset_ms is None:
            advice = f"add {d:.1f} to its cue.offset_ms"
        else:
            advice = f"serve it with --set cue.offset_ms={self.offset_ms:.1f}"
        parts.append(
            f"The light comes {d:.1f} ms after its marker. If a bundle was trained on exact markers, and its cues are "
            f"shown as here, {advice}. If it was trained on recordings of this set-up, change nothing: its training "
            "contains the delay."
        )
        return "\n\n".join(parts)


def analyse(
    path: Path,
    *,
    channel: str,
    stream: str | None = None,
    markers: str | None = None,
    on: str | None = None,
    off: str | None = None,
    bundle: Path | None = None,
) -> DiodeResult:
    """Measure the delay from markers to a photodiode's edges.

    Parameters
    ----------
    channel
        The channel with the photodiode.
    stream
        The stream that has it, if several could.
    markers
        The marker stream; by default all of the file.
    on, off
        Patterns of the markers at which the light goes on and off; by default those of ``--flash``.
    bundle
        The bundle whose cues the offset is for.

    Raises
    ------
    DataError
        If the file cannot be read, too few markers have an edge, or most edges have no marker.
    """
    recording = open_xdf(
        path, stream=stream, channel=channel, config=from_options(markers=[markers] if markers else [])
    )
    patterns = FLASHES if on is None and off is None else (on or "", off or "")
    times_s = _marker_times(recording, patterns)
    if not sum(map(len, times_s)):
        names = ", ".join(sorted({event.text for event in recording.events})[:10]) or "no markers"
        wanted = " or ".join(repr(each) for each in patterns if each)
        raise DataError(f"{path}: no marker matches {wanted}. It has {names}. Name yours with --on and --off.")
    edges_s, is_rise = _edges(recording, times_s)
    delay = _delay(patterns, times_s, edges_s, is_rise)
    n_matched, n_others = (0, len(edges_s)) if delay is None else (delay.delay.n, delay.n_extra)
    if delay is None or n_matched < max(_MIN_MATCHED, n_others):
        raise DataError(
            f"{path}: expected edges of {channel!r} near its {sum(map(len, times_s))} markers and nowhere else, found "
            f"{n_matched} near markers and {n_others} others. Is the diode on the square, and is this its channel?"
        )
    loop = None
    if patterns == FLASHES:
        loop = _delay(DECISIONS, _marker_times(recording, DECISIONS), edges_s, is_rise)
    offset_ms = None
    if bundle is not None:
        offset_ms = 1000 * bundle_cues(read_bundle(bundle).manifest)[1] + delay.delay.p50_ms
    return DiodeResult(path.name, channel, recording.sfreq_hz, delay, loop, offset_ms)


def write_offset(result: DiodeResult, path: Path) -> None:
    """Write the offset as a configuration for `pretap serve --config`."""
    assert result.offset_ms is not None
    d = result.markers.delay
    text = (
        f"# From `pretap latency --analyse`: the light came {d.p50_ms:.1f} ms after its marker "
        f"(sd {d.sd_ms:.1f} ms, n = {d.n}).\n[cue]\noffset_ms = {result.offset_ms:.1f}\n"
    )
    write_text(path, text)


def draw(result: DiodeResult, path: Path) -> None:
    """Draw the histograms in a child process of the offline side, which the live side does not import."""
    with tempfile.TemporaryDirectory(prefix="pretap-") as folder:
        file = Path(folder) / "delays.json"
        write_json(file, result)
        run_child([sys.executable, "-m", "pretap_offline.evaluate.latency_figure", str(file), str(path)])


def _marker_times(recording: Recording, patterns: tuple[str, str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the times of the markers that match each pattern."""
    on, off = (
        np.sort([recording.event_s(each) for each in recording.events if pattern and matches(each.text, [pattern])])
        for pattern in patterns
    )
    return on, off


def _edges(
    recording: Recording, times_s: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the times of the edges near the markers, and whether they rise; a break of the recording is no edge."""
    n = recording.n_samples
    t_s = recording.timestamps_s(0, n)  # (n_samples,)
    x = recording.read(0, n)[:, 0].astype(np.float64)  # (n_samples,)
    if not np.isfinite(x).all():
        raise DataError(
            f"{recording.source}: the channel has values that are not finite, expected two levels of light."
        )
    markers_s = np.concatenate(times_s)
    bounds = np.searchsorted(t_s, (markers_s.min() - _MARGIN_S, markers_s.max() + _MARGIN_S)).tolist()
    positions, rises = [np.zeros(0)], [np.zeros(0, bool)]
    for start, stop in zip(recording.segments, (*recording.segments[1:], n), strict=True):
        first, last = max(start, bounds[0]), min(stop, bounds[1])
        if last - first >= 2:
            edges = find_edges(x[first:last], sfreq_hz=recording.sfreq_hz, n_expected=len(markers_s))
            positions.append(first + edges.positions)
            rises.append(edges.is_rise)
    return np.interp(np.concatenate(positions), np.arange(n), t_s), np.concatenate(rises)


def _delay(
    patterns: tuple[str, str],
    times_s: tuple[NDArray[np.float64], NDArray[np.float64]],
    edges_s: NDArray[np.float64],
    is_rise: NDArray[np.bool_],
) -> Delay | None:
    """Return the delay of the light after markers, or None if no marker has an edge."""
    if not sum(map(len, times_s)) or not edges_s.size:
        return None
    found = match(*times_s, edges_s, is_rise)
    n = len(found.delays_s)
    if not n:
        return None
    figures = Figures.of(found.delays_s.tolist())
    return Delay(*patterns, found.n_markers, found.n_markers - n, found.n_extra, found.on_is_rise, figures)


def _describe(found: Delay, what: str) -> str:
    d = found.delay
    return (
        f"{what}: median {d.p50_ms:.2f} ms, sd {d.sd_ms:.2f} ms, p5 {d.p5_ms:.2f}, p95 {d.p95_ms:.2f}, "
        f"max {d.max_ms:.2f}\n"
        f"{d.n} of {found.n_markers} markers matched, {found.n_missed} missed, {found.n_extra} edges without a marker; "
        f"the signal {'rises' if found.on_is_rise else 'falls'} when the light goes on\n{d.bars()}"
    )
