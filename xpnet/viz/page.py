"""A page of a report: HTML in one file, with its style and its pictures inside. It needs no network and no scripts."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xpnet.output import escape, html_table
from xpnet.viz.style import ON_DARK, PALETTE, PARTS

__all__ = ["figure", "page", "pairs", "section", "table", "text", "tiles"]


def _variables(palette: Sequence[str]) -> str:
    """The colours of the parts of the data, as variables of a style: --train, --test, --validation."""
    return " ".join(f"--{part}: {palette[PALETTE.index(colour)]};" for part, colour in PARTS.items())


_COLOURS = f"""
:root {{ {_variables(PALETTE)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(ON_DARK)} }} }}
"""

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d8dee4; --back: #fff; --card: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --back: #0d1117; --card: #161b22; }
  figure img { filter: brightness(0.92); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 3rem; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 0.25rem; }
h2 { font-size: 1.15rem; margin: 0 0 0.5rem; }
p { margin: 0 0 0.75rem; }
section { margin-top: 2.25rem; }
.soft { color: var(--soft); }
.tiles { display: flex; flex-wrap: wrap; gap: 0.75rem; margin: 1.25rem 0; }
.tiles div { flex: 1 0 8rem; max-width: 14rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 0.5rem; padding: 0.6rem 0.8rem; }
.tiles dt { color: var(--soft); font-size: 0.85rem; }
.tiles dd { margin: 0; font-size: 1.25rem; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; padding: 0.6rem; background: #fff;
  border: 1px solid var(--line); border-radius: 0.5rem; }
figure + p, figure + .scroll, .scroll + p { margin-top: 0.6rem; }
.wide { overflow-x: auto; }
.wide img { min-width: 34rem; }
.scroll { overflow-x: auto; }
td { white-space: nowrap; }
.pairs td { white-space: normal; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.75rem 0.25rem 0; text-align: left; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
td.number, th.number { text-align: right; }
tfoot td { font-weight: 600; border-bottom: 0; }
.pairs th { font-weight: 400; color: var(--soft); white-space: nowrap; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 2.25rem 2rem; }
.sides section { margin-top: 0; }
.sides { margin-top: 2.25rem; }
.bars { width: 100%; }
.bars th { font-weight: 400; max-width: 16rem; overflow-wrap: anywhere; }
.bars td:nth-child(2) { width: 60%; }
.bars i { display: inline-block; height: 0.7rem; min-width: 1px; border-radius: 2px; }
.key i { display: inline-block; width: 0.7rem; height: 0.7rem; border-radius: 2px; }
.key span { margin-right: 1rem; }
.bars i, .key i { background: var(--train); }
.bars i.validation, .key i.validation { background: var(--validation); }
.bars i.test, .key i.test { background: var(--test); }
.strip { display: flex; flex-wrap: wrap; gap: 0.3rem; margin: 0 0 0.9rem; align-items: flex-start; }
.strip img { display: block; border-radius: 3px; }
h3 { font-size: 0.95rem; font-weight: 500; margin: 0.4rem 0 0.3rem; overflow-wrap: anywhere; }
svg.histogram { display: block; width: 9rem; height: 2rem; }
svg.histogram rect { fill: var(--train); }
.texts { max-width: 18rem; white-space: normal; overflow-wrap: anywhere; }
@media print {
  :root { --ink: #000; --soft: #444; --line: #bbb; --back: #fff; --card: #fff; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  section, figure, tr { break-inside: avoid; }
  .long { break-inside: auto; }
  figure img { filter: none; }
  .wide img { min-width: 0; }
}
"""


_LEAST = 600  # pixels of the longer side of a picture
_TYPES = {"svg": "image/svg+xml", "png": "image/png"}
_SAFE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing but what is in the file


def page(title: str, parts: Iterable[str]) -> str:
    """Make a whole page of a title and parts in HTML."""
    name = escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_SAFE}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{_COLOURS}{_STYLE}</style>\n</head>\n<body>\n"
        f"<main>\n<h1>{name}</h1>\n" + "\n".join(part for part in parts if part) + "\n</main>\n</body>\n</html>\n"
    )


def section(heading: str, *parts: str, long: bool = False) -> str:
    """A heading and what follows it; nothing where nothing follows. A long one may be broken over printed pages."""
    inner = "\n".join(part for part in parts if part)
    kind = ' class="long"' if long else ""
    return f"<section{kind}>\n<h2>{escape(heading)}</h2>\n{inner}\n</section>" if inner else ""


def text(sentence: str) -> str:
    """A quiet paragraph."""
    return f'<p class="soft">{escape(sentence)}</p>'


def tiles(figures: Mapping[str, str]) -> str:
    """The few figures that count, large."""
    each = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>\n" for name, value in figures.items())
    return f'<dl class="tiles">\n{each}</dl>'


def pairs(values: Mapping[str, Any]) -> str:
    """A table of names and values; values that are None are left out."""
    rows = [(name, value) for name, value in values.items() if value is not None]
    each = "".join(f'<tr><th scope="row">{escape(n)}</th><td>{escape(str(v))}</td></tr>\n' for n, v in rows)
    return f'<div class="scroll"><table class="pairs">\n{each}</table></div>' if rows else ""


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], total: Sequence[str] = (), numbers: Sequence[int] = ()
) -> str:
    """A table of texts, with a line of totals; the columns named in numbers are aligned at the right."""

    return f'<div class="scroll">{html_table(head, rows, total, numbers)}</div>'


def figure(drawing: Any, alt: str, kind: str = "svg", larger: float = 1.0) -> str:
    """A matplotlib Figure as a picture within the page, at least 600 pixels wide unless it were higher than that.

    Args:
        drawing: the figure.
        alt: what it shows, in words, for those who do not see it.
        kind: "svg" for lines and letters; "png" for what is made of pixels.
        larger: times its own size, at least.
    """
    from matplotlib import rc_context

    content, inches = io.BytesIO(), drawing.get_size_inches()
    larger = max(larger, _LEAST / (96 * max(inches)))
    letters: Any = {"svg.fonttype": "path", "svg.hashsalt": "xpnet"}  # outlines, which are alike in every browser
    with rc_context(letters), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in letters that the font lacks is drawn as boxes
        drawing.savefig(content, format=kind, dpi=144 * larger, metadata={"Date": None} if kind == "svg" else None)
    data = content.getvalue() if kind == "svg" else _smaller(content)
    source = f"data:{_TYPES[kind]};base64,{base64.b64encode(data).decode()}"
    width, height = (round(96 * larger * side) for side in inches)
    # on a phone a wide one keeps a size that can be read, and is moved sideways
    wide = ' class="wide"' if width > 1.6 * height else ""
    return f'<figure{wide}><img alt="{escape(alt)}" width="{width}" height="{height}" src="{source}"></figure>'


def _smaller(png: io.BytesIO) -> bytes:
    """Give a picture a palette: 256 colours of its own, in a third of the bytes."""
    from PIL import Image

    small = io.BytesIO()
    with Image.open(png, formats=("PNG",)) as image:
        image.convert("RGB").quantize(256).save(small, "PNG", optimize=True)
    return small.getvalue()
