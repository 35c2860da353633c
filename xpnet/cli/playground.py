"""xpnet playground."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from typing import Annotated

import typer

from xpnet.cli.options import BackendName, Device
from xpnet.cli.waiting import serve_until_signal

__all__ = ["playground"]


def playground(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.", metavar="N")] = 0,
    step: Annotated[str | None, typer.Option(help="Open a step of the course: {steps}.", metavar="NAME")] = None,
    link: Annotated[
        str | None,
        typer.Option(help="Open a state that someone shared: a link, or what follows its #.", metavar="LINK"),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    backend: BackendName = None,
    device: Device = None,
) -> int:
    """Train small networks in a page of the browser, and watch every neuron.

    The page is served from this machine, to this machine only, and needs no network connection.
    """
    from xpnet import arguments
    from xpnet.backend import get_backend
    from xpnet.errors import ConfigError
    from xpnet.playground import STEPS, Server
    from xpnet.playground.links import state_of
    from xpnet.train.runs.config import resolve_backend

    if step is not None:
        arguments.choice("playground", "step", step, STEPS)
        if link is not None:
            raise ConfigError("link", "no step of the course besides it", "omit step", step=step, link=link)
    state = f"step={step}" if step else state_of(link or "")
    server = Server(get_backend(resolve_backend(backend, device)), port)
    address = server.address + (f"#{state}" if state else "")
    if not no_browser and _has_screen():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    serve_until_signal(server, f"playground at {address} (Ctrl-C ends it)")
    return 0


def _has_screen() -> bool:
    """Whether a browser opens a window, and not in this terminal."""
    if os.name == "nt" or sys.platform == "darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
