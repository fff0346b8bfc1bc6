"""Words in messages: suggestions for misspelled names, and counts with their nouns. Used wherever users read them."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" with the known name that is most like `name`, or nothing if none is like it."""
    from difflib import get_close_matches

    by_folded = {each.casefold(): each for each in known}
    close = get_close_matches(name.casefold(), by_folded, n=1)
    return f" Did you mean {by_folded[close[0]]!r}?" if close else ""


def counted(n: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun, as in ``1 marker`` and ``2 markers``; without `plural` it is the noun with an s."""
    return f"{n} {noun if n == 1 else plural or f'{noun}s'}"
