"""Optimizers against torch.optim, on every backend."""

from __future__ import annotations

import doctest
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.harness import few_on_jax, float_types, raises
from tests.optim.parameters import SHAPES, Parameter, gradients, hosts, parameters, values
from xpnet import optim
from xpnet.backend import Backend, get_backend
from xpnet.errors import CheckpointError, ConfigError, DeviceError, DTypeError, ShapeError
from xpnet.optim import OPTIMIZERS, SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop, make_optimizer
from xpnet.optim.rules import remaining

# our class and options, PyTorch's name and options; constants are large enough for each to be seen
TABLE: dict[str, tuple[type[Optimizer], dict[str, Any], str, dict[str, Any]]] = {
    "sgd": (SGD, {"lr": 0.1}, "SGD", {"lr": 0.1}),
    "sgd with decay": (SGD, {"lr": 0.1, "weight_decay": 0.3}, "SGD", {"lr": 0.1, "weight_decay": 0.3}),
    "momentum": (SGD, {"lr": 0.1, "momentum": 0.7}, "SGD", {"lr": 0.1, "momentum": 0.7}),
    "nesterov with decay": (
        SGD,
        {"lr": 0.1, "momentum": 0.7, "nesterov": True, "weight_decay": 0.3},
        "SGD",
        {"lr": 0.1, "momentum": 0.7, "nesterov": True, "weight_decay": 0.3},
    ),
    "rmsprop": (RMSprop, {"lr": 0.1, "rho": 0.6, "eps": 0.1}, "RMSprop", {"lr": 0.1, "alpha": 0.6, "eps": 0.1}),
    "rmsprop with momentum and decay": (
        RMSprop,
        {"lr": 0.1, "momentum": 0.7, "weight_decay": 0.3},
        "RMSprop",
        {"lr": 0.1, "alpha": 0.9, "momentum": 0.7, "weight_decay": 0.3},
    ),
    "adagrad": (Adagrad, {"lr": 0.1, "eps": 0.1}, "Adagrad", {"lr": 0.1, "eps": 0.1}),
    "adagrad with decay": (Adagrad, {"lr": 0.1, "weight_decay": 0.3}, "Adagrad", {"lr": 0.1, "weight_decay": 0.3}),
    "adam": (
        Adam,
        {"lr": 0.1, "beta1": 0.6, "beta2": 0.8, "eps": 0.1},
        "Adam",
        {"lr": 0.1, "betas": (0.6, 0.8), "eps": 0.1},
    ),
    "adam by default": (Adam, {}, "Adam", {}),
    "adam with decay": (Adam, {"lr": 0.1, "weight_decay": 0.3}, "Adam", {"lr": 0.1, "weight_decay": 0.3}),
    "adamw": (AdamW, {"lr": 0.1, "weight_decay": 0.3}, "AdamW", {"lr": 0.1, "weight_decay": 0.3}),
    "adamw by default": (AdamW, {}, "AdamW", {}),
}


def pytorch(name: str, options: dict[str, Any], dtype: Any, absent: Callable[[int], tuple[str, ...]], **clip: float):
    """Ten steps of a PyTorch optimizer from the same values with the same gradients; by path."""
    torch = pytest.importorskip("torch")

    made = {path: torch.nn.Parameter(torch.tensor(x.astype(dtype))) for path, x in values(0).items()}
    optimizer = getattr(torch.optim, name)(list(made.values()), **options)
    for step in range(10):
        for path, g in values(1000 + step).items():
            made[path].grad = None if path in absent(step) else torch.tensor(g.astype(dtype))
        if "clip_norm" in clip:
            torch.nn.utils.clip_grad_norm_(made.values(), clip["clip_norm"])
        if "clip_value" in clip:
            torch.nn.utils.clip_grad_value_(made.values(), clip["clip_value"])
        optimizer.step()
    return {path: p.detach().numpy() for path, p in made.items()}


def agree(got: dict[str, np.ndarray], want: dict[str, np.ndarray], dtype: Any) -> None:
    for path, x in want.items():
        assert got[path].dtype == dtype
        assert got[path].shape == x.shape
        np.testing.assert_allclose(got[path], x, rtol=0, atol=100 * np.finfo(dtype).eps, err_msg=path)


def none_absent(step: int) -> tuple[str, ...]:
    return ()


def some_absent(step: int) -> tuple[str, ...]:
    """One in the middle is frozen always, the last from the sixth step on."""
    return ("scale", *(["conv.bias"] if step > 5 else []))


def check(backend: Backend, row: str, absent: Callable[[int], tuple[str, ...]] = none_absent, **clip: Any) -> None:
    ours, options, theirs, their_options = TABLE[row]
    for dtype in float_types(backend):
        made = parameters(backend, dtype)
        optimizer = ours(made, **options, **clip)
        for step in range(10):
            optimizer.step(gradients(made, step, *absent(step)))
        agree(hosts(made), pytorch(theirs, their_options, dtype, absent, **clip), dtype)


@pytest.mark.parametrize("row", TABLE)
def test_ten_steps_follow_pytorch(backend: Backend, row: str) -> None:
    check(backend, row)


@pytest.mark.parametrize("row", ["sgd with decay", "momentum", "adam with decay", "adamw"])
def test_a_parameter_without_gradient_stays_as_in_pytorch(backend: Backend, row: str) -> None:
    check(backend, row, some_absent)


@pytest.mark.parametrize("clip", [{"clip_norm": 2.0}, {"clip_norm": 100.0}, {"clip_value": 0.4}], ids=str)
def test_clipping_follows_pytorch(backend: Backend, clip: dict[str, float]) -> None:
    check(backend, "nesterov with decay", **clip)


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 2.0}, {"clip_value": 0.4}], ids=str)
@pytest.mark.parametrize("row", TABLE)
def test_an_update_in_small_blocks_follows_pytorch(monkeypatch: pytest.MonkeyPatch, row: str, clip: Any) -> None:
    monkeypatch.setattr("xpnet.optim.segments.BLOCK", 7)
    monkeypatch.setattr("xpnet.optim.segments.LARGE", 5)
    check(get_backend("numpy"), row, none_absent, **clip)
    check(get_backend("numpy"), row, some_absent, **clip)


def test_gradients_come_from_grad_unless_given(backend: Backend) -> None:
    made, other = parameters(backend), parameters(backend)
    for p, g in gradients(made, 3).items():
        p.grad = g
    SGD(made, 0.1).step()
    SGD(other, 0.1).step(gradients(other, 3))
    agree(hosts(made), hosts(other), np.float32)


def test_zero_grad_forgets_every_gradient() -> None:
    made = parameters(get_backend("numpy"))
    for p, g in gradients(made, 3).items():
        p.grad = g
    SGD(made, 0.1).zero_grad()
    assert all(p.grad is None for p in made)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("large", [5, 1 << 15])
def test_gradients_are_not_written(monkeypatch: pytest.MonkeyPatch, name: str, large: int) -> None:
    monkeypatch.setattr("xpnet.optim.segments.LARGE", large)
    made = parameters(get_backend("numpy"))
    found = gradients(made, 0)
    before = {p: g.copy() for p, g in found.items()}
    for clip in ({}, {"clip_norm": 0.1}, {"clip_value": 0.1}):
        make_optimizer(name, made, weight_decay=0.3, **clip).step(found)
    assert all(np.array_equal(g, before[p]) for p, g in found.items())


def test_gradients_may_be_broadcast_or_transposed_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpnet.optim.segments.LARGE", 5)
    made = [Parameter("w", np.zeros((3, 4))), Parameter("b", np.zeros((2, 2)))]
    g = np.arange(12.0).reshape(4, 3)
    SGD(made, 1.0).step({made[0]: g.T, made[1]: np.broadcast_to(np.asarray(7.0), (2, 2))})
    assert np.array_equal(made[0].data, -g.T)
    assert np.array_equal(made[1].data, np.full((2, 2), -7.0))


def test_a_step_stays_on_the_device_and_in_the_dtype_of_the_parameters(backend: Backend) -> None:
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
@pytest.mark.parametrize("row", ["nesterov with decay", "rmsprop with momentum and decay", "adam", "sgd"])
def test_a_state_saved_on_one_backend_resumes_on_another(backend: Backend, row: str, way: str) -> None:
    there, numpy = (backend, get_backend("numpy")) if way == "away" else (get_backend("numpy"), backend)
    make, options, *_ = TABLE[row]
    made = parameters(there)
    first = make(made, **options)
    for step in range(4):
        first.step(gradients(made, step, *some_absent(step)))
    arrays, scalars = first.state_dict()
    resumed = [Parameter(path, numpy.from_numpy(x)) for path, x in hosts(made).items()]
    second = make(resumed, **options)
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


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rates_and_the_number_of_an_update_may_be_arrays_on_the_device(backend: Backend, name: str) -> None:
    few_on_jax(backend, name == "adamw")
    xp, device = backend.xp, backend.device
    made, other = parameters(backend), parameters(backend)
    whole, queued = make_optimizer(name, made, weight_decay=0.3), make_optimizer(name, other, weight_decay=0.3)
    for step in range(5):
        whole.lr = 0.1 / (step + 1)
        whole.step(gradients(made, step, *some_absent(step)))
        lr = xp.asarray(whole.current_lr, dtype=xp.float32, device=device)
        t = xp.asarray(step + 1, dtype=xp.int64, device=device)
        queued.update(gradients(other, step, *some_absent(step)), lr, t)
    assert queued.steps == 0
    for path, x in hosts(made).items():
        np.testing.assert_allclose(hosts(other)[path], x, rtol=0, atol=2.0**-20)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999, 0.999999])
def test_the_weight_of_a_decaying_mean_is_exact_in_single_precision(backend: Backend, beta: float) -> None:
    for t in (1, 2, 1000):
        got = remaining(beta, backend.xp.asarray(t, dtype=backend.xp.float32, device=backend.device))
        assert float(got) == pytest.approx(1 - beta**t, rel=2.0**-21)
        assert remaining(beta, t) == 1 - beta**t


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


def test_a_rule_that_makes_new_arrays_works_as_well(backend: Backend) -> None:
    class Mean(Optimizer):
        state_names = ("mean",)

        def rule(self, p, g, state, lr, t):
            mean = (state["mean"] * (t - 1) + g) / t
            return p - lr * mean, {"mean": mean}

    made = parameters(backend)
    optimizer = Mean(made, 0.5)
    optimizer.step(gradients(made, 0))
    optimizer.step(gradients(made, 1))
    first, second = values(1000), values(1001)
    want = {path: x - 0.5 * first[path] - 0.25 * (first[path] + second[path]) for path, x in values(0).items()}
    agree(hosts(made), {path: x.astype(np.float32) for path, x in want.items()}, np.float32)


def test_an_optimizer_prints_what_was_chosen() -> None:
    p = Parameter("w", np.zeros(1))
    assert repr(SGD([p], optim.constant(0.5), momentum=0.9)) == "SGD(lr=constant(lr=0.5), momentum=0.9)"


@pytest.mark.parametrize(("name", "lr"), [("sgd", 0.1), ("momentum", 0.05), ("nesterov", 0.05), ("rmsprop", 1e-3)])
def test_a_name_comes_with_its_learning_rate(name: str, lr: float) -> None:
    made = parameters(get_backend("numpy"))
    assert make_optimizer(name, made).lr == lr
    assert make_optimizer(name, made, 0.7).lr == 0.7


def test_a_mistyped_name_is_answered_with_the_nearest() -> None:
    with raises(ConfigError, "make_optimizer", "'nestrov'", "did you mean 'nesterov'?"):
        make_optimizer("nestrov", [])


@pytest.mark.parametrize(
    ("make", "options", "value"),
    [
        (SGD, {"lr": -0.1}, "lr -0.1"),
        (SGD, {"lr": float("nan")}, "lr nan"),
        (SGD, {"lr": float("inf")}, "lr inf"),
        (SGD, {"lr": "fast"}, "lr 'fast'"),
        (SGD, {"lr": 0.1, "momentum": 1.0}, "momentum 1.0"),
        (SGD, {"lr": 0.1, "momentum": -0.1}, "momentum -0.1"),
        (SGD, {"lr": 0.1, "nesterov": True}, "momentum 0.0"),
        (SGD, {"lr": 0.1, "weight_decay": -1}, "weight_decay -1"),
        (SGD, {"lr": 0.1, "clip_norm": 0}, "clip_norm 0"),
        (SGD, {"lr": 0.1, "clip_value": -3}, "clip_value -3"),
        (SGD, {"lr": 0.1, "clip_value": 2, "clip_norm": 3}, "clip_norm 3, clip_value 2"),
        (RMSprop, {"rho": 1}, "rho 1"),
        (RMSprop, {"eps": -1e-8}, "eps -1e-08"),
        (RMSprop, {"momentum": 2}, "momentum 2"),
        (Adagrad, {"eps": -1}, "eps -1"),
        (Adam, {"beta1": 1.5}, "beta1 1.5"),
        (Adam, {"beta2": 1}, "beta2 1"),
        (AdamW, {"eps": -1}, "eps -1"),
    ],
)
def test_an_argument_outside_its_range_is_refused(make: type[Optimizer], options: Any, value: str) -> None:
    with raises(ConfigError, make.__name__, value):
        make(parameters(get_backend("numpy")), **options)


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


@pytest.mark.parametrize("module", [optim.rules, optim.schedules])
def test_the_examples_in_the_documentation_run(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
