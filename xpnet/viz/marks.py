"""Small marks of a page that need no matplotlib: bars, histograms, strips of thumbnails."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from xpnet.output import escape
from xpnet.viz.tiles import pixels

__all__ = ["bars", "histogram", "strip"]

_SIDE = 96  # pixels of the longer side of a thumbnail
_FINE = 48  # to which smaller images are enlarged, in whole steps


def bars(rows: Mapping[str, Mapping[str, int]], parts: Sequence[str]) -> str:
    """A table of bars, one a row, made of a piece for each part, with the sum; and a key where there are several parts.

    Args:
        rows: the count of each part, by the row's name.
        parts: training, validation, test or other, in the order of their pieces, each of its own colour.
    """
    most = max((sum(counts.values()) for counts in rows.values()), default=0) or 1
    lines = []
    for name, counts in rows.items():
        widths = [100 * counts.get(part, 0) / most for part in parts]
        pieces = "".join(
            f'<i class="{escape(part)}" style="width:{width:.2f}%"></i>'
            for part, width in zip(parts, widths, strict=True)
        )
        total = sum(counts.values())
        lines.append(
            f'<tr><th scope="row">{escape(name)}</th><td>{pieces}</td><td class="number">{total:,}</td></tr>\n'
        )
    key = (
        "".join(f'<span><i class="{escape(part)}"></i> {escape(part)}</span>' for part in parts)
        if len(parts) > 1
        else ""
    )
    key = f'<p class="soft key">{key}</p>\n' if key else ""
    return f'{key}<div class="scroll"><table class="bars">\n{"".join(lines)}</table></div>'


def histogram(counts: Sequence[int]) -> str:
    """The counts of bins as columns."""
    most = max(counts, default=0) or 1
    columns = "".join(
        f'<rect x="{i}" y="{1 - n / most:.3f}" width="0.9" height="{n / most:.3f}"></rect>'
        for i, n in enumerate(counts)
        if n
    )
    box = f'viewBox="0 0 {len(counts)} 1" preserveAspectRatio="none"'
    return f'<svg class="histogram" role="img" aria-label="histogram" {box}>{columns}</svg>' if counts else ""


def strip(images: Iterable[np.ndarray], white: float, alt: str) -> str:
    """Thumbnails side by side.

    Args:
        images: each (H, W, C).
        white: the value of full brightness.
        alt: what each of them shows, in words.
    """
    each = "".join(_thumbnail(image, white, alt) for image in images)
    return f'<div class="strip">{each}</div>'


def _thumbnail(image: np.ndarray, white: float, alt: str) -> str:
    from PIL import Image

    shades = np.rint(255 * pixels(image, white)).astype(np.uint8)
    made = Image.fromarray(shades)
    side, content = max(made.size), io.BytesIO()
    if side > _SIDE:
        made.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    kind = "jpeg" if side > _FINE else "png"
    made.save(content, kind.upper(), **({"quality": 80} if kind == "jpeg" else {"optimize": True}))
    times = max(1, -(-_FINE // side))
    width, height = (times * length for length in made.size)
    data = base64.b64encode(content.getvalue()).decode()
    style = ' style="image-rendering:pixelated"' if times > 1 else ""
    return f'<img alt="{escape(alt)}" width="{width}" height="{height}"{style} src="data:image/{kind};base64,{data}">\n'
