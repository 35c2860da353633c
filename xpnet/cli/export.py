"""xpnet export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xpnet.cli.options import Json, print_json, print_line
from xpnet.output import counted

__all__ = ["export"]


def export(
    run: Annotated[str, typer.Argument(help="Folder of a run.")],
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="FILE.onnx", help="The file; model.onnx in the run by default.")
    ] = None,
    inputs: Annotated[str, typer.Option(metavar="nchw|nhwc", help="Order of the axes of images.")] = "nchw",
    opset: Annotated[int, typer.Option(metavar="N", help="Version of ONNX's ops, 17 to 23.")] = 21,
    batch: Annotated[
        str, typer.Option(metavar="NAME|N|fixed", help="Name of the dimension of examples, or their number; fixed: 1.")
    ] = "N",
    with_preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing",
            help="Take pixels of 0..255, or numbers in their own units; give probabilities or such numbers.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a trained model as an ONNX file, which ONNX Runtime and others run."""
    from xpnet.errors import ConfigError
    from xpnet.interop.onnx.export_run import export_run

    out = str(Path(run) / "model.onnx") if out is None else out
    if not out.lower().endswith(".onnx"):
        raise ConfigError("out", "a file named *.onnx", out=repr(out))
    size = int(batch) if batch.isdecimal() else batch
    found = export_run(run, out, inputs=inputs, opset=opset, batch=size, with_preprocessing=with_preprocessing)
    nodes = sum(found.nodes.values())
    print_line(f"{found.path}: {found.size:,} bytes, {counted(nodes, 'node')} of opset {found.opset}", as_json)
    for kind, values in (("input", found.inputs), ("output", found.outputs)):
        for name, (dtype, shape) in values.items():
            print_line(f"{kind:<6}  {name}: {dtype} ({', '.join(map(str, shape))})", as_json)
    if as_json:
        both = {
            kind: {name: {"dtype": dtype, "shape": list(shape)} for name, (dtype, shape) in values.items()}
            for kind, values in (("inputs", found.inputs), ("outputs", found.outputs))
        }
        print_json({**found._asdict(), "path": str(found.path), **both})
