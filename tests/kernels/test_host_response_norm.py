"""Local response norm of NumPy arrays by each folder of kernels: blocks, exponents and numbers at the edge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.harness import sample
from xpnet import ops
from xpnet.backend import use_cores

FLOAT, DOUBLE = np.float32, np.float64
STRONG = {"alpha": 0.9, "k": 1.1}
regions = pytest.mark.parametrize("region", ["across", "within"])


pytestmark = pytest.mark.usefixtures("folder")


def responded(x: np.ndarray, dy: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    y, vjp = ops.local_response_norm(x, **options)
    return y, vjp(dy, (True,))[0]


def by_hand(x: np.ndarray, dy: np.ndarray, size: int, alpha: float, beta: float, k: float, region: str) -> Any:
    """y and dx by a matrix a window: who is whose neighbour, along each axis."""

    def neighbours(n: int) -> np.ndarray:
        ahead = np.arange(n)[None, :] - np.arange(n)[:, None]
        return ((-(size // 2) <= ahead) & (ahead <= (size - 1) // 2)).astype(DOUBLE)

    _, h, w, c = x.shape
    maps = ("cd,nhwd->nhwc", neighbours(c)), None
    if region == "within":
        maps = ("ij,njwc->niwc", neighbours(h)), ("ij,nhjc->nhic", neighbours(w))

    def sums(a: np.ndarray, back: bool = False) -> np.ndarray:
        for pair in maps:
            if pair is not None:
                a = np.einsum(pair[0], pair[1].T if back else pair[1], a)
        return a

    x, dy = x.astype(DOUBLE), dy.astype(DOUBLE)
    d = k + alpha * sums(x * x)
    return x / d**beta, dy / d**beta - 2 * alpha * beta * x * sums(dy * x / d ** (beta + 1), back=True)


@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE], ids=["float", "double"])
@pytest.mark.parametrize("beta", [0.75, 0.5, 0.3])
@pytest.mark.parametrize("size", [1, 2, 5, 8])
@regions
def test_more_numbers_than_a_block_holds_agree_with_the_formula(region, size, beta, dtype):
    x, dy = (sample(11, 9, 27, 30, seed=seed).astype(dtype) for seed in (0, 1))  # 80,190 numbers
    options = {"size": size, "beta": beta, "region": region, **STRONG}
    for got, want in zip(responded(x, dy, **options), by_hand(x, dy, **options), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=30 * np.finfo(dtype).eps)
        assert got.dtype == dtype


@regions
def test_a_small_number_beside_a_large_one_keeps_its_digits(region):
    """A sum that slides would still carry the rounding of 1e6 after it has left the window."""
    x = np.full((1, 12, 12, 12), 1e-2, FLOAT)
    x[0, 1, 1, 1] = 1e3
    dy = np.ones_like(x)
    options = {"size": 3, "beta": 0.75, "alpha": 1.0, "k": 1e-4, "region": region}
    for got, want in zip(responded(x, dy, **options), by_hand(x, dy, **options), strict=True):
        np.testing.assert_allclose(got[0, 6:, 6:, 6:], want[0, 6:, 6:, 6:], rtol=1e-5)


@regions
def test_a_nan_spoils_its_neighbours_only(region):
    x, dy = (sample(2, 9, 9, 12, seed=seed).astype(FLOAT) for seed in (0, 1))
    clean = responded(x, dy, size=3, region=region, **STRONG)
    x[0, 4, 4, 11] = np.nan
    for got, want, reach in zip(responded(x, dy, size=3, region=region, **STRONG), clean, (1, 2), strict=True):
        spoilt = np.zeros(x.shape, bool)
        if region == "across":
            spoilt[0, 4, 4, 11 - reach :] = True
        else:
            spoilt[0, 4 - reach : 5 + reach, 4 - reach : 5 + reach, 11] = True
        np.testing.assert_array_equal(got, np.where(spoilt, np.nan, want))


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("beta", [0.75, 0.5])
@regions
def test_an_infinite_strength_divides_to_zero(region, beta):
    x = np.full((1, 3, 3, 4), 1e30, FLOAT)
    y, dx = responded(x, np.ones_like(x), beta=beta, region=region)
    assert not y.any()
    assert not dx.any()


@regions
def test_a_shard_computes_what_the_whole_did_and_so_do_two_cores(region):
    x, dy = (sample(6, 21, 23, 30, seed=seed).astype(FLOAT) for seed in (0, 1))
    options = {"region": region, **STRONG}
    with use_cores(1):
        whole = responded(x, dy, **options)
        for got, want in zip(responded(x[1:4], dy[1:4], **options), whole, strict=True):
            assert np.array_equal(got, want[1:4])
    with use_cores(2):
        for got, want in zip(responded(x, dy, **options), whole, strict=True):
            assert np.array_equal(got, want)


@regions
def test_a_result_is_not_touched_by_the_next_call(region):
    x, dy = (sample(2, 6, 9, 6, seed=seed).astype(FLOAT) for seed in (0, 1))
    first = responded(x, dy, region=region, **STRONG)
    kept = [a.copy() for a in first]
    responded(dy, x, region=region, **STRONG)
    for a, b in zip(first, kept, strict=True):
        assert np.array_equal(a, b)
