"""Loopback: a synthetic amplifier and a service on it, in an isolated LSL session. Used by `command`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pretap.bundle.file import read_bundle
from pretap_realtime.check.isolated_session import IsolatedSession
from pretap_realtime.console.stopping import Stop

if TYPE_CHECKING:
    from pretap_realtime.latency.measure import Measurement

_AMPLIFIER: Final = "synthetic-amplifier"
_PACKET_S: Final = 0.01


@contextmanager
def loopback(bundle: Path, *, hop_ms: float, n_packet: int | None, stop: Stop) -> Iterator[Measurement]:
    """Start both as processes, and yield a measurement of the service; they end with the block."""
    n_packet = n_packet or max(1, round(_PACKET_S * read_bundle(bundle).manifest.sfreq_hz))
    with IsolatedSession() as session:
        from pretap_realtime.latency.measure import Measurement  # loads liblsl, which then reads the configuration

        module = "pretap_realtime.latency.amplifier"
        session.start(_AMPLIFIER, str(bundle), str(n_packet), module=module)
        session.start("serve", str(bundle), "--query", f"name={_AMPLIFIER}", "--hop-ms", f"{hop_ms!r}")
        yield Measurement("pretap", {"name": _AMPLIFIER}, stop=stop, check=session.check_children)
