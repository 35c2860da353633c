"""How many images of a folder are decoded in a second, with and without training beside.

    {"do": "measure", "folder": ..., "model": ..., "batch": ..., "seconds": ...}
        -> {"images", "size", "threads", "decode_alone", "train_alone", "decode_beside", "train_beside"}

All but the first three are images a second. Decoding is xpnet.data.load of the folder, over and over; training is the
step that the Trainer chooses, on images that are in memory, in the main thread while another decodes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from serve import answer
from xpnet_steps import chosen

from xpnet import data, models, nn, optim
from xpnet.backend import cores
from xpnet.train.step import EagerStep

SIDES = {"alexnet": 227, "lenet5": 28}  # the images that a model takes


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Decode, train, then both at once."""
    folder, seconds = request["folder"], request["seconds"]
    train, test = data.load(folder)
    images = len(train) + len(test)
    step = _step(request["model"], request["batch"])

    def decode() -> int:
        data.load(folder)
        return images

    def steps() -> int:
        step()
        return request["batch"]

    steps()  # kernels are compiled, buffers made
    alone = [_rate(work, lambda since: since < seconds) for work in (decode, steps)]
    ended, beside = threading.Event(), []

    def decoding() -> None:
        try:
            beside.append(_rate(decode, lambda since: since < seconds))
        finally:
            ended.set()

    other = threading.Thread(target=decoding)
    other.start()
    trained = _rate(steps, lambda since: not ended.is_set())
    other.join()
    return {
        "images": images,
        "size": list(train.shape),
        "threads": cores(),
        "decode_alone": alone[0],
        "train_alone": alone[1],
        "decode_beside": beside[0],
        "train_beside": trained,
    }


def _rate(work: Callable[[], int], more: Callable[[float], bool]) -> float:
    """Work at least once, and while there is more to do; give the images a second."""
    began, done = perf_counter(), 0
    while True:
        done += work()
        since = perf_counter() - began
        if not more(since):
            return done / since


def _step(name: str, batch: int) -> Callable[[], Any]:
    side, channels = SIDES[name], 3 if name == "alexnet" else 1
    model = models.build(name, (side, side, channels)).initialize().train()
    rng = np.random.default_rng(0)
    x = rng.random((batch, side, side, channels), dtype=np.float32)
    y = rng.integers(0, 10, batch)
    optimizer = optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)
    return chosen(EagerStep(model, nn.softmax_cross_entropy, optimizer), x, y)[0]


if __name__ == "__main__":
    answer(measure)
