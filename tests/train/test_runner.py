"""Steps that read device counters: captured, they train as eager ones do, bit for bit.

The device is the emulated one: its tape stands for a CUDA graph, and reading a number while it is open is an error.
"""

from __future__ import annotations

import gc
import logging
import re

import numpy as np
import pytest
from emulator import TAPE, Array

from tests.conftest import problem
from tests.harness import raises
from tests.train.fitting import InterruptAt, Recorded, assert_same_state, digits, noisy_net, some_digits, trainer
from xpnet import kernels, nn, optim
from xpnet.backend import get_backend
from xpnet.data import Augment
from xpnet.errors import ConfigError, DivergedError
from xpnet.nn import predict as predicting
from xpnet.train import Callback, SaveCheckpoint, Trainer, read_checkpoint

pytestmark = pytest.mark.skipif(bool(problem("emulator")), reason=problem("emulator") or "the emulator is here")

N, BATCH = 170, 32  # five batches and a smaller one
EPOCHS, EACH = 3, 6


def residual_net() -> nn.Sequential:
    body = nn.Sequential(
        conv1=nn.Conv2d(4, 4, 3, padding=1), norm1=nn.BatchNorm(4), relu=nn.ReLU(), conv2=nn.Conv2d(4, 4, 3, padding=1)
    )
    return nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, padding=1),
        block=nn.Residual(body),
        relu=nn.ReLU(),
        pool=nn.AvgPool2d(2),
        flatten=nn.Flatten(),
        scores=nn.Linear(64, 10),
    )


class OwnAverage(nn.Module):
    """Subtracts a running mean, and replaces its array by a new one at each step."""

    def __init__(self) -> None:
        self.mean = nn.Buffer((64,))

    def forward(self, x):
        if self.training:
            self.mean.data = 0.75 * self.mean.data + 0.25 * x.mean(axis=0).data
        return x - self.mean.detach()


def averaging_net() -> nn.Sequential:
    return nn.Sequential(flatten=nn.Flatten(), own=OwnAverage(), scores=nn.Linear(64, 10))


MODELS = {
    "mlp": "mlp",
    "lenet5": "lenet5",
    "dropout and batch norm": noisy_net,
    "a residual block": residual_net,
    "a layer that replaces its array": averaging_net,
}
OPTIMIZERS = {
    "momentum": ("momentum", 0.05, {}),
    "a schedule": ("nesterov", optim.warmup(optim.cosine(0.1, steps=40), steps=4), {"weight_decay": 1e-3}),
    "clipping the norm": ("sgd", 0.2, {"clip_norm": 0.5}),
    "clipping values": ("momentum", 0.05, {"clip_value": 0.01}),
    "adam": ("adam", 0.01, {}),
    "adamw": ("adamw", 0.01, {}),
    "rmsprop": ("rmsprop", 0.003, {}),
    "adagrad": ("adagrad", 0.02, {}),
}
FEEDS = {
    "resident": None,
    "moved on the device": Augment(shift=1, flip=True),
    "bent on the host": Augment(rotate=5.0),
}


def fresh(model="mlp", optimizer="momentum", callbacks=(), capture=None, lr=None, **options) -> Trainer:
    name, rate, more = OPTIMIZERS[optimizer]
    made = MODELS.get(model, model)
    net = made if isinstance(made, str) else made()
    fit = trainer(net, "emulator", "sgd", 0.1, callbacks, capture=capture, **options)
    fit.optimizer = optim.make_optimizer(name, fit.model.parameters(), lr or rate, **more)
    return fit


def go(fit: Trainer, epochs: int = EPOCHS, augment: Augment | None = None, n: int = N) -> Trainer:
    fit.fit(some_digits(n), digits()[1].take(np.arange(50)), epochs=epochs, batch_size=BATCH, augment=augment)
    return fit


STEPS = EPOCHS * EACH
REPLAYED = STEPS - 3 - 1  # three warm steps of whole batches, one of the last batch's size


@pytest.mark.parametrize("model", MODELS)
def test_a_captured_training_is_the_eager_one_bit_for_bit_for_every_kind_of_layer(model, counts):
    captured = go(fresh(model)).checkpoint()
    assert (counts.recorded, counts.replayed) == (2, REPLAYED)
    assert_same_state(captured, go(fresh(model, capture=False)).checkpoint())
    assert counts.replayed == REPLAYED


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_captured_training_is_the_eager_one_bit_for_bit_for_every_optimizer(optimizer, counts):
    captured = go(fresh("mlp", optimizer)).checkpoint()
    assert (counts.recorded, counts.replayed) == (2, REPLAYED)
    assert_same_state(captured, go(fresh("mlp", optimizer, capture=False)).checkpoint())


@pytest.mark.parametrize("feed", FEEDS)
def test_a_captured_training_is_the_eager_one_bit_for_bit_from_every_feed(feed, counts):
    captured = go(fresh("dropout and batch norm"), augment=FEEDS[feed]).checkpoint()
    assert (counts.recorded, counts.replayed) == (2, REPLAYED)
    assert_same_state(captured, go(fresh("dropout and batch norm", capture=False), augment=FEEDS[feed]).checkpoint())


def test_a_captured_training_without_kernels_is_the_eager_one_bit_for_bit(counts):
    with kernels.disable():
        captured = go(fresh("a residual block")).checkpoint()
        assert (counts.recorded, counts.replayed) == (2, REPLAYED)
        assert_same_state(captured, go(fresh("a residual block", capture=False)).checkpoint())


def test_without_kernels_adam_counts_its_updates_on_the_device_in_single_precision():
    with kernels.disable():
        captured, eager = (go(fresh("mlp", "adam", capture=c)).checkpoint() for c in (None, False))
    for path, want in eager.model.items():
        np.testing.assert_allclose(captured.model[path], want, rtol=0, atol=1e-5)


def test_a_captured_training_in_float16_is_the_eager_one_bit_for_bit(counts):
    captured = go(fresh("lenet5", precision="fp16")).checkpoint()
    assert (counts.recorded, counts.replayed) == (2, REPLAYED)
    assert_same_state(captured, go(fresh("lenet5", precision="fp16", capture=False)).checkpoint())


# What the host does meanwhile.


class Reads(Callback):
    """After each step, how often the host had waited for the device, and how often it had launched work."""

    def __init__(self) -> None:
        self.reads, self.launches = [], []

    def on_step(self, trainer):
        self.reads.append(TAPE.reads)
        self.launches.append(len(TAPE.launches))


@pytest.mark.parametrize("feed", FEEDS)
def test_no_step_of_a_captured_epoch_waits_for_the_device(feed):
    seen = Reads()
    go(fresh("dropout and batch norm", "a schedule", [seen]), augment=FEEDS[feed])
    for epoch in np.split(np.asarray(seen.reads), EPOCHS)[1:]:
        assert np.ptp(epoch) == 0


def test_a_replayed_step_launches_nothing_from_the_host():
    seen = Reads()
    go(fresh("lenet5", callbacks=[seen]))
    launches = np.split(np.asarray(seen.launches), EPOCHS)
    assert np.all(np.diff(launches[0][:4]) > 5)
    assert np.ptp(launches[2][:-1]) == 0


class Live(Callback):
    """Bytes of the arrays that live on the device, every hundred steps."""

    def __init__(self) -> None:
        self.steps, self.bytes = 0, []

    def on_step(self, trainer):
        self.steps += 1
        if self.steps % 100 == 0:
            gc.collect()
            arrays = [a for a in gc.get_objects() if issubclass(type(a), Array)]  # not of a proxy, which may be dead
            owners = {id(b): b.nbytes for b in (a._a if a._a.base is None else a._a.base for a in arrays)}
            self.bytes.append(sum(owners.values()))


@pytest.mark.parametrize("capture", [None, False], ids=["captured", "eager"])
def test_memory_is_flat_over_two_hundred_steps(capture):
    live = Live()
    fit = fresh("dropout and batch norm", "adam", [live], capture=capture)
    fit.fit(some_digits(100), epochs=8, batch_size=4)
    assert live.steps == 200
    slack = 0 if capture is None else 25 * 200  # an eager epoch's losses lie on the device until they are read
    assert max(live.bytes[1:]) - min(live.bytes[1:]) <= slack


# Interrupted and resumed runs, and callbacks.


@pytest.mark.parametrize("step", [0, 3, 4])
@pytest.mark.parametrize("feed", ["resident", "bent on the host"])
def test_an_interrupted_captured_epoch_goes_on_bit_for_bit(feed, step, tmp_path):
    case, augment = ("dropout and batch norm", "adam"), FEEDS[feed]
    stopped = go(fresh(*case, [InterruptAt(1, step), SaveCheckpoint(tmp_path)]), augment=augment)
    assert (stopped.epoch, stopped.step) == (1, step + 1)
    resumed = fresh(*case)
    resumed.resume(read_checkpoint(tmp_path / "checkpoint.safetensors"))
    go(resumed, augment=augment)
    assert_same_state(resumed.checkpoint(), go(fresh(*case), augment=augment).checkpoint())


class Diary(Callback):
    """Epoch, step, loss, updates and rate at each step."""

    def __init__(self) -> None:
        self.lines = []

    def on_step(self, trainer):
        optimizer = trainer.optimizer
        self.lines.append((trainer.epoch, trainer.step, trainer.meter.read(), optimizer.steps, optimizer.current_lr))


def test_callbacks_see_what_they_see_of_an_eager_training():
    diaries = []
    for capture in (None, False):
        diaries.append(Diary())
        go(fresh("dropout and batch norm", "a schedule", [diaries[-1]], capture=capture))
    assert diaries[0].lines == diaries[1].lines
    assert len(diaries[0].lines) == STEPS


def test_a_checkpoint_made_within_a_captured_epoch_is_that_of_an_eager_one():
    class Take(Callback):
        def on_step(self, trainer):
            if (trainer.epoch, trainer.step) == (1, 5):
                self.taken = trainer.checkpoint()

    taken = []
    for capture in (None, False):
        taken.append(Take())
        go(fresh("dropout and batch norm", "adam", [taken[-1]], capture=capture))
    assert_same_state(taken[0].taken, taken[1].taken)


def test_a_rate_that_a_callback_sets_counts_from_the_next_step(counts):
    class Brake(Callback):
        def on_step(self, trainer):
            if (trainer.epoch, trainer.step) == (1, 4):
                trainer.optimizer.lr = 0.001
            if (trainer.epoch, trainer.step) == (2, 2):
                trainer.optimizer.lr = optim.cosine(0.1, steps=60)

    captured = go(fresh("mlp", callbacks=[Brake()])).checkpoint()
    assert (counts.recorded, counts.replayed) == (2, REPLAYED)
    assert_same_state(captured, go(fresh("mlp", callbacks=[Brake()], capture=False)).checkpoint())
    with pytest.raises(AssertionError):
        assert_same_state(captured, go(fresh("mlp")).checkpoint())


def test_early_stopping_ends_a_captured_training(counts):
    class Stop(Callback):
        def on_step(self, trainer):
            if trainer.epoch == 1:
                trainer.stop()

    fit = go(fresh("mlp", callbacks=[Stop()]))
    assert fit.epoch == 2
    assert counts.recorded == 2


@pytest.mark.parametrize("bad", [3, 9, 14])
def test_a_loss_that_is_not_finite_names_epoch_and_step_as_an_eager_one_does(bad):
    said = []
    for capture in (None, False):
        with pytest.raises(DivergedError) as caught:
            go(fresh("mlp", lr=lambda step: 0.05 if step < bad else 1e30, capture=capture))
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert re.search(rf"epoch {bad // EACH + 1}, step \d+", said[0])


# Changes that recordings may not outlive.


def between_epochs(change) -> Callback:
    class Change(Callback):
        def on_epoch(self, trainer, record):
            if record["epoch"] == 2:
                change(trainer)

    return Change()


def rate(fit: Trainer) -> None:
    fit.model.drop.rate = 0.6


def momentum_of_the_averages(fit: Trainer) -> None:
    fit.model.norm.momentum = 0.9


def momentum(fit: Trainer) -> None:
    fit.optimizer.momentum = 0.1


def clipping(fit: Trainer) -> None:
    fit.optimizer.clip_norm = 0.01


def weights(fit: Trainer) -> None:
    fit.model.load_state_dict({path: 0.5 * a for path, a in fit.model.state_dict().items()})


def new_arrays(fit: Trainer) -> None:
    for p in fit.model.parameters():
        p.data = 0.5 * p.data


CHANGES = [rate, momentum_of_the_averages, momentum, clipping, weights, new_arrays]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_epochs_is_recorded_anew(change, counts):
    case = "dropout and batch norm"
    captured = go(fresh(case, callbacks=[between_epochs(change)]), 4).checkpoint()
    assert counts.recorded == 4  # whole batches and the last batch, twice
    assert_same_state(captured, go(fresh(case, callbacks=[between_epochs(change)], capture=False), 4).checkpoint())
    with pytest.raises(AssertionError):
        assert_same_state(captured, go(fresh(case), 4).checkpoint())


def halve_the_weights(fit: Trainer) -> None:
    for p in fit.model.parameters():
        p.data *= 0.5


def load_the_optimizers_state(fit: Trainer) -> None:
    arrays, scalars = fit.optimizer.state_dict()
    fit.optimizer.load_state_dict({name: 0 * a for name, a in arrays.items()}, {**scalars, "steps": 3})


@pytest.mark.parametrize("change", [halve_the_weights, load_the_optimizers_state])
def test_numbers_that_are_written_in_place_are_what_a_replay_reads(change, counts):
    case = ("mlp", "adam", [between_epochs(change)])
    captured = go(fresh(*case), 4).checkpoint()
    assert counts.recorded == 2
    assert_same_state(captured, go(fresh(*case, capture=False), 4).checkpoint())
    with pytest.raises(AssertionError):
        assert_same_state(captured, go(fresh("mlp", "adam"), 4).checkpoint())


def test_an_evaluation_between_steps_changes_nothing(counts):
    class Look(Callback):
        def on_step(self, trainer):
            if trainer.step == 3:
                trainer.evaluate(some_digits(40))

    captured = go(fresh("dropout and batch norm", callbacks=[Look()])).checkpoint()
    assert (counts.recorded, counts.replayed) == (2, REPLAYED)
    assert_same_state(captured, go(fresh("dropout and batch norm")).checkpoint())


def test_a_model_that_was_moved_away_and_back_trains_on(counts):
    fits = []
    for capture in (None, False):
        fit = go(fresh("dropout and batch norm", capture=capture), 2)
        fit.model.to("numpy")
        fit.model.to("emulator")
        fits.append(go(fit, 4))
    assert counts.recorded == 4
    assert_same_state(*(fit.checkpoint() for fit in fits))


def test_another_batch_size_is_recorded_by_itself(counts):
    fits = []
    for capture in (None, False):
        fit = fresh("mlp", capture=capture)
        fit.fit(some_digits(96), epochs=3, batch_size=32)
        fit.fit(some_digits(96), epochs=6, batch_size=24)
        fits.append(fit)
    assert counts.recorded == 2
    assert_same_state(*(fit.checkpoint() for fit in fits))


def test_a_training_of_fewer_steps_than_are_needed_to_warm_up_is_never_recorded(counts):
    fit = fresh("mlp")
    fit.fit(some_digits(96), epochs=1, batch_size=32)
    assert counts.recorded == 0
    assert len(fit.history) == 1


# What is not recorded.


class Curious(nn.Module):
    """Reads a number of its input."""

    def forward(self, x):
        return x * (2.0 if float(x.data[0, 0]) < 1e9 else 1.0)


class Counting(nn.Module):
    """Computes something else at each call."""

    def __init__(self) -> None:
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * (1.0 + 1.0 / self.calls)


class Collecting(nn.Module):
    """Keeps what it was given."""

    def __init__(self) -> None:
        self.seen = []

    def forward(self, x):
        self.seen.append(x.shape)
        return x


class Growing(nn.Module):
    """Replaces its buffer by a longer array at each call."""

    def __init__(self) -> None:
        self.kept = nn.Buffer((1,))

    def forward(self, x):
        xp = x.backend.xp
        self.kept.data = xp.concat([self.kept.data, xp.zeros_like(self.kept.data[:1])])
        return x


class Looking(Callback):
    def __init__(self) -> None:
        self.calls = 0

    def on_gradients(self, trainer, gradients):
        self.calls += 1


def odd_net(layer) -> nn.Sequential:
    return nn.Sequential(flatten=nn.Flatten(), own=OwnAverage(), odd=layer, scores=nn.Linear(64, 10))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Curious, "CaptureError"),
        (Counting, "odd.calls changes"),
        (Collecting, "odd.seen changes"),
        (Growing, "what it reads changes from call to call"),
    ],
    ids=["reads", "counts", "collects", "grows"],
)
def test_a_layer_that_cannot_be_recorded_runs_eagerly_and_the_log_says_so_once(layer, reason, counts, caplog):
    with caplog.at_level(logging.INFO, "xpnet"):
        captured = go(fresh(lambda: odd_net(layer()))).checkpoint()
    assert counts.replayed == 0
    assert not TAPE.open
    assert [reason in message for message in caplog.messages if message.startswith("fit")] == [True]
    assert_same_state(captured, go(fresh(lambda: odd_net(layer()), capture=False)).checkpoint())


def test_a_loss_that_keeps_something_of_each_step_is_called_in_each(counts, caplog):
    recorded = Recorded()
    go(fresh("mlp", loss=recorded))
    assert len(recorded.each) == STEPS + EPOCHS  # and once an evaluation
    assert counts.recorded == 0
    assert "loss.each changes from call to call" in caplog.text


def test_a_callback_that_reads_gradients_reads_those_of_each_step(counts, caplog):
    look = Looking()
    go(fresh("mlp", callbacks=[look]))
    assert look.calls == STEPS
    assert counts.recorded == 0
    assert caplog.messages == ["fit runs eagerly: a callback reads the gradients"]


def test_a_callback_that_is_added_to_read_gradients_ends_replays_at_the_next_epoch(counts):
    look = Looking()
    go(fresh("mlp", callbacks=[between_epochs(lambda fit: fit.callbacks.append(look))]), 4)
    assert look.calls == 2 * EACH
    assert counts.replayed == 2 * EACH - 4


def test_layers_that_are_watched_are_run_each_step(counts, caplog):
    with nn.watch() as seen:
        go(fresh("mlp"))
    assert seen
    assert counts.recorded == 0
    assert "nn.watch" in caplog.text


def test_capture_false_records_nothing(counts):
    go(fresh("mlp", capture=False))
    assert (counts.recorded, counts.replayed) == (0, 0)


@pytest.mark.parametrize("why", ["a callback reads the gradients", "CaptureError"])
def test_capture_true_raises_where_a_step_cannot_be_recorded(why):
    looking = "gradients" in why
    model = "mlp" if looking else lambda: odd_net(Curious())
    with raises(ConfigError, "fit", "capture=True", why):
        go(fresh(model, callbacks=[Looking()] if looking else [], capture=True))


def test_capture_true_is_an_error_on_a_backend_that_cannot_record():
    with raises(ConfigError, "fit", "capture=True", "array-api-strict:device1"):
        go(trainer("mlp", "array-api-strict:device1", capture=True))


@pytest.mark.parametrize("size", [32, 10], ids=["whole batches", "the last batch"])
def test_steps_that_there_is_no_memory_to_record_run_eagerly(size, counts, monkeypatch, caplog):
    kind = type(get_backend("emulator")).recorder(get_backend("emulator")).__class__
    real, calls = kind.record, []

    def record(self, work):
        calls.append(1)
        if len(calls) != {32: 1, 10: 2}[size]:
            return real(self, work)
        TAPE.begin()
        try:
            work()
            raise MemoryError("2 GB")
        finally:
            TAPE.end()

    monkeypatch.setattr(kind, "record", record)
    monkeypatch.setattr(predicting, "_SMALL", 0)
    fit = go(fresh("a layer that replaces its array"))
    assert (counts.replayed > 0) == (size == 10)
    assert ("MemoryError" in caplog.text) == (size == 32)
    assert_same_state(fit.checkpoint(), go(fresh("a layer that replaces its array", capture=False)).checkpoint())


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_a_model_that_comes_from_another_backend_brings_its_optimizers_state(optimizer, counts):
    fits = []
    for capture in (None, False):
        fit = fresh("dropout and batch norm", optimizer, capture=capture)
        fit.model.to("numpy")
        go(fit, 1)
        fit.model.to("emulator")
        fits.append(go(fit))
    assert counts.recorded == 3  # one of them on the host
    assert_same_state(*(fit.checkpoint() for fit in fits))
