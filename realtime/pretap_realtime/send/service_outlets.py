"""The services on the network and their outlets, by their names. Used by the monitor and `pretap markers`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pretap_realtime.send.outlet_group import source_ids

if TYPE_CHECKING:
    from pretap_realtime.lsl.description import StreamInfo


def service_of(found: StreamInfo) -> str:
    """Return the name of the service whose probabilities a stream carries, or an empty string."""
    name = found.name.removesuffix("-probabilities")
    is_one = name != found.name and found.type == "Probabilities" and found.format == "float32"
    return name if is_one else ""


def services_among(found: Sequence[StreamInfo]) -> list[str]:
    """Return the names of the services whose probabilities are among these streams, in order."""
    return sorted({service for each in found if (service := service_of(each))})


def own_source_ids(found: Sequence[StreamInfo]) -> set[str]:
    """Return the source_ids of the outlets of all services among these streams."""
    return set().union(*map(source_ids, services_among(found)))
