"""What a step costs beside its arithmetic, in calls of Python functions and in files that a reader meets on its way.

Both are exact on any machine, however busy.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from tests.distributed.threaded import Threaded, run
from xpnet import nn
from xpnet.data import from_arrays
from xpnet.kernels import disable
from xpnet.optim import SGD
from xpnet.train import Step, Trainer

ROOT = Path(xpnet.__file__).parent


def called(work: Callable[[], Any]) -> list[Path]:
    """The file of each Python function of xpnet that a piece of work calls."""
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
    return [Path(name).relative_to(ROOT) for name in found if Path(name).is_relative_to(ROOT)]


def calls(work: Callable[[], Any]) -> int:
    """How many Python functions of xpnet a piece of work calls, those of kernels, and what they call, apart."""
    return sum(path.parent.parent.name != "kernels" and path.name != "launching.py" for path in called(work))


def files(work: Callable[[], Any], *, kernels: bool) -> set[str]:
    """The files of xpnet that warm work passes, with numba's kernels or without any."""
    if kernels:
        pytest.importorskip("numba", reason="other kernels are in other files")
    with contextlib.nullcontext() if kernels else disable():
        for _ in range(3):
            work()
        return {path.as_posix() for path in called(work)}


@pytest.mark.parametrize(("kernels", "most"), [(True, 11), (False, 9)], ids=["numba", "reference"])
def test_a_convolution_forward_and_backward_passes_few_files(kernels: bool, most: int) -> None:
    layer = nn.Conv2d(3, 8, 3, padding=1)
    x = xpnet.Tensor(np.ones((8, 12, 12, 3), np.float32), requires_grad=True)
    dy = np.ones((8, 12, 12, 8), np.float32)
    found = files(lambda: xpnet.backward(layer(x), dy), kernels=kernels)
    assert len(found) <= most, sorted(found)


@pytest.mark.parametrize(("kernels", "most"), [(True, 28), (False, 22)], ids=["numba", "reference"])
def test_a_step_of_a_small_network_passes_few_files(kernels: bool, most: int) -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 10)).train()
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    x, y = xpnet.Tensor(np.ones((4, 14, 14, 1), np.float32)), np.zeros(4, np.int64)
    found = files(
        lambda: optimizer.step(xpnet.backward(nn.softmax_cross_entropy(model(x), y))),
        kernels=kernels,
    )
    assert len(found) <= most, sorted(found)


def calls_of_a_step(layers: int, capture: bool | None = False) -> int:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers))).train()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = Step(model, nn.softmax_cross_entropy, optimizer, 4, capture=capture, threads=1)  # whatever the machine
    x, y = np.ones((1, 4), np.float32), np.zeros(1, np.int64)
    for _ in range(4):
        step(x, y)  # arrays are made; the step is recorded
    return calls(lambda: step(x, y))


def calls_of_a_joint_step(layers: int) -> int:
    """Of two processes, which are threads; what they call of the communicator is the tests' own, and not counted."""

    def work(communicator: Threaded) -> int:
        model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers))).initialize(0).train()
        how: Any = {"communicator": communicator, "shards": 1, "threads": 1}
        step = Step(model, nn.softmax_cross_entropy, SGD(model.parameters(), lr=0.1, momentum=0.9), 4, **how)
        x, y = np.ones((1, 4), np.float32), np.zeros(1, np.int64)
        for _ in range(4):
            step(x, y, 2)
        return calls(lambda: step(x, y, 2))

    first, _ = run(2, work)
    return first


def test_one_more_layer_costs_at_most_eight_calls() -> None:
    # module, forward, apply, op, its check, the kernel found, node
    assert calls_of_a_step(5) - calls_of_a_step(4) <= 8


def test_a_step_of_one_layer_costs_at_most_sixty_calls() -> None:
    pytest.importorskip("numba", reason="without its loops the optimizer's rule is called, which is counted too")
    assert calls_of_a_step(1) <= 60


def test_one_more_layer_of_a_captured_step_costs_none() -> None:
    pytest.importorskip("numba", reason="without its loops the optimizer's rule is called, which is counted too")
    assert calls_of_a_step(5, None) == calls_of_a_step(1, None) <= 20


def test_a_captured_step_of_two_processes_costs_few_calls_whatever_the_layers() -> None:
    pytest.importorskip("numba", reason="without its loops the optimizer's rule is called, which is counted too")
    assert calls_of_a_joint_step(5) == calls_of_a_joint_step(1) <= 100  # half of them walk the tree of the sum


def test_the_trainer_adds_at_most_ten_calls_to_a_step() -> None:
    trainer = Trainer(nn.Sequential(nn.Linear(4, 2)))

    def fit(n: int) -> int:
        data = from_arrays(np.ones((n, 4), np.float32), np.arange(n) % 2)
        trainer.fit(data, epochs=trainer.epoch + 1, batch_size=1)
        return calls(lambda: trainer.fit(data, epochs=trainer.epoch + 1, batch_size=1))

    assert (fit(120) - fit(40)) / 80 - calls_of_a_step(1, None) <= 10
