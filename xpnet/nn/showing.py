"""How a module shows itself: a line with its settings, and a table for notebooks."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

from xpnet.nn.state import Parameter
from xpnet.output import counted, escape, html_table

if TYPE_CHECKING:
    from xpnet.nn.module import Module

__all__ = ["as_html", "written"]


def written(module: Module) -> str:
    """Write a module's class and its settings: of a layer of xpnet those that are not the default."""
    if not type(module).__module__.startswith("xpnet.nn."):
        settings = {k: v for k, v in list(vars(module).items()) if k != "path" and not k.startswith("_")}
    else:
        settings = {k: v for k, v in module.settings().items() if not _is_default(module, k, v)}
    plain = (f"{k}={v}" for k, v in settings.items() if isinstance(v, int | float | str | tuple))
    return f"{type(module).__name__}({', '.join(plain)})"


def _is_default(module: Module, name: str, value: Any) -> bool:
    found = inspect.signature(type(module)).parameters.get(name)
    return found is not None and value in (found.default, (found.default, found.default))


def as_html(module: Module) -> str:
    """Write a model as a table: a row for each layer, with the numbers that training changes in it."""
    seen: set[Parameter] = set()
    rows = []
    for path, layer in module.modules():
        own = {part for _, part in layer.named_parts() if isinstance(part, Parameter)} - seen
        seen |= own
        if own or not any(True for _ in layer.children()):
            count = sum(math.prod(p.shape) for p in own)
            rows.append([path or "-", written(layer), f"{count:,}" if count else "-"])
    title = f"{type(module).__name__}, {counted(module.parameter_count, 'parameter')}, on {module.backend.spec}"
    return f"<p>{escape(title)}</p>\n" + html_table(["layer", "settings", "parameters"], rows, numbers=[2])
