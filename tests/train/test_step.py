"""Training steps: captured ones are the eager ones bit for bit; what changes between them; what is not captured."""

from __future__ import annotations

import gc
import logging
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.harness import raises
from tests.train.fitting import InterruptAt, assert_same_state, noisy_net, some_digits, trainer
from tests.train.stepping import (
    CLASSES,
    IMAGE,
    MODELS,
    RULES,
    Counts,
    Training,
    assert_alike,
    batch,
    built,
    everything,
    fitted,
    go,
    mlp,
    pair,
    the_rest,
)
from xpnet import kernels, models, nn, optim, random
from xpnet.autograd import Tensor, apply, no_grad
from xpnet.backend import use_cores
from xpnet.data import Augment
from xpnet.errors import ConfigError, ShapeError
from xpnet.optim import SGD
from xpnet.train import Callback, Trainer, sharding

# Bit for bit.


@pytest.mark.parametrize("off", [None, ("numba",), ()], ids=["all kernels", "NumPy's kernels", "no kernels"])
@pytest.mark.parametrize("name", MODELS)
def test_captured_steps_are_the_eager_ones_bit_for_bit_for_every_model(
    name: str, off: tuple[str, ...] | None, counts: Counts
) -> None:
    with kernels.disable("cuda") if off is None else kernels.disable(*off):
        go(pair(MODELS[name]), range(7), in_context=True)
    assert counts.all == (1, 1, 4)


@pytest.mark.parametrize("off", [None, ("numba",)], ids=["by loops", "by rule"])
@pytest.mark.parametrize("name", RULES)
def test_captured_steps_are_the_eager_ones_bit_for_bit_for_every_optimizer(
    name: str, off: tuple[str, ...] | None, counts: Counts
) -> None:
    optimizer, rule = RULES[name]
    with kernels.disable(*off) if off else kernels.disable("cuda"):
        go(pair(optimizer=optimizer, rule=rule), range(8))
    assert counts.all == (1, 1, 5)


def test_groups_of_parameters_have_their_rates_in_captured_steps(counts: Counts) -> None:
    def grouped(parameters: Any) -> SGD:
        groups = [{"params": parameters[:2], "lr": 0.3}, {"params": parameters[2:], "lr": optim.cosine(0.2, steps=9)}]
        return SGD(groups, 0.1, momentum=0.9)

    trainings = pair(optimizer=grouped)
    go(trainings, range(6))
    for training in trainings:
        training.optimizer.groups[0].lr = 0.01
    go(trainings, range(6, 9))
    assert counts.all == (1, 1, 6)


@pytest.mark.parametrize("name", ["softmax", "everything"])
def test_batches_of_two_sizes_in_turn_have_a_recording_each(name: str, counts: Counts) -> None:
    go(pair(MODELS[name], optimizer="adam"), range(12), sizes=(5, 1), in_context=True)
    assert counts.all == (2, 2, 6)


def test_images_of_two_sizes_and_labels_of_two_dtypes_have_recordings_of_their_own(counts: Counts) -> None:
    trainings = pair(the_rest)
    for i in range(16):
        for training in trainings:
            x, y = batch(i)
            small = x[:, i % 2 :, : 8 - i % 2], y.astype(np.int32) if i & 2 else y
            training.losses.append(training.step(*small))
        assert_alike(trainings)
    assert counts.all == (4, 4, 4)


@pytest.mark.parametrize("cores", [1, 3])
def test_steps_whose_kernels_share_work_among_cores_are_captured(
    cores: int, monkeypatch: pytest.MonkeyPatch, counts: Counts
) -> None:
    monkeypatch.setattr("xpnet.kernels.numpy.conv._APART", 1)
    with use_cores(cores):
        go(pair(everything), range(6), sizes=(7,), in_context=True)
    assert counts.all == (1, 1, 3)


@pytest.mark.parametrize("large", [False, True], ids=["all of it", "a body"])
def test_sharded_steps_are_captured(large: bool, monkeypatch: pytest.MonkeyPatch, counts: Counts) -> None:
    if large:
        monkeypatch.setattr(sharding, "LARGE", 1)
    go(pair(built("lenet5"), threads=2), range(7), sizes=(5, 1), in_context=True)
    assert counts.all == (2, 2, 1)


def test_sharded_steps_outside_of_a_trainer_draw_anew_at_each_step(counts: Counts) -> None:
    def rarely_dropping() -> nn.Sequential:
        return nn.Sequential(flatten=nn.Flatten(), drop=nn.Dropout(0.003), scores=nn.Linear(64, CLASSES))

    go(pair(rarely_dropping, threads=2), range(30))
    assert counts.all == (1, 1, 27)


LOSSES = [
    partial(nn.softmax_cross_entropy, label_smoothing=0.1),
    partial(nn.softmax_cross_entropy, class_weights=np.linspace(1, 2, CLASSES, dtype=np.float32)),
    nn.hinge_loss,
    nn.perceptron_loss,
]


@pytest.mark.parametrize("loss", LOSSES, ids=["smoothed", "weighted", "hinge", "perceptron"])
def test_every_loss_of_xpnet_is_captured(loss: Any, counts: Counts) -> None:
    go(pair(loss=loss, capture=True), range(6))
    assert counts.replayed == 3


def test_two_threads_that_train_at_once_do_not_disturb_each_other() -> None:
    ran = [pair(everything, rule={"lr": lr}) for lr in (0.01, 0.02)]
    meet = threading.Barrier(2, timeout=60)

    def train(training: Training) -> None:
        for i in range(8):
            meet.wait()
            with random.use(random.StepContext(7, 0, i)):
                training.losses.append(training.step(*batch(i)))

    threads = [threading.Thread(target=train, args=(trainings[0],)) for trainings in ran]
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
def test_a_captured_fit_is_the_eager_one_bit_for_bit(model: Any, counts: Counts) -> None:
    eager = fitted(False, model)
    assert counts.all == (0, 0, 0)
    assert_same_state(fitted(None, model).checkpoint(), eager.checkpoint())
    assert counts.all == (2, 2, 12 - 3)  # of four whole batches an epoch; the small ones were three
    assert_same_state(fitted(True, model).checkpoint(), eager.checkpoint())


def test_a_captured_fit_with_augmentation_is_the_eager_one_bit_for_bit(counts: Counts) -> None:
    how = {"augment": Augment(shift=1, flip=True)}
    assert_same_state(fitted(None, noisy_net, **how).checkpoint(), fitted(False, noisy_net, **how).checkpoint())
    assert counts.replayed == 9


@pytest.mark.parametrize("at", [(0, 1), (1, 2)], ids=str)
def test_a_captured_run_resumed_within_an_epoch_is_the_run_that_was_not_interrupted(at: tuple[int, int]) -> None:
    def run(*callbacks: Callback, capture: bool | None = None, fit: Trainer | None = None) -> Trainer:
        fit = fit or trainer(noisy_net(), optimizer="adam", callbacks=callbacks, capture=capture)
        fit.fit(some_digits(70), epochs=3, batch_size=16)
        return fit

    stopped = run(InterruptAt(*at))
    assert stopped.interrupted
    resumed = trainer(noisy_net(), optimizer="adam")
    resumed.resume(stopped.checkpoint())
    assert_same_state(run(fit=resumed).checkpoint(), run(capture=False).checkpoint())


class Change(Callback):
    """Lowers the rate at each step, and freezes a layer after the first epoch."""

    def on_step(self, trainer: Trainer) -> None:
        trainer.optimizer.lr = trainer.optimizer.current_lr * 0.9

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        trainer.model.scores.bias.requires_grad = trainer.epoch != 1  # type: ignore[attr-defined]


def test_what_callbacks_change_counts_from_the_next_step(counts: Counts) -> None:
    eager = fitted(False, noisy_net, [Change()])
    assert_same_state(fitted(None, noisy_net, [Change()]).checkpoint(), eager.checkpoint())
    assert counts.replayed


def test_a_callback_that_reads_gradients_reads_those_of_each_step(counts: Counts) -> None:
    class Read(Callback):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_gradients(self, trainer: Trainer, gradients: Any) -> None:
            self.seen.append(sum(float(np.abs(g).sum()) for g in gradients.values()))

    ours, theirs = Read(), Read()
    fitted(None, "softmax", [ours])
    fitted(False, "softmax", [theirs])
    assert ours.seen == theirs.seen
    assert len(ours.seen) == 15
    assert counts.all == (0, 0, 0)


# What changes between steps.


def replace(t: Training) -> None:
    t.model.hidden.weight.data = np.flip(t.model.hidden.weight.data, 0).copy()


def load(t: Training) -> None:
    t.model.load_state_dict({name: a * 0.5 for name, a in t.model.state_dict().items()})


def freeze(t: Training) -> None:
    t.model.hidden.bias.requires_grad = False


def evaluate(t: Training) -> None:
    t.model.eval()


def evaluate_a_layer(t: Training) -> None:
    t.model.norm.eval()


def set_a_layer(t: Training) -> None:
    t.model.lrn.alpha = 0.9


def replace_a_layer(t: Training) -> None:
    t.model.act = nn.Tanh()


def add_a_layer(t: Training) -> None:
    t.model.more = nn.Tanh()


def set_decay(t: Training) -> None:
    t.optimizer.weight_decay = 0.2


def set_momentum(t: Training) -> None:
    t.optimizer.momentum = 0.1


def set_clipping(t: Training) -> None:
    t.optimizer.clip_norm = 0.01


CHANGES = {
    **{f.__name__: (f, mlp) for f in (replace, load, freeze, replace_a_layer, add_a_layer)},
    **{f.__name__: (f, mlp) for f in (set_decay, set_momentum, set_clipping)},
    **{f.__name__: (f, everything) for f in (evaluate, evaluate_a_layer, set_a_layer)},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_drops_the_recording_and_the_next_one_is_of_what_is_there_then(name: str, counts: Counts) -> None:
    change, make = CHANGES[name]
    trainings = pair(make)
    go(trainings, range(5), in_context=True)
    for training in trainings:
        change(training)
    go(trainings, range(5, 11), in_context=True)
    assert counts.all == (2, 2, 2 + 3)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_parameter_frozen_and_unfrozen_between_steps_is_trained_as_it_says(times: int) -> None:
    trainings = pair()
    for i in range(4):
        go(trainings, range(i * times, (i + 1) * times))
        for training in trainings:
            training.model.hidden.weight.requires_grad ^= True
    go(trainings, range(20, 28))


def set_rate(t: Training) -> None:
    t.optimizer.lr = 0.3


def set_schedule(t: Training) -> None:
    t.optimizer.lr = optim.cosine(0.5, steps=40)


def write(t: Training) -> None:
    t.model.scores.weight.data[...] *= 0.5


def predict(t: Training) -> None:
    t.seen.append(t.model.predict(batch(0)[0]))


def build_another_model(t: Training) -> None:
    mlp().hidden = nn.Linear(64, 12)


def load_optimizer(t: Training) -> None:
    arrays, scalars = t.optimizer.state_dict()
    t.optimizer.load_state_dict({name: 0.5 * a for name, a in arrays.items()}, {**scalars, "steps": 3})


def update_by_hand(t: Training) -> None:
    weight = t.model.scores.weight
    t.optimizer.step({weight: np.ones_like(weight.data)})


NUMBERS = [set_rate, set_schedule, write, predict, build_another_model, load_optimizer, update_by_hand]


@pytest.mark.parametrize("change", NUMBERS, ids=lambda change: change.__name__)
def test_a_change_of_numbers_alone_keeps_the_recording(change: Any, counts: Counts) -> None:
    trainings = pair(noisy_net, optimizer="adam")
    go(trainings, range(5), in_context=True)
    for training in trainings:
        change(training)
    go(trainings, range(5, 9), in_context=True)
    assert counts.all == (1, 1, 6)
    np.testing.assert_array_equal(trainings[0].seen, trainings[1].seen)


def test_predictions_between_captured_steps_are_of_the_newest_parameters() -> None:
    trainings = pair(noisy_net)
    for i in range(6):
        go(trainings, range(i, i + 1), in_context=True)
        got, want = (training.model.predict(batch(0)[0]) for training in trainings)
        np.testing.assert_array_equal(got, want)


def test_while_gradients_are_read_or_layers_watched_steps_are_eager_and_replayed_again_after_it(counts: Counts) -> None:
    trainings = pair()
    go(trainings, range(4))
    for training in trainings:
        training.step.gradient_hook = lambda gradients, seen=training.seen: seen.append(len(gradients))
    go(trainings, range(4, 7))
    assert trainings[0].seen == [4, 4, 4]
    for training in trainings:
        training.step.gradient_hook = None
    with nn.watch() as seen:
        trainings[0].losses.append(trainings[0].step(*batch(7)))
    with nn.watch():
        trainings[1].losses.append(trainings[1].step(*batch(7)))
    assert "hidden" in seen
    assert counts.all == (1, 1, 1)
    go(trainings, range(8, 10))
    assert counts.replayed == 3


def test_a_model_in_double_precision_is_recorded_anew(counts: Counts) -> None:
    trainings = pair(optimizer="adam")
    go(trainings, range(5))
    for training in trainings:
        training.model.to(dtype="float64")
    for i in range(6):
        for training in trainings:
            x, y = batch(i)
            training.losses.append(training.step(x.astype(np.float64), y))
    assert_alike(trainings)
    assert counts.all == (2, 2, 2 + 3)


def test_a_model_that_is_moved_to_another_library_goes_on_eagerly(counts: Counts) -> None:
    torch = pytest.importorskip("torch")
    trainings = pair()
    go(trainings, range(5))
    for training in trainings:
        training.model.to("torch")
    for i in range(5, 10):
        for training in trainings:
            x, y = batch(i)
            training.losses.append(float(training.step(torch.from_numpy(x), torch.from_numpy(y))))
    assert_alike(trainings)
    assert counts.replayed == 2


def test_steps_within_inference_have_a_recording_of_their_own(counts: Counts) -> None:
    trainings = pair(everything)
    for steps, mode in [(range(5), nullcontext), (range(5, 9), nn.inference), (range(9, 12), nullcontext)]:
        with mode():
            go(trainings, steps, in_context=True)
    assert counts.all == (2, 2, 6)


def test_a_step_without_a_tape_is_the_eager_error_and_changes_nothing() -> None:
    trainings = pair()
    go(trainings, range(5))
    with no_grad():
        for training in trainings:
            for _ in range(4):
                with pytest.raises(ConfigError, match="no_grad"):
                    training.step(*batch(0))
    go(trainings, range(5, 7))


# What is not captured.


class Custom(nn.Module):
    """Computes by ops, and counts on its class how often."""

    times = 0

    def forward(self, x: Tensor) -> Tensor:
        Custom.times += 1
        return x * 0.5


class Raw(nn.Module):
    """Reads numbers of its input beside the ops."""

    def forward(self, x: Tensor) -> Tensor:
        return x * np.float32(abs(x.data).mean())


class Counting(nn.Module):
    """Keeps a number that changes at each call."""

    def __init__(self) -> None:
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


class Scaling(nn.Module):
    """Multiplies by a number that is set from outside."""

    def __init__(self) -> None:
        self.factor = 0.5

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def triple(x: Any) -> Any:
    return 3 * x, lambda dy, needs: (3 * dy,)


class CustomOp(nn.Module):
    """Applies an op that is not xpnet's."""

    def forward(self, x: Tensor) -> Tensor:
        return apply(triple, x)


def with_layer(layer: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        flatten=nn.Flatten(), hidden=nn.Linear(64, 12), own=layer(), scores=nn.Linear(12, CLASSES)
    )


def custom_loss(scores: Tensor, labels: Any) -> Tensor:
    return nn.softmax_cross_entropy(scores, labels) + 0.1 * (scores * scores).mean()


def with_custom_update(parameters: Any, lr: float = 0.1) -> SGD:
    class Doubling(SGD):
        def update(self, gradients: Any, lr: Any, t: Any) -> None:
            if self.steps > 4:
                gradients = {p: 2 * g for p, g in gradients.items()}
            super().update(gradients, lr, t)

    return Doubling(parameters, lr)


def with_custom_rule(parameters: Any, lr: float = 0.1) -> SGD:
    class Doubling(SGD):
        def rule(self, p: Any, g: Any, state: Any, lr: Any, t: int) -> Any:
            return p - lr * g * (2 if self.steps > 4 else 1), state

    return Doubling(parameters, lr)


CUSTOM = [
    ({"make": with_layer(Custom)}, "Custom is a custom module"),
    ({"loss": custom_loss}, "the loss is a custom function"),
    ({"loss": partial(custom_loss)}, "the loss is a custom function"),
]


@pytest.mark.parametrize(("how", "why"), CUSTOM, ids=["module", "loss", "partial of a loss"])
def test_custom_code_is_captured_only_where_that_is_required_and_the_log_says_so_once(
    how: Any, why: str, counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "xpnet"):
        go(pair(**how), range(6))
    assert counts.all == (0, 0, 0)
    assert caplog.messages == [f"fit runs eagerly: {why}"]
    go(pair(capture=True, **how), range(8))
    assert counts.all == (1, 1, 5)


def test_python_code_of_a_captured_module_does_not_run_in_a_replay() -> None:
    training = Training(with_layer(Custom)(), True)
    for i in range(3):
        training.step(*batch(i))
    before = Custom.times
    training.step(*batch(5))
    assert Custom.times == before


@pytest.mark.parametrize("make", [with_custom_update, with_custom_rule], ids=["update", "rule"])
def test_a_custom_optimizer_updates_as_it_says(make: Any) -> None:
    go(pair(optimizer=make), range(9))


def test_a_setting_that_changes_at_every_step_ends_capture(counts: Counts, caplog: pytest.LogCaptureFixture) -> None:
    trainings = pair()
    with caplog.at_level(logging.INFO, "xpnet"):
        for i in range(12):
            for training in trainings:
                training.optimizer.weight_decay = 0.01 * i
            go(trainings, range(i, i + 1))
    assert counts.all == (0, 0, 0)
    assert caplog.messages == ["fit runs eagerly: what it reads changes from call to call"]


def test_a_large_step_is_captured_only_where_that_is_required(monkeypatch: pytest.MonkeyPatch, counts: Counts) -> None:
    monkeypatch.setattr("xpnet.train.step.SMALL", 5 * (64 * 12 + 12 * CLASSES))
    go(pair(), range(6))
    assert counts.all == (0, 0, 0)
    go(pair(), range(6), sizes=(4,))
    go(pair(capture=True), range(6))
    assert counts.all == (2, 2, 6)


REASONS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], int, str]] = {
    "numbers read beside the ops": (with_layer(Raw), {}, 3, "a replay gave different numbers than the eager call"),
    "a custom op": (with_layer(CustomOp), {}, 1, "triple cannot be recorded"),
    "a module that counts": (with_layer(Counting), {}, 1, "own.calls changes from call to call"),
    "dropout that counts its calls": (noisy_net, {}, 1, "drop.calls changes from call to call"),
    "float16": (mlp, {"precision": "fp16"}, 0, "it computes in fp16"),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_cannot_be_captured_is_eager_and_an_error_that_changes_nothing_where_it_is_required(
    name: str, counts: Counts
) -> None:
    make, options, steps, why = REASONS[name]
    go(pair(make, **options), range(5))
    assert counts.replayed == 0
    trainings = pair(make, capture=True, **options)
    go(trainings, range(steps))
    with raises(ConfigError, "fit", "capture=True", "use capture=None", why):
        trainings[0].step(*batch(steps))
    assert_alike(trainings)


def test_an_attribute_of_a_captured_custom_module_that_changes_is_an_error_that_names_it() -> None:
    trainings = pair(with_layer(Scaling), capture=True)
    go(trainings, range(5))
    for training in trainings:
        training.model.own.factor = 0.25
    with raises(ConfigError, "fit", "capture=True", "changed own.factor"):
        trainings[0].step(*batch(5))
    assert_alike(trainings)
    go(trainings, range(5, 10))


@pytest.mark.parametrize("layer", [Raw, Counting, CustomOp])
def test_the_trainer_trains_such_a_module_eagerly_and_with_capture_it_is_the_error(layer: Any) -> None:
    assert_same_state(fitted(None, with_layer(layer)).checkpoint(), fitted(False, with_layer(layer)).checkpoint())
    with raises(ConfigError, "fit", "capture=True"):
        fitted(True, with_layer(layer))


class Scaled:
    """A loss with a parameter."""

    def __init__(self) -> None:
        self.scale = nn.Parameter((), nn.ones)
        self.scale.path = "scale"

    def __call__(self, scores: Tensor, labels: Any) -> Tensor:
        return nn.softmax_cross_entropy(scores * self.scale, labels)


def test_a_loss_that_learns_is_captured_where_that_is_required(counts: Counts) -> None:
    losses, trainings = [Scaled(), Scaled()], []
    for capture, loss in zip((True, False), losses, strict=True):
        make = partial(lambda scale, ps: SGD([*ps, scale], 0.1, momentum=0.9), loss.scale)
        trainings.append(Training(mlp(), capture, loss=loss, optimizer=make))
    for i in range(7):
        go(trainings, range(i, i + 1))
        assert float(losses[0].scale.data) == float(losses[1].scale.data)
    assert counts.replayed == 4


# Errors, inputs and results, memory.


@pytest.mark.parametrize("make", [mlp, everything], ids=["mlp", "everything"])
@pytest.mark.parametrize("at", [1, 2, 3, 6])
def test_a_label_that_is_no_class_makes_the_loss_nan_captured_or_not(at: int, make: Any) -> None:
    trainings = pair(make)
    go(trainings, range(at), in_context=True)
    x, y = batch(50)
    y[2] = 77
    for training in trainings:
        with random.use(random.StepContext(7, 5, 5)):
            assert np.isnan(training.step(x, y))


def test_an_error_of_a_layer_bears_its_name_and_the_next_steps_go_on() -> None:
    trainings = pair()
    for i in range(6):
        for training in trainings:
            with pytest.raises(ShapeError, match=r"^hidden \(linear\): "):
                training.step(np.ones((5, 7, 7, 1), np.float32), np.zeros(5, np.int64))
        go(trainings, range(i, i + 1))


def test_too_few_scores_are_an_error() -> None:
    training = Training(mlp(), classes=12)
    for _ in range(5):
        with raises(ShapeError, "fit", "K 12"):
            training.step(*batch(0))


@pytest.mark.parametrize("layout", ["strided", "reversed", "read-only"])
def test_a_batch_may_have_any_layout_and_is_not_written(layout: str, counts: Counts) -> None:
    def laid(x: np.ndarray) -> np.ndarray:
        if layout == "strided":
            return np.repeat(x, 2, axis=1)[:, ::2]
        return x[::-1].copy()[::-1]

    trainings = pair(built("lenet5"))
    for i in range(6):
        for training in trainings:
            x, y = batch(i)
            given = laid(x), laid(y[:, None])[:, 0]
            for a in given if layout == "read-only" else ():
                a.flags.writeable = False
            training.losses.append(training.step(*given))
            assert np.array_equal(given[0], x)
        np.testing.assert_allclose(trainings[0].losses, trainings[1].losses, rtol=0, atol=1e-5)
    assert counts.replayed == 3


def test_what_becomes_of_a_batch_after_its_step_does_not_matter(counts: Counts) -> None:
    trainings, memory = pair(), batch(0)
    for i in range(7):
        for place, values in zip(memory, batch(i), strict=True):
            place[...] = values
        trainings[0].losses.append(trainings[0].step(*memory))
        memory[0].fill(np.nan)
        memory[1].fill(-5)
        trainings[1].losses.append(trainings[1].step(*batch(i)))
        assert_alike(trainings)
    assert counts.replayed == 4


def test_a_loss_that_was_returned_is_not_written_by_the_next_step() -> None:
    training = Training(mlp())
    kept = []
    for i in range(8):
        loss = training.step(*batch(i))
        assert loss.shape == ()
        kept.append((loss, float(loss)))
    assert all(float(loss) == value for loss, value in kept)
    assert len({value for _, value in kept}) == 8


def test_a_step_and_its_recordings_are_freed_without_the_cycle_collector() -> None:
    training = Training(everything())
    for i in range(5):
        with random.use(random.StepContext(1, 0, i)):
            training.step(*batch(i))
    (recording,) = training.step.captured.recordings.values()
    held = [weakref.ref(a) for a in (training.step, training.model, recording.result, *recording.inputs)]  # type: ignore
    gc.collect()
    gc.disable()
    try:
        del recording, training
        assert [ref() for ref in held if ref() is not None] == []
    finally:
        gc.enable()


def test_replayed_steps_take_no_more_memory() -> None:
    pytest.importorskip("numba", reason="without its loops the optimizer's rule makes temporary arrays")
    training = Training(models.build("lenet5", IMAGE, CLASSES))
    given = batch(0)
    for _ in range(5):
        training.step(*given)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(3):
            training.step(*given)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            training.step(*given)
        assert tracemalloc.get_traced_memory()[0] - before < 2000
    finally:
        tracemalloc.stop()


class Plain(nn.Dropout):
    """A layer of xpnet under another name."""


class Varying(nn.Dropout):
    reads = 0

    @property
    def rate(self) -> float:
        type(self).reads += 1
        return 0.1 if self.reads < 6 else 0.9

    @rate.setter
    def rate(self, value: float) -> None:
        pass


def test_a_setting_of_a_subclass_without_a_forward_counts_from_the_next_step(counts: Counts) -> None:
    trainings = pair(lambda: mlp(Plain))
    go(trainings, range(5), in_context=True)
    for training in trainings:
        training.model.act.rate = 0.9
    go(trainings, range(5, 10), in_context=True)
    assert counts.recorded == 2


def test_a_layer_with_a_property_from_outside_is_eager(counts: Counts) -> None:
    go([training := Training(mlp(Varying)), training], range(3), in_context=True)
    assert counts.recorded == 0


def test_keywords_of_a_loss_that_change_count_from_the_next_step(counts: Counts) -> None:
    trainings = [
        Training(mlp(), capture, loss=partial(nn.softmax_cross_entropy, label_smoothing=0.1))
        for capture in (None, False)
    ]
    go(trainings, range(5))
    for training in trainings:
        training.step.loss.keywords["label_smoothing"] = 0.6
    go(trainings, range(5, 10))
    assert counts.recorded == 2


def test_an_array_of_a_custom_optimizer_that_is_replaced_counts_from_the_next_step() -> None:
    def make(parameters: Any) -> Any:
        optimizer: Any = with_custom_rule(parameters)
        optimizer.mask = np.ones(3)
        return optimizer

    trainings = pair(optimizer=make)
    go(trainings, range(5))
    for training in trainings:
        training.optimizer.mask = np.zeros(3)
    go(trainings, range(5, 8))


class Masking(nn.Module):
    def __init__(self) -> None:
        self.mask, self.numbers, self.named = np.ones(12, np.float32), [1.0], {"a": 1.0}

    def forward(self, x: Tensor) -> Tensor:
        return x * Tensor(self.mask) * self.numbers[0] * self.named["a"]


@pytest.mark.parametrize("name", ["mask", "numbers", "named"])
def test_an_array_a_list_or_a_dictionary_of_a_captured_custom_module_that_changes_is_an_error(name: str) -> None:
    training = Training(mlp(Masking), True)
    for i in range(5):
        training.step(*batch(i))
    layer = training.model.act
    if name == "mask":
        layer.mask = np.zeros(12, np.float32)
    else:
        getattr(layer, name)[0 if name == "numbers" else "a"] = 2.0
    with raises(ConfigError, "fit", "capture=True", f"changed act.{name}"):
        training.step(*batch(5))
