"""Rows of a batch made on a device are, bit for bit, those of the whole batch."""

from __future__ import annotations

import numpy as np

from xpnet import kernels
from xpnet.data import Augment
from xpnet.random import Key

X = np.random.default_rng(1).integers(0, 256, (23, 5, 7, 3), dtype=np.uint8)
Y = np.random.default_rng(2).integers(0, 4, 23)


def test_a_part_of_a_batch_has_the_bits_of_the_whole_and_may_be_empty(device):
    x, labels = device.from_numpy(X), device.from_numpy(Y)
    take = kernels.find("take_batch", x)
    assert take is not None
    change, key = Augment(shift=1, crop=2, flip=True, fill=200), Key(5, "augment", 2, 1)

    def taken(size, row):
        made = take(x, labels, None, 8, size, key, device.xp.float32, None, change, row)
        return [device.to_numpy(a) for a in made]

    whole = taken(8, 0)
    for row in range(8):
        for found, want in zip(taken(8 - row, row), whole, strict=True):
            assert np.array_equal(found, want[row:])
    assert [a.shape for a in taken(0, 3)] == [(0, 5, 7, 3), (0,)]
