"""local_response_norm on CUDA: windows over the borders of tiles, of rows and of what a kernel reaches."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.roundings import DOUBLE, FLOAT, close, drawn, dtypes, launched
from xpnet import kernels, ops


@dtypes
@pytest.mark.parametrize(
    ("shape", "size"),
    [((1, 1, 1, 1025), 5), ((2, 3, 5, 96), 5), ((3, 5, 7, 11), 4), ((1, 1, 1, 2100), 32), ((1, 40, 40, 1), 2)],
    ids=str,
)
def test_response_norm_reaches_over_the_borders_of_its_tiles(emulated, shape, size, dtype):
    torch = pytest.importorskip("torch")
    x, dy = drawn(*shape).astype(dtype), drawn(*shape, seed=1).astype(dtype)
    (y, vjp), names = launched(lambda: ops.local_response_norm(emulated.from_numpy(x), size=size, alpha=0.9, k=1.1))
    ((dx,), back) = launched(lambda: vjp(emulated.from_numpy(dy), (True,)))
    assert (names, back) == (["response_norm.lrn_across"], ["response_norm.lrn_across_back"])
    t = torch.from_numpy(x.astype(DOUBLE)).permute(0, 3, 1, 2).requires_grad_()
    u = torch.nn.functional.local_response_norm(t, size, 0.9 * size, 0.75, 1.1)
    u.backward(torch.from_numpy(dy.astype(DOUBLE)).permute(0, 3, 1, 2))
    close(y, u.detach().permute(0, 2, 3, 1).numpy(), dtype, "y")
    close(dx, t.grad.permute(0, 2, 3, 1).numpy(), dtype, "dx", 64.0)


def test_response_norm_with_neighbours_too_far_for_a_tile_is_left_to_the_op(emulated):
    x = emulated.from_numpy(drawn(1, 2, 2, 50).astype(FLOAT))
    (y, _), names = launched(lambda: ops.local_response_norm(x, size=40, alpha=0.9, k=1.1))
    assert not names
    with kernels.disable():
        np.testing.assert_array_equal(y.get(), ops.local_response_norm(x, size=40, alpha=0.9, k=1.1)[0].get())
    few = emulated.from_numpy(drawn(1, 2, 2, 6).astype(FLOAT))
    assert launched(lambda: ops.local_response_norm(few, size=40))[1] == [
        "response_norm.lrn_across"
    ]  # none is farther than 5
