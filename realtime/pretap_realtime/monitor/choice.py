"""Choice of the streams that the monitor follows, among all on the network. Pure; used by `follower`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pretap.errors import UsageError
from pretap.recordings.events import is_marker_stream
from pretap.spelling import did_you_mean
from pretap_realtime.lsl.query import parse_query
from pretap_realtime.send.messages import ServiceDescription
from pretap_realtime.send.service_outlets import own_source_ids, services_among
from pretap_realtime.signal.compatibility import printable

if TYPE_CHECKING:
    from pretap_realtime.lsl.description import StreamInfo

_MAX_MARKER_STREAMS: Final = 4
_MAX_LISTED: Final = 10
# By role, the end of the source_id of an outlet of a service. Names do not suffice: a replay may use the same one.
_SUFFIXES: Final = {"probabilities": "probabilities", "codes": "codes", "messages": "markers"}


@dataclass(frozen=True)
class Selection:
    """The streams that the user asked for.

    Attributes
    ----------
    service
        Name of the service (``markers.name``), empty for the only one on the network.
    eeg
        Query of the EEG stream.
    markers
        Query of the marker stream with the true labels; None for that of the service's cues, or for all marker streams
        except those of services.
    """

    service: str
    eeg: Mapping[str, str]
    markers: Mapping[str, str] | None


@dataclass(frozen=True)
class Choice:
    """The streams to follow.

    Attributes
    ----------
    streams
        By role: ``eeg``, ``probabilities``, ``codes``, ``messages`` and ``marker UID``.
    problems
        Why a stream is missing.
    why_not_judged
        Why the markers cannot tell the true class of decisions at every hop; empty if they can.
    """

    streams: dict[str, StreamInfo]
    problems: list[str]
    why_not_judged: str = ""


def choose(
    found: Sequence[StreamInfo],
    selection: Selection,
    *,
    followed: str = "",
    has_eeg: bool = False,
    description: ServiceDescription = ServiceDescription(),  # noqa: B008 - frozen
) -> Choice:
    """Choose a stream for each role.

    If other services or EEG streams appear, the service that is `followed` and the current EEG stream (`has_eeg`) are
    kept. A service that decides at cues describes where they come from, and no other markers are read.
    """
    services = services_among(found)
    wanted: dict[str, StreamInfo] = {}
    problems: list[str] = []
    mine = [each for each in services if each == (selection.service or followed or each)]
    if len(mine) == 1:
        roles = {f"{mine[0]}-{end}": role for role, end in _SUFFIXES.items()}
        wanted = {roles[each.source_id]: each for each in found if each.source_id in roles}
    elif mine:
        problems.append(f"Found {len(mine)} services: {_listed(mine)}. Start the monitor with --service NAME.")
    else:
        name = printable(selection.service, limit=40)
        wanted_name = f"the service {name!r}" if name else "a service"
        meant = did_you_mean(selection.service, services)
        problems.append(f"Waiting for {wanted_name}: start pretap serve BUNDLE.{meant}")
    if not has_eeg:
        eegs = [each for each in found if each.matches(selection.eeg) and each.format not in ("string", "undefined")]
        if len(eegs) == 1:
            wanted["eeg"] = eegs[0]
        elif eegs:
            listed = _listed([each.name for each in eegs])
            problems.append(f"Found {len(eegs)} EEG streams: {listed}. Start the monitor with --query NAME.")
        else:
            problems.append("Waiting for the EEG stream: start the amplifier's LSL app, or pretap replay RECORDING.")
    ours = own_source_ids(found)
    query = _marker_query(selection, description)
    truths = [
        each
        for each in found
        if query is not None and each.matches(query) and each.source_id not in ours
        if is_marker_stream(format=each.format, type=each.type, sfreq_hz=each.sfreq_hz)
    ]
    wanted |= {f"marker {each.uid}": each for each in truths[:_MAX_MARKER_STREAMS]}
    if selection.markers is not None and not truths:
        asked = printable(",".join(f"{key}={value}" for key, value in selection.markers.items()), limit=80)
        problems.append(f"No marker stream matches --cue-query {asked}.")
    n_truths = _n_sources(truths)
    is_alone = len(services) <= 1 and _n_sources([each for each in found if each.type == "EEG"]) <= 1
    if description.is_cued or n_truths == 0 or (n_truths == 1 and (is_alone or selection.markers is not None)):
        return Choice(wanted, problems)
    listed = _listed(sorted({each.name for each in truths}))
    why = f"several marker streams are on the network: {listed}"
    if n_truths == 1:
        why = f"several services or EEG streams are on the network, and '{listed}' may belong to another player"
    return Choice(wanted, problems, f"Not judged: {why}. Start the monitor with --cue-query NAME.")


def _n_sources(streams: Sequence[StreamInfo]) -> int:
    """Count sources: one that ended is listed for five seconds more, and may return as another stream."""
    return len({each.source_id or each.uid for each in streams})


def _marker_query(selection: Selection, description: ServiceDescription) -> Mapping[str, str] | None:
    """Return the query of the marker streams to read; None for no stream."""
    if selection.markers is not None:
        return selection.markers
    if not description.is_cued:
        return {"type": "Markers"}
    with contextlib.suppress(UsageError):  # a service that is not ours may tell anything
        return parse_query(description.cue_query) if description.cue_query else None
    return None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(printable(name, limit=40) for name in names[:_MAX_LISTED])
