"""Planned steps: noted once and done again, to the bit as op by op; and what they notice, refuse and let go."""

from __future__ import annotations

import gc
import logging
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.harness import raises
from tests.train.fitting import InterruptAt, assert_same_state, digits, noisy_net, some_digits, trainer
from xpnet import kernels, models, nn, optim, random
from xpnet.autograd import Tensor
from xpnet.backend import dismiss, use_cores
from xpnet.data import Augment
from xpnet.errors import ConfigError, DataError, ShapeError
from xpnet.optim import OPTIMIZERS, SGD, make_optimizer
from xpnet.train import Callback, EagerStep, Trainer, sharded
from xpnet.train.planned import PlannedStep
from xpnet.train.sharded import ShardedStep

IMAGE, CLASSES = (8, 8, 1), 10
Batch = tuple[np.ndarray, np.ndarray]


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    yield
    dismiss()


class Counts:
    noted = proven = replayed = 0

    @property
    def all(self) -> tuple[int, int, int]:
        return self.noted, self.proven, self.replayed


@pytest.fixture(autouse=True)
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """How often steps were noted, proven and replayed."""
    found = Counts()

    def counting(name: str, way: Any) -> Any:
        def run(self: Any, *arguments: Any) -> Any:
            setattr(found, name, getattr(found, name) + 1)
            return way(self, *arguments)

        return run

    for name, method in (("noted", "_note"), ("proven", "_prove"), ("replayed", "_replay")):
        monkeypatch.setattr(PlannedStep, method, counting(name, getattr(PlannedStep, method)))
    return found


# Models and batches.


def built(name: str) -> Callable[[], nn.Module]:
    return lambda: models.build(name, IMAGE, CLASSES)


def mlp(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(
        flatten=nn.Flatten(), hidden=nn.Linear(64, 12), act=activation(), scores=nn.Linear(12, CLASSES)
    )


def everything() -> nn.Sequential:
    """A net of what kernels launch, of what is computed anew, of views, sums of gradients and draws."""
    body = nn.Sequential(
        conv1=nn.Conv2d(4, 4, 3, padding=1), norm1=nn.BatchNorm(4), relu=nn.ReLU(), conv2=nn.Conv2d(4, 4, 3, padding=1)
    )
    return nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, padding=1),
        norm=nn.BatchNorm(4),
        relu=nn.ReLU(),
        block=nn.Residual(body),
        lrn=nn.LocalResponseNorm(3, alpha=0.5),
        pool=nn.MaxPool2d(3, stride=2, padding=1),
        drop=nn.Dropout(0.3),
        flatten=nn.Flatten(),
        layer=nn.LayerNorm(64),
        scores=nn.Linear(64, CLASSES),
    )


def the_rest() -> nn.Sequential:
    """A net of the layers that everything lacks, one of them used twice."""
    twice = nn.Linear(6, 6, bias="augmented")
    return nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, padding=1, flip=True, dilation=2, bias=False),
        leak=nn.LeakyReLU(0.2),
        block=nn.Residual(nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.PadChannels(1, 1)),
        pool=nn.AvgPool2d(3, stride=2, padding=1),
        gap=nn.GlobalAvgPool2d(),
        first=twice,
        soft=nn.Softmax(),
        second=twice,
        scores=nn.Linear(6, CLASSES, bias=False),
        log=nn.LogSoftmax(),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "softmax": built("softmax"),
    **{f"mlp of {act.__name__}": partial(mlp, act) for act in (nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.GELU)},
    "lenet5": built("lenet5"),
    "everything": everything,
    "the rest": the_rest,
}
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in OPTIMIZERS},
    "decay": ("momentum", {"weight_decay": 0.1}),
    "clip_norm": ("nesterov", {"clip_norm": 0.1}),
    "clip_value": ("adam", {"clip_value": 0.01, "weight_decay": 0.1}),
    "rmsprop with momentum": ("rmsprop", {"momentum": 0.8}),
    "a schedule": ("adamw", {"lr": optim.warmup(optim.cosine(0.05, steps=9), steps=3)}),
}


def batch(i: int, n: int = 5) -> Batch:
    draw = np.random.default_rng([i, n])
    return draw.normal(size=(n, *IMAGE)).astype(np.float32), draw.integers(0, CLASSES, n)


class Runner:
    """A model with its optimizer and its step, and the losses so far."""

    def __init__(
        self,
        kind: type[EagerStep],
        model: nn.Module,
        optimizer: str | Callable[..., Any] = "momentum",
        loss: Any = nn.softmax_cross_entropy,
        rule: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.model: Any = model.initialize(3).train()
        make = partial(make_optimizer, optimizer) if isinstance(optimizer, str) else optimizer
        self.optimizer = make(self.model.parameters(), **(rule or {}))
        self.step = kind(self.model, loss, self.optimizer, **options)
        self.losses: list[Any] = []
        self.seen: list[Any] = []  # by who looks

    def state(self) -> dict[str, np.ndarray]:
        return {**self.model.state_dict(), **self.optimizer.state_dict()[0], "losses": np.asarray(self.losses)}


def pair(make: Callable[[], nn.Module] = mlp, plan: bool | None = None, **how: Any) -> list[Runner]:
    """The planned runner, and the one that is eager."""
    return [Runner(PlannedStep, make(), plan=plan, **how), Runner(EagerStep, make(), **how)]


def assert_alike(runners: list[Runner]) -> None:
    ours, theirs = (runner.state() for runner in runners)
    assert ours.keys() == theirs.keys()
    for name, want in theirs.items():
        assert ours[name].dtype == want.dtype, name
        np.testing.assert_array_equal(ours[name], want, err_msg=name)
    assert runners[0].optimizer.state_dict()[1] == runners[1].optimizer.state_dict()[1]


def go(runners: list[Runner], steps: range, sizes: tuple[int, ...] = (5,), moments: bool = False) -> None:
    """Train each on the same batches, of sizes in turn, and compare all after each step."""
    for i in steps:
        for runner in runners:
            given = batch(i, sizes[i % len(sizes)])
            if moments:
                with random.at(random.Moment(7, i // 4, i % 4)):
                    runner.losses.append(runner.step(*given))
            else:
                runner.losses.append(runner.step(*given))
        assert_alike(runners)


# The same to the bit.


@pytest.mark.parametrize("name", MODELS)
def test_steps_are_the_eager_ones_bit_for_bit_for_every_model(name: str, counts: Counts) -> None:
    go(pair(MODELS[name]), range(9), moments=True)
    assert counts.all == (1, 1, 6)


@pytest.mark.parametrize("off", [("numba",), ()], ids=["by NumPy's kernels", "by no kernels"])
@pytest.mark.parametrize("name", MODELS)
def test_so_they_are_with_fewer_kernels(name: str, off: tuple[str, ...], counts: Counts) -> None:
    with kernels.off(*off):
        go(pair(MODELS[name]), range(7), moments=True)
    assert counts.all == (1, 1, 4)


@pytest.mark.parametrize("off", [None, ("numba",)], ids=["by loops", "by rule"])
@pytest.mark.parametrize("name", RULES)
def test_steps_are_the_eager_ones_bit_for_bit_for_every_optimizer(
    name: str, off: tuple[str, ...] | None, counts: Counts
) -> None:
    optimizer, rule = RULES[name]
    with kernels.off(*off) if off else kernels.off("cuda"):
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
            with random.at(random.Moment(7, 0, i)):
                runner.losses.append(runner.step(*batch(i)))

    threads = [threading.Thread(target=train, args=(runners[0],)) for runners in ran]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, theirs in ran:
        for i in range(8):
            with random.at(random.Moment(7, 0, i)):
                theirs.losses.append(theirs.step(*batch(i)))
        assert_alike([ours, theirs])


# By the Trainer.


def fitted(capture: bool | None, model: Any, callbacks: Any = (), **options: Any) -> Trainer:
    fit = trainer(model() if callable(model) else model, optimizer="adam", callbacks=callbacks, capture=capture)
    fit.fit(some_digits(70), digits()[1].take(np.arange(30)), epochs=3, batch_size=16, **options)
    return fit


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
    assert counts.all == (2, 2, 2 + 3 - (change is freeze))  # that is seen once more, by the optimizer


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
        def update(self, gradients: Any = None, **options: Any) -> tuple[bool, ...]:
            if self.steps > 4:
                gradients = {p: 2 * g for p, g in gradients.items()}
            return super().update(gradients, **options)

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
        with random.at(random.Moment(7, 5, 5)), pytest.raises(DataError) as caught:
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


# Memory.


def test_a_plan_that_is_dropped_lets_its_arrays_go() -> None:
    runner = Runner(PlannedStep, everything())
    for i in range(5):
        with random.at(random.Moment(1, 0, i)):
            runner.step(*batch(i))
    (plan,) = runner.step._plans.values()  # type: ignore[attr-defined]
    held = [weakref.ref(a) for a in (plan.x, plan.y, *plan.program._kept.values())]
    assert len(held) > 20
    del plan
    runner.model.lrn.alpha = 0.9
    with random.at(random.Moment(1, 0, 5)):
        runner.step(*batch(5))
    assert [ref() for ref in held if ref() is not None] == []


def test_replayed_steps_take_no_more_memory() -> None:
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
