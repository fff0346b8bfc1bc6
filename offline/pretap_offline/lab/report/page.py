"""Parts of a self-contained HTML page: escaped text, tables and embedded pictures, no scripts. Used by `write`."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

SVG, PNG = "image/svg+xml", "image/png"

_CSS = """
:root { color-scheme: light dark; --text: #1b1b1b; --back: #ffffff; --soft: #5c5c5c; --line: #d5d5d5; --mark: #eef4fa; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8e8; --back: #16181b; --soft: #a9adb3; --line: #3a3f45; --mark: #1f2a35; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 66rem; color: var(--text); background: var(--back);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
h4 { font-size: .9rem; font-weight: 600; margin: .8rem 0 .3rem; color: var(--soft); }
p { max-width: 46rem; margin: .5rem 0; }
p.how { color: var(--soft); font-size: .92rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; font-size: .92rem; }
dt { color: var(--soft); } dd { margin: 0; } dd.code { font-family: ui-monospace, monospace; font-size: .85em; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .42rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--back);
  white-space: normal; min-width: 6rem; max-width: 14rem; overflow-wrap: anywhere; }
tbody tr:first-child.best td { background: var(--mark); }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; align-items: flex-start; }
figure { margin: 0; max-width: 100%; break-inside: avoid; }
figcaption { font-size: .85rem; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 6px; padding: 4px; }
.heads { gap: .5rem; } .heads figure { width: 7.4rem; } .heads figcaption { font-size: .75rem; text-align: center;
  line-height: 1.25; }
.heads img { width: 100%; }
@media (max-width: 30rem) {
  dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } .heads figure { width: calc(33.3% - .4rem); }
}
@media print {
  :root { --text: #000; --back: #fff; --soft: #444; --line: #bbb; --mark: #eee; }
  body { max-width: none; padding: 0; font-size: 10pt; } .wide { overflow: visible; } table { font-size: 7pt; }
  .heads figure { width: 5.4rem; }
  th, td { padding: .15rem .25rem; } h2, h3, h4 { break-after: avoid; } figure img { padding: 0; }
}
"""


def page(title: str, content: Iterable[str]) -> str:
    """Return a whole HTML document."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<h1>{_text(title)}</h1>\n"
        + "\n".join(content)
        + "\n</body>\n</html>\n"
    )


def section(title: str, how: str, content: Iterable[str]) -> str:
    """Return a section: its title, how to read it, and its content."""
    return (
        f'<section>\n<h2>{_text(title)}</h2>\n<p class="how">{_text(how)}</p>\n' + "\n".join(content) + "\n</section>"
    )


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{_text(text)}</p>"


def facts(rows: Sequence[tuple[str, str]], *, code: frozenset[str] = frozenset()) -> str:
    """Return a list of names and values; the values of the names in `code` are set in monospace."""
    lines = []
    for name, value in rows:
        kind = ' class="code"' if name in code else ""
        lines.append(f"<dt>{_text(name)}</dt><dd{kind}>{_text(value)}</dd>")
    return "<dl>\n" + "\n".join(lines) + "\n</dl>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, best_first: bool = False) -> str:
    """Return a table that scrolls sideways on narrow pages, except for its first column."""
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "\n".join(
        ('<tr class="best">' if best_first and number == 0 else "<tr>")
        + "".join(f"<td>{_text(cell)}</td>" for cell in row)
        + "</tr>"
        for number, row in enumerate(rows)
    )
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def picture(content: bytes, *, kind: str = SVG, alt: str, caption: str = "") -> str:
    """Return a figure with an embedded picture."""
    data = base64.b64encode(content).decode()
    below = f"<figcaption>{_text(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="data:{kind};base64,{data}" alt="{_text(alt)}">{below}</figure>'


def cards(figures: Iterable[str], *, heads: bool = False) -> str:
    """Return figures side by side, as many as fit the width of the page; `heads` are small."""
    kind = "cards heads" if heads else "cards"
    return f'<div class="{kind}">' + "\n".join(figures) + "</div>"


def heading(text: str, *, level: int = 3) -> str:
    """Return a heading inside a section."""
    return f"<h{level}>{_text(text)}</h{level}>"


def printable(text: str) -> str:
    """Replace characters that a page cannot show (control characters, lone surrogates of odd file names)."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _text(text: str) -> str:
    return escape(printable(text.replace("\n", " ")), quote=True)
