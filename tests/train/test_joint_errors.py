"""Errors and differences of one process of several, which are threads here: all of them raise an error, and go on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.distributed import threaded
from tests.distributed.threaded import Threaded, run
from tests.train.test_joint import Trips, batch
from xpnet import nn
from xpnet.distributed import faults
from xpnet.errors import ConfigError, ShapeError
from xpnet.optim import SGD
from xpnet.train import Step, joint

N = 8


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for another process does not wait long."""
    monkeypatch.setattr(threaded, "SECONDS", 5)
    monkeypatch.setattr(joint, "GRACE", 0)
    monkeypatch.setattr(faults, "_PRINTED", 0)


def stepped(
    communicator: Any, change: Any, at: int, *layers: nn.Module, sizes: Any = (N,) * 9, **how: Any
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Make steps, and go on after each error: the errors, and the weights after the last step.

    Args:
        change: takes step, x, y and N of the step of a number, and gives x, y and N in their place.
    """
    model = nn.Sequential(
        first=nn.Linear(6, 5), **{f"more{i}": each for i, each in enumerate(layers)}, last=nn.Linear(5, 3)
    )
    step = Step(
        model.initialize(1).train(), nn.softmax_cross_entropy, SGD(model.parameters(), 0.1),
        communicator=communicator, shards=4, **how,
    )  # fmt: skip
    errors = []
    for i, n in enumerate(sizes):
        x, y = (a[slice(*step.processes.part.rows(n))] for a in batch(i, n))
        if i == at:
            x, y, n = change(step, x, y, n) or (x, y, n)
        try:
            step(x, y, n)
        except Exception as error:
            errors.append(f"{i} {type(error).__name__} {error}")
    return errors, model.state_dict()


def same(*states: dict[str, np.ndarray]) -> None:
    for state in states[1:]:
        for name, value in states[0].items():
            np.testing.assert_array_equal(state[name], value, err_msg=name)


OTHER = "XpnetError fit: another process failed in this step"


def only(rank: int, change: Any) -> Any:
    """Return what runs in each process, which changes something in one."""
    return lambda communicator: change if communicator.rank == rank else lambda *given: None


@pytest.mark.parametrize("at", [0, 5], ids=["first", "after replays"])
def test_an_error_in_the_processes_with_rows_is_one_in_those_without_and_all_go_on(at: int) -> None:
    """Of one example, one process of three has a row."""

    def far(step: Step, x: Any, y: Any, n: int) -> Any:
        return x * 1e9, y, n

    sizes = [N] * 9
    sizes[at] = 1
    *found, (errors, last) = run(3, lambda each: stepped(each, far, at, Trips(), sizes=sizes, capture=True))
    assert errors[0].startswith(f"{at} ShapeError more0 (Trips)")
    for others, state in found:
        assert others == [f"{at} {OTHER}"]
        same(last, state)
    without = run(3, lambda each: stepped(each, far, at, Trips(), sizes=sizes, capture=True))
    same(last, *[state for _, state in without])


@pytest.mark.parametrize("way", ["lock step", "replay"])
def test_an_error_where_the_others_wait_for_numbers_ends_all(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []

    def abort(self: Threaded, code: int = 1) -> Any:
        ended.append(self.rank)
        raise SystemExit(code)

    monkeypatch.setattr(Threaded, "allgather_failures", lambda *given: None)
    monkeypatch.setattr(Threaded, "abort", abort)
    monkeypatch.setattr(threaded, "SECONDS", 0.5)

    def wrong(step: Step, x: Any, y: Any, n: int) -> Any:
        for recording in step.captured.recordings.values():
            assert recording.is_verified

            def replay() -> None:
                raise ShapeError("kernel", "no example of 100")

            recording.replay = replay
        return x * 1e9, y, n

    layers = (Trips(), nn.BatchNorm(5)) if way == "lock step" else (Trips(),)
    with pytest.raises(SystemExit):
        run(2, lambda each: stepped(each, only(0, wrong)(each), 5, *layers, capture=way == "replay" or None))
    assert ended[0] == 0  # the other waits until the time is over


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda step, x, y, n: (np.repeat(x, 2, 0), np.repeat(y, 2, 0), n), "4 rows of x in process {}"),
        (lambda step, x, y, n: (x[:3], y[:3], n), "4 rows of x in process {}"),
        (lambda step, x, y, n: (x, y[:3], n), "4 rows of y in process {}"),
        (lambda step, x, y, n: (x, (y, np.ones(len(y))), n), "8 rows of weights in process {}"),
    ],
    ids=["all rows", "few rows", "few targets", "own weights"],
)
def test_rows_that_are_not_those_of_the_part_are_an_error_in_all(change: Any, message: str) -> None:
    found = run(2, lambda each: stepped(each, change, 4))
    for rank, (errors, _) in enumerate(found):
        assert [e[:2] for e in errors] == ["4 "]
        assert errors[0].startswith(f"4 ShapeError Step: expected {message.format(rank)}, for a batch of N = 8, got")
    (errors, one), (others, two) = run(2, lambda each: stepped(each, only(0, change)(each), 4))
    assert errors[0].startswith("4 ShapeError")
    assert others == [f"4 {OTHER}"]
    same(one, two)


def other_n(step: Step, x: Any, y: Any, n: int) -> Any:
    return x, y, n + 1  # of 9 examples the first process has as many as of 8


def other_rate(step: Step, x: Any, y: Any, n: int) -> None:
    step.optimizer.lr = 0.25


def one_more(step: Step, x: Any, y: Any, n: int) -> None:
    step.optimizer.steps += 1


@pytest.mark.parametrize("capture", [None, False], ids=["captured", "eager"])
@pytest.mark.parametrize("change", [other_n, other_rate, one_more])
def test_another_n_rate_or_number_of_updates_in_one_process_is_an_error_in_all(change: Any, capture: Any) -> None:
    found = run(3, lambda each: stepped(each, only(0, change)(each), 5, capture=capture))
    for errors, state in found:
        what = "the processes differ in N, in the learning rate or in the number of updates"
        assert errors[0].startswith(f"5 ConfigError fit: {what}: N ")
        same(found[0][1], state)
    assert ["N 9" in errors[0] for errors, _ in found] == [change is other_n, False, False]
    assert ["0.25" in errors[0] for errors, _ in found] == [change is other_rate, False, False]


@pytest.mark.parametrize("capture", [None, False], ids=["captured", "eager"])
def test_a_parameter_that_one_process_freezes_is_an_error_in_all(capture: Any) -> None:
    def freeze(step: Step, x: Any, y: Any, n: int) -> None:
        next(iter(step.model.parameters())).requires_grad = False

    found = run(2, lambda each: stepped(each, only(1, freeze)(each), 5, capture=capture))
    for errors, state in found:
        assert errors[0].startswith("5 ConfigError fit: the processes differ in which parameters are trained: trained ")
        assert len(errors) == 4
        same(found[0][1], state)


def test_a_process_whose_recordings_cannot_be_found_is_an_error_in_all() -> None:
    def broken(step: Step, x: Any, y: Any, n: int) -> None:
        def holds() -> bool:
            del step.captured.guard.holds
            raise ConfigError("fit", "code that capture=True can record")

        step.captured.guard.holds = holds  # type: ignore[method-assign]

    (errors, one), (others, two) = run(2, lambda each: stepped(each, only(1, broken)(each), 5))
    assert [e.partition(":")[0] for e in others] == ["5 ConfigError fit"]
    assert errors == [f"5 {OTHER}"]
    same(one, two)
