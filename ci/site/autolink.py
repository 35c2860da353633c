"""Names of public objects that stand as code in a page lead to their entry in the API: ``nn.Conv2d``."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx import addnodes

from ci.site.public import Public

__all__ = ["setup"]


def setup(app: Any) -> dict[str, bool]:
    """Look through each page once it is read."""
    public = Public()

    def link(app: Any, doctree: nodes.document) -> None:
        for literal in list(doctree.findall(nodes.literal)):
            if isinstance(literal.parent, nodes.reference | nodes.title | addnodes.pending_xref):
                continue
            if path := public.find(literal.astext()):
                reference = addnodes.pending_xref(
                    "", literal.deepcopy(), refdomain="py", reftype="obj", reftarget=path, refdoc=app.env.docname,
                    refexplicit=True, refwarn=True,
                )  # fmt: skip
                literal.replace_self(reference)

    app.connect("doctree-read", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
