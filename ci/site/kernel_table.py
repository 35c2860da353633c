"""The table of kernels: what computes each op and service on each kind of arrays, from the registries of xpnet."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from ci.site.sources import address
from xpnet import kernels, ops
from xpnet.backend import Backend, get_backend
from xpnet.backend.cuda import CuPy

__all__ = ["COLUMNS", "kernel_page", "rows"]

# Folders of kernels, in the order they are tried, by the libraries whose arrays they serve: as the backends say.
COLUMNS: dict[str, tuple[str, ...]] = {
    "NumPy": get_backend("cpu").kernels,
    "CuPy": CuPy.kernels,
    "torch, jax and others": Backend.kernels,
}
_INTRODUCTION = """Table of kernels
================

What computes each op, by the library of its arrays, in the order they are tried. A kernel takes the cases that it is
made for; the next one, and at last the op's own code, takes the others. Where there is a dash, the op's own code, in
calls of the Array API standard, computes all cases. ``xpnet devices --kernels`` prints this table for the libraries
that are installed; :doc:`kernels` says how a kernel is added.

A * marks a kernel that cannot be recorded: a step that needs it runs eagerly.
"""


def rows() -> dict[str, dict[str, list[kernels.Kernel]]]:
    """Return the kernels of each op and service, by column.

    Raises:
        RuntimeError: a folder of kernels does not import here, so the table would not be whole.
    """
    for module in ("data.feed", "optim.update", "train.counters"):  # where services are defined
        importlib.import_module(f"xpnet.{module}")
    tables = {}
    for column, folders in COLUMNS.items():
        stand_in = type(f"Array of {column}", (), {})
        kernels.register_array_type(stand_in, *folders)
        tables[column] = kernels.table(stand_in)
        absent = {*folders} - {kernel.folder for found in tables[column].values() for kernel in found}
        if absent:
            raise RuntimeError(f"kernel table: kernels/{absent.pop()} does not import; install xpnet[fast]")
    names = sorted({name for table in tables.values() for name in table})
    return {name: {column: table.get(name, []) for column, table in tables.items()} for name in names}


def kernel_page() -> str:
    """Write the page."""
    found = rows()
    public = [name for name in found if name in ops.__all__]
    parts = [_INTRODUCTION]
    for title, names in (("Ops", public), ("Services, and parts of ops", [n for n in found if n not in public])):
        parts += [title, "-" * len(title), "", ".. list-table::", "   :header-rows: 1", "   :class: kernels", ""]
        parts += ["   * - name", *(f"     - {column}" for column in COLUMNS)]
        for name in names:
            parts.append(f"   * - :py:obj:`~xpnet.ops.{name}`" if name in public else f"   * - ``{name}``")
            parts += [f"     - {_cell(kernels_) or '-'}" for kernels_ in found[name].values()]
        parts.append("")
    return "\n".join(parts)


def _cell(found: list[kernels.Kernel]) -> str:
    return ", ".join(
        f"`{k.folder} <../{address(_file(k), inspect.unwrap(k.function).__code__.co_firstlineno)}>`__"
        + ("" if k.recordable else r"\ \*")
        for k in found
    )


def _file(kernel: kernels.Kernel) -> Path:
    return Path(*kernel.function.__module__.split(".")).with_suffix(".py")
