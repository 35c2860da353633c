"""The update kernel for CUDA against the reference, on the emulated device."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import emulator
import numpy as np
import pytest

from tests.optim.parameters import TABLE, Parameter, absent, gradients, hosts, parameters, values
from xpnet import kernels
from xpnet.backend import get_backend
from xpnet.kernels.cuda import driver, update
from xpnet.optim import OPTIMIZERS, SGD, Adam, LossScale, Optimizer, make_optimizer
from xpnet.optim.update import Segment, Update

pytestmark = pytest.mark.skipif(not emulator.available(), reason="the emulator compiles kernels with g++")

NUMPY = get_backend("numpy")
EPS = {np.float32: 2.0**-23, np.float64: 2.0**-52}

OPTIONS: dict[str, dict[str, float]] = {
    "plain": {},
    "decay": {"weight_decay": 0.3},
    "clip_norm that cuts": {"clip_norm": 2.0, "weight_decay": 0.3},
    "clip_norm that does not": {"clip_norm": 100.0},
    "clip_value": {"clip_value": 0.4, "weight_decay": 0.3},
}


def device() -> Any:
    return get_backend("emulator")


def launched(of: str) -> list[str]:
    """What was launched of a family since the tape was last cleared."""
    return [name.removeprefix(of + ".") for name in emulator.TAPE.launches if name.startswith(of + ".")]


def state(optimizer: Optimizer) -> dict[str, np.ndarray]:
    return optimizer.state_dict()[0]


def close(got: dict[str, np.ndarray], want: dict[str, np.ndarray], dtype: Any, roundings: int = 64) -> None:
    assert got.keys() == want.keys()
    for path, x in want.items():
        assert got[path].dtype == x.dtype
        bound = roundings * EPS[dtype] * np.maximum(1, np.abs(x))
        assert np.all(np.abs(got[path] - x) <= bound), (path, np.abs(got[path] - x).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("row", TABLE)
def test_eight_updates_equal_those_of_the_reference(row: str, options: str, dtype: Any) -> None:
    make, constants = TABLE[row]
    ran = []
    for manner in ("kernel", "reference"):
        made = parameters(device(), dtype)
        optimizer = make(made, **{**constants, **OPTIONS[options]})
        emulator.TAPE.launches.clear()
        for step in range(8):
            with kernels.disable() if manner == "reference" else nullcontext():
                optimizer.step(gradients(made, step, *absent(step)))
        assert bool(launched("update")) == (manner == "kernel")
        ran.append((hosts(made), state(optimizer)))
    for got, want in zip(*ran, strict=True):
        close(got, want, dtype)


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_a_recorded_update_is_replayed_with_the_rates_of_each_group_and_the_number_of_each_step(name: str) -> None:
    backend, xp = device(), device().xp
    made, other = parameters(backend), parameters(backend)
    plain, recorded = (
        make_optimizer(name, [{"params": ps[:2], "lr": 0.5}, {"params": ps[2:]}], clip_norm=2.0) for ps in (made, other)
    )
    lr, t = xp.zeros(2, dtype=xp.float32), xp.asarray(1, dtype=xp.int64)
    given = {p: backend.from_numpy(np.zeros(p.shape, np.float32)) for p in other}

    def work() -> Any:
        nonlocal t
        recorded.update(given, lr, t)
        t += 1

    _, replay = backend.recorder().record(work)  # type: ignore[union-attr]
    for step in range(6):
        plain.lr, plain.groups[0].lr = 0.1 / (step + 1), 0.5 / (step + 2)
        for p, g in zip(other, gradients(made, step).values(), strict=True):
            given[p][...] = g
        lr[...] = backend.from_numpy(np.asarray(plain.rates(), np.float32))
        replay()
        plain.step(gradients(made, step))
    assert all(np.array_equal(x, hosts(other)[path]) for path, x in hosts(made).items())


def many(count: int, backend: Any, seed: int) -> list[Parameter]:
    """Parameters of sizes around those at which rows, threads and blocks end."""
    sizes = [1, 31, 2047, 2048, 2049, 5000, 3, 0]
    draw = np.random.default_rng(seed)
    return [
        Parameter(f"p{i}", backend.from_numpy(draw.normal(size=sizes[i % len(sizes)]).astype(np.float32)))
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [1, 95, 96, 97, 200])
def test_any_number_of_parameters_is_updated(count: int) -> None:
    ran = []
    for backend in (device(), NUMPY):
        made, found = many(count, backend, 0), many(count, backend, 1)
        optimizer = Adam(made, 0.1, clip_norm=3.0)
        emulator.TAPE.launches.clear()
        for _ in range(2):
            optimizer.step(dict(zip(made, (g.data for g in found), strict=True)))
        ran.append(hosts(made))
        if backend is not NUMPY:
            full = len([p for p in made if p.data.size])
            assert launched("update").count("adam") == 2 * -(-full // 96)
            assert launched("update").count("prepare_gradients") == 2
    close(ran[0], ran[1], np.float32)


def test_each_group_has_a_launch_with_its_rate_and_weight_decay() -> None:
    ran = []
    for backend in (device(), NUMPY):
        made = parameters(backend)
        groups = [{"params": made[1::2], "lr": 0.3, "weight_decay": 0.2}, {"params": made[::2]}]
        optimizer = Adam(groups, 0.1, clip_norm=2.0)
        emulator.TAPE.launches.clear()
        for step in range(3):
            optimizer.step(gradients(made, step))
        assert launched("update").count("adam") == (0 if backend is NUMPY else 6)
        ran.append(hosts(made))
    close(ran[0], ran[1], np.float32)


def test_without_bounds_an_update_is_one_launch() -> None:
    made = parameters(device())
    optimizer = SGD(made, 0.1, momentum=0.9, weight_decay=0.1, clip_value=1.0)
    emulator.TAPE.launches.clear()
    optimizer.step(gradients(made, 0))
    assert emulator.TAPE.launches == ["update.sgd"]


def test_an_update_in_the_other_order_of_threads_is_the_same() -> None:
    ran = []
    for descending in (False, True):
        backend = device()
        emulated: Any = emulator.EmulatedDriver(descending=descending)
        with driver.use_driver(emulated):
            made, found = many(30, backend, 0), many(30, backend, 1)
            optimizer = Adam(made, 0.1, clip_norm=3.0)
            optimizer.step(dict(zip(made, (g.data for g in found), strict=True)))
        ran.append(hosts(made))
    assert all(np.array_equal(x, ran[1][path]) for path, x in ran[0].items())


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("options", ["plain", "clip_norm that cuts", "clip_value"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
def test_what_is_not_finite_spreads_as_in_the_reference(name: str, options: str, bad: float) -> None:
    ran = []
    for manner in ("kernel", "reference"):
        backend = device()
        made = parameters(backend)
        optimizer = make_optimizer(name, made, 0.1, **OPTIONS[options])
        for step in range(3):
            found = gradients(made, step)
            if step == 1:
                found[made[0]][1, 2] = bad
            with kernels.disable() if manner == "reference" else nullcontext():
                optimizer.step(found)
        ran.append(hosts(made))
    for path, x in ran[1].items():
        got = ran[0][path]
        assert np.array_equal(np.isnan(got), np.isnan(x)), path
        assert np.array_equal(np.isinf(got), np.isinf(x)), path
    assert np.isnan(ran[0]["fc1.weight"][1, 2]) or not np.isnan(bad)


# Gradients of a scaled loss.


def scaled(backend: Any, name: str, scale: float, **options: float) -> tuple[list[Parameter], Optimizer]:
    made = parameters(backend)
    optimizer = make_optimizer(name, made, 0.1, **options)
    optimizer.scaling = LossScale(backend)
    optimizer.scaling.load({"value": scale, "good": 0, "skipped": 0})
    return made, optimizer


def scaled_gradients(made: list[Parameter], step: int, dtype: Any, scale: float) -> dict[Parameter, Any]:
    """Gradients exact in half precision, times the scale."""
    drawn = {path: np.round(64 * x) / 64 * scale for path, x in values(1000 + step).items()}
    return {p: device().from_numpy(drawn[p.path].astype(dtype)) for p in made}


@pytest.mark.parametrize("dtype", [np.float16, np.float32], ids=["float16", "float32"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_are_divided_by_the_loss_scale(name: str, options: str, dtype: Any) -> None:
    made, optimizer = scaled(device(), name, 256.0, **OPTIONS[options])
    plain = parameters(NUMPY)
    other = make_optimizer(name, plain, 0.1, **OPTIONS[options])
    for step in range(6):
        found = scaled_gradients(made, step, dtype, 256.0)
        optimizer.step(found)
        host = [device().to_numpy(g).astype(np.float32) / 256 for g in found.values()]
        other.step(dict(zip(plain, host, strict=True)))
    close(hosts(made), hosts(plain), np.float32)
    close(state(optimizer), state(other), np.float32)
    assert optimizer.scaling.state() == {"value": 256.0, "good": 6, "skipped": 0}  # type: ignore[union-attr]


@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_with_an_overflow_is_left_out(name: str, bad: float) -> None:
    made, optimizer = scaled(device(), name, 256.0, weight_decay=0.1)
    plain = parameters(NUMPY)
    other = make_optimizer(name, plain, 0.1, weight_decay=0.1)
    for step in range(5):
        scale = optimizer.scaling.state()["value"]  # type: ignore[union-attr]
        assert scale == (256.0 if step < 3 else 128.0)
        found = scaled_gradients(made, step, np.float16, scale)
        if step == 2:
            found[made[3]][1, 0, 2, 1] = bad
            before = hosts(made) | state(optimizer)
            optimizer.step(found)
            now = hosts(made) | state(optimizer)
            assert all(np.array_equal(now[path], x) for path, x in before.items())
            continue
        optimizer.step(found)
        host = [device().to_numpy(g).astype(np.float32) / np.float32(scale) for g in found.values()]
        other.step(dict(zip(plain, host, strict=True)))
    close(hosts(made), hosts(plain), np.float32)  # as if that step had never been: the number of the update too
    assert optimizer.scaling.state() == {"value": 128.0, "good": 2, "skipped": 1}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("before", "overflow", "after"),
    [
        ((2.0**16, 1998), False, (2.0**16, 1999, 0)),
        ((2.0**16, 1999), False, (2.0**17, 2000, 0)),
        ((2.0**16, 2000), False, (2.0**16, 2001, 0)),
        ((2.0**16, 3999), False, (2.0**17, 4000, 0)),
        ((2.0**24, 1999), False, (2.0**24, 2000, 0)),
        ((2.0**16, 1999), True, (2.0**15, 0, 1)),
        ((1.0, 5), True, (1.0, 0, 1)),
    ],
    ids=["not yet", "doubled", "not doubled twice", "doubled again", "never above 2^24", "halved", "never below 1"],
)
def test_the_scale_adapts(before: Any, overflow: bool, after: Any) -> None:
    made, optimizer = scaled(device(), "sgd", 1.0)
    optimizer.scaling.load({"value": before[0], "good": before[1], "skipped": 0})  # type: ignore[union-attr]
    found = scaled_gradients(made, 0, np.float16, 1.0)
    if overflow:
        found[made[0]][2, 3] = np.inf
    optimizer.step(found)
    assert tuple(optimizer.scaling.state().values()) == after  # type: ignore[union-attr]


# What the kernel leaves to the reference.


@pytest.mark.parametrize("why", ["an unknown formula", "two dtypes", "a scaled loss of doubles", "half masters"])
def test_what_the_kernel_cannot_do_is_left_to_the_reference(why: str) -> None:
    backend = device()
    dtype = {"a scaled loss of doubles": np.float64, "half masters": np.float16}.get(why, np.float32)
    made = parameters(backend, dtype)
    optimizer = SGD(made, 0.1)
    found = list(gradients(made, 0).values())
    if why == "two dtypes":
        found[0] = backend.from_numpy(np.zeros(made[0].shape, np.float16))
    name = "newton" if why == "an unknown formula" else "sgd"
    scaling = LossScale(backend) if why == "a scaled loss of doubles" else None
    segments = [Segment(a, b, g, 0) for (a, b), g in zip(optimizer.flat.bounds, found, strict=True)]
    work = Update(SGD.rule, name, (0.0, 0.0), segments, {}, [0.1], 1, [0.0], False, None, None, scaling)
    assert update.update(optimizer.flat.value, work) is NotImplemented
