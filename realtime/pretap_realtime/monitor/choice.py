"""Which of the streams on the network the monitor follows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from pretap_realtime.signal.compatibility import printable

if TYPE_CHECKING:
    from pretap_realtime.lsl.description import StreamInfo

__all__ = ["choose", "service_of"]

_MAX_MARKER_STREAMS: Final = 4
_MAX_LISTED: Final = 10
_OF_SERVICES: Final = {
    "probabilities": "probabilities",
    "codes": "codes",
    "messages": "markers",
}  # role: end of its name, which is its source_id too: a replay may send markers under the same name


def service_of(found: StreamInfo) -> str:
    """Give the name of the service whose probabilities a stream carries; empty where it carries none."""
    name = found.name.removesuffix("-probabilities")
    is_one = name != found.name and found.type == "Probabilities" and found.format == "float32"
    return name if is_one else ""


def choose(
    found: Sequence[StreamInfo],
    *,
    name: str,
    stream: Mapping[str, str],
    markers: Mapping[str, str] | None,
    followed: str = "",
    has_eeg: bool = False,
) -> tuple[dict[str, StreamInfo], list[str]]:
    """Say which stream is wanted in which role, and what stands in the way.

    Roles are ``eeg``, ``probabilities``, ``codes``, ``messages`` and ``marker UID``. The service that is `followed` and
    the EEG stream that is there stay so when others come; see `pretap_realtime.monitor.follower.Follower` for the other
    arguments.
    """
    services = sorted({service for each in found if (service := service_of(each))})
    wanted: dict[str, StreamInfo] = {}
    problems: list[str] = []
    mine = [each for each in services if each == (name or followed or each)]
    if len(mine) == 1:
        roles = {f"{mine[0]}-{end}": role for role, end in _OF_SERVICES.items()}
        wanted = {roles[each.source_id]: each for each in found if each.source_id in roles}
    elif mine:
        problems.append(f"{len(mine)} services are here: {_listed(mine)}. Start the monitor with --service NAME.")
    else:
        who = f"the service {printable(name, limit=40)!r}" if name else "a service"
        problems.append(f"Waiting for {who}. Is pretap serve running?")
    if not has_eeg:
        eegs = [each for each in found if _answers(each, stream) and each.format not in ("string", "undefined")]
        if len(eegs) == 1:
            wanted["eeg"] = eegs[0]
        elif eegs:
            listed = _listed([each.name for each in eegs])
            problems.append(f"{len(eegs)} EEG streams are here: {listed}. Start the monitor with --query NAME.")
        else:
            problems.append("Waiting for the EEG stream.")
    ours = {f"{service}-{end}" for service in services for end in _OF_SERVICES.values()}
    texts = [each for each in found if each.format == "string" and each.n_channels == 1 and each.source_id not in ours]
    truths = [each for each in texts if (each.type == "Markers" if markers is None else _answers(each, markers))]
    return wanted | {f"marker {each.uid}": each for each in truths[:_MAX_MARKER_STREAMS]}, problems


def _answers(found: StreamInfo, query: Mapping[str, str]) -> bool:
    return all(getattr(found, key) == value for key, value in query.items())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(printable(name, limit=40) for name in names[:_MAX_LISTED])
