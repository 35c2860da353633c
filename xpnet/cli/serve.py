"""xpnet serve."""

from __future__ import annotations

import signal
import threading
import warnings
from typing import Annotated

import typer

from xpnet.cli.options import BackendName, Device, print_line
from xpnet.cli.trained import Mean, Scale, Std, normalization

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
    stop = threading.Event()
    server = Server(source, host, port, limits, print_line if verbose else None)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if not server.is_local:
            print_line(f"xpnet: warning: anyone who reaches {host} port {server.port} may use it", to_people_only=True)
        print_line(f"{source.name} of {run} at {server.url} (Ctrl-C ends it)")
        while not stop.wait(0.5):  # a signal is handled between waits
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # a second Ctrl-C ends it at once
        all_answered = server.close()
    if not all_answered:
        print_line("xpnet: warning: some requests were not answered in time", to_people_only=True)
    return 0
