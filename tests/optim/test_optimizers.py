"""Optimizers against torch.optim, on every backend; their names and their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import float_types, raises
from tests.optim.parameters import agree, gradients, hosts, parameters, values
from xpnet.backend import Backend, get_backend
from xpnet.errors import ConfigError
from xpnet.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop, make_optimizer

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
        (SGD, {"lr": 0.1, "clip_value": 2, "clip_norm": 3}, "clip_norm 3.0, clip_value 2.0"),
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
