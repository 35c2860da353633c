"""The reference of the service "update": blocks, rules that kernels do not know, and what is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.optim.parameters import agree, gradients, hosts, parameters, values
from xpnet import kernels
from xpnet.backend import Backend, get_backend
from xpnet.optim import OPTIMIZERS, SGD, Optimizer, make_optimizer


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 2.0}, {"clip_value": 0.4}], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_blocks_of_any_size_give_the_same_values(monkeypatch: pytest.MonkeyPatch, name: str, clip: Any) -> None:
    ran = []
    for small in (False, True):
        if small:
            monkeypatch.setattr("xpnet.optim.segments.BLOCK", 7)
            monkeypatch.setattr("xpnet.optim.segments.LARGE", 5)
        made = parameters(get_backend("numpy"))
        optimizer = make_optimizer(name, made, 0.1, weight_decay=0.3, **clip)
        with kernels.disable():
            for step in range(4):
                optimizer.step(gradients(made, step, *(["fc1.bias"] if step < 2 else [])))
        ran.append(hosts(made))
    agree(ran[1], ran[0], np.float32)


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


def test_a_subclass_with_another_rule_is_not_updated_by_the_kernel_of_its_base(backend: Backend) -> None:
    class Ascent(SGD):
        def rule(self, p, g, state, lr, t):
            return p + lr * g, state

    made = parameters(backend)
    Ascent(made, 0.5).step(gradients(made, 0))
    want = {path: (x + 0.5 * values(1000)[path]).astype(np.float32) for path, x in values(0).items()}
    agree(hosts(made), want, np.float32)
