"""The scale of data: the same pictures in every form train alike; a fitted Trainer reads each form or refuses it."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from tests.harness import raises
from xpnet import data, nn
from xpnet.backend import get_backend
from xpnet.data import Scale
from xpnet.errors import ConfigError, DataError
from xpnet.train import Trainer

digits = functools.cache(lambda: data.load("digits"))


def pixels(x: np.ndarray) -> np.ndarray:
    return np.round(x * (255 / 16)).astype(np.uint8)


def flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1)


FORMS = {
    "bytes": pixels,
    "rows of bytes": lambda x: flat(pixels(x)),
    "int64": lambda x: pixels(x).astype(np.int64),
    "rows of int64": lambda x: flat(pixels(x)).astype(np.int64),
    "float64 to 255": lambda x: pixels(x).astype(np.float64),
    "rows of float32 to 255": lambda x: flat(pixels(x)).astype(np.float32),
    "fractions to 255": lambda x: np.minimum(pixels(x) + np.float32(0.25), 255),
    "float32 to 1": lambda x: pixels(x) / np.float32(255),
    "rows of float64 to 1": lambda x: flat(pixels(x)) / 255,
    "bytes to 16": lambda x: x,
    "rows of float64 to 16": lambda x: flat(x).astype(float),
}


@functools.cache
def fitted(form: str) -> Trainer:
    train = digits()[0].take(np.arange(600))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, init=nn.zeros))
    trainer = Trainer(model, seed=0)
    trainer.fit((FORMS[form](train.x), train.y), epochs=4)
    return trainer


def accuracy(trained_on: str, form: str) -> float:
    test = digits()[1]
    return fitted(trained_on).evaluate((FORMS[form](test.x), test.y))["accuracy"]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_pictures_train_about_as_well_in_every_form(form):
    assert accuracy(form, form) > 0.88


@pytest.mark.parametrize(("trained_on", "form"), list(itertools.product(FORMS, FORMS)))
def test_data_in_another_form_than_the_training_set_is_brought_to_its_scale(trained_on, form):
    assert accuracy(trained_on, form) == pytest.approx(accuracy(trained_on, trained_on), abs=0.02)
    x = digits()[1].x[:40]
    one, other = (fitted(trained_on).predict(FORMS[each](x)) for each in (trained_on, form))
    np.testing.assert_allclose(one, other, atol=0.08)


def test_images_for_a_model_of_rows_from_0_to_1_give_its_loss():
    test = digits()[1]
    one, other = (FORMS[each](test.x) for each in ("rows of float64 to 1", "fractions to 255"))
    losses = [fitted("rows of float64 to 1").evaluate((x, test.y))["loss"] for x in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


@pytest.mark.parametrize("trained_on", FORMS)
def test_a_data_set_says_its_white_also_for_few_dark_examples(trained_on):
    test = digits()[1].take(np.arange(5))
    dark = data.Dataset(test.x // 4, test.y, test.classes, "dark", white=16.0)
    bright = data.Dataset(pixels(dark.x), test.y, test.classes, "dark")
    one, other = (fitted(trained_on).evaluate(each)["scores"] for each in (dark, bright))
    np.testing.assert_allclose(one, other, atol=0.2)


@pytest.mark.parametrize("trained_on", [form for form in FORMS if "to 1" not in form])  # which needs white= for bytes
def test_one_dark_picture_of_bytes_is_no_brighter_than_it_is(trained_on):
    dark = np.full((1, 8, 8, 1), 12, np.uint8)
    if "rows" in trained_on:
        dark = flat(dark)
    got = fitted(trained_on).predict(dark)
    np.testing.assert_allclose(got, fitted(trained_on).predict(dark, white=255), atol=1e-6)


REFUSED = [
    *itertools.product(["bytes", "int64", "float32 to 1", "bytes to 16"], ["standardized", "-1 to 1", "16 bits"]),
    ("rows of bytes", "standardized"),
    ("rows of bytes", "-1 to 1"),
]


@pytest.mark.parametrize(("trained_on", "form"), REFUSED)
def test_data_whose_scale_cannot_be_told_is_refused(trained_on, form):
    x = pixels(digits()[1].x).astype(np.float64)
    x = {"standardized": (x - 78) / 96, "-1 to 1": x / 127.5 - 1, "16 bits": x * 257}[form]
    x = flat(x) if "rows" in trained_on else x
    for call in (fitted(trained_on).predict, lambda x: fitted(trained_on).evaluate((x, digits()[1].y))):
        with raises(DataError, "predict" if call == fitted(trained_on).predict else "evaluate", "values from"):
            call(x)


UNKNOWN = {
    "16 bits": lambda x: x.astype(np.uint16) * 257,
    "12 bits": lambda x: x.astype(np.int32) * 16,
    "-1 to 1": lambda x: x / 127.5 - 1,
    "standardized": lambda x: (x.astype(float) - 78) / 96,
}


@pytest.mark.parametrize("trained_on", UNKNOWN)
@pytest.mark.parametrize("form", ["bytes", "one of bytes", "bits", "float32 to 1", "float64 to 255"])
def test_pixels_are_refused_by_a_model_of_images_of_unknown_white(trained_on, form):
    train, test = digits()
    trainer = Trainer(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), seed=0)
    trainer.fit((UNKNOWN[trained_on](pixels(train.x[:99])), train.y[:99]), epochs=1)
    x = pixels(test.x[:50])
    x = {"bits": x > 127, "one of bytes": x[:1]}[form] if form in ("bits", "one of bytes") else FORMS[form](test.x[:50])
    with raises(DataError, "predict", "values from 0"):
        trainer.predict(x)
    assert trainer.predict(UNKNOWN[trained_on](pixels(test.x[:50]))).shape == (50, 10)


@pytest.mark.parametrize("trained_on", ["bytes", "float32 to 1", "bytes to 16"])
def test_bits_are_black_and_white_for_predict_and_evaluate_alike(trained_on):
    x, y = digits()[1].x > 7, digits()[1].y
    right = fitted(trained_on).evaluate((x, y))["accuracy"]
    assert right > 0.75
    assert np.mean(fitted(trained_on).predict(x).argmax(axis=1) == y) == right


@pytest.mark.parametrize("trained_on", ["bytes", "float32 to 1", "bytes to 16"])
def test_a_value_that_is_nan_makes_the_probabilities_of_its_example_nan_alone(trained_on):
    x = pixels(digits()[1].x[:20]) / np.float32(255)
    right = fitted(trained_on).predict(x)
    x[3, 0, 0], right[3] = np.nan, np.nan
    np.testing.assert_allclose(fitted(trained_on).predict(x), right, atol=1e-6)
    assert np.isnan(fitted(trained_on).predict(x * np.nan)).all()


def test_bytes_for_a_model_of_standardized_images_are_refused():
    train, test = digits()
    trainer = Trainer(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), seed=0)
    trainer.fit(((train.x / 16 - 0.3) / 0.37, train.y), epochs=1)
    assert trainer.normalize is None
    with raises(DataError, "predict", "values from 0 to 255"):
        trainer.predict(pixels(test.x))
    with raises(DataError, "predict", "white 255"):
        trainer.predict(pixels(test.x), white=255)


@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).normal(0, 1, (50, 4)),
        np.random.default_rng(0).normal(0, 2, (50, 20)),
        np.random.default_rng(0).uniform(0, 1, (50, 20)),
        np.random.default_rng(0).integers(0, 5, (50, 30)),
    ],
)
def test_standardized_tables_are_left_as_they_are(x):
    scale = Scale.of(x.astype(np.float32), data.from_arrays(x, np.arange(50) % 2).white)
    assert not scale.normalized
    for other in (x[:9], 3.0 * x, 0.1 * x[:1], -1.0 * x):
        assert scale.factor("predict", other.astype(np.float32)) == 1.0


@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).normal(5, 1, (50, 4)),
        np.random.default_rng(0).normal(40, 900, (50, 20)),
        np.random.default_rng(0).integers(0, 200, (50, 5)),
        np.random.default_rng(0).integers(-3, 200, (50, 30)),
        np.random.default_rng(0).normal(0, 0.05, (50, 10)),
        np.random.default_rng(0).normal(0, [1, 1e-6, 1], (50, 3)),
    ],
)
def test_other_tables_are_standardized_column_by_column(x):
    x = x.astype(np.float32)
    trainer = Trainer(nn.Linear(x.shape[1], 1), seed=0)
    trainer.fit(x, x[:, 0].astype(float), epochs=1)
    model = Trainer(trainer.model, task=trainer.task)
    wide = x.astype(np.float64)
    want = model.predict(((wide - wide.mean(axis=0)) / wide.std(axis=0)).astype(np.float32))
    np.testing.assert_allclose(trainer.predict(x), want, rtol=1e-3, atol=1e-3 * np.abs(want).max())
    for other in (x[:9], 3 * x, x[:1] / 10, -x):
        assert trainer.scale.factor("predict", other) == 1.0


def test_a_second_training_set_is_brought_to_the_scale_of_the_first():
    train, test = digits()
    trainer = Trainer(nn.Sequential(nn.Flatten(), nn.Linear(64, 10, init=nn.zeros)), seed=0)
    trainer.fit((pixels(train.x), train.y), epochs=1)
    first = trainer.normalize
    trainer.fit((train.x / np.float32(16), train.y), (test.x, test.y), epochs=4)
    assert trainer.normalize == first
    assert trainer.history[-1]["test_accuracy"] > 0.9


@pytest.mark.parametrize("form", ["int64", "float32 to 1"])
def test_the_scale_is_in_the_checkpoint_and_old_ones_take_data_as_it_is(form):
    trainer, x = fitted(form), digits()[1].x[:20]
    saved = trainer.checkpoint()
    other = Trainer(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    other.resume(saved)
    assert other.scale == trainer.scale
    np.testing.assert_array_equal(other.predict(pixels(x)), trainer.predict(pixels(x)))
    del saved.meta["scale"]
    other.resume(saved)
    assert other.scale is None
    assert other.normalize == trainer.normalize


@pytest.mark.parametrize("values", [3, {}, {"white": "a"}, {"white": 1, "low": None, "high": 1}])
def test_json_that_is_no_scale_is_an_error(values):
    with raises(ConfigError, "Scale"):
        Scale.from_json(values)


def test_arrays_of_any_library_and_lists_are_brought_to_the_scale(backend):
    if backend.name == "cupy":
        pytest.skip("covered by the emulated device")
    trainer, x = fitted("float32 to 1"), pixels(digits()[1].x[:9])
    want = trainer.predict(x)
    for each in (backend.from_numpy(x), x.tolist()):
        np.testing.assert_array_equal(trainer.predict(each), want)
    assert get_backend("numpy") == trainer.model.backend
