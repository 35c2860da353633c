"""What a Trainer is given is checked where it enters: each wrong argument is one error that names it."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from tests.harness import raises
from xpnet import data, models, nn, optim
from xpnet.data import Dataset, Normalize
from xpnet.errors import ConfigError, DataError, DTypeError, ShapeError, XpnetError
from xpnet.train import Callback, Progress, Trainer

X = (np.arange(48).reshape(16, 3) % 7).astype(np.float32)
Y = np.arange(16) % 2
SET = data.from_arrays(X, Y)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2))


ARGUMENTS = {
    "optimizer": ["adam", optim.Adam, 0.1, optim.SGD(nn.Linear(3, 2).parameters())],
    "loss": ["cross_entropy", 3],
    "callbacks": ["progress", Progress, [Progress], Progress(), [None], 3],
    "seed": [-1, 1.5, True, "0", None, 1 << 64],
    "normalize": [Normalize, "mean", 3],
    "capture": ["yes", 1],
    "precision": ["fp8", 16, None],
    "threads": [0, 1.5, True, "2"],
}


@pytest.mark.parametrize(("name", "value"), [(name, v) for name, values in ARGUMENTS.items() for v in values])
def test_a_trainer_checks_each_argument_when_it_is_made(name, value):
    with pytest.raises(ConfigError, match=name):
        Trainer(net(), **{name: value})


@pytest.mark.parametrize("model", [None, "mlp", nn.Linear, lambda x: x])
def test_the_model_is_a_module(model):
    with raises(ConfigError, "Trainer", "model"):
        Trainer(model)


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", v) for v in (0, -1, 3.5, True, "8", None, 10**12)]
    + [("epochs", v) for v in (-1, 1.5, True, "8", None)]
    + [("augment", "shift")],
)
def test_fit_checks_its_numbers(name, value):
    with raises(ConfigError, "fit", name):
        Trainer(net()).fit(SET, **{name: value})
    if name == "batch_size":
        for call in (
            lambda: Trainer(net()).predict(X, batch_size=value),
            lambda: Trainer(net()).evaluate(SET, batch_size=value),
        ):
            if value != 10**12:
                with pytest.raises(ConfigError, match="batch_size"):
                    call()


def test_numbers_of_numpy_are_numbers():
    trainer = Trainer(net(), seed=np.int64(3), threads=np.int32(1))
    assert len(trainer.fit(SET, epochs=np.int64(1), batch_size=np.uint8(5))) == 1
    assert trainer.predict(X, batch_size=np.int64(3)).shape == (16, 2)


@pytest.mark.parametrize("train", [None, "mnist", 3, X, X.tolist(), (X,), (X, Y, X), (X, None), (None, Y), (X, Y[:3])])
def test_what_is_no_training_set_is_refused(train):
    with pytest.raises(XpnetError, match=r"^(fit|arrays): expected"):
        Trainer(net()).fit(train)


@pytest.mark.parametrize(
    "x", [None, "a", [["a"]], [[1], [1, 2]], np.zeros((0, 3)), np.zeros(3), 3.0, np.zeros((2, 3), complex)]
)
def test_what_cannot_be_predicted_is_refused(x):
    with pytest.raises((DTypeError, ShapeError), match=r"^predict: expected"):
        Trainer(net()).predict(x)


@pytest.mark.parametrize("value", [1.0, None, np.float32(1)])
def test_a_loss_or_a_model_that_returns_no_tensor_is_refused(value):
    class Model(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(3, 2)

        def forward(self, x):
            return value

    trainer = Trainer(net(), loss=lambda scores, labels: value)
    for where, call in (("fit", lambda: trainer.fit(SET)), ("evaluate", lambda: trainer.evaluate(SET))):
        with raises(ConfigError, where, "loss that returns a Tensor"):
            call()
    with raises(ConfigError, "fit", "model that returns a Tensor"):
        Trainer(Model()).fit(SET)


def test_scores_that_are_no_rows_are_refused():
    class Model(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(3, 8)

        def forward(self, x):
            return self.linear(x).reshape(x.shape[0], 2, 4)

    for call in (Trainer(Model()).predict, lambda x: Trainer(net()).predict(x[0])):
        with raises(ShapeError, "predict", "x"):
            call(X)


@pytest.mark.parametrize("white", [0, -1, "a", True])
def test_white_is_a_number_above_zero(white):
    with raises(ConfigError, "predict", "white"):
        Trainer(net()).predict(X, white=white)


NAMED = data.from_arrays(X, Y, ["cat", "dog"])


@pytest.mark.parametrize(
    ("train", "test", "error"),
    [
        (SET, (X[:, :2], Y), ShapeError),
        (SET, (X, Y + 1), DataError),
        (NAMED, data.from_arrays(X, Y, ["dog", "cat"]), DataError),
        (NAMED, data.from_arrays(X, Y, ["cat", "zebra"]), DataError),
        (NAMED, data.from_arrays(X, Y + 1, ["cat", "dog", "zebra"]), DataError),
        (SET, "test", ConfigError),
        (SET, 3, ConfigError),
    ],
)
@pytest.mark.parametrize("name", ["test", "validation"])
def test_a_set_unlike_the_training_set_is_refused_before_training(train, test, error, name):
    trainer = Trainer(net())
    with pytest.raises(error, match=r"^fit: expected"):
        trainer.fit(train, **{name: test}, epochs=1)
    assert trainer.optimizer.steps == 0


@pytest.mark.parametrize("again", ["fitted", "resumed"])
def test_a_second_training_set_has_the_classes_of_the_first(again):
    cats, dogs = (data.from_arrays(X, Y, names) for names in (("cat", "dog"), ("dog", "cat")))
    trainer = Trainer(net(), seed=0)
    trainer.fit(cats, epochs=1)
    if again == "resumed":
        checkpoint, trainer = trainer.checkpoint(), Trainer(net(), seed=0)
        trainer.resume(checkpoint)
    with raises(DataError, "fit", "class 'dog'; order the classes alike"):
        trainer.fit(dogs, epochs=2)
    with raises(DataError, "evaluate", "'dog'"):
        trainer.evaluate(dogs)
    assert len(trainer.fit(cats, epochs=2)) == len(trainer.fit((X, Y), epochs=2)) == 2  # numbers are no names


def test_a_set_of_other_classes_is_not_evaluated():
    trainer = Trainer(net())
    trainer.fit(NAMED, (X, Y), epochs=1)
    assert trainer.evaluate(data.from_arrays(X, Y))["accuracy"] == trainer.evaluate(NAMED)["accuracy"]
    with raises(DataError, "evaluate", "'dog'", "order"):
        trainer.evaluate(data.from_arrays(X, Y, ["dog", "cat"]))


@pytest.mark.parametrize("form", [lambda a: a, lambda a: a.tolist()])
def test_fit_x_y_is_fit_of_the_pair(form):
    one, other = Trainer(net(), seed=1), Trainer(net(), seed=1)
    one.fit(form(X), form(Y), epochs=1) if form(X) is X or isinstance(form(X), list) else one.fit(
        (form(X), form(Y)), epochs=1
    )
    other.fit((X, Y), epochs=1)
    assert np.array_equal(one.predict(X), other.predict(X))


def test_a_parameter_added_after_the_trainer_was_made_is_refused_and_those_left_out_on_purpose_are_not():
    model = nn.Sequential(a=nn.Linear(3, 4), b=nn.Linear(4, 2))
    trainer = Trainer(model, optim.SGD(model.b.parameters(), lr=0.1))
    before = model.a.weight.numpy()
    trainer.fit(SET, epochs=1)
    assert np.array_equal(model.a.weight.numpy(), before)
    model.b = nn.Linear(4, 2)
    with raises(ConfigError, "fit", "b.weight", "new Trainer"):
        trainer.fit(SET, epochs=2)


class Fails(Callback):
    """Fails once, after a number of steps in all."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step(self, trainer):
        self.steps -= 1
        if not self.steps:
            raise ZeroDivisionError("planted")


def test_after_an_error_in_a_callback_the_next_fit_goes_on_with_the_loss_of_the_whole_epoch():
    failing, whole = Trainer(net(), seed=1, callbacks=[Fails(6)]), Trainer(net(), seed=1)
    with pytest.raises(ZeroDivisionError):
        failing.fit(SET, epochs=3, batch_size=4)
    got, want = failing.fit(SET, epochs=3, batch_size=4), whole.fit(SET, epochs=3, batch_size=4)
    assert [r["train_loss"] for r in got] == [r["train_loss"] for r in want]


@pytest.mark.parametrize(("batch_size", "examples"), [(9, 16), (2, 16), (4, 8)])
def test_an_epoch_interrupted_with_other_batches_begins_anew(batch_size, examples, caplog):
    trainer = Trainer(net(), seed=1, callbacks=[Fails(3)])
    with pytest.raises(ZeroDivisionError):
        trainer.fit(SET, epochs=1, batch_size=4)
    with caplog.at_level(logging.WARNING, "xpnet"):
        trainer.fit(SET.take(range(examples)), epochs=1, batch_size=batch_size)
    assert trainer.optimizer.steps == 3 + -(-examples // batch_size)
    assert "starts from its first step" in caplog.text


def test_a_fit_that_has_nothing_to_do_says_so(caplog):
    trainer = Trainer(net())
    with caplog.at_level(logging.WARNING, "xpnet"):
        trainer.fit(SET, epochs=0)
        trainer.fit(SET, epochs=2)
        assert not caplog.text
        trainer.fit(SET, epochs=2)
    assert "nothing is trained: 2 epochs are done" in caplog.text


def test_a_fraction_is_held_out_of_each_class_and_is_the_same_in_the_next_fit():
    y = np.repeat([0, 1], [60, 20])
    x = np.arange(80 * 3).reshape(80, 3).astype(np.float32) / 240
    fit = Trainer(net(), seed=3)
    seen: list[Dataset] = []
    evaluate = fit.evaluate
    fit.evaluate = lambda data, **options: seen.append(data) or evaluate(data, **options)
    history = fit.fit((x, y), validation=0.25, epochs=1)
    fit.fit((x, y), validation=0.25, epochs=2)
    assert set(history[0]) == {"epoch", "train_loss", "validation_loss", "validation_accuracy", "seconds"}
    assert np.bincount(seen[0].y).tolist() == [15, 5]
    assert np.array_equal(seen[0].x, seen[1].x)
    held = {tuple(row) for row in seen[0].x.tolist()}
    trained = data.from_arrays(x, y).take([i for i, row in enumerate(x.tolist()) if tuple(row) not in held])
    assert len(trained) == 60
    other = Trainer(net(), seed=3)
    other.fit(trained, seen[0], epochs=2)
    assert other.history[1]["train_loss"] == fit.history[1]["train_loss"]
    assert other.history[1]["test_loss"] == fit.history[1]["validation_loss"]


@pytest.mark.parametrize("value", [0, 1, 1.5, -0.1, True, float("nan"), 0.99, "0.1", (X[:, :2], Y), 3, object()])
def test_what_is_no_validation_set_and_no_fraction_is_refused(value):
    trainer = Trainer(net())
    with pytest.raises(XpnetError, match=r"^fit: expected .*(validation|data)"):
        trainer.fit(SET, validation=value, epochs=1)
    assert trainer.optimizer.steps == 0


def wave(n, seed=0):
    """Sequences (n, 8, 3) on different scales, and which way they turn."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    angle = rng.uniform(0, 6, (n, 1)) + np.arange(8) * (2 * y[:, np.newaxis] - 1)
    x = np.stack([np.cos(angle), 1000 + 300 * np.sin(angle), rng.normal(size=(n, 8))], axis=2)
    return x, y


def test_sequences_are_learned_and_predicted_as_they_are():
    x, y = wave(200)
    trainer = Trainer(models.build("mlp", (8, 3), 2), seed=0)
    trainer.fit(x, y, epochs=6, batch_size=16)
    assert trainer.scale.sequence
    assert len(trainer.normalize.mean) == 3  # a mean for each feature
    new, labels = wave(50, 1)
    assert (trainer.predict(new).argmax(axis=1) == labels).mean() > 0.9
    assert trainer.evaluate((new, labels))["accuracy"] > 0.9
    assert np.allclose(trainer.predict(new[:1]), trainer.predict(new)[:1], atol=1e-5)
    again = Trainer(models.build("mlp", (8, 3), 2))
    again.resume(trainer.checkpoint())
    assert np.array_equal(again.predict(new), trainer.predict(new))


def test_a_model_of_images_takes_arrays_of_three_axes_as_gray_images():
    x = np.random.default_rng(0).normal(size=(24, 8, 8))  # standardized pictures
    y = np.arange(24) % 3
    trainer = Trainer(models.build("cnn", (8, 8, 1), 3), seed=0)
    trainer.fit((x, y), (x, y), epochs=1)
    assert trainer.predict(x).shape == (24, 3)
    assert trainer.evaluate((x, y))["scores"].shape == (24, 3)
    with pytest.raises(ShapeError, match=r"cnn: expected an image \(H, W, C\), each >= 1, got shape \(8, 3\)"):
        models.build("cnn", (8, 3), 2)
