"""The scale of a loss: how it finds its size, and what an optimizer does with gradients of a scaled loss."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.harness import few_on_jax, raises
from tests.optim.parameters import Parameter, gradients, hosts, parameters
from xpnet.backend import Backend, get_backend
from xpnet.errors import CheckpointError, DTypeError
from xpnet.optim import OPTIMIZERS, SGD, AdamW, LossScale, Optimizer, make_optimizer


def times(found: dict[Parameter, Any], factor: float) -> dict[Parameter, Any]:
    return {p: g * factor for p, g in found.items()}


def with_scale(optimizer: Optimizer, value: float, good: int = 0) -> LossScale:
    optimizer.scaling = LossScale(optimizer.flat.backend)
    optimizer.scaling.load({"value": value, "good": good, "skipped": 0})
    return optimizer.scaling


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_of_a_scaled_loss_are_those_of_the_loss(backend: Backend, name: str) -> None:
    few_on_jax(backend, name == "adamw")
    options: dict[str, Any] = {"weight_decay": 0.3, "clip_norm": 2.0}
    made, other = parameters(backend), parameters(backend)
    scaled, plain = make_optimizer(name, made, 0.1, **options), make_optimizer(name, other, 0.1, **options)
    scaling = with_scale(scaled, 1024.0)
    for step in range(4):
        scaled.step(times(gradients(made, step), 1024.0))
        plain.step(gradients(other, step))
    for path, x in hosts(other).items():
        np.testing.assert_allclose(hosts(made)[path], x, rtol=0, atol=2.0**-18)
    assert scaling.state() == {"value": 1024.0, "good": 4, "skipped": 0}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
def test_an_update_with_an_overflow_is_as_if_it_had_never_been(backend: Backend, bad: float) -> None:
    few_on_jax(backend, bad == np.inf)
    made, other = parameters(backend), parameters(backend)
    scaled, plain = AdamW(made, 0.1, weight_decay=0.3), AdamW(other, 0.1, weight_decay=0.3)
    scaling = with_scale(scaled, 2.0)
    for step in range(4):
        found = times(gradients(made, step), scaling.state()["value"])
        if step == 1:
            broken = np.asarray(backend.to_numpy(found[made[4]]))
            broken[1] = bad
            with np.errstate(all="ignore"):  # as in Trainer.fit
                scaled.step(found | {made[4]: backend.from_numpy(broken)})
            assert scaling.state() == {"value": 1.0, "good": 0, "skipped": 1}
            continue
        scaled.step(found)
        plain.step(gradients(other, step))
    for path, x in hosts(other).items():
        np.testing.assert_allclose(hosts(made)[path], x, rtol=0, atol=2.0**-18)
    for path, x in plain.state_dict()[0].items():
        np.testing.assert_allclose(scaled.state_dict()[0][path], x, rtol=0, atol=2.0**-18)


@pytest.mark.parametrize(
    ("before", "finite", "after"),
    [
        ((2.0**16, 0), True, (2.0**16, 1, 0)),
        ((2.0**16, 1999), True, (2.0**17, 2000, 0)),
        ((2.0**16, 2000), True, (2.0**16, 2001, 0)),
        ((2.0**24, 5999), True, (2.0**24, 6000, 0)),
        ((2.0**16, 1999), False, (2.0**15, 0, 1)),
        ((1.0, 0), False, (1.0, 0, 1)),
    ],
    ids=["one more", "doubled", "not doubled twice", "never above 2^24", "halved", "never below 1"],
)
def test_a_scale_finds_its_size(backend: Backend, before: Any, finite: bool, after: Any) -> None:
    few_on_jax(backend, before[1] == 1999)
    xp, scaling = backend.xp, LossScale(backend)
    assert scaling.state() == {"value": 65536.0, "good": 0, "skipped": 0}
    scaling.load({"value": before[0], "good": before[1], "skipped": 0})
    places = scaling.value, scaling.good, scaling.skipped
    scaling.renew(xp.asarray(finite, device=backend.device))
    assert tuple(scaling.state().values()) == after
    if backend.name != "jax":
        assert all(a is b for a, b in zip(places, (scaling.value, scaling.good, scaling.skipped), strict=True))


def test_a_state_with_a_scale_comes_back_as_it_went(backend: Backend) -> None:
    few_on_jax(backend, chosen=False)
    made = parameters(backend)
    first = SGD(made, 0.1, momentum=0.9)
    with_scale(first, 4.0, good=7)
    first.step(times(gradients(made, 0), 4.0))
    arrays, scalars = first.state_dict()
    assert scalars["loss_scale"] == {"value": 4.0, "good": 8, "skipped": 0}
    second = SGD(parameters(get_backend("numpy")), 0.1, momentum=0.9)
    second.load_state_dict(arrays, json.loads(json.dumps(scalars)))
    assert second.scaling is not None
    assert second.state_dict()[1] == scalars


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": 3.0},
        {"value": 0.5},
        {"value": 2.0**25},
        {"value": "4"},
        {"good": -1},
        {"skipped": 1.5},
        {"good": None},
    ],
    ids=str,
)
def test_a_scale_that_is_none_is_refused_and_changes_nothing(wrong: dict[str, Any]) -> None:
    made = parameters(get_backend("numpy"))
    optimizer = SGD(made, 0.1)
    scaling = with_scale(optimizer, 8.0, good=3)
    saved = {"value": 4.0, "good": 8, "skipped": 0} | wrong
    with raises(CheckpointError, "LossScale", *wrong.values()):
        optimizer.load_state_dict({}, {"optimizer": "SGD", "steps": 5, "loss_scale": saved})
    assert scaling.state() == {"value": 8.0, "good": 3, "skipped": 0}
    assert optimizer.steps == 0


def test_gradients_in_half_precision_are_refused_without_a_scale() -> None:
    made = parameters(get_backend("numpy"))
    found = {p: g.astype(np.float16) for p, g in gradients(made, 0).items()}
    with raises(DTypeError, "fc1.weight", "float16", "float32"):
        SGD(made, 0.1).step(found)


def test_copies_in_half_precision_stand_in_until_the_block_ends(backend: Backend) -> None:
    few_on_jax(backend, chosen=False)
    dtype = "float16" if "fp16" in backend.precisions else "float32"
    made = parameters(backend)
    optimizer = SGD(made, 0.1)
    before, own = hosts(made), [p.data for p in made]

    def fail() -> None:
        with optimizer.cast(dtype):
            assert all(np.array_equal(x, before[path].astype(dtype)) for path, x in hosts(made).items())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert all(p.data is x for p, x in zip(made, own, strict=True))
    made[1].data = backend.from_numpy(np.full((3,), 5, np.float32))  # somebody loads weights
    with optimizer.cast(dtype):
        assert np.array_equal(hosts(made)["fc1.bias"], [5, 5, 5])
    optimizer.step(gradients(made, 0))
    want = 5 - np.float32(0.1) * backend.to_numpy(gradients(made, 0)[made[1]])
    np.testing.assert_allclose(hosts(made)["fc1.bias"], want, rtol=0, atol=2.0**-20)
