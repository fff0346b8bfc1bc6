"""Adaptation of a service: the decoder that adapts, and the file that keeps its state. Used by `serve.assembly`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pretap.config.serve import AdaptConfig
from pretap.decoder.adapting import AdaptingDecoder, adapting
from pretap.decoder.decoder import Decoder
from pretap.errors import PretapError

SESSION_STATE = "adapt-state.json"  # in a session folder: the state at the start, from which `score` continues


def start(decoder: Decoder, config: AdaptConfig, state: Path | None, *, say: Callable[[str], None]) -> Decoder:
    """Return the decoder that adapts as configured, continuing from a state if its file exists.

    Raises
    ------
    UsageError
        If the bundle cannot adapt.
    DataError
        If the state is damaged or of another bundle.
    """
    found = state if state is not None and state.exists() else None
    adapted = adapting(decoder, config, state=found if config.is_on else None)
    if isinstance(adapted, AdaptingDecoder):
        whence = "the training" if found is None else f"the state in {found}"
        say(f"adapts from {whence} on: {adapted.adapted.describe()}")
    return adapted


def finish(decoder: Decoder, state: Path | None, *, say: Callable[[str], None]) -> None:
    """Tell the operator how far a decoder that adapts has moved, and write its state if it is to be kept."""
    if not isinstance(decoder, AdaptingDecoder):
        return
    say(f"adaptation: {decoder.adapted.describe()}")
    if state is None:
        return
    try:
        decoder.write_state(state)
    except PretapError as error:  # the session has ended: its summary must still be shown
        say(f"WARNING: {error}")
