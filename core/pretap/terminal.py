"""Text that others wrote, made harmless for a terminal: a control sequence in it would be obeyed, not shown."""

from __future__ import annotations

import json

__all__ = ["json_text", "plain"]


def plain(text: str) -> str:
    """Give a text with ``?`` for what cannot be printed (escapes, controls, changes of direction); lines stay lines."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def json_text(encoded: bytes) -> str:
    r"""Give encoded JSON as text in which all that cannot be printed is escaped: ``\u009b`` and the like.

    JSON itself asks for that up to U+001F only. It is read back the same.
    """
    text = encoded.decode()
    if encoded.isascii():
        return text.replace("\x7f", "\\u007f")
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
