"""Loaders, generator functions and generators: read again in each epoch, and trained on as their batches come."""

from __future__ import annotations

import logging
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.conftest import problem
from tests.harness import raises
from tests.train.fitting import InterruptAt, assert_same_state, noisy_net, some_digits, trainer
from xpnet import nn, optim
from xpnet.autograd import Tensor, backward
from xpnet.data import Augment, reading, stream
from xpnet.errors import ConfigError, DataError, DTypeError, ShapeError
from xpnet.random import Key
from xpnet.train import Callback, Trainer, read_checkpoint, write_checkpoint

RNG = np.random.default_rng(7)
X = RNG.normal(size=(90, 3)).astype(np.float32)
Y = (X @ [1.0, -2.0, 0.5] > 0).astype(int)
T = (X @ np.asarray([[3.0, 1.0], [0.0, 5.0], [1.0, 2.0]]) + 40).astype(np.float32)
SIZES = [(0, 25), (25, 60), (60, 67), (67, 90)]


def linear(outputs: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, outputs)).initialize(1)


def parts(x: Any = X, y: Any = Y, sizes: Any = SIZES) -> Callable[[], Iterator[Any]]:
    def batches():
        for start, stop in sizes:
            yield x[start:stop], y[start:stop]

    return batches


def losses(fit: Trainer) -> list[float]:
    return [record["train_loss"] for record in fit.history]


# What is trained


def test_each_epoch_trains_on_the_batches_in_their_order():
    model, reached = linear(), []
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        total = 0.0
        for x, y in parts()():
            loss = nn.softmax_cross_entropy(model(Tensor(x)), y)
            optimizer.step(backward(loss))
            total += loss.item() * len(x)
        reached.append(total / len(X))
    fit = Trainer(linear())
    fit.fit(parts(), epochs=3)
    np.testing.assert_allclose(losses(fit), reached, rtol=1e-5)
    np.testing.assert_allclose(fit.model.predict(X), model.predict(X), rtol=1e-4, atol=1e-6)


def test_the_data_is_read_once_an_epoch_and_never_held(monkeypatch):
    monkeypatch.setattr(stream, "_HEAD", 4)
    calls = []

    def batches():
        calls.append(len(calls))
        for i in range(60):
            yield np.full((2, 1 << 16), i % 2, np.float32), np.asarray([i % 2] * 2)  # 0.5 MB, 30 MB in all

    model = nn.Sequential(nn.Linear(1 << 16, 2)).initialize(1)
    tracemalloc.start()
    try:
        Trainer(model).fit(batches, batches, epochs=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert calls == [0, 1, 2, 3]  # two epochs, each of which is measured
    assert peak < 12 << 20


class Loader:
    """As a data loader of torch is, with workers' errors and a length."""

    def __init__(self, batches: Callable[[], Iterator[Any]], length: int) -> None:
        self.batches, self.length = batches, length

    def __iter__(self):
        return self.batches()

    def __len__(self):
        return self.length


@pytest.mark.parametrize(
    "data", [Loader(parts(), 4), parts(), [*parts()()].__iter__], ids=["loader", "function", "method"]
)
def test_the_number_of_steps_is_known_from_a_length_or_from_the_first_epoch(data):
    seen = []

    class Look(Callback):
        def on_step(self, trainer):
            seen.append(trainer.steps)

    Trainer(linear(), callbacks=[Look()]).fit(data, epochs=2)
    assert seen == [4 if isinstance(data, Loader) else None] * 4 + [4] * 4


def test_progress_is_shown_without_a_total(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    Trainer(linear()).fit(parts(), epochs=2, progress=True)
    assert "epoch 2/2" in capsys.readouterr().err


def test_a_data_loader_of_torch_is_as_its_batches():
    data = pytest.importorskip("torch.utils.data")
    import torch

    loader = data.DataLoader(data.TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=25)
    a, b = Trainer(linear()), Trainer(linear())
    a.fit(loader, loader, epochs=2)
    b.fit(parts(sizes=[(0, 25), (25, 50), (50, 75), (75, 90)]), (X, Y), epochs=2)
    assert losses(a) == losses(b)
    assert a.history[-1]["test_accuracy"] == b.history[-1]["test_accuracy"]
    np.testing.assert_allclose(a.predict(loader), a.predict(X), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("backend", ["torch", "emulator"])
def test_steps_of_other_backends_are_those_of_numpy_for_sizes_that_vary(backend):
    if reason := problem(backend):
        pytest.skip(reason)
    x, y = some_digits(90).x, some_digits(90).y
    fits = [trainer("softmax", name) for name in ("numpy", backend)]
    for fit in fits:
        fit.fit(parts(x, y), parts(x, y), epochs=6)
    np.testing.assert_allclose(losses(fits[1]), losses(fits[0]), rtol=2e-4)
    assert fits[1].history[-1]["test_accuracy"] == fits[0].history[-1]["test_accuracy"]


def test_recorded_steps_are_eager_ones():
    fits = [Trainer(linear(), capture=capture) for capture in (True, False)]
    for fit in fits:
        fit.fit(parts(), epochs=8)
    assert losses(fits[0]) == losses(fits[1])


def test_batches_are_joined_to_accumulate_gradients():
    fits = [Trainer(linear(), accumulate=2), Trainer(linear())]
    fits[0].fit(parts(), epochs=2)
    fits[1].fit(parts(sizes=[(0, 60), (60, 90)]), epochs=2)
    np.testing.assert_allclose(losses(fits[0]), losses(fits[1]), rtol=1e-5)


def test_a_generator_may_use_its_memory_again():
    def reusing():
        x, y = np.empty((30, 3), np.float32), np.empty(30, int)
        for start in (0, 30, 60):
            x[...], y[...] = X[start : start + 30], Y[start : start + 30]
            yield x, y

    a, b = Trainer(linear()), Trainer(linear())
    a.fit(reusing, epochs=2)
    b.fit(parts(sizes=[(0, 30), (30, 60), (60, 90)]), epochs=2)
    assert losses(a) == losses(b)


def test_regression_is_measured_on_the_first_examples_and_answers_in_units():
    fit = Trainer(linear(2), seed=1)
    fit.fit(parts(X, T), parts(X, T), epochs=60)
    assert fit.history[-1]["test_rmse"] < 0.5
    assert abs(fit.predict(X).mean() - T.mean()) < 1


def test_a_model_says_how_many_classes_there_are():
    order = np.argsort(np.arange(90) % 3, kind="stable")  # the first batch has class 0 only
    fit = Trainer(linear(3))
    fit.fit(parts(X[order], (np.arange(90) % 3)[order], [(0, 30), (30, 60), (60, 90)]), epochs=1)
    assert fit.classes == ("0", "1", "2")


@pytest.mark.parametrize("several", [(X, X[:, :2]), {"b": X[:, :2], "a": X}], ids=["tuple", "names"])
def test_batches_of_several_inputs(several):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(2, 2)

        def forward(self, a, b):
            return self.a(a) - self.b(b)

    def rows(start, stop):
        if isinstance(several, dict):
            return {k: a[start:stop] for k, a in several.items()}
        return tuple(a[start:stop] for a in several)

    def batches():
        for start, stop in SIZES:
            yield rows(start, stop), Y[start:stop]

    fit = Trainer(Two().initialize(1))
    fit.fit(batches, batches, epochs=2)
    assert fit.evaluate(batches)["loss"] == pytest.approx(fit.evaluate((several, Y))["loss"], rel=1e-5)
    np.testing.assert_allclose(fit.predict(batches), fit.predict(several), rtol=1e-5, atol=1e-7)
    alone = (rows(start, stop) for start, stop in SIZES)  # inputs without targets
    np.testing.assert_allclose(fit.predict(alone), fit.predict(several), rtol=1e-5, atol=1e-7)


def test_the_loss_of_an_epoch_weighs_batches_as_their_examples_weigh():
    model = linear()
    fit = Trainer(model, optim.SGD(model.parameters(), lr=1e-12), class_weights=[1, 5])
    fit.fit(parts(), epochs=1)
    assert losses(fit)[0] == pytest.approx(fit.evaluate((X, Y))["loss"], rel=1e-5)


def test_images_of_a_stream_are_augmented_with_draws_of_their_own():
    data = some_digits(60)
    keys = []
    trainer("softmax").fit(
        parts(data.x, data.y, [(0, 40), (40, 60)]), epochs=2, augment=lambda x, key: keys.append(key) or x
    )
    assert keys == [Key(3, "augment", epoch, step) for epoch in (0, 1) for step in (0, 1)]
    fits = [trainer("softmax") for _ in range(3)]
    for fit, augment in zip(fits, (Augment(shift=1), Augment(shift=1), None), strict=True):
        fit.fit(parts(data.x, data.y, [(0, 40), (40, 60)]), epochs=2, augment=augment)
    assert losses(fits[0]) == losses(fits[1]) != losses(fits[2])


# Sets that are measured


@pytest.mark.parametrize(
    ("y", "options"),
    [(Y, {}), (T, {}), (T, {"loss": lambda s, t: ((s - t) * (s - t)).mean()}), (X, {"task": "reconstruction"})],
    ids=["labels", "numbers", "a custom loss", "reconstruction"],
)
def test_a_stream_is_measured_as_its_arrays_are(y, options):
    fit = Trainer(linear(2 if y is not X else 3), **options)
    fit.fit((X, y), epochs=1)
    got, want = fit.evaluate(parts(X, y)), fit.evaluate((X, y))
    assert got.keys() == want.keys()
    for name in want:
        if isinstance(want[name], float | np.ndarray):
            np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert np.isclose(fit.evaluate(parts(X, y)())["loss"], want["loss"], rtol=1e-5)  # a generator, once


@pytest.mark.parametrize("given", [{"class_weights": [1, 5]}, {"metrics": {"mean": lambda s, t: t.mean()}}])
def test_weights_of_classes_and_metrics_count_in_streams_too(given):
    a, b = Trainer(linear(), **given), Trainer(linear(), **given)
    a.fit(parts(), parts(), epochs=2)
    b.fit(parts(), (X, Y), epochs=2)
    for name in a.history[-1].keys() - {"seconds"}:
        assert a.history[-1][name] == pytest.approx(b.history[-1][name], rel=1e-5), name


def test_predict_takes_what_gives_inputs_with_or_without_targets():
    fit = Trainer(linear())
    fit.fit((X, Y), epochs=1)
    want = fit.predict(X)
    only = (X[a:b] for a, b in SIZES)
    lists = ([X[a:b]] for a, b in SIZES)
    named = ({"features": X[a:b]} for a, b in SIZES)
    for data in (parts(), only, lists, named, Loader(parts(), 4)):
        np.testing.assert_allclose(fit.predict(data), want, rtol=1e-5, atol=1e-7)
    with raises(DTypeError, "predict", "Thing"):
        fit.predict(Thing())
    with raises(DataError, "predict", "at least one batch"):
        fit.predict(iter([]))


class Thing:
    pass


def test_a_module_of_torch_is_no_array():
    torch = pytest.importorskip("torch")
    fit = Trainer(linear())
    for x in (torch.nn.Linear(3, 2), [torch.nn.Linear(3, 2)]):
        with raises(DTypeError, "predict", "Linear" if not isinstance(x, list) else "list"):
            fit.predict(x)


# Generators, which are read once


def test_a_generator_gives_one_epoch_or_steps_of_each():
    fit = Trainer(linear())
    with raises(ConfigError, "fit", "epochs 10", "function"):
        fit.fit(parts()())
    fit.fit(parts()(), epochs=1)
    whole, stepped = Trainer(linear()), Trainer(linear())
    whole.fit(parts(), epochs=1)
    assert losses(fit) == losses(whole)
    batches = parts()()
    stepped.fit(batches, epochs=1, steps=2)
    stepped.fit(batches, epochs=2, steps=2)  # continues where it was, with what was read ahead
    np.testing.assert_allclose(stepped.model.predict(X), whole.model.predict(X), rtol=1e-6)
    with raises(DataError, "fit", "at least one batch", "function"):
        stepped.fit(batches, epochs=3, steps=2)


def test_a_generator_that_ends_before_its_steps_is_one_line():
    with raises(DataError, "fit", "5 batches", "batches 4", "function"):
        Trainer(linear()).fit(parts()(), epochs=1, steps=5)


def test_what_gives_the_same_iterator_twice_is_named_in_the_second_epoch():
    class Exhausted:
        def __init__(self):
            self.batches = parts()()

        def __iter__(self):
            return self.batches

    fit = Trainer(linear())
    with raises(DataError, "fit", "at least one batch", "function that makes it"):
        fit.fit(Exhausted(), epochs=2)
    assert fit.epoch == 1


def test_a_generator_to_validate_with_is_read_into_memory():
    fit = Trainer(linear())
    fit.fit((X, Y), validation=parts()(), epochs=3)
    assert fit.history[-1]["validation_loss"] == pytest.approx(fit.evaluate((X, Y))["loss"])


# Interruption


@pytest.mark.parametrize("step", [0, 2, 3])
@pytest.mark.parametrize("epoch", [0, 1])
def test_an_epoch_that_was_interrupted_goes_on_bit_for_bit(tmp_path, epoch, step, caplog):
    x, y = some_digits(90).x, some_digits(90).y
    straight, first, second = (trainer(noisy_net(), "numpy", "adam", 0.01) for _ in range(3))
    straight.fit(parts(x, y), epochs=3)
    first.callbacks.append(InterruptAt(epoch, step))
    first.fit(parts(x, y), epochs=3)
    assert (first.epoch, first.step) in ((epoch, step + 1), (epoch + 1, 0))
    write_checkpoint(tmp_path / "c", first.checkpoint())
    second.resume(read_checkpoint(tmp_path / "c"))
    with caplog.at_level(logging.WARNING, "xpnet"):
        second.fit(parts(x, y), epochs=3)
    assert_same_state(second.checkpoint(), straight.checkpoint())
    if first.step:
        assert f"epoch {epoch + 1} continues at batch {step + 1}" in caplog.text


def test_a_stream_that_became_shorter_than_what_was_trained_is_refused():
    fit = Trainer(linear(), callbacks=[InterruptAt(0, 2)])
    fit.fit(parts(), epochs=2)
    fit.callbacks.clear()
    with raises(DataError, "fit", "3 batches", "batches 2"):
        fit.fit(parts(sizes=[(0, 25), (25, 60)]), epochs=2)


def test_an_epoch_that_was_interrupted_in_a_last_step_of_fewer_batches_goes_on():
    straight, fit = Trainer(linear(), accumulate=3), Trainer(linear(), accumulate=3, callbacks=[InterruptAt(0, 1)])
    straight.fit(parts(), epochs=2)
    fit.fit(parts(), epochs=2)  # 4 batches: the second step is of one
    assert (fit.epoch, fit.step) == (0, 2)
    fit.callbacks.clear()
    fit.fit(parts(), epochs=2)
    assert losses(fit) == losses(straight)


# Examples one by one, and sets too large for memory


def test_examples_of_an_iterable_are_put_into_batches():
    image = pytest.importorskip("PIL.Image")
    x = RNG.integers(0, 255, (20, 6, 5), dtype=np.uint8)

    def rows():
        for i in range(20):
            yield {"image": image.fromarray(x[i]), "label": i % 2}

    model = [nn.Sequential(nn.Flatten(), nn.Linear(30, 2)).initialize(1) for _ in range(2)]
    a, b = (Trainer(m) for m in model)
    a.fit(rows, epochs=2, batch_size=8)
    b.fit(parts(x, np.arange(20) % 2, [(0, 8), (8, 16), (16, 20)]), epochs=2)
    assert losses(a) == losses(b)
    np.testing.assert_allclose(a.predict(rows), a.predict(x), rtol=1e-5, atol=1e-6)


def test_a_set_too_large_for_memory_is_read_in_the_order_of_arrays(monkeypatch):
    class Examples:
        def __len__(self):
            return 90

        def __getitem__(self, i):
            return X[i], int(Y[i])

    arrays, fits = Trainer(linear(), seed=5), [Trainer(linear(), seed=5) for _ in range(2)]
    arrays.fit((X, Y), (X, Y), epochs=3, batch_size=16)
    monkeypatch.setattr(reading, "_MOST", 100)
    for fit in fits:
        fit.fit(Examples(), Examples(), epochs=3, batch_size=16)
        np.testing.assert_allclose(losses(fit), losses(arrays), rtol=1e-5)
        assert fit.history[-1]["test_loss"] == pytest.approx(arrays.history[-1]["test_loss"], rel=1e-5)
    fits[0].callbacks.append(InterruptAt(3, 2))
    for fit, epochs in zip(fits, ([5, 5], [5]), strict=True):
        for each in epochs:
            fit.fit(Examples(), epochs=each, batch_size=16)
    assert_same_state(fits[0].checkpoint(), fits[1].checkpoint())
    np.testing.assert_allclose(fits[0].predict(Examples()), fits[0].predict(X), rtol=1e-5, atol=1e-7)


# Bad batches


def after(x: Any, y: Any) -> Callable[[], Iterator[Any]]:
    """Four good batches, and another, far beyond those by which a stream is measured."""

    def batches():
        for _ in range(12):
            yield from parts()()
        yield x, y

    return batches


BAD = {
    "label": (X[:5], [0, 1, 7, 0, 1], ["batch 48", "0..K-1", "label 7", "sample 2", "K 2"]),
    "negative": (X[:5], [0, 1, -1, 0, 1], ["batch 48", "label -1"]),
    "NaN": (np.where(X[:5] == X[2, 1], np.nan, X[:5]), Y[:5], ["batch 48", "finite values", "nan", "sample 2"]),
    "empty": (X[:0], Y[:0], ["batch 48", "leave empty batches out"]),
    "shape": (X[:5, :2], Y[:5], ["batch 48", "(2,)", "(3,)"]),
    "length": (X[:5], Y[:4], ["batch 48", "(5, 3)", "(4,)"]),
    "kind": (X[:5], Y[:5] / 2, ["batch 48", "float64", "int64"]),
    "one-hot": (X[:5], np.eye(2, dtype=int)[Y[:5]], ["batch 48", "(5, 2)"]),
    "bytes": (X[:5].astype(np.uint8), Y[:5], ["batch 48", "one dtype", "uint8"]),
    "form": ((X[:5], X[:5]), Y[:5], ["batch 48", "one shape"]),
    "no targets": (X[:5], None, ["batch 48", "targets none"]),
    "words": (X[:5], np.asarray(["a"] * 5), ["batch 48", "<U1"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_batch_unlike_the_first_is_named(name):
    x, y, words = BAD[name]
    fit = Trainer(linear())
    with pytest.raises(DataError) as caught:
        fit.fit(after(x, y if y is None else np.asarray(y)), epochs=2)
    message = str(caught.value)
    assert message.startswith("fit")
    assert "\n" not in message
    for word in words:
        assert word in message
    assert fit.step == 48


@pytest.mark.parametrize("name", ["label", "NaN", "empty"])
def test_a_bad_batch_among_the_first_is_named_before_training(name):
    x, y, _ = BAD[name]

    def batches():
        yield from parts()()
        yield x, np.asarray(y)

    fit = Trainer(linear())
    with pytest.raises(DataError, match="batch 4"):
        fit.fit(batches, epochs=2)
    assert fit.step == 0


@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize("rows", [False, True])
def test_bytes_among_batches_of_0_to_1_are_never_mixed(rows, evaluated):
    x = RNG.random((1200, 8, 8, 1)).astype(np.float32)
    x = x.reshape(1200, 64) if rows else x
    y = np.arange(1200) % 2

    def mixed():
        yield x, y
        yield np.rint(x * 255), y  # as floating numbers

    fit = Trainer(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).initialize(1))
    if evaluated:
        fit.fit((x, y), epochs=1)
    with raises(DataError, f"{'evaluate' if evaluated else 'fit'}, batch 1", "0 to 255", "scale"):
        fit.evaluate(mixed) if evaluated else fit.fit(mixed, epochs=1)
    if evaluated:
        with raises(DataError, "predict, batch 1", "0 to 255"):
            fit.predict(mixed)


def test_a_stream_of_bytes_is_brought_to_the_scale_that_was_fitted():
    x = RNG.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    y = np.arange(60) % 2
    fit = Trainer(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).initialize(1))
    fit.fit((x, y), epochs=1)
    small = (x / 255).astype(np.float32)
    for batches in (parts(x, y, [(0, 60)]), parts(small, y, [(0, 5), (5, 60)])):
        assert fit.evaluate(batches)["loss"] == pytest.approx(fit.evaluate((x, y))["loss"], rel=1e-4)
        np.testing.assert_allclose(fit.predict(batches), fit.predict(x), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "given", "words"),
    [
        ({"class_weights": "balanced"}, {}, ["not counted"]),
        ({}, {"validation": 0.2}, ["stream", "0.2"]),
        ({}, {"sample_weight": np.ones(90)}, ["stream"]),
        ({}, {"augment": Augment(shift=1)}, ["images"]),
    ],
    ids=["class weights", "validation", "sample weights", "augment"],
)
def test_what_needs_the_whole_set_is_refused(options, given, words):
    with pytest.raises((ConfigError, ShapeError)) as caught:
        Trainer(linear(), **options).fit(parts(), epochs=2, **given)
    for word in words:
        assert word in str(caught.value)


def test_words_as_labels_need_names_that_are_known():
    words = np.asarray(["no", "yes"])[Y]
    with raises(DataError, "fit", "number the classes"):
        Trainer(linear()).fit(parts(X, words), epochs=1)
    fit = Trainer(linear())
    fit.fit((X, words), epochs=1)
    fit.fit(parts(X, words), epochs=2)
    assert fit.evaluate(parts(X, words))["accuracy"] == fit.evaluate((X, words))["accuracy"]


def test_a_dictionary_of_inputs_has_no_order():
    batches = [({"a": X[:5], "b": X[:5, :2]}, Y[:5]), ({"b": X[5:9, :2], "a": X[5:9]}, Y[5:9])]
    x, _ = reading.read_set("fit", iter(batches))
    np.testing.assert_array_equal(x["a"], X[:9])
    examples = [({"a": X[0], "b": X[0, :2]}, 1), ({"b": X[1, :2], "a": X[1]}, 0), ({"a": X[2], "b": X[2, :2]}, 0)]
    for data in (examples, iter(examples)):
        x, _ = reading.read_set("fit", data)
        np.testing.assert_array_equal(x["b"], X[:3, :2])
