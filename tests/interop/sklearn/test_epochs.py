"""How long an estimator trains by default, and where it stops."""

from types import SimpleNamespace

import pytest

from xpnet.interop.sklearn.epochs import Plateau, default_batch, default_decay, default_epochs, plan
from xpnet.sklearn import NetClassifier


@pytest.mark.parametrize(("steps", "epochs"), [(1, 200), (4, 200), (8, 100), (22, 37), (400, 15)])
def test_few_steps_are_repeated_more_often(steps, epochs):
    assert default_epochs(steps) == epochs


def test_batches_and_decay_follow_the_number_of_examples():
    assert [default_batch(n) for n in (5, 1000, 20_000)] == [5, 64, 128]
    assert [default_decay("adamw", n) for n in (10, 400, 800, 60_000)] == [1, 1, 0.5, 0.1]
    assert default_decay("momentum", 10) == 0


def test_a_plan_counts_the_steps_of_what_is_not_held_out():
    found = plan(NetClassifier(batch_size=10, max_epochs=7, early_stopping=True, validation_fraction=0.25), 100, False)
    assert (found.steps, found.epochs, found.validation, found.cosine) == (8, 7, 0.25, True)
    step = plan(NetClassifier(batch_size=10, max_epochs=7, early_stopping=True), 100, True)
    assert (step.steps, step.epochs, step.validation, step.cosine, step.patience) == (10, 1, None, False, None)


@pytest.mark.parametrize(
    ("losses", "patience", "epochs"),
    [([5, 4, 3, 2, 1], 2, 5), ([5, 4, 4, 4, 1], 2, 4), ([5, 4.9, 4.8, 1], 2, 3), ([3, 4, 2, 3, 3, 1], 2, 5)],
)
def test_training_stops_after_so_many_epochs_without_a_change_that_counts(losses, patience, epochs):
    stopped = []
    plateau = Plateau("train_loss", patience, 0.5, restore=False)
    trainer = SimpleNamespace(stop=lambda: stopped.append(True))
    done = 0
    while done < len(losses) and not stopped:
        plateau.on_epoch(trainer, {"train_loss": losses[done]})
        done += 1
    assert done == epochs
