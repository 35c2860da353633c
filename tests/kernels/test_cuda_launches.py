"""What holds for every CUDA kernel: neither the order of threads nor the width of counters changes a bit, and a replay
of its launches computes what they compute.

Each row of CASES is one or more ops forward and backward, on arrays large enough that the kernels share the work out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import emulator
import numpy as np
import pytest
from emulator import TAPE

from tests.harness import sample
from xpnet import ops
from xpnet.backend import Backend, get_backend
from xpnet.kernels.cuda import driver
from xpnet.ops.conv import column_budget
from xpnet.random import Key

pytestmark = pytest.mark.skipif(not emulator.available(), reason="the emulator compiles kernels with g++")

Case = tuple[Callable[..., Any], list[tuple[int, ...]], dict[str, Any]]  # an op, the shapes of its arrays, its options
CASES: dict[str, Case] = {
    "activations": (lambda x: ops.tanh(x), [(700, 10)], {}),
    "activations of x": (lambda x: ops.gelu(x), [(65, 16)], {}),
    "linear, several blocks": (ops.linear, [(900, 24), (96, 24), (96,)], {"activation": "relu"}),
    "matmul": (ops.matmul, [(9, 7), (7, 5)], {}),
    "moments": (lambda x: (ops.moments(x)[0], None), [(5000, 3)], {}),
    "batch_norm": (
        lambda x, a, b: ops.batch_norm(x, a, b, *ops.moments(x), training=True),
        [(5000, 3), (3,), (3,)],
        {},
    ),
    "layer_norm": (ops.layer_norm, [(5000, 3), (3,), (3,)], {}),
    "response norm": (ops.local_response_norm, [(2, 5, 7, 36)], {"alpha": 0.9, "k": 1.1}),
    "response norm within": (ops.local_response_norm, [(2, 5, 7, 3)], {"alpha": 0.9, "region": "within"}),
    "max pool of packs": (ops.max_pool2d, [(2, 5, 7, 16)], {"kernel_size": 3, "stride": 2}),
    "max pool": (ops.max_pool2d, [(2, 5, 7, 3)], {"kernel_size": 3, "stride": 2}),
    "average pool": (ops.avg_pool2d, [(2, 5, 7, 16)], {"kernel_size": 3, "stride": 2}),
    "global average pool": (ops.global_avg_pool2d, [(2, 5, 7, 36)], {}),
    "cross-entropy of few classes": (lambda z: cross_entropy(z), [(70, 5)], {}),
    "cross-entropy of many": (lambda z: cross_entropy(z), [(70, 1000)], {}),
    "dropout": (ops.random_dropout, [(9, 77)], {"key": Key(7, "a", 3, 1 << 40), "rate": 0.4, "start": 12345}),
    "conv2d of packs": (ops.conv2d, [(3, 6, 5, 8), (16, 3, 3, 8), (16,)], {"padding": 1, "activation": "relu"}),
    "conv2d in groups": (ops.conv2d, [(3, 6, 5, 6), (9, 3, 2, 2), (9,)], {"groups": 3, "flip": True}),
}
cases = pytest.mark.parametrize("case", CASES)


@cache
def labels(n: int) -> Any:
    """Labels that lie on the device before anything is recorded."""
    return get_backend("emulator").from_numpy(np.arange(n) % 5)


def cross_entropy(z: Any) -> tuple[Any, Any]:
    loss, vjp = ops.softmax_cross_entropy(z, labels(z.shape[0]))
    return loss, lambda dy, needs: vjp(dy, (needs[0], False))[:1]


def arrays(case: str, dtype: Any, seed: int = 0) -> list[Any]:
    backend = get_backend("emulator")
    return [backend.from_numpy(sample(*s, seed=seed + i).astype(dtype)) for i, s in enumerate(CASES[case][1])]


def compute(case: str, given: list[Any]) -> list[Any]:
    """y and the gradients, for a gradient of y that is y."""
    op, _, options = CASES[case]
    with column_budget(700):  # several tiles
        y, vjp = op(*given, **options)
        return [y] if vjp is None else [y, *vjp(y, (True,) * len(given))]


def host(found: list[Any]) -> list[np.ndarray]:
    return [a.get() for a in found if a is not None]


def equal(found: list[np.ndarray], want: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) and np.isfinite(a).all() for a, b in zip(found, want, strict=True))


@pytest.fixture(autouse=True)
def _emulator() -> Backend:
    return get_backend("emulator")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16], ids=["float", "double", "half"])
@cases
def test_the_order_of_threads_changes_no_bit(case: str, dtype: Any) -> None:
    found = []
    for descending in (False, True):
        with driver.use_driver(emulator.EmulatedDriver(descending)):
            found.append(host(compute(case, arrays(case, dtype))))
    assert equal(*found)


@cases
def test_counting_in_64_bits_changes_no_bit(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    want = host(compute(case, arrays(case, np.float32)))
    monkeypatch.setattr(driver, "_WIDE", 1)
    assert equal(host(compute(case, arrays(case, np.float32))), want)


@cases
def test_a_replay_computes_with_new_numbers_what_the_launches_compute_and_nothing_waits_for_the_host(case: str) -> None:
    given = arrays(case, np.float32)
    compute(case, given)  # finds its plans
    reads = TAPE.reads
    found, replay = get_backend("emulator").recorder().record(lambda: compute(case, given))
    assert TAPE.reads == reads
    for old, new in zip(given, arrays(case, np.float32, seed=5), strict=True):
        old.set(new.get())
    replay()
    assert equal(host(found), host(compute(case, given)))
