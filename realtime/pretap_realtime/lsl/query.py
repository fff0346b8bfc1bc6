"""Stream queries such as ``type=EEG,name=Amp``, and the XPath predicates that liblsl makes of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pretap.errors import UsageError

_KEYS = ("name", "type", "source_id", "hostname", "uid")


def parse_query(text: str) -> dict[str, str]:
    """Read ``type=EEG,name=Amp`` or a plain name.

    Raises
    ------
    UsageError
        If a key is unknown, or `can_be_queried` is false for a value.
    """
    query: dict[str, str] = {}
    for part in text.split(",") if "=" in text else [f"name={text}"]:
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in _KEYS or not value:
            raise UsageError(
                f"Stream query {text!r}: expected a name, or key=value pairs joined by commas; "
                f"keys are {', '.join(_KEYS)}."
            )
        if not can_be_queried(value):
            raise UsageError(
                f"Stream query {text!r}: quotes and control characters are not allowed. Ask by another key, such as "
                "source_id."
            )
        query[key] = value
    return query


def can_be_queried(value: str) -> bool:
    """Whether a value has no quotes and no control characters.

    A query is a quoted XPath predicate on a line of its own, which a quote or a line break would end.
    """
    return "'" not in value and '"' not in value and value.isprintable()


def predicate(query: Mapping[str, str]) -> str:
    """Return the XPath predicate for liblsl; without a query, the one that every stream satisfies."""
    return " and ".join(f"{key}='{value}'" for key, value in query.items()) or "true()"
