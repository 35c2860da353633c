"""What all optimizers have in common: gradients, rates, the step count, state and its copies."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from typing import Any

import numpy as np
import pytest

from tests.harness import few_on_jax, raises
from tests.optim.parameters import SHAPES, Parameter, agree, gradients, hosts, parameters, values
from xpnet import optim
from xpnet.backend import Backend, get_backend
from xpnet.errors import CheckpointError, ConfigError, DeviceError, DTypeError, ShapeError
from xpnet.optim import OPTIMIZERS, SGD, Adam, AdamW, make_optimizer


def test_gradients_come_from_grad_unless_given(backend: Backend) -> None:
    made, other = parameters(backend), parameters(backend)
    for p, g in gradients(made, 3).items():
        p.grad = g
    SGD(made, 0.1).step()
    SGD(other, 0.1).step(gradients(other, 3))
    agree(hosts(made), hosts(other), np.float32)


def test_a_gradient_on_another_device_than_its_parameter_is_an_error() -> None:
    pytest.importorskip("array_api_strict")
    made = parameters(get_backend("array-api-strict:device1"))
    found = gradients(made, 3)
    found[made[1]] = gradients(parameters(get_backend("array-api-strict")), 3, *list(SHAPES)[2:]).popitem()[1]
    with raises(DeviceError, "namespace", "device1", "CPU_DEVICE"):
        SGD(made, 0.1).step(found)


def test_zero_grad_drops_every_gradient() -> None:
    made = parameters(get_backend("numpy"))
    for p, g in gradients(made, 3).items():
        p.grad = g
    SGD(made, 0.1).zero_grad()
    assert all(p.grad is None for p in made)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("large", [5, 1 << 15])
def test_gradients_are_not_written(monkeypatch: pytest.MonkeyPatch, name: str, large: int) -> None:
    monkeypatch.setattr("xpnet.optim.update.LARGE", large)
    made = parameters(get_backend("numpy"))
    found = gradients(made, 0)
    before = {p: g.copy() for p, g in found.items()}
    for clip in ({}, {"clip_norm": 0.1}, {"clip_value": 0.1}):
        make_optimizer(name, made, weight_decay=0.3, **clip).step(found)
    assert all(np.array_equal(g, before[p]) for p, g in found.items())


def test_gradients_may_be_broadcast_or_transposed_views(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpnet.optim.update.LARGE", 5)
    xp, device = backend.xp, backend.device
    made = [
        Parameter(name, xp.zeros(shape, dtype=xp.float32, device=device))
        for name, shape in (("w", (3, 4)), ("b", (2, 2)))
    ]
    g = xp.reshape(xp.arange(12, dtype=xp.float32, device=device), (4, 3))
    seven = xp.broadcast_to(xp.asarray(7, dtype=xp.float32, device=device), (2, 2))
    SGD(made, 1.0).step({made[0]: g.T, made[1]: seven})
    assert np.array_equal(hosts(made)["w"], -np.arange(12.0).reshape(4, 3).T)
    assert np.array_equal(hosts(made)["b"], np.full((2, 2), -7.0))


def test_a_step_keeps_the_device_and_the_dtype_of_the_parameters(backend: Backend) -> None:
    made = parameters(backend)
    optimizer = Adam(made, np.float64(0.1), clip_norm=1.0)  # a NumPy scalar would make float64 of float32
    optimizer.step(gradients(made, 0))
    for array in (optimizer.flat.value, *(p.data for p in made)):
        assert array.dtype == backend.xp.float32
        assert type(array) is type(backend.from_numpy(np.zeros(1, np.float32)))
        if backend.name != "numpy":
            assert array.device == backend.device


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_where_the_model_is_moved(backend: Backend, name: str) -> None:
    moved, stays = parameters(get_backend("numpy")), parameters(get_backend("numpy"))
    ours, reference = make_optimizer(name, moved, 0.1), make_optimizer(name, stays, 0.1)
    for step in range(6):
        if step == 3:
            for p in moved:
                p.data = backend.from_numpy(p.data)
        ours.step(gradients(moved, step))
        reference.step(gradients(stays, step))
    assert type(ours.flat.value) is type(backend.from_numpy(np.zeros(1, np.float32)))
    agree(hosts(moved), hosts(stays), np.float32)


@pytest.mark.parametrize("way", ["away", "back"])
@pytest.mark.parametrize("name", ["nesterov", "rmsprop", "adam", "sgd"])
def test_a_state_saved_on_one_backend_resumes_on_another(backend: Backend, name: str, way: str) -> None:
    there, numpy = (backend, get_backend("numpy")) if way == "away" else (get_backend("numpy"), backend)
    made = parameters(there)
    first = make_optimizer(name, made, 0.1, weight_decay=0.3)
    for step in range(4):
        first.step(gradients(made, step, "scale"))
    arrays, scalars = first.state_dict()
    resumed = [Parameter(path, numpy.from_numpy(x)) for path, x in hosts(made).items()]
    second = make_optimizer(name, resumed, 0.1, weight_decay=0.3)
    second.load_state_dict(arrays, json.loads(json.dumps(scalars)))
    assert second.steps == 4
    for step in range(4, 8):
        first.step(gradients(made, step))
        second.step(gradients(resumed, step))
    agree(hosts(resumed), hosts(made), np.float32)


def test_a_resumed_run_is_bit_identical_on_one_backend(backend: Backend) -> None:
    made = parameters(backend)
    first = AdamW(made, lambda step: 0.1 / (step + 1))
    for step in range(3):
        first.step(gradients(made, step))
    resumed = [Parameter(path, backend.from_numpy(x)) for path, x in hosts(made).items()]
    second = AdamW(resumed, lambda step: 0.1 / (step + 1))
    second.load_state_dict(*first.state_dict())
    first.step(gradients(made, 3))
    second.step(gradients(resumed, 3))
    assert all(np.array_equal(hosts(made)[path], hosts(resumed)[path]) for path in SHAPES)


def test_a_state_of_another_precision_is_taken_in_that_of_the_parameters(backend: Backend) -> None:
    made = parameters(backend)
    optimizer = SGD(made, 0.1, momentum=0.5)
    doubles = {f"velocity/{path}": x for path, x in values(7).items()}
    optimizer.load_state_dict(doubles, {"optimizer": "SGD", "steps": 1})
    optimizer.step(gradients(made, 0))
    want = {path: x - 0.1 * (0.5 * values(7)[path] + values(1000)[path]) for path, x in values(0).items()}
    agree(hosts(made), {path: x.astype(np.float32) for path, x in want.items()}, np.float32)


def test_a_state_names_its_arrays_by_parameter_and_is_a_copy() -> None:
    made = parameters(get_backend("numpy"))
    optimizer = SGD(made, 0.1, momentum=0.9)
    optimizer.step(gradients(made, 0))
    arrays, scalars = optimizer.state_dict()
    assert {name: x.shape for name, x in arrays.items()} == {f"velocity/{path}": s for path, s in SHAPES.items()}
    assert scalars == {"optimizer": "SGD", "steps": 1}
    kept = {name: x.copy() for name, x in arrays.items()}
    optimizer.step(gradients(made, 1))
    assert all(np.array_equal(arrays[name], kept[name]) for name in kept)


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    made = parameters(get_backend("numpy"))
    optimizer = SGD(made, 0.1, momentum=0.9)
    optimizer.step(gradients(made, 0))
    before = optimizer.state_dict()[0]
    arrays, scalars = {name: x + 1 for name, x in before.items()}, {"optimizer": "SGD", "steps": 5}
    without = {name: x for name, x in arrays.items() if name != "velocity/scale"}
    place = "SGD.load_state_dict"
    with raises(CheckpointError, place, "velocity/scale"):
        optimizer.load_state_dict(without, scalars)
    with raises(CheckpointError, place, "velocity/fc9.weight"):
        optimizer.load_state_dict({**arrays, "velocity/fc9.weight": np.zeros(2)}, scalars)
    with raises(CheckpointError, "conv.bias", "(3,)", "(2,)"):
        optimizer.load_state_dict({**arrays, "velocity/conv.bias": np.zeros(3)}, scalars)
    with raises(CheckpointError, place, "Adam"):
        optimizer.load_state_dict(arrays, {**scalars, "optimizer": "Adam"})
    with raises(CheckpointError, place, "-1"):
        optimizer.load_state_dict(arrays, {**scalars, "steps": -1})
    with raises(CheckpointError, place, "velocity/conv.bias", "and 2 more"):
        optimizer.load_state_dict({}, scalars)
    assert optimizer.steps == 1
    assert all(np.array_equal(x, before[name]) for name, x in optimizer.state_dict()[0].items())


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_a_state_of_a_version_that_counted_by_parameter_opens_and_says_so(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    made, other = parameters(get_backend("numpy")), parameters(get_backend("numpy"))
    new, old = make_optimizer(name, made, 0.1), make_optimizer(name, other, 0.1)
    for optimizer, ps in ((new, made), (old, other)):
        for step in range(3):
            optimizer.step(gradients(ps, step))
    arrays, scalars = old.state_dict()
    with caplog.at_level(logging.INFO, "xpnet"):
        old.load_state_dict(arrays, {**scalars, "ages": {}})
        assert not caplog.messages
        old.load_state_dict(arrays, {**scalars, "ages": {"scale": 1}})
    assert ["xpnet 0.5 or older" in line for line in caplog.messages] == [True]
    new.step(gradients(made, 3))
    old.step(gradients(other, 3))
    assert (old.steps, old.state_dict()[1]) == (4, new.state_dict()[1])
    assert all(np.array_equal(hosts(made)[path], x) for path, x in hosts(other).items())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
@pytest.mark.parametrize("name", ["nesterov", "adamw"])
def test_a_copy_trains_on_by_itself_to_the_same_values(name: str, duplicate: Any) -> None:
    made = parameters(get_backend("numpy"))
    optimizer = make_optimizer(
        name, [{"params": made[:2], "lr": optim.cosine(0.3, steps=9)}, {"params": made[2:]}], 0.1
    )
    optimizer.step(gradients(made, 0))
    copied, twins = duplicate((optimizer, made))
    optimizer.step(gradients(made, 1))
    assert copied.steps == 1
    assert all(p is q for p, q in zip(copied.parameters, twins, strict=True))
    copied.step(gradients(twins, 1))
    assert all(np.array_equal(hosts(made)[path], x) for path, x in hosts(twins).items())
    assert np.shares_memory(twins[0].data, copied.flat.value)
    assert not np.shares_memory(twins[0].data, optimizer.flat.value)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rates_and_the_number_of_an_update_may_be_arrays_on_the_device(backend: Backend, name: str) -> None:
    few_on_jax(backend, name == "adamw")
    xp, device = backend.xp, backend.device
    made, other = parameters(backend), parameters(backend)
    whole, queued = make_optimizer(name, made, weight_decay=0.3), make_optimizer(name, other, weight_decay=0.3)
    for step in range(5):
        whole.lr = 0.1 / (step + 1)
        whole.step(gradients(made, step, "scale"))
        lr = xp.asarray(whole.current_lr, dtype=xp.float32, device=device)
        t = xp.asarray(step + 1, dtype=xp.int64, device=device)
        queued.update(gradients(other, step, "scale"), lr, t)
    assert queued.steps == 0
    for path, x in hosts(made).items():
        np.testing.assert_allclose(hosts(other)[path], x, rtol=0, atol=2.0**-20)


def test_a_schedule_is_asked_with_the_number_of_updates_made() -> None:
    p = Parameter("w", np.zeros(1))
    optimizer = SGD([p], lambda step: [1.0, 0.5, 0.25][step])
    seen = []
    for _ in range(2):
        seen.append(optimizer.current_lr)
        optimizer.step({p: np.ones(1)})
    assert seen == [1.0, 0.5]
    assert optimizer.current_lr == 0.25
    assert optimizer.steps == 2
    assert p.data[0] == -1.5


def test_an_optimizer_prints_what_was_chosen() -> None:
    p = Parameter("w", np.zeros(1))
    assert repr(SGD([p], optim.constant(0.5), momentum=0.9)) == "SGD(lr=constant(lr=0.5), momentum=0.9)"


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [("momentum", "weight_decay", -5), ("momentum", "momentum", 3.0), ("adam", "beta2", 1), ("adagrad", "eps", "x")],
)
def test_a_number_out_of_its_range_is_refused_when_it_is_set(name: str, setting: str, value: Any) -> None:
    optimizer = make_optimizer(name, [Parameter("a", np.ones(2))])
    before = getattr(optimizer, setting)
    with raises(ConfigError, type(optimizer).__name__, f"0 <= {setting}"):
        setattr(optimizer, setting, value)
    assert getattr(optimizer, setting) == before


def test_a_schedule_that_returns_no_rate_is_refused() -> None:
    p = Parameter("w", np.ones(1))
    optimizer = SGD([p], lambda step: -1.0)
    with raises(ConfigError, "SGD", "lr -1.0"):
        optimizer.step({p: np.ones(1)})
    assert p.data[0] == 1
    assert optimizer.steps == 0


def test_a_step_without_any_gradient_is_refused() -> None:
    with raises(ConfigError, "SGD.step", "gradients 0", "call backward first"):
        SGD(parameters(get_backend("numpy")), 0.1).step()


@pytest.mark.parametrize(
    ("gradient", "error", "value"),
    [
        (np.zeros((4, 3), np.float32), ShapeError, "(4, 3)"),
        (np.zeros((3, 4), np.float64), DTypeError, "float64"),
    ],
)
def test_a_gradient_that_does_not_match_is_refused(gradient: Any, error: Any, value: str) -> None:
    made = parameters(get_backend("numpy"))
    with raises(error, "fc1.weight", value):
        SGD(made, 0.1).step({**gradients(made, 0), made[0]: gradient})
    assert np.array_equal(made[1].data, values(0)["fc1.bias"])


def test_a_gradient_of_another_backend_is_refused() -> None:
    pytest.importorskip("torch")
    made, other = parameters(get_backend("torch")), parameters(get_backend("numpy"))
    found = dict(zip(made, gradients(other, 0).values(), strict=True))
    with raises(DeviceError, "namespace", "torch, numpy"):
        SGD(made, 0.1).step(found)
