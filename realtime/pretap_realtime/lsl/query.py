"""Which streams are asked for: ``type=EEG,name=Amp`` or a plain name. Pure."""

from __future__ import annotations

from pretap.errors import UsageError

__all__ = ["parse_query", "predicate"]

_KEYS = ("name", "type", "source_id", "hostname", "uid")


def parse_query(text: str) -> dict[str, str]:
    """Read ``type=EEG,name=Amp`` or a plain name.

    Raises
    ------
    UsageError
        For an unknown key, or a value with quotes or control characters: a query becomes an XPath predicate in a line
        of its own, and a quote or a line break would end it.
    """
    query: dict[str, str] = {}
    for part in text.split(",") if "=" in text else [f"name={text}"]:
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in _KEYS or not value:
            raise UsageError(
                f"Stream query {text!r}: expected a name, or key=value pairs joined by commas; "
                f"keys are {', '.join(_KEYS)}."
            )
        if "'" in value or '"' in value or not value.isprintable():
            raise UsageError(
                f"Stream query {text!r}: quotes and control characters are not allowed. Ask by another key, such as "
                "source_id."
            )
        query[key] = value
    return query


def predicate(query: dict[str, str]) -> str:
    """Give the XPath predicate that liblsl asks with."""
    return " and ".join(f"{key}='{value}'" for key, value in query.items())
