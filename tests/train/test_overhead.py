"""What a step costs beside its arithmetic, in calls of Python functions: exact on any machine, however busy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet import nn
from xpnet.data import from_arrays
from xpnet.optim import SGD
from xpnet.train import Step, Trainer

ROOT = Path(xpnet.__file__).parent


def calls(work: Callable[[], Any]) -> int:
    """How many Python functions of xpnet a piece of work calls, those of kernels apart."""
    found: list[str] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            found.append(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    own = [Path(name) for name in found if Path(name).is_relative_to(ROOT)]
    return sum(path.parent.parent != ROOT / "kernels" for path in own)


def calls_of_a_step(layers: int, capture: bool | None = False) -> int:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers))).train()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = Step(model, nn.softmax_cross_entropy, optimizer, 4, capture=capture, threads=1)  # whatever the machine
    x, y = np.ones((1, 4), np.float32), np.zeros(1, np.int64)
    for _ in range(4):
        step(x, y)  # arrays are made; the step is recorded
    return calls(lambda: step(x, y))


def test_one_more_layer_costs_at_most_twenty_calls() -> None:
    # module, forward, apply, op, its check, the kernel sought and found, node; its arrays and launches there and back
    assert calls_of_a_step(5) - calls_of_a_step(4) <= 20


def test_a_step_of_one_layer_costs_at_most_seventy_calls() -> None:
    pytest.importorskip("numba", reason="without its loops the optimizer's rule is called, which is counted too")
    assert calls_of_a_step(1) <= 70


def test_one_more_layer_of_a_captured_step_costs_none() -> None:
    pytest.importorskip("numba", reason="without its loops the optimizer's rule is called, which is counted too")
    assert calls_of_a_step(5, None) == calls_of_a_step(1, None) <= 20


def test_the_trainer_adds_at_most_ten_calls_to_a_step() -> None:
    trainer = Trainer(nn.Sequential(nn.Linear(4, 2)))

    def fit(n: int) -> int:
        data = from_arrays(np.ones((n, 4), np.float32), np.arange(n) % 2)
        trainer.fit(data, epochs=trainer.epoch + 1, batch_size=1)
        return calls(lambda: trainer.fit(data, epochs=trainer.epoch + 1, batch_size=1))

    assert (fit(120) - fit(40)) / 80 - calls_of_a_step(1, None) <= 10
