"""Networks in the browser: a page, served from this machine, that trains real models while one watches.

    xpnet playground

    with playground.Server(xpnet.get_backend("cpu")) as server:      # the same in a program
        print(server.address)

The plane (settings, points, network, plane) learns points in two dimensions; code writes the same as a program. A
session trains what one page shows; service answers its requests, over the transport of xpnet.serving. Everything is
computed here, in Python, and tested without a browser; the files of page/ draw what they are sent.
"""

from xpnet.playground.lessons import STEPS
from xpnet.playground.server import Server

__all__ = ["STEPS", "Server"]
