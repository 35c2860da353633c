"""Networks in the browser: a page, served from this machine, that trains real models while one watches.

    xpnet playground

The plane (settings, points, network, plane) learns points in two dimensions; code writes the same as a program.
Everything is computed here, in Python, and tested without a browser; the page under page/ draws what it is sent.
"""
