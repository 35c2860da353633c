"""What changes between planned steps: plans are dropped, or follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.train.fitting import noisy_net
from tests.train.planning import (
    Counts,
    Runner,
    assert_alike,
    batch,
    everything,
    go,
    mlp,
    pair,
)
from xpnet import nn, optim

# What changes between steps.


def replace(r: Runner) -> None:
    r.model.hidden.weight.data = np.flip(r.model.hidden.weight.data, 0).copy()


def load(r: Runner) -> None:
    r.model.load_state_dict({name: a * 0.5 for name, a in r.model.state_dict().items()})


def freeze(r: Runner) -> None:
    r.model.hidden.bias.requires_grad = False


def infer(r: Runner) -> None:
    r.model.eval()


def infer_in_part(r: Runner) -> None:
    r.model.norm.eval()


def turn(r: Runner) -> None:
    r.model.lrn.alpha = 0.9


def other_loss(r: Runner) -> None:
    r.step.loss = nn.hinge_loss


def other_layer(r: Runner) -> None:
    r.model.act = nn.Tanh().train()


def another_layer(r: Runner) -> None:
    r.model.more = nn.Tanh()


def look(r: Runner) -> None:
    r.step.look = lambda gradients: r.seen.append(len(gradients))


def decay(r: Runner) -> None:
    r.optimizer.weight_decay = 0.2


def momentum(r: Runner) -> None:
    r.optimizer.momentum = 0.1


def clip(r: Runner) -> None:
    r.optimizer.clip_norm = 0.01


DROPPING = {
    **{f.__name__: (f, mlp) for f in (replace, load, freeze, other_loss, other_layer, another_layer)},
    **{f.__name__: (f, mlp) for f in (decay, momentum, clip)},
    **{f.__name__: (f, everything) for f in (infer, infer_in_part, turn)},
}


@pytest.mark.parametrize("name", DROPPING)
def test_a_change_drops_the_plan_and_the_next_one_is_of_what_is_there_then(name: str, counts: Counts) -> None:
    change, make = DROPPING[name]
    runners = pair(make)
    go(runners, range(5), moments=True)
    for runner in runners:
        change(runner)
    go(runners, range(5, 11), moments=True)
    assert counts.all == (2, 2, 2 + 3)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_parameter_frozen_and_thawed_between_steps_is_followed(times: int) -> None:
    runners = pair()
    for i in range(4):
        go(runners, range(i * times, (i + 1) * times))
        for runner in runners:
            runner.model.hidden.weight.requires_grad ^= True
    go(runners, range(20, 28))


def rate(r: Runner) -> None:
    r.optimizer.lr = 0.3


def schedule(r: Runner) -> None:
    r.optimizer.lr = optim.cosine(0.5, steps=40)


def write(r: Runner) -> None:
    r.model.hidden.weight.data[...] *= 0.5


def predict(r: Runner) -> None:
    r.seen.append(r.model.predict(batch(0)[0]))


def nothing_but_another_model(r: Runner) -> None:
    mlp().hidden = nn.Linear(64, 12)


@pytest.mark.parametrize(
    "change", [rate, schedule, write, predict, nothing_but_another_model], ids=lambda change: change.__name__
)
def test_a_change_of_numbers_alone_is_followed_by_the_plan_there_is(change: Any, counts: Counts) -> None:
    runners = pair(noisy_net if change is predict else mlp)
    go(runners, range(5), moments=True)
    for runner in runners:
        change(runner)
    go(runners, range(5, 9), moments=True)
    assert counts.all == (1, 1, 6)
    if change is predict:
        np.testing.assert_array_equal(runners[0].seen, runners[1].seen)


def test_a_state_of_the_optimizer_that_is_loaded_is_followed() -> None:
    runners = pair(optimizer="adam")
    go(runners, range(3))
    saved = [runner.optimizer.state_dict() for runner in runners]
    go(runners, range(3, 6))
    for runner, state in zip(runners, saved, strict=True):
        runner.optimizer.load_state_dict(*state)
    go(runners, range(6, 9))


def test_an_update_of_some_parameters_by_hand_is_followed() -> None:
    runners = pair(optimizer="adam", rule={"lr": 0.1})
    go(runners, range(5))
    for runner in runners:
        weight = runner.model.hidden.weight
        for _ in range(3):
            runner.optimizer.step({weight: np.ones_like(weight.data)})
    go(runners, range(5, 8))


def test_predictions_after_replayed_steps_are_of_the_newest_parameters() -> None:
    runners = pair(noisy_net)
    for i in range(5):
        go(runners, range(i, i + 1), moments=True)
        got, want = (runner.model.eval().predict(batch(0)[0]) for runner in runners)
        np.testing.assert_array_equal(got, want)
        for runner in runners:
            runner.model.train()


def test_while_somebody_looks_or_watches_steps_are_eager_and_planned_again_after_it(counts: Counts) -> None:
    runners = pair()
    go(runners, range(4))
    for runner in runners:
        look(runner)
    go(runners, range(4, 7))
    assert runners[0].seen == [4, 4, 4]
    for runner in runners:
        runner.step.look = None
    with nn.watch() as seen:
        go(runners[:1] * 2, range(0))
        runners[0].losses.append(runners[0].step(*batch(7)))
    with nn.watch():
        runners[1].losses.append(runners[1].step(*batch(7)))
    assert "hidden" in seen
    assert counts.all == (1, 1, 1)
    go(runners, range(8, 10))
    assert counts.replayed == 3


def test_a_model_in_double_precision_is_planned_anew(counts: Counts) -> None:
    runners = pair(optimizer="adam")
    go(runners, range(5))
    for runner in runners:
        runner.model.to(dtype="float64")
    for i in range(6):
        for runner in runners:
            x, y = batch(i)
            runner.losses.append(runner.step(x.astype(np.float64), y))
    assert_alike(runners)
    assert counts.all == (2, 2, 2 + 3)


def test_a_model_that_is_moved_to_another_library_goes_on_eagerly(counts: Counts) -> None:
    torch = pytest.importorskip("torch")
    runners = pair()
    go(runners, range(5))
    for runner in runners:
        runner.model.to("torch")
    for i in range(5, 10):
        for runner in runners:
            x, y = batch(i)
            runner.losses.append(float(runner.step(torch.from_numpy(x), torch.from_numpy(y))))
    assert_alike(runners)
    assert counts.replayed == 2
