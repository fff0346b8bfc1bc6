"""Text for a terminal: untrusted text made safe to print, and words such as WARNING in colour. Used by all commands.

A terminal obeys control sequences instead of showing them, so everything that comes from files, streams and the network
passes `plain`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from typing import Any, Final

_COLOURS: Final = {"red": "31", "green": "32", "yellow": "33"}  # by group of the pattern
_WORDS: Final = re.compile(
    r"(?P<red>^Error(?=:)|^FAILED$|^FAIL(?=  )|\bENDED(?=: | by )|^RECORDING HAS STOPPED)"
    r"|(?P<green>^PASSED$)"
    r"|(?P<yellow>\bWARNING(?=:)|^WARN(?=  ))",
    re.MULTILINE,
)


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


def has_colours(file: Any) -> bool:
    """Whether a text file is a terminal that shows colours, and the user has not set NO_COLOR."""
    if file is None or os.environ.get("NO_COLOR"):  # None if it was closed when the process started
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (file.isatty() and os.environ.get("TERM") != "dumb")


def coloured(text: str, file: Any) -> str:
    """Colour the words in a text that report a warning, an error or the result of a check, if `file` shows colours."""
    if not has_colours(file):
        return text
    return _WORDS.sub(lambda word: f"\x1b[1;{_COLOURS[word.lastgroup or 'red']}m{word[0]}\x1b[0m", text)


def say(text: str, *, err: bool = False) -> None:
    """Print a text to standard output, or to standard error, with `coloured` words."""
    import click

    file = sys.stderr if err else sys.stdout
    if file is not None:  # None if it was closed when the process started
        click.echo(coloured(text, file), err=err, color=has_colours(file))


def n_columns(text: str) -> int:
    """Return how many columns of a terminal a printable text takes: East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)
