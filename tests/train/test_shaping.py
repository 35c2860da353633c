"""Rows that are images, images that are rows: brought to the shape that the model takes, or refused in one line."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from tests.harness import raises
from xpnet import nn
from xpnet.data import from_arrays
from xpnet.errors import ShapeError
from xpnet.train import Trainer
from xpnet.train.shaping import shape_for

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (30, 6, 6, 1), dtype=np.uint8)
ROWS = IMAGES.reshape(30, 36)
Y = np.arange(30) % 2


def convolutional(channels: int = 1, height: int = 6, width: int = 6) -> nn.Module:
    """A network of images of one size."""
    features = 2 * (height - 2) * (width - 2)
    return nn.Sequential(nn.Conv2d(channels, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(features, 2)).initialize(3)


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(36, 2)).initialize(3)


def fitted(model: nn.Module, x, **options) -> Trainer:
    trainer = Trainer(model, seed=1)
    trainer.fit((x, Y), epochs=2, batch_size=8, **options)
    return trainer


FORMS = {
    "rows": ROWS,
    "without channels": IMAGES[..., 0],
    "channels first": np.moveaxis(IMAGES, -1, 1),
    "floats": ROWS.astype(np.float32),
    "0 to 1": (ROWS / 255).astype(np.float32),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_image_is_measured_and_predicted_alike(form, caplog):
    trainer, x = fitted(convolutional(), IMAGES), FORMS[form]
    want, answers = trainer.evaluate((IMAGES, Y))["loss"], trainer.predict(IMAGES)
    with caplog.at_level(logging.INFO, "xpnet"):
        assert trainer.evaluate((x, Y))["loss"] == pytest.approx(want, rel=1e-4)
    assert ("reshaped to (6, 6, 1)" in caplog.text) == (form != "without channels")
    np.testing.assert_allclose(trainer.predict(x), answers, rtol=1e-3, atol=1e-5)
    stream = trainer.evaluate(lambda: iter([(x[:20], Y[:20]), (x[20:], Y[20:])]))
    assert stream["loss"] == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("form", ["rows", "channels first"])
def test_a_network_of_images_is_fitted_to_rows(form):
    a, b = fitted(convolutional(), IMAGES), fitted(convolutional(), FORMS[form], validation=(IMAGES, Y))
    assert a.history[-1]["train_loss"] == pytest.approx(b.history[-1]["train_loss"], rel=1e-5)
    assert b.shape == (6, 6, 1)
    c = Trainer(convolutional(), seed=1)
    c.fit(lambda: iter([(ROWS, Y)]), (ROWS, Y), epochs=1)
    assert c.shape == (6, 6, 1)


def test_a_set_with_names_is_brought_to_the_shape_too():
    trainer = fitted(convolutional(), IMAGES)
    assert trainer.evaluate(from_arrays(ROWS, Y, ["0", "1"]))["loss"] == pytest.approx(
        trainer.evaluate((IMAGES, Y))["loss"], rel=1e-4
    )


def test_a_network_of_rows_takes_images():
    a, b = fitted(dense(), ROWS), fitted(dense(), IMAGES)
    assert a.history[-1]["train_loss"] == pytest.approx(b.history[-1]["train_loss"], rel=1e-5)
    np.testing.assert_allclose(a.predict(IMAGES), a.predict(ROWS), rtol=1e-5)


def test_rows_that_may_be_images_of_several_sizes_are_refused():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.GlobalAvgPool2d(), nn.Linear(2, 2)).initialize(1)
    with raises(ShapeError, "fit", "(36,)", "could_be", "reshape"):
        fitted(model, ROWS)


def test_rows_of_colours_are_refused():
    with raises(ShapeError, "fit", "(108,)", "reshape"):
        fitted(convolutional(3), RNG.random((30, 108)))
    trainer = fitted(convolutional(3), RNG.random((30, 6, 6, 3)))
    for measure in (
        lambda: trainer.evaluate((RNG.random((30, 108)), Y)),
        lambda: trainer.predict(RNG.random((4, 108))),
    ):
        with pytest.raises(ShapeError, match="order of colours"):
            measure()


def test_what_has_other_numbers_is_the_networks_own_error():
    for x in (RNG.random((30, 31)), RNG.random((30, 6, 6, 2))):
        with pytest.raises(ShapeError):
            fitted(convolutional(), x)
    with pytest.raises(ShapeError, match="linear"):
        fitted(nn.Sequential(nn.Linear(1, 2)), RNG.random((30, 7)))


@pytest.mark.parametrize(
    ("given", "known", "want"),
    [
        ((784,), (28, 28, 1), (28, 28, 1)),
        ((28, 28), (28, 28, 1), (28, 28, 1)),
        ((28, 28, 1), (784,), (784,)),
        ((784,), (28, 14, 2), None),
        ((783,), (28, 28, 1), (783,)),
        ((14, 56), (28, 28, 1), (14, 56)),
        ((14, 14, 1), (28, 28, 1), (14, 14, 1)),
        ((4, 3), (12,), (4, 3)),
        ((4, 3), (4, 3), (4, 3)),
    ],
)
def test_only_what_leaves_no_choice_is_done(given, known, want):
    if want is None:
        with raises(ShapeError, "predict", "order of colours"):
            shape_for("predict", given, None, known)
    else:
        assert shape_for("predict", given, None, known) == want


OTHER_ORDER = {
    "channels first": ((6, 4, 3), (3, 6, 4), "moveaxis"),
    "height and width swapped": ((6, 4, 1), (4, 6, 1), ""),
    "one row": ((6, 4, 1), (24, 1, 1), ""),
    "steps and features swapped": ((6, 4), (4, 6), ""),
}


class Custom(nn.Module):
    """A layer that defines no cost."""

    def __init__(self, features: int):
        super().__init__()
        self.linear = nn.Linear(features, 2)

    def forward(self, x):
        return self.linear(x.reshape(x.shape[0], -1))


@pytest.mark.parametrize("custom", [False, True], ids=["layers", "custom"])
@pytest.mark.parametrize("name", OTHER_ORDER)
def test_a_model_that_flattens_is_not_given_numbers_in_another_order(name, custom):
    known, given, words = OTHER_ORDER[name]
    x = RNG.normal(size=(30, *known)).astype(np.float32)
    features = x[0].size
    model = Custom(features) if custom else nn.Sequential(nn.Flatten(), nn.Linear(features, 2))
    trainer, other = fitted(model, x), x.reshape(30, *given)
    for act in (
        trainer.predict,
        lambda x: trainer.predict(lambda: iter([x])),
        lambda x: trainer.evaluate((x, Y)),
        lambda x: trainer.evaluate(lambda: iter([(x, Y)])),
    ):
        with pytest.raises(ShapeError, match="as the model was fitted on") as caught:
            act(other)
        assert words in str(caught.value)
    for train, test in (((other, Y), None), ((x, Y), (other, Y))):
        with pytest.raises(ShapeError, match="as the model was fitted on"):
            trainer.fit(train, test, epochs=3)


def test_a_model_of_any_size_takes_images_of_as_many_pixels():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.GlobalAvgPool2d(), nn.Linear(2, 2))
    trainer = fitted(model, RNG.normal(size=(30, 6, 4, 3)))
    assert trainer.predict(RNG.normal(size=(2, 4, 6, 3))).shape == (2, 2)
