"""Train four epochs = train two, stop, resume from the file, two more: bit for bit, wherever it stopped."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest

from tests.harness import raises
from tests.train.fitting import (
    InterruptAt,
    assert_same_state,
    digits,
    noisy_net,
    some_digits,
    trainer,
    without_seconds,
)
from xpnet import models, nn, optim
from xpnet.data import Augment
from xpnet.errors import CheckpointError
from xpnet.train import Callback, Checkpoint, SaveCheckpoint, Trainer, read_checkpoint, write_checkpoint

SHIFTED = Augment(shift=1)
CASES = {  # model, optimizer, rate, augmentation; 330 digits in batches of 32: the last is uneven
    "mlp": ("mlp", "momentum", 0.05, None),
    "dropout and batch norm": (noisy_net, "adam", 0.01, None),
    "augmentation": (noisy_net, "momentum", 0.05, SHIFTED),
    "augmentation of photos": ("softmax", "sgd", 0.05, "strong"),
    "a schedule": ("mlp", "nesterov", optim.warmup(optim.cosine(0.1, steps=40), steps=4), None),
    "no optimizer state": ("softmax", "sgd", 0.1, None),
}


def fresh(case: str, callbacks=()) -> Trainer:
    model, optimizer, lr, _ = CASES[case]
    return trainer(model if isinstance(model, str) else model(), "numpy", optimizer, lr, callbacks)


def go(fit: Trainer, case: str, epochs: int) -> Trainer:
    test = digits()[1].take(np.arange(50))
    fit.fit(some_digits(330), test, epochs=epochs, batch_size=32, augment=CASES[case][3])
    return fit


@pytest.mark.parametrize("case", CASES)
def test_two_epochs_and_two_after_a_resume_are_four(case, tmp_path):
    write_checkpoint(tmp_path / "half", go(fresh(case), case, 2).checkpoint())
    resumed = fresh(case)
    resumed.model.initialize(99)
    resumed.resume(read_checkpoint(tmp_path / "half"))
    go(resumed, case, 4)
    straight = go(fresh(case), case, 4)
    assert [r["epoch"] for r in resumed.history] == [1, 2, 3, 4]
    assert_same_state(resumed.checkpoint(), straight.checkpoint())


@pytest.mark.parametrize("step", [0, 6, 9])
@pytest.mark.parametrize("case", CASES)
def test_an_interrupt_in_the_middle_of_an_epoch_loses_nothing(case, step, tmp_path):
    stopped = fresh(case, [InterruptAt(1, step), SaveCheckpoint(tmp_path)])
    go(stopped, case, 3)
    assert stopped.interrupted
    assert (stopped.epoch, stopped.step) == (1, step + 1)
    resumed = fresh(case)
    resumed.resume(read_checkpoint(tmp_path / "checkpoint.safetensors"))
    assert_same_state(resumed.checkpoint(), stopped.checkpoint())
    go(resumed, case, 3)
    assert not resumed.interrupted
    assert_same_state(resumed.checkpoint(), go(fresh(case), case, 3).checkpoint())


def test_an_interrupt_twice_in_one_epoch_loses_nothing(tmp_path):
    case, file = "dropout and batch norm", tmp_path / "checkpoint.safetensors"
    go(fresh(case, [InterruptAt(0, 2), SaveCheckpoint(tmp_path)]), case, 2)
    again = fresh(case, [InterruptAt(0, 5), SaveCheckpoint(tmp_path)])
    again.resume(read_checkpoint(file))
    go(again, case, 2)
    last = fresh(case)
    last.resume(read_checkpoint(file))
    assert (last.epoch, last.step) == (0, 6)
    assert_same_state(go(last, case, 2).checkpoint(), go(fresh(case), case, 2).checkpoint())


def test_the_trainer_that_was_interrupted_goes_on_itself():
    case = "dropout and batch norm"
    stopped = fresh(case, [InterruptAt(1, 4)])
    go(stopped, case, 3)
    stopped.callbacks.clear()
    assert_same_state(go(stopped, case, 3).checkpoint(), go(fresh(case), case, 3).checkpoint())


def test_an_interrupt_at_the_last_step_of_an_epoch_stops_after_that_epoch(tmp_path):
    stopped = fresh("mlp", [InterruptAt(0, 10), SaveCheckpoint(tmp_path)])
    go(stopped, "mlp", 3)
    assert stopped.interrupted
    assert (stopped.epoch, stopped.step) == (1, 0)
    assert read_checkpoint(tmp_path / "checkpoint.safetensors").meta["progress"]["epoch"] == 1


def test_epochs_of_one_step_can_be_interrupted():
    stopped = fresh("mlp", [InterruptAt(1, 0)])
    stopped.fit(some_digits(64), epochs=5, batch_size=64)
    assert stopped.interrupted
    assert stopped.epoch == 2


def test_an_interrupt_at_the_very_end_is_no_interrupt():
    done = fresh("mlp", [InterruptAt(2, 10)])
    go(done, "mlp", 3)
    assert not done.interrupted
    assert len(done.history) == 3


def test_a_second_interrupt_stops_at_once_and_ctrl_c_is_as_before():
    class Twice(Callback):
        def on_step(self, trainer):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    fit = fresh("mlp", [Twice()])
    with pytest.raises(KeyboardInterrupt):
        go(fit, "mlp", 1)
    assert signal.getsignal(signal.SIGINT) is before


def test_training_outside_of_the_main_thread_leaves_ctrl_c_alone():
    seen = []

    class Look(Callback):
        def on_step(self, trainer):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=lambda: go(fresh("mlp", [Look()]), "mlp", 1))
    thread.start()
    thread.join()
    assert set(seen) == {signal.getsignal(signal.SIGINT)}


def test_a_checkpoint_that_a_callback_makes_in_mid_epoch_goes_on_bit_for_bit():
    taken = []

    class Take(Callback):
        def on_step(self, trainer):
            if (trainer.epoch, trainer.step) == (1, 4):
                taken.append(trainer.checkpoint())

    case = "dropout and batch norm"
    straight = go(fresh(case, [Take()]), case, 2)
    resumed = fresh(case)
    resumed.resume(taken[0])
    assert_same_state(go(resumed, case, 2).checkpoint(), straight.checkpoint())


def test_a_resumed_run_keeps_the_seed_it_was_begun_with():
    first = fresh("mlp")
    first.seed = 77
    go(first, "mlp", 1)
    second = fresh("mlp")
    second.resume(first.checkpoint())
    assert second.seed == 77
    assert second.normalize == first.normalize


def test_a_checkpoint_of_another_model_is_refused_and_changes_nothing():
    wide = trainer(models.mlp((8, 8, 1), 10, hidden=(32,)))
    before = wide.model.state_dict()
    with raises(CheckpointError, "load_state_dict", "hidden1.weight", (32, 64), (128, 64)):
        wide.resume(fresh("mlp").checkpoint())
    assert without_seconds(wide.history) == []
    for path, values in wide.model.state_dict().items():
        assert np.array_equal(values, before[path])
    with raises(CheckpointError, "load_state_dict", "conv.bias", "hidden1.bias"):
        trainer(noisy_net()).resume(fresh("mlp").checkpoint())


def test_a_checkpoint_of_another_optimizer_is_refused():
    with raises(CheckpointError, "Adam.load_state_dict", "SGD"):
        trainer("mlp", optimizer="adam").resume(fresh("mlp").checkpoint())


@pytest.mark.parametrize("missing", ["progress", "history", "normalize"])
def test_a_checkpoint_without_training_is_refused(missing):
    fit = go(fresh("mlp"), "mlp", 1)
    checkpoint = fit.checkpoint()
    del checkpoint.meta[missing]
    with raises(CheckpointError, "resume", missing):
        fresh("mlp").resume(checkpoint)


def test_a_checkpoint_of_a_model_alone_restores_the_model():
    model = nn.Sequential(scores=nn.Linear(4, 2)).initialize(1)
    other = nn.Sequential(scores=nn.Linear(4, 2)).initialize(2)
    Checkpoint.of(model).restore(other)
    assert np.array_equal(other.state_dict()["scores.weight"], model.state_dict()["scores.weight"])
    with raises(CheckpointError, "SGD.load_state_dict", "None"):
        Checkpoint({**model.state_dict()}).restore(other, optim.SGD(other.parameters()))
