"""What stands as code in a page leads to what it names.

A public object leads to its entry in the API, as ``nn.Conv2d``; a file of the repository to the page that shows it, as
``ops/conv.py``; a command to its options, as ``xpnet train``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes

from ci.site.command_line import commands
from ci.site.public import ROOT, Public
from ci.site.sources import address, is_source

__all__ = ["setup"]


def setup(app: Any) -> dict[str, bool]:
    """Look through each page once it is read."""
    public, known = Public(), {name for name, _ in commands()}

    def link(app: Any, doctree: nodes.document) -> None:
        page = app.env.docname
        for literal in list(doctree.findall(nodes.literal)):
            if isinstance(literal.parent, nodes.reference | nodes.title | addnodes.pending_xref):
                continue
            text = literal.astext()
            command = re.match(r"xpnet (\w+)(?: (\w+))?", text)
            names = [" ".join(filter(None, command.groups())), command[1]] if command else []
            name = next((name for name in names if name in known), None)
            if path := public.find(text):
                literal.replace_self(_reference(literal, page, "py", "obj", path))
            elif name and page != "api/command-line":
                literal.replace_self(_reference(literal, page, "std", "ref", f"command-{name.replace(' ', '-')}"))
            elif file := _file(text):
                target = "../" * page.count("/") + address(file)
                literal.replace_self(nodes.reference("", "", literal.deepcopy(), refuri=target))

    app.connect("doctree-read", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _reference(literal: nodes.literal, page: str, domain: str, kind: str, target: str) -> nodes.Element:
    options = {"refdomain": domain, "reftype": kind, "reftarget": target, "refdoc": page}
    return addnodes.pending_xref("", literal.deepcopy(), refexplicit=True, refwarn=True, **options)


def _file(text: str) -> Path | None:
    """The file of code that a path means, from the folder of the repository or from xpnet/."""
    path = Path(text)
    if not re.fullmatch(r"[\w-][\w./-]*", text) or not ("/" in text or path.suffix == ".py"):
        return None
    return next((p for p in (path, Path("xpnet") / path) if is_source(p) and (ROOT / p).is_file()), None)
