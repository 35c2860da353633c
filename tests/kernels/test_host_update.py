"""The update kernel of compiled loops against the reference."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from tests.optim.parameters import TABLE, Parameter, absent, gradients, hosts, parameters
from xpnet import kernels
from xpnet.backend import get_backend, use_cores
from xpnet.kernels.numba import update
from xpnet.optim import OPTIMIZERS, SGD, LossScale
from xpnet.optim.update import Segment, Update

NUMPY = get_backend("numpy")
LARGE = {"a": (700, 600), "b": (3,), "c": (401, 299)}  # more than two threads' least

OPTIONS: dict[str, dict[str, float]] = {
    "plain": {},
    "decay": {"weight_decay": 0.3},
    "clip_norm that does not cut": {"clip_norm": 100.0},
    "clip_value": {"clip_value": 0.4, "weight_decay": 0.3},
}
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


def run(
    row: str, dtype: Any, by_reference: bool, **options: Any
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    make, constants = TABLE[row]
    made = parameters(NUMPY, dtype)
    optimizer = make(made, **{**constants, **options})
    for step in range(6):
        with kernels.disable() if by_reference else nullcontext():
            optimizer.step(gradients(made, step, *absent(step)))
    return hosts(made), optimizer.state_dict()[0]


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The formulas that compiled loops were looked up for."""
    asked: list[str] = []
    find = update._loop

    def seen(work: Any) -> Any:
        asked.append(work.formula)
        return find(work)

    monkeypatch.setattr(update, "_loop", seen)
    return asked


@DTYPES
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("row", TABLE)
def test_six_updates_equal_those_of_the_reference_bit_for_bit(
    row: str, options: str, dtype: Any, loops: list[str]
) -> None:
    got, want = (run(row, dtype, by_reference, **OPTIONS[options]) for by_reference in (False, True))
    assert len(loops) == 6
    for ours, theirs in zip(got, want, strict=True):
        assert ours.keys() == theirs.keys()
        for path, x in theirs.items():
            assert ours[path].dtype == dtype
            np.testing.assert_array_equal(ours[path], x, err_msg=path)


@DTYPES
def test_an_update_whose_norm_is_clipped_equals_the_reference_to_rounding(dtype: Any) -> None:
    got, want = (run("adamw", dtype, by_reference, clip_norm=0.5)[0] for by_reference in (False, True))
    for path, x in want.items():
        np.testing.assert_allclose(got[path], x, rtol=0, atol=64 * np.finfo(dtype).eps, err_msg=path)


def large(seed: int) -> list[Parameter]:
    draw = np.random.default_rng(seed)
    return [Parameter(path, draw.normal(size=shape).astype(np.float32)) for path, shape in LARGE.items()]


@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}], ids=["plain", "clip_norm"])
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_any_number_of_cores_gives_the_same_bits(name: str, options: dict[str, float]) -> None:
    ran = []
    for cores in (1, 2, 3):
        made, found = large(0), large(1)
        with use_cores(cores):
            OPTIMIZERS[name](made, **options).step({p: g.data for p, g in zip(made, found, strict=True)})
        ran.append(hosts(made))
    for other in ran[1:]:
        for path, x in ran[0].items():
            np.testing.assert_array_equal(other[path], x)


def test_the_norm_of_many_numbers_is_as_exact_as_a_sum_in_double_precision() -> None:
    made, found = large(0), large(1)
    before = hosts(made)
    SGD(made, 1.0, clip_norm=1.0).step({p: g.data for p, g in zip(made, found, strict=True)})
    norm = np.sqrt(sum(np.sum(g.data.astype(np.float64) ** 2) for g in found))
    for p, g in zip(made, found, strict=True):
        np.testing.assert_allclose(hosts(made)[p.path], before[p.path] - g.data / norm, rtol=1e-5, atol=1e-6)


def layouts(g: np.ndarray) -> dict[str, np.ndarray]:
    """One gradient, in memory layouts that loops do not take."""
    wide = np.zeros((*g.shape[:-1], 2 * g.shape[-1]), g.dtype)
    wide[..., ::2] = g
    fixed = g.copy()
    fixed.flags.writeable = False
    shifted = np.zeros(g.nbytes + 1, np.uint8)[1:].view(g.dtype).reshape(g.shape)
    shifted[...] = g
    return {"strided": wide[..., ::2], "transposed": g.T.copy().T, "read-only": fixed, "misaligned": shifted}


@pytest.mark.parametrize("layout", ["strided", "transposed", "read-only", "misaligned"])
def test_gradients_of_any_memory_layout_are_read_and_not_written(layout: str) -> None:
    g = np.random.default_rng(5).normal(size=(7, 5)).astype(np.float32)
    given = layouts(g)[layout]
    made = [Parameter("w", np.ones((7, 5), np.float32))]
    SGD(made, 0.5, weight_decay=0.25, clip_value=1.0).step({made[0]: given})
    np.testing.assert_array_equal(given, g)
    want = 1 - np.float32(0.5) * (np.clip(g, -1, 1) + np.float32(0.25))
    np.testing.assert_allclose(made[0].data, want, rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}, {"clip_value": 1.0}], ids=str)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_what_is_not_finite_spreads_as_in_the_reference(name: str, bad: float, options: dict[str, float]) -> None:
    ran = []
    for by_reference in (False, True):
        made = [Parameter("w", np.ones(9, np.float32))]
        g = np.arange(9, dtype=np.float32)
        g[4] = bad
        with kernels.disable() if by_reference else nullcontext(), np.errstate(all="ignore"):
            OPTIMIZERS[name](made, **options).step({made[0]: g})
        ran.append(made[0].data)
    np.testing.assert_array_equal(np.isnan(ran[0]), np.isnan(ran[1]))
    np.testing.assert_allclose(ran[0], ran[1], rtol=1e-6)


@pytest.mark.parametrize("why", ["an unknown formula", "half masters", "two dtypes", "a scaled loss"])
def test_what_loops_cannot_do_is_left_to_the_reference(why: str) -> None:
    dtype = np.float16 if why == "half masters" else np.float32
    value = np.ones(3, dtype)
    segment = Segment(0, 3, np.ones(3, np.float64 if why == "two dtypes" else dtype), 0)
    name, scaling = "newton" if why == "an unknown formula" else "sgd", None
    if why == "a scaled loss":
        scaling = LossScale(NUMPY)
    work = Update(SGD.rule, name, (0.0, 0.0), [segment], {}, [0.1], 1, [0.0], False, None, None, scaling)
    assert update.update(value, work) is NotImplemented
    assert value.tolist() == [1, 1, 1]
