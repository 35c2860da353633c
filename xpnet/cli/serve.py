"""xpnet serve."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from xpnet.cli.options import BackendName, Device, print_line
from xpnet.cli.trained import Mean, Scale, Std, normalization
from xpnet.cli.waiting import serve_until_signal

__all__ = ["serve"]


def serve(
    run: Annotated[str, typer.Argument(metavar="RUN|FILE.onnx", help="Folder of a run, or an ONNX file.")],
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.", metavar="N")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines use it.", metavar="ADDRESS")
    ] = "127.0.0.1",
    max_bytes: Annotated[int, typer.Option(help="Largest request, in bytes.", metavar="N")] = 32 << 20,
    timeout: Annotated[float, typer.Option(help="Seconds to send a request, and to answer it.", metavar="S")] = 30.0,
    connections: Annotated[int, typer.Option(help="Connections at a time.", metavar="N")] = 64,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print a line for each request.")] = False,
    mean: Mean = None,
    std: Std = None,
    scale: Scale = None,
    backend: BackendName = None,
    device: Device = None,
) -> int:
    """Answer requests for predictions over HTTP, and serve a page to try the model on.

    POST /predict takes an image, several images (multipart/form-data), or {"rows": [...]}; GET / is the page.
    """
    from xpnet.serving import Limits, Server, open_source
    from xpnet.train.runs.config import resolve_backend

    limits = Limits(max_bytes=max_bytes, timeout=timeout, connections=connections)
    source = open_source(run, resolve_backend(backend, device), **normalization(mean, std, scale))
    if not verbose:
        warnings.simplefilter("ignore")  # of decoders, about the content of a request
    server = Server(source, host, port, limits, print_line if verbose else None)
    if not server.is_local:
        print_line(f"xpnet: warning: anyone who reaches {host} port {server.port} may use it", to_people_only=True)
    serve_until_signal(server, f"{source.name} of {run} at {server.url} (Ctrl-C ends it)")
    return 0
