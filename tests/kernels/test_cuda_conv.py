"""Unrolled convolutions on CUDA: packs and single channels, every geometry, tiles of any size, memory."""

from __future__ import annotations

import math

import emulator
import numpy as np
import pytest
from emulator.tape import TAPE

from tests import oracles
from tests.harness import agree, put, sample
from xpnet import ops
from xpnet.kernels.cuda import driver
from xpnet.ops.conv import column_budget

dtypes = pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=["half", "float", "double"])


@pytest.fixture
def made(emulated):
    """The shapes of all arrays that the driver makes without filling them."""
    shapes = []

    class Counting(emulator.EmulatedDriver):
        def empty(self, shape, dtype):
            shapes.append(tuple(shape))
            return super().empty(shape, dtype)

    with driver.use_driver(Counting()):
        yield shapes


CONVOLUTIONS = {
    "packed": ((3, 6, 5, 8), (16, 3, 3, 8), {"padding": 1}),
    "packed, groups": ((3, 6, 5, 16), (24, 3, 2, 8), {"groups": 2, "stride": 2}),
    "packed, flipped": ((3, 6, 5, 8), (4, 3, 2, 8), {"flip": True, "padding": (0, 1), "dilation": (2, 1)}),
    "1x1": ((3, 6, 5, 8), (16, 1, 1, 8), {}),
    "1x1, groups": ((3, 6, 5, 16), (6, 1, 1, 8), {"groups": 2}),
    "1x1, strided": ((3, 6, 5, 8), (16, 1, 1, 8), {"stride": 2}),
    "three channels": ((3, 6, 5, 3), (5, 3, 2, 3), {"padding": 1}),
    "three channels, strided": ((2, 7, 8, 3), (5, 3, 4, 3), {"stride": (2, 3), "padding": (2, 1)}),
    "one channel": ((2, 7, 8, 1), (3, 5, 5, 1), {"padding": 2}),
    "one channel, dilated": ((2, 7, 8, 1), (3, 2, 3, 1), {"dilation": (3, 2)}),
    "small groups": ((2, 7, 8, 4), (6, 2, 2, 2), {"groups": 2}),
    "stride beyond the kernel": ((2, 7, 8, 8), (4, 1, 2, 8), {"stride": 3, "padding": (0, 1)}),
}
ACTIVATIONS = (None, "relu", "tanh")


@dtypes
@pytest.mark.parametrize("budget", [700, 3000, 1 << 25])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_conv2d_of_whole_packs_is_the_oracles_in_tiles_of_any_size(emulated, case, budget, dtype):
    import torch

    from tests.ops.test_conv import torch_conv2d

    shape, filters, options = CONVOLUTIONS[case]
    for activation in ACTIVATIONS:
        arrays = [sample(*s, seed=i).astype(dtype) for i, s in enumerate((shape, filters, (filters[0],)))]
        with column_budget(budget):
            y, vjp = ops.conv2d(*(put(emulated, a, dtype) for a in arrays), **options, activation=activation)
            seen = [torch.from_numpy(a.astype(float)).requires_grad_(True) for a in arrays]
            want = torch_conv2d(*seen, **options, activation=activation)
            dy = sample(*want.shape, seed=9).astype(dtype)
            grads = vjp(put(emulated, dy, dtype), (True, True, True))
        want.backward(torch.from_numpy(dy.astype(float)))
        agree(emulated.to_numpy(y), want.detach().numpy(), dtype, filters[1] * filters[2] * 8, "y")
        for name, got, of in zip(("dx", "dw", "db"), grads, seen, strict=True):
            agree(emulated.to_numpy(got), of.grad.numpy(), dtype, 90, f"{name} with {activation}")


@pytest.mark.parametrize("case", ["packed", "packed, groups", "packed, flipped", "1x1, strided"])
def test_the_torch_oracle_is_the_definition(case):
    """The test above has no time for loops; here they are."""
    import torch

    from tests.ops.test_conv import torch_conv2d

    shape, filters, options = CONVOLUTIONS[case]
    x, w = sample(*shape), sample(*filters, seed=1)
    agree(
        torch_conv2d(torch.from_numpy(x), torch.from_numpy(w), **options),
        oracles.conv2d(x, w, **options),
        float,
        99,
        case,
    )


@pytest.mark.parametrize("pass_", ["forward", "backward"])
@pytest.mark.parametrize("case", ["packed", "packed, groups", "packed, flipped", "three channels"])
@pytest.mark.parametrize("budget", [1, 2500, 10_000])
def test_unrolled_columns_stay_within_the_budget(emulated, made, case, pass_, budget):
    shape, filters, options = CONVOLUTIONS[case]
    x, w = put(emulated, sample(*shape), np.float32), put(emulated, sample(*filters, seed=1), np.float32)
    with column_budget(budget):
        y, vjp = ops.conv2d(x, w, **options)
        results = [y.shape]
        if pass_ == "backward":
            made.clear()
            results = [g.shape for g in vjp(y, (True, True, False))[:2]]
    ld = -(-w.size // w.shape[0] // 4) * 4  # numbers of a window, or of a filter, padded to whole packs
    known = [*results, (w.shape[0], ld), (32 << 20,)]  # the filters as rows, and the library's workspace
    columns = [shape for shape in made if shape not in known]
    assert len(columns) == 1
    assert columns[0][1] == ld
    size, one_row = math.prod(columns[0]) * 4, y.shape[2] * ld * 4
    assert size <= max(budget, one_row)
    assert size > budget / 2 or size == one_row * y.shape[1] * y.shape[0]


def test_a_1x1_convolution_unrolls_nothing(emulated, made):
    x, w = put(emulated, sample(3, 6, 5, 8), np.float32), put(emulated, sample(16, 1, 1, 8, seed=1), np.float32)
    for flip in (False, True):
        y, vjp = ops.conv2d(x, w, flip=flip)
        dx, dw, _ = vjp(y, (True, True, False))
        assert TAPE.launches == []
        assert [shape for shape in made if shape != (32 << 20,)] == [y.shape, dx.shape, (16, 8)]
        assert dw.shape == w.shape
        made.clear()
