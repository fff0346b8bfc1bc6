"""Untrusted text made safe to print: a terminal obeys control sequences instead of showing them.

Used for everything that comes from files, streams and the network.
"""

from __future__ import annotations

import json


def plain(text: str) -> str:
    """Replace each unprintable character (escapes, controls, changes of direction) by ``?``, except line breaks."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def json_text(encoded: bytes) -> str:
    r"""Decode JSON to text in which every unprintable character is escaped, such as ``\u009b``.

    JSON itself requires this only up to U+001F. A parser reads the same content from the text.
    """
    text = encoded.decode()
    if encoded.isascii():
        return text.replace("\x7f", "\\u007f")
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
