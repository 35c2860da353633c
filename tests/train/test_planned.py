"""Planned steps: noted once and done again, to the bit as op by op, by themselves and by the Trainer."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.train.fitting import InterruptAt, assert_same_state, noisy_net, some_digits, trainer
from tests.train.planning import (
    CLASSES,
    IMAGE,
    MODELS,
    RULES,
    Counts,
    Runner,
    assert_alike,
    batch,
    everything,
    fitted,
    go,
    pair,
    the_rest,
)
from xpnet import kernels, models, nn, random
from xpnet.backend import use_cores
from xpnet.data import Augment
from xpnet.train import Callback, Trainer, sharded
from xpnet.train.planned import PlannedStep
from xpnet.train.sharded import ShardedStep

# The same to the bit.


@pytest.mark.parametrize("name", MODELS)
def test_steps_are_the_eager_ones_bit_for_bit_for_every_model(name: str, counts: Counts) -> None:
    go(pair(MODELS[name]), range(9), moments=True)
    assert counts.all == (1, 1, 6)


@pytest.mark.parametrize("off", [("numba",), ()], ids=["by NumPy's kernels", "by no kernels"])
@pytest.mark.parametrize("name", MODELS)
def test_so_they_are_with_fewer_kernels(name: str, off: tuple[str, ...], counts: Counts) -> None:
    with kernels.disable(*off):
        go(pair(MODELS[name]), range(7), moments=True)
    assert counts.all == (1, 1, 4)


@pytest.mark.parametrize("off", [None, ("numba",)], ids=["by loops", "by rule"])
@pytest.mark.parametrize("name", RULES)
def test_steps_are_the_eager_ones_bit_for_bit_for_every_optimizer(
    name: str, off: tuple[str, ...] | None, counts: Counts
) -> None:
    optimizer, rule = RULES[name]
    with kernels.disable(*off) if off else kernels.disable("cuda"):
        go(pair(optimizer=optimizer, rule=rule), range(10))
    assert counts.all == (1, 1, 7)


@pytest.mark.parametrize("name", ["softmax", "everything"])
def test_batches_of_two_sizes_in_turn_have_a_plan_each(name: str, counts: Counts) -> None:
    go(pair(MODELS[name], optimizer="adam"), range(12), sizes=(5, 1), moments=True)
    assert counts.all == (2, 2, 6)


def test_images_of_two_sizes_in_batches_of_one_size_have_a_plan_each(counts: Counts) -> None:
    runners = pair(the_rest)
    for i in range(10):
        for runner in runners:
            x, y = batch(i)
            runner.losses.append(runner.step(x[:, i % 2 :, : 8 - i % 2], y))
        assert_alike(runners)
    assert counts.all == (2, 2, 4)


@pytest.mark.parametrize("cores", [1, 3])
def test_steps_that_cores_share_are_planned_too(cores: int, monkeypatch: pytest.MonkeyPatch, counts: Counts) -> None:
    monkeypatch.setattr("xpnet.kernels.numpy.conv._APART", 1)
    with use_cores(cores):
        go(pair(everything), range(6), sizes=(7,), moments=True)
    assert counts.all == (1, 1, 3)


@pytest.mark.parametrize("large", [False, True], ids=["all of it", "a body"])
def test_steps_in_parts_are_those_that_are_not_planned(
    large: bool, monkeypatch: pytest.MonkeyPatch, counts: Counts
) -> None:
    if large:
        monkeypatch.setattr(sharded, "LARGE", 1)
    runners = [Runner(ShardedStep, models.build("lenet5", IMAGE, CLASSES), threads=2, plan=p) for p in (None, False)]
    go(runners, range(7), sizes=(5, 1), moments=True)
    assert counts.all == (2, 2, 1)


def test_labels_of_another_kind_are_planned_apart(counts: Counts) -> None:
    runners = pair()
    for i in range(10):
        for runner in runners:
            x, y = batch(i)
            runner.losses.append(runner.step(x, y.astype(np.int32) if i % 2 else y))
        assert_alike(runners)
    assert counts.all == (2, 2, 4)


LOSSES = [
    partial(nn.softmax_cross_entropy, label_smoothing=0.1),
    partial(nn.softmax_cross_entropy, class_weights=np.linspace(1, 2, CLASSES, dtype=np.float32)),
    nn.hinge_loss,
    nn.perceptron_loss,
]


@pytest.mark.parametrize("loss", LOSSES, ids=["smoothed", "weighted", "hinge", "perceptron"])
def test_losses_made_of_xpnets_own_are_planned(loss: Any, counts: Counts) -> None:
    go(pair(loss=loss, plan=True), range(6))
    assert counts.replayed == 3


def test_a_parameter_that_is_not_trained_stays(counts: Counts) -> None:
    runners = pair()
    for runner in runners:
        runner.model.hidden.weight.requires_grad = False
    go(runners, range(7))
    assert counts.replayed == 4


def test_two_threads_that_train_at_once_do_not_see_each_other() -> None:
    ran = [pair(everything, rule={"lr": lr}) for lr in (0.01, 0.02)]
    meet = threading.Barrier(2, timeout=60)

    def train(runner: Runner) -> None:
        for i in range(8):
            meet.wait()
            with random.use(random.StepContext(7, 0, i)):
                runner.losses.append(runner.step(*batch(i)))

    threads = [threading.Thread(target=train, args=(runners[0],)) for runners in ran]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, theirs in ran:
        for i in range(8):
            with random.use(random.StepContext(7, 0, i)):
                theirs.losses.append(theirs.step(*batch(i)))
        assert_alike([ours, theirs])


# By the Trainer.


@pytest.mark.parametrize("model", ["softmax", noisy_net, everything], ids=["softmax", "noisy", "everything"])
def test_a_fit_is_the_eager_one_bit_for_bit_with_an_uneven_batch_and_figures_between(
    model: Any, counts: Counts
) -> None:
    eager = fitted(False, model)
    assert counts.all == (0, 0, 0)
    assert_same_state(fitted(None, model).checkpoint(), eager.checkpoint())
    assert counts.all == (2, 2, 12 - 3)  # of four whole batches an epoch; the small ones were three
    assert_same_state(fitted(True, model).checkpoint(), eager.checkpoint())


def test_a_fit_with_augmentation_is_too(counts: Counts) -> None:
    shifted = Augment(shift=1, flip=True)
    assert_same_state(
        fitted(None, noisy_net, augment=shifted).checkpoint(), fitted(False, noisy_net, augment=shifted).checkpoint()
    )
    assert counts.replayed == 9


@pytest.mark.parametrize("at", [(0, 1), (1, 2)], ids=str)
def test_a_planned_run_resumed_within_an_epoch_is_the_run_that_was_not_interrupted(at: tuple[int, int]) -> None:
    def run(*callbacks: Callback, capture: bool | None = None, fit: Trainer | None = None) -> Trainer:
        fit = fit or trainer(noisy_net(), optimizer="adam", callbacks=callbacks, capture=capture)
        fit.fit(some_digits(70), epochs=3, batch_size=16)
        return fit

    stopped = run(InterruptAt(*at))
    assert stopped.interrupted
    resumed = trainer(noisy_net(), optimizer="adam")
    resumed.resume(stopped.checkpoint())
    assert_same_state(run(fit=resumed).checkpoint(), run(capture=False).checkpoint())


class Halve(Callback):
    """Halves the rate at each step, and freezes a layer after the first epoch."""

    def on_step(self, trainer: Trainer) -> None:
        trainer.optimizer.lr = trainer.optimizer.current_lr * 0.9

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        trainer.model.scores.bias.requires_grad = trainer.epoch != 1  # type: ignore[attr-defined]


def test_what_callbacks_change_counts_from_the_next_step(counts: Counts) -> None:
    assert_same_state(fitted(None, noisy_net, [Halve()]).checkpoint(), fitted(False, noisy_net, [Halve()]).checkpoint())
    assert counts.replayed


def test_a_callback_that_looks_at_gradients_sees_those_of_each_step(counts: Counts) -> None:
    class Look(Callback):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_gradients(self, trainer: Trainer, gradients: Any) -> None:
            self.seen.append(sum(float(np.abs(g).sum()) for g in gradients.values()))

    ours, theirs = Look(), Look()
    fitted(None, "softmax", [ours])
    fitted(False, "softmax", [theirs])
    assert ours.seen == theirs.seen
    assert len(ours.seen) == 15
    assert counts.all == (0, 0, 0)


# Memory.


def test_a_plan_that_is_dropped_lets_its_arrays_go() -> None:
    runner = Runner(PlannedStep, everything())
    for i in range(5):
        with random.use(random.StepContext(1, 0, i)):
            runner.step(*batch(i))
    (plan,) = runner.step._plans.values()  # type: ignore[attr-defined]
    held = [weakref.ref(a) for a in (plan.x, plan.y, *plan.program._kept.values())]
    assert len(held) > 20
    del plan
    runner.model.lrn.alpha = 0.9
    with random.use(random.StepContext(1, 0, 5)):
        runner.step(*batch(5))
    assert [ref() for ref in held if ref() is not None] == []


def test_replayed_steps_take_no_more_memory() -> None:
    pytest.importorskip("numba", reason="without its loops the optimizer's rule makes arrays for a moment")
    runner = Runner(PlannedStep, models.build("lenet5", IMAGE, CLASSES))
    for _ in range(5):
        runner.step(*batch(0))
    given = batch(0)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(3):
            runner.step(*given)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            runner.step(*given)
        assert tracemalloc.get_traced_memory()[0] - before < 2000
    finally:
        tracemalloc.stop()
