"""The reference of the service "update": segments, blocks, rules that kernels do not know, and what is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.optim.parameters import agree, gradients, hosts, parameters, values
from xpnet import kernels
from xpnet.backend import Backend, get_backend
from xpnet.optim import OPTIMIZERS, SGD, Optimizer, make_optimizer
from xpnet.optim.flat import concatenate
from xpnet.optim.update import Segment, merge

# start, length, group; between the third and the fourth lies a parameter without a gradient
PLACES = [(0, 12, 0), (64, 3, 0), (128, 64, 1), (256, 5, 1), (320, 1, 1)]


def segments(backend: Backend) -> list[Segment]:
    xp, device = backend.xp, backend.device
    return [
        Segment(start, start + n, xp.full((n, 1), float(start + 1), dtype=xp.float32, device=device), group)
        for start, n, group in PLACES
    ]


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 2.0}, {"clip_value": 0.4}], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_blocks_of_any_size_give_the_same_values(monkeypatch: pytest.MonkeyPatch, name: str, clip: Any) -> None:
    ran = []
    for small in (False, True):
        if small:
            monkeypatch.setattr("xpnet.optim.update.BLOCK", 7)
            monkeypatch.setattr("xpnet.optim.update.LARGE", 5)
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


def test_neighbours_of_one_group_become_one_segment_with_zeros_in_the_gaps(backend: Backend) -> None:
    found = merge(segments(backend))
    assert [(s.start, s.stop, s.group) for s in found] == [(0, 67, 0), (128, 192, 1), (256, 321, 1)]
    want = np.zeros(67)
    want[:12], want[64:] = 1, 65
    assert np.array_equal(backend.to_numpy(found[0].gradient), want)
    assert all(tuple(s.gradient.shape) == (s.stop - s.start,) for s in found)


def test_long_segments_of_the_host_are_cut_and_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpnet.optim.update.LARGE", 20)
    monkeypatch.setattr("xpnet.optim.update.BLOCK", 30)
    long, short = np.arange(70.0), np.ones(2)
    found = merge([Segment(0, 70, long, 0), Segment(128, 130, short, 0)])
    assert [(s.start, s.stop) for s in found] == [(0, 30), (30, 60), (60, 130)]
    assert np.shares_memory(found[1].gradient, long)
    assert found[2].gradient.tolist() == [*range(60, 70), *[0] * 58, 1, 1]


def test_one_array_is_joined_without_a_copy() -> None:
    x = np.ones((2, 3))
    assert np.shares_memory(concatenate([x], [64]), x)
