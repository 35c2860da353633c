"""A trained run as a web service: one endpoint that predicts, and a page to drop an image on.

    xpnet serve RUN --port 8000

    with serving.Server(serving.open_source("runs/mnist"), port=0) as server:      # the same in a program
        print(server.url)

A request goes through transport (HTTP, with limits), answers (paths and types of content), sources (examples for the
model) and batching (concurrent requests are predicted at once). The standard library is all that it needs.
"""

from xpnet.serving.limits import Limits
from xpnet.serving.opening import open_source
from xpnet.serving.server import Server

__all__ = ["Limits", "Server", "open_source"]
