"""A training whose batches come through staging buffers, on two streams, for compute-sanitizer.

Prints "the same" where the staged batches are those of the host in two epochs and after an early end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from xpnet import data
from xpnet.backend import Backend, get_backend
from xpnet.data import Augment, Feed, Normalize


def batches(backend: Backend, images: data.Dataset, augment: Augment | None, stop: int) -> list[np.ndarray]:
    """The first batches of two epochs, after some work on each that keeps the device busy."""
    feed = Feed(
        images, 32, backend, normalize=Normalize.of(images), shuffle=True, seed=5, augment=augment, resident=False
    )
    found = []
    for epoch in range(2):
        source = feed.epoch(epoch)
        for i, (x, y) in enumerate(source):
            busy = x
            for _ in range(20):
                busy = busy * 1.0
            found += [backend.to_numpy(busy), backend.to_numpy(y)]
            if epoch == 0 and i == stop:
                break
        source.close()
    return found


def main(device: str) -> None:
    """Compare the device's batches with NumPy's."""
    images = data.load("digits")[0].take(np.arange(300))
    for augment in (None, Augment(shift=1, rotate=10.0)):
        ours, wanted = (batches(get_backend(name), images, augment, stop=4) for name in (device, "numpy"))
        for a, b in zip(ours, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    print("the same")


if __name__ == "__main__":
    main(*sys.argv[1:])
