"""xpnet devices."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from xpnet.cli.options import Json, print_json, print_line

__all__ = ["devices"]


def devices(
    as_json: Json = False,
    show_kernels: Annotated[bool, typer.Option("--kernels", help="List the kernels of each op and service.")] = False,
) -> None:
    """List the backends and their devices, and how to install the absent ones."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from xpnet.backend import describe_backends

    found = describe_backends()
    kernels = {b.name: {} if b.problem else _kernels(b.name) for b in found} if as_json or show_kernels else {}
    backends = Table(box=None, pad_edge=False)
    for column in ("backend", "version", "devices", "records", "problem"):
        backends.add_column(column, overflow="fold")
    for b in found:
        problem = escape(f"{b.problem}: {b.install}") if b.problem else ""
        hardware = (
            "\n".join(f"{d}  {text}" for d, text in zip(b.devices, b.hardware, strict=True)) if b.hardware else ""
        )
        records = "yes" if b.records else "no"
        backends.add_row(b.name, b.version or "-", escape(hardware) or ", ".join(b.devices) or "-", records, problem)
    served = {name: ops for name, ops in kernels.items() if any(ops.values())}
    table = Table("op or service", *served, box=None, pad_edge=False)
    for op in sorted({op for ops in served.values() for op in ops}):
        cells = [
            ", ".join(k["folder"] + ("" if k["recordable"] else "*") for k in ops.get(op, ()))
            for ops in served.values()
        ]
        table.add_row(op, *(cell or "-" for cell in cells))
    console = Console(stderr=as_json)
    console.print(backends, highlight=False)
    if show_kernels:
        console.print("\nKernels, in the order they are tried; - is the op's own code, * is not recorded.\n")
        console.print(table, highlight=False)
    else:
        print_line("The kernels of each op: xpnet devices --kernels", as_json)
    if as_json:
        print_json([dataclasses.asdict(b) | {"kernels": kernels[b.name]} for b in found])


def _kernels(name: str) -> dict[str, list[dict[str, Any]]]:
    """The kernels of each op and service for a backend's arrays, in the order they are tried."""
    from xpnet import kernels, ops  # noqa: F401  (ops registers the ops)
    from xpnet.backend import get_backend

    backend = get_backend(name)
    found = kernels.table(backend.xp.empty(0, device=backend.device))
    return {op: [{"folder": k.folder, "recordable": k.recordable} for k in ks] for op, ks in found.items()}
