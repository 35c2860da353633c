"""What is not planned, and errors of planned steps: as eager steps have them, and nothing is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.harness import raises
from tests.train.fitting import assert_same_state, noisy_net
from tests.train.planning import (
    CLASSES,
    Counts,
    Runner,
    assert_alike,
    batch,
    built,
    everything,
    fitted,
    go,
    mlp,
    pair,
)
from xpnet import nn, random
from xpnet.autograd import Tensor
from xpnet.errors import ConfigError, DataError, ShapeError
from xpnet.optim import SGD
from xpnet.train import EagerStep
from xpnet.train.planned import PlannedStep

# What is not planned.


class Own(nn.Module):
    """Computes by ops, and counts how often."""

    times = 0

    def forward(self, x: Tensor) -> Tensor:
        Own.times += 1
        return x * 0.5


class Raw(nn.Module):
    """Computes beside the ops, on the numbers themselves."""

    def forward(self, x: Tensor) -> Tensor:
        return x * np.float32(abs(x.data).mean())


class Widening(nn.Module):
    """Keeps a number that changes at each call."""

    def __init__(self) -> None:
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


def with_layer(layer: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        flatten=nn.Flatten(), hidden=nn.Linear(64, 12), own=layer(), scores=nn.Linear(12, CLASSES)
    )


def own_loss(scores: Tensor, labels: Any) -> Tensor:
    return nn.softmax_cross_entropy(scores, labels) + 0.1 * (scores * scores).mean()


def own_optimizer(parameters: Any, lr: float = 0.1) -> SGD:
    class Own(SGD):
        def update(self, gradients: Any, lr: Any, t: Any) -> None:
            if self.steps > 4:
                gradients = {p: 2 * g for p, g in gradients.items()}
            super().update(gradients, lr, t)

    return Own(parameters, lr)


def own_rule(parameters: Any, lr: float = 0.1) -> SGD:
    class Own(SGD):
        def rule(self, p: Any, g: Any, state: Any, lr: Any, t: int) -> Any:
            return p - lr * g * (2 if self.steps > 4 else 1), state

    return Own(parameters, lr)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"make": with_layer(Own)}, "Own is a module of your own"),
        ({"loss": own_loss}, "the loss is a function of your own"),
        ({"loss": partial(own_loss)}, "the loss is a function of your own"),
    ],
    ids=["module", "loss", "partial of a loss"],
)
def test_what_is_ones_own_is_not_planned_and_the_log_says_so_once(
    how: Any, why: str, counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "xpnet"):
        go(pair(**how), range(6))
    assert counts.all == (0, 0, 0)
    assert caplog.messages == [f"steps are not planned: {why}"]


@pytest.mark.parametrize("how", [{"make": with_layer(Own)}, {"loss": own_loss}], ids=["module", "loss"])
def test_what_is_ones_own_is_planned_where_it_is_asked_for(how: Any, counts: Counts) -> None:
    go(pair(plan=True, **how), range(8))
    assert counts.all == (1, 1, 5)


def test_python_code_of_a_planned_module_runs_no_more() -> None:
    runner = Runner(PlannedStep, with_layer(Own)(), plan=True)
    go([runner] * 2, range(3))
    before = Own.times
    runner.step(*batch(5))
    assert Own.times == before


@pytest.mark.parametrize("make", [own_optimizer, own_rule], ids=["update", "rule"])
def test_an_optimizer_of_ones_own_is_followed(make: Any) -> None:
    go(pair(optimizer=make), range(9))


def test_with_plan_false_no_step_is_planned(counts: Counts) -> None:
    go(pair(plan=False), range(5))
    assert counts.all == (0, 0, 0)


def test_dropout_outside_of_a_trainer_counts_its_calls_and_is_not_planned(counts: Counts) -> None:
    go(pair(noisy_net), range(8))
    assert counts.proven == 0


def test_dropout_outside_of_a_trainer_is_the_error_where_a_plan_is_asked_for() -> None:
    runner = Runner(PlannedStep, noisy_net(), plan=True)
    with raises(ConfigError, "fit", "capture=True needs a step that can be planned", "from step to step"):
        for i in range(9):
            runner.step(*batch(i))


def test_a_setting_that_changes_at_every_step_ends_planning(counts: Counts, caplog: pytest.LogCaptureFixture) -> None:
    runners = pair()
    with caplog.at_level(logging.INFO, "xpnet"):
        for i in range(12):
            for runner in runners:
                runner.optimizer.weight_decay = 0.01 * i
            go(runners, range(i, i + 1))
    assert counts.all == (0, 0, 0)
    assert caplog.messages == ["steps are not planned: something changes from step to step"]


def test_a_large_step_is_not_planned_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, counts: Counts) -> None:
    monkeypatch.setattr("xpnet.train.planned.WORK", 5 * (64 * 12 + 12 * CLASSES))
    go(pair(), range(6))
    assert counts.all == (0, 0, 0)
    go(pair(), range(6), sizes=(4,))
    go(pair(plan=True), range(6))
    assert counts.all == (2, 2, 6)


REFUSED: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], int, str]] = {
    "numbers beside the ops": (with_layer(Raw), {}, 3, "done again, a step came to other numbers than op by op"),
    "a module that counts": (with_layer(Widening), {}, 2, "own.calls changes from step to step"),
    "float16": (mlp, {"precision": "fp16"}, 0, "it computes in fp16"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_where_a_plan_is_asked_for_and_cannot_be_it_is_one_error_and_the_model_is_as_eager_steps_have_it(
    name: str,
) -> None:
    make, options, steps, why = REFUSED[name]
    runners = pair(make, plan=True, **options)
    go(runners, range(max(0, steps - 1)))
    with raises(ConfigError, "fit", "capture=True needs a step that can be planned", "use capture=None", f"why {why}"):
        runners[0].step(*batch(max(0, steps - 1)))
    if steps:
        runners[1].step(*batch(steps - 1))
    assert_alike(runners)


@pytest.mark.parametrize("layer", [Raw, Widening])
def test_the_trainer_trains_such_a_module_eagerly_and_with_capture_it_is_the_error(layer: Any) -> None:
    def net() -> nn.Module:
        return with_layer(layer)()

    assert_same_state(fitted(None, net).checkpoint(), fitted(False, net).checkpoint())
    with raises(ConfigError, "fit", "capture=True"):
        fitted(True, net)


class Scaled:
    """A loss with something to learn of its own."""

    def __init__(self) -> None:
        self.scale = nn.Parameter((), nn.ones)
        self.scale.path = "scale"

    def __call__(self, scores: Tensor, labels: Any) -> Tensor:
        return nn.softmax_cross_entropy(scores * self.scale, labels)


def test_a_loss_that_learns_is_followed_where_a_plan_is_asked_for(counts: Counts) -> None:
    losses, runners = [Scaled(), Scaled()], []
    for kind, loss, how in zip((PlannedStep, EagerStep), losses, ({"plan": True}, {}), strict=True):
        make = partial(lambda scale, ps: SGD([*ps, scale], 0.1, momentum=0.9), loss.scale)
        runners.append(Runner(kind, mlp(), loss=loss, optimizer=make, **how))
    for i in range(7):
        go(runners, range(i, i + 1))
        assert float(losses[0].scale.data) == float(losses[1].scale.data)
    assert counts.replayed == 4


# Errors, and what is given and taken.


@pytest.mark.parametrize("make", [mlp, everything], ids=["mlp", "everything"])
@pytest.mark.parametrize("at", [1, 2, 3, 6])
def test_a_label_that_is_no_class_is_the_eager_error_and_nothing_is_updated(at: int, make: Any) -> None:
    runners = pair(make)
    go(runners, range(at), moments=True)
    said, before = [], [runner.state() for runner in runners]
    for runner in runners:
        x, y = batch(50)
        y[2] = 77
        with random.use(random.StepContext(7, 5, 5)), pytest.raises(DataError) as caught:
            runner.step(x, y)
        said.append(str(caught.value))
    assert said[0] == said[1]
    trained = {p.path for p in runners[0].model.parameters()}
    after = runners[0].state()
    assert all(np.array_equal(after[path], before[0][path]) for path in trained)
    assert_alike(runners)
    go(runners, range(at, at + 5), moments=True)


@pytest.mark.parametrize("at", [1, 2])
def test_a_plan_that_an_error_interrupted_is_made_at_another_step(at: int, counts: Counts) -> None:
    runners = pair(plan=True)
    go(runners, range(at))
    for runner in runners:
        with pytest.raises(DataError):
            runner.step(batch(0)[0], batch(0)[1] + CLASSES)
    go(runners, range(at, at + 7))
    assert counts.replayed >= 4


def test_an_error_of_a_layer_bears_its_name_and_the_next_steps_go_on() -> None:
    runners = pair()
    for i in range(6):
        for runner in runners:
            with pytest.raises(ShapeError, match=r"^hidden \(linear\): "):
                runner.step(np.ones((5, 7, 7, 1), np.float32), np.zeros(5, np.int64))
        go(runners, range(i, i + 1))


def test_too_few_scores_are_the_same_error() -> None:
    runner = Runner(PlannedStep, mlp(), classes=12)
    for _ in range(5):
        with raises(ShapeError, "fit", "K 12"):
            runner.step(*batch(0))


@pytest.mark.parametrize("lay", ["strided", "reversed", "read-only"])
def test_a_batch_may_lie_as_it_likes_and_is_not_written(lay: str, counts: Counts) -> None:
    def laid(x: np.ndarray) -> np.ndarray:
        if lay == "strided":
            return np.repeat(x, 2, axis=1)[:, ::2]
        return x[::-1].copy()[::-1]

    runners = pair(built("lenet5"))
    for i in range(6):
        for runner in runners:
            x, y = batch(i)
            given = laid(x), laid(y[:, None])[:, 0]
            for a in given if lay == "read-only" else ():
                a.flags.writeable = False
            runner.losses.append(runner.step(*given))
            assert np.array_equal(given[0], x)
        assert_alike(runners)
    assert counts.replayed == 3


def test_what_becomes_of_a_batch_after_its_step_does_not_matter(counts: Counts) -> None:
    runners, room = pair(), batch(0)
    for i in range(7):
        for place, values in zip(room, batch(i), strict=True):
            place[...] = values
        runners[0].losses.append(runners[0].step(*room))
        room[0].fill(np.nan)
        room[1].fill(-5)
        runners[1].losses.append(runners[1].step(*batch(i)))
        assert_alike(runners)
    assert counts.replayed == 4


def test_a_loss_that_was_returned_is_not_written_by_the_next_step() -> None:
    runner = Runner(PlannedStep, mlp())
    kept = []
    for i in range(8):
        loss = runner.step(*batch(i))
        assert loss.shape == ()
        kept.append((loss, float(loss)))
    assert all(float(loss) == value for loss, value in kept)
    assert len({value for _, value in kept}) == 8
