"""How many images of a folder are decoded in a second, with and without training beside.

    {"do": "measure", "folder": ..., "seconds": ..., and what xpnet_steps builds}
        -> {"decode": [alone, beside training], "train": [alone, beside decoding]}

Decoding is xpnet.data.load of the folder, over and over; training is Trainer.fit in the main thread, on a batch that is
in memory, while another thread decodes.
"""

import threading
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import xpnet_steps

from xpnet import data


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Decode, train, then both at once."""
    job, seconds, rates = xpnet_steps.build(request), request["seconds"], {"decode": [], "train": []}
    images = sum(len(part) for part in data.load(request["folder"]))

    def rate(what: str, amount: int, more: Callable[[float], bool]) -> Iterator[int]:
        """Yield before each piece of work, and keep the images a second of all."""
        began, done, since = perf_counter(), 0, 0.0
        while done == 0 or more(since):
            yield 1
            done, since = done + amount, perf_counter() - began
        rates[what].append(done / since)

    def decode(more: Callable[[float], bool]) -> None:
        for _ in rate("decode", images, more):
            data.load(request["folder"])

    def train(more: Callable[[float], bool]) -> None:
        job.run(rate("train", request["batch"], more))

    job.run(iter([3]))  # kernels are compiled, buffers made
    decode(lambda since: since < seconds)
    train(lambda since: since < seconds)
    other = threading.Thread(target=decode, args=[lambda since: since < seconds])
    other.start()
    train(lambda since: other.is_alive())
    other.join()
    return rates
