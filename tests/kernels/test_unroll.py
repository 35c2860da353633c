"""Unrolling on CUDA, its adjoint, and the convolutions made of them: wide channels, tiles, memory, repeatability."""

from __future__ import annotations

import itertools
import math

import emulator
import numpy as np
import pytest
from emulator.tape import TAPE

from tests import oracles
from tests.harness import agree, put, sample
from xpnet import ops
from xpnet.backend import backend_of, get_backend
from xpnet.kernels.cuda import driver
from xpnet.ops.conv import column_budget

pytestmark = pytest.mark.skipif(not emulator.available(), reason="the emulator compiles kernels with g++")

dtypes = pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=["half", "float", "double"])
FIELDS = ["h", "w", "c", "oh", "ow", "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw", "channels", "ld"]

# channels, first and how many of them, kernel, stride, padding, dilation; 8 channels are whole packs in every dtype
GEOMETRIES = {
    "packed": (8, 0, 8, (3, 2), (1, 1), (1, 0), (1, 1)),
    "packed, second group": (16, 8, 8, (2, 3), (2, 1), (0, 1), (1, 1)),
    "packed, dilated": (8, 0, 8, (2, 2), (1, 2), (1, 1), (2, 3)),
    "three channels": (3, 0, 3, (3, 3), (1, 1), (1, 1), (1, 1)),
    "three channels, strided": (3, 0, 3, (3, 4), (2, 3), (2, 1), (1, 1)),
    "one channel": (1, 0, 1, (5, 5), (1, 1), (2, 2), (1, 1)),
    "one channel, dilated": (1, 0, 1, (2, 3), (1, 1), (0, 0), (3, 2)),
    "second group of two": (4, 2, 2, (2, 2), (1, 1), (0, 0), (1, 1)),
    "stride beyond the kernel": (8, 0, 8, (1, 2), (3, 3), (0, 1), (1, 1)),
}
H, W = 7, 8


@pytest.fixture
def backend():
    opened = get_backend("emulator")
    assert backend_of(opened.xp.zeros(1)) == opened  # opens it under its other name too: that puts a driver there
    TAPE.launches.clear()
    return opened


@pytest.fixture
def made(backend):
    """The shapes of all arrays that the driver makes without filling them."""
    shapes = []

    class Counting(emulator.EmulatedDriver):
        def empty(self, shape, dtype):
            shapes.append(tuple(shape))
            return super().empty(shape, dtype)

    with driver.use_driver(Counting()):
        yield shapes


def laid(case, dtype):
    """The struct of a geometry, and what it says; rows are three numbers longer than they must be, then whole packs."""
    c, _, channels, k, s, p, d = GEOMETRIES[case]
    out = [(n + 2 * p[i] - d[i] * (k[i] - 1) - 1) // s[i] + 1 for i, n in enumerate((H, W))]
    pack = 16 // np.dtype(dtype).itemsize
    ld = -(-(k[0] * k[1] * channels + 3) // pack) * pack
    values = (H, W, c, *out, *k, *s, *p, *d, channels, ld)
    return np.array([values], [(name, np.int64) for name in FIELDS]), out, ld


def unrolled(x, case, image, row, rows, ld):
    """The windows of rows row .. row + rows - 1 of one image, pixel by pixel."""
    _, first, channels, (kh, kw), s, p, d = GEOMETRIES[case]
    across = (W + 2 * p[1] - d[1] * (kw - 1) - 1) // s[1] + 1
    found = np.zeros((rows * across, ld), x.dtype)
    for i, j, u, v, a in itertools.product(range(rows), range(across), range(kh), range(kw), range(channels)):
        y, z = (row + i) * s[0] - p[0] + u * d[0], j * s[1] - p[1] + v * d[1]
        if 0 <= y < H and 0 <= z < W:
            found[i * across + j, (u * kw + v) * channels + a] = x[image, y, z, first + a]
    return found


@dtypes
@pytest.mark.parametrize("lanes", [1, 4, 32])
@pytest.mark.parametrize("case", GEOMETRIES)
def test_unroll_lays_each_windows_pixels_side_by_side(backend, case, lanes, dtype):
    c, first = GEOMETRIES[case][:2]
    x = sample(3, H, W, c).astype(dtype)
    struct, (oh, ow), ld = laid(case, dtype)
    for image, images, row, rows in ((0, 3, 0, oh), (1, 1, 1, oh - 1)):
        columns = driver.empty((images * rows * ow, ld), dtype)
        arguments = put(backend, x, dtype), columns, image, images, row, rows, first, lanes, struct
        driver.launch("unroll", "unroll", dtype, columns.shape[0] * lanes, *arguments)
        want = [unrolled(x, case, n, row, rows, ld) for n in range(image, image + images)]
        assert np.array_equal(columns.get(), np.concatenate(want))


@dtypes
@pytest.mark.parametrize("case", GEOMETRIES)
def test_fold_sums_each_pixels_windows(backend, case, dtype):
    """Against the transpose of unrolling, written as a matrix: a column of numbers for each pixel and channel."""
    c, first, channels = GEOMETRIES[case][:3]
    struct, (oh, ow), ld = laid(case, dtype)
    pixels = np.arange(1, H * W * c + 1, dtype=np.float64).reshape(1, H, W, c)
    for row, rows in ((0, oh), (1, oh - 1)):
        places = unrolled(pixels, case, 0, row, rows, ld).astype(int)  # which number lies where; 0 for none
        columns = sample(2, rows * ow, ld, seed=3).astype(dtype)
        want = np.zeros((2, H * W * c + 1))
        for n in range(2):
            np.add.at(want[n], places.ravel(), columns[n].astype(float).ravel())
        want = want[:, 1:].reshape(2, H, W, c)
        for add in (False, True):
            start = sample(3, H, W, c, seed=4).astype(dtype)
            dx = put(backend, start, dtype)
            arguments = put(backend, columns, dtype), dx, 1, 2, row, rows, first, 0, H, add, struct
            driver.launch("unroll", "fold", dtype, 2 * H * W * channels, *arguments)
            seen, mine = backend.to_numpy(dx), slice(first, first + channels)
            whole = want[..., mine] + (start[1:, ..., mine] if add else 0)
            agree(seen[1:, ..., mine], whole, dtype, 32, case)
            others = np.ones(c, bool)
            others[mine] = False
            assert np.array_equal(seen[0], start[0]), "another image"
            assert np.array_equal(seen[..., others], start[..., others]), "other channels"


CONVOLUTIONS = {
    "packed": ((3, 6, 5, 8), (16, 3, 3, 8), {"padding": 1}),
    "packed, groups": ((3, 6, 5, 16), (24, 3, 2, 8), {"groups": 2, "stride": 2}),
    "packed, flipped": ((3, 6, 5, 8), (4, 3, 2, 8), {"flip": True, "padding": (0, 1), "dilation": (2, 1)}),
    "1x1": ((3, 6, 5, 8), (16, 1, 1, 8), {}),
    "1x1, groups": ((3, 6, 5, 16), (6, 1, 1, 8), {"groups": 2}),
    "1x1, strided": ((3, 6, 5, 8), (16, 1, 1, 8), {"stride": 2}),
    "three channels": ((3, 6, 5, 3), (5, 3, 2, 3), {"padding": 1}),
}
ACTIVATIONS = (None, "relu", "tanh")


@dtypes
@pytest.mark.parametrize("budget", [700, 3000, 1 << 25])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_conv2d_of_whole_packs_is_the_oracles_in_tiles_of_any_size(backend, case, budget, dtype):
    import torch

    from tests.ops.test_conv import torch_conv2d

    shape, filters, options = CONVOLUTIONS[case]
    for activation in ACTIVATIONS:
        arrays = [sample(*s, seed=i).astype(dtype) for i, s in enumerate((shape, filters, (filters[0],)))]
        with column_budget(budget):
            y, vjp = ops.conv2d(*(put(backend, a, dtype) for a in arrays), **options, activation=activation)
            seen = [torch.from_numpy(a.astype(float)).requires_grad_(True) for a in arrays]
            want = torch_conv2d(*seen, **options, activation=activation)
            dy = sample(*want.shape, seed=9).astype(dtype)
            grads = vjp(put(backend, dy, dtype), (True, True, True))
        want.backward(torch.from_numpy(dy.astype(float)))
        agree(backend.to_numpy(y), want.detach().numpy(), dtype, filters[1] * filters[2] * 8, "y")
        for name, got, of in zip(("dx", "dw", "db"), grads, seen, strict=True):
            agree(backend.to_numpy(got), of.grad.numpy(), dtype, 90, f"{name} with {activation}")


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
def test_unrolled_columns_stay_within_the_budget(backend, made, case, pass_, budget):
    shape, filters, options = CONVOLUTIONS[case]
    x, w = put(backend, sample(*shape), np.float32), put(backend, sample(*filters, seed=1), np.float32)
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


def test_a_1x1_convolution_unrolls_nothing(backend, made):
    x, w = put(backend, sample(3, 6, 5, 8), np.float32), put(backend, sample(16, 1, 1, 8, seed=1), np.float32)
    for flip in (False, True):
        y, vjp = ops.conv2d(x, w, flip=flip)
        dx, dw, _ = vjp(y, (True, True, False))
        assert TAPE.launches == []
        assert [shape for shape in made if shape != (32 << 20,)] == [y.shape, dx.shape, (16, 8)]
        assert dw.shape == w.shape
        made.clear()


@pytest.mark.parametrize("budget", [700, 1 << 25])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_convolution_gives_the_same_bits_whatever_the_order_of_its_threads(backend, case, budget):
    shape, filters, options = CONVOLUTIONS[case]

    def run():
        x, w, b = (put(backend, sample(*s, seed=i), np.float32) for i, s in enumerate((shape, filters, (filters[0],))))
        with column_budget(budget):
            y, vjp = ops.conv2d(x, w, b, **options, activation="relu")
            dy = put(backend, sample(*y.shape, seed=9), np.float32)
            return [backend.to_numpy(a) for a in (y, *vjp(dy, (True, True, True)))]

    once = run()
    with driver.use_driver(emulator.EmulatedDriver(descending=True)):
        again = run()
    for a, b in zip(once, again, strict=True):
        assert np.array_equal(a, b)


def test_a_captured_convolution_is_done_again_with_new_numbers(backend):
    x, w, b = (put(backend, sample(*s, seed=i), np.float32) for i, s in enumerate(((3, 6, 5, 3), (5, 3, 2, 3), (5,))))

    def work():
        with column_budget(3000):
            y, vjp = ops.conv2d(x, w, b, padding=1, activation="relu")
            return y, *vjp(y, (True, True, True))

    work()
    reads = TAPE.reads
    outputs, again = backend.recorder().record(work)
    assert TAPE.reads == reads
    x.set(sample(3, 6, 5, 3, seed=7).astype(np.float32))
    again()
    for got, want in zip(outputs, work(), strict=True):
        assert np.array_equal(backend.to_numpy(got), backend.to_numpy(want))
