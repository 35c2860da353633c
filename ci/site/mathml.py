"""Sphinx draws mathematics as MathML, which browsers show without JavaScript, fonts or a network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.util import logging

__all__ = ["setup"]

_log = logging.getLogger(__name__)


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer under the name "mathml"."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_mathml(node, block=False))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="equation">{_mathml(node, block=True)}</div>\n')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, block: bool) -> str:
    text = node.astext()
    try:
        return latex2mathml.tex2mathml(text, as_block=block)
    except Exception as error:  # of the converter; its classes differ between versions of docutils
        _log.warning("no MathML for %r: %s", text, error, location=node, type="math")
        return f"<code>{nodes.unescape(text)}</code>"
