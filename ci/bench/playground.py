"""Frames and steps a second of the playground, as a page receives them over HTTP; without a browser."""

import http.client
import json
import time
from argparse import Namespace
from contextlib import closing
from statistics import median

from rows import Results, of_runs
from runner import choose, say

from xpnet import get_backend
from xpnet.playground import Server

CASES = {
    "2-16-16-2 at 200": ([16, 16], 200),
    "2-16-16-2 unlimited": ([16, 16], 1_000_000),
    "8 layers of 16 at 200": ([16] * 8, 200),
}


def playground(options: Namespace) -> Results:
    """Measure each case for so many turns of so many seconds; 25 frames with 200 steps are to be reached."""
    results = Results(options.json)
    results.note("To be reached: 25 frames with 200 steps a second, of 2-16-16-2")
    with Server(get_backend("cpu")) as server:
        for name in choose(options.only, {name: [name] for name in CASES}):
            say(name)
            layers, rate = CASES[name]
            found = [measured(server, layers, rate, options.seconds) for _ in range(options.processes)]
            frames, steps = ([each[i] for each in found] for i in (0, 1))
            remarks = f"{median(steps):.0f} steps/s"
            results.add(of_runs("playground", "", name, "xpnet", "frames/s", frames, remarks=remarks))
    return results


def measured(server: Server, layers: list[int], rate: float, seconds: float) -> tuple[float, float]:
    """Train for some seconds as a page that watches; return frames and steps a second."""
    with closing(http.client.HTTPConnection(server.host, server.port, timeout=120)) as page:
        page.request("GET", f"/{server.playground.token}/events")
        events = page.getresponse()
        key = next_event(events, "hello")["session"]
        settings = {"data": "spirals", "layers": layers}
        for command in ({"do": "open", "settings": settings}, {"do": "rate", "value": rate}, {"do": "play"}):
            ask(server, {"session": key, **command})
        first = next_event(events, "frame")
        while first["step"] < 20:  # loops are compiled, the network is shown
            first = next_event(events, "frame")
        last, start, frames = first, time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < seconds:
            last, frames = next_event(events, "frame"), frames + 1
        events.close()
    return frames / passed, (last["step"] - first["step"]) / passed


def ask(server: Server, command: dict) -> None:
    """Send a command."""
    with closing(http.client.HTTPConnection(server.host, server.port, timeout=120)) as connection:
        body, headers = json.dumps(command), {"Content-Type": "application/json"}
        connection.request("POST", f"/{server.playground.token}/do", body, headers)
        assert connection.getresponse().status == 200


def next_event(events: http.client.HTTPResponse, name: str) -> dict:
    """Read events until one of a name; return its value."""
    found = b""
    while line := events.readline():
        if line.startswith(b"event: "):
            found = line[7:-1]
        elif line.startswith(b"data: ") and found.decode() == name:
            return json.loads(line[6:])
    raise ConnectionError("the playground has ended")
