"""Sets of other libraries: examples by number, batches, frames; read into memory, or one clear error."""

from __future__ import annotations

import logging
from array import array
from itertools import count
from typing import Any

import numpy as np
import pytest

from tests.harness import raises
from xpnet import nn
from xpnet.data import host, reading
from xpnet.errors import ConfigError, DataError, DTypeError
from xpnet.train import Trainer

X = (np.arange(48).reshape(16, 3) % 7).astype(np.float32)
Y = np.arange(16) % 2


class Examples:
    """As a set of torch is."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        if not isinstance(i, int):
            raise TypeError("one by one")
        return self.items[i]


class Batches:
    """As a data loader is."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


class Frame:
    """The protocol that frames of pandas and polars have in common."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = columns

    @property
    def columns(self):
        return list(self._columns)

    def __getitem__(self, name):
        return np.asarray(self._columns[name])


PAIRS = [*zip(X, Y.tolist(), strict=True)]
SETS = {
    "pairs": Examples(PAIRS),
    "rows with names": Examples([{"pixel_values": x, "label": y} for x, y in PAIRS]),
    "a list": PAIRS,
    "batches": Batches([(X[:10], Y[:10]), (X[10:], Y[10:])]),
    "batches with names": Batches([{"x": X, "target": Y}]),
}


def fitted(*data: Any, **options: Any) -> list[dict[str, Any]]:
    model = nn.Sequential(nn.Linear(3, 2)).initialize(1)
    return Trainer(model, seed=1).fit(*data, epochs=1, batch_size=4, **options)


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_trained_on_and_tested_as_its_arrays_are(name):
    got = fitted(SETS[name], SETS[name], validation=SETS[name])
    if isinstance(SETS[name], Examples | list):  # else it is trained on in its own batches
        assert got[0]["train_loss"] == fitted((X, Y))[0]["train_loss"]
    trained = Trainer(nn.Sequential(nn.Linear(3, 2)).initialize(1), seed=1)
    trained.fit(SETS[name], epochs=1, batch_size=4)
    want = trained.evaluate((X, Y))["loss"]
    assert got[0]["test_loss"] == got[0]["validation_loss"] == pytest.approx(want, rel=1e-6)


def batches(failing: bool = False):
    for start in range(0, 16, 5):
        yield X[start : start + 5], Y[start : start + 5]
    if failing:
        raise OSError("disk full")


def test_a_generator_is_read_once():
    x, y = reading.read_set("fit", batches())
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)
    with raises(DataError, "fit", "disk full"):
        fitted(batches(failing=True))


def test_of_a_generator_without_an_end_steps_says_how_many_batches_are_read():
    taken = []
    endless = (taken.append(i) or (X[:8], Y[:8]) for i in count())
    assert len(fitted(endless, steps=2)) == 1
    assert taken == [0, 1]
    with raises(DataError, "fit", "5 batches", "batches 4"):
        fitted(batches(), steps=5)
    for data in ((X, Y), Examples(PAIRS)):
        with raises(ConfigError, "fit", "omit steps"):
            fitted(data, steps=2)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, a, b):
        return self.a(a) - self.b(b)


@pytest.mark.parametrize(
    ("several", "sets"),
    [
        ((X, X), Examples([((x, x), y) for x, y in PAIRS])),
        ((X, X), Batches([((X[:10], X[:10]), Y[:10]), ((X[10:], X[10:]), Y[10:])])),
        ({"b": X, "a": X}, Examples([({"b": x, "a": x}, y) for x, y in PAIRS])),
        ({"b": X, "a": X}, Batches([({"b": X, "a": X}, Y)])),
    ],
)
def test_examples_of_several_inputs_are_those_of_their_arrays(several, sets):
    fits = [Trainer(Two().initialize(1)) for _ in range(2)]
    for fit, data in zip(fits, (sets, (several, Y)), strict=True):
        fit.fit(data, epochs=1, batch_size=10)
    figures = [fit.evaluate(d)["loss"] for fit, d in ((fits[0], sets), (fits[0], (several, Y)))]
    assert figures[0] == pytest.approx(figures[1], rel=1e-6)
    if isinstance(sets, Examples):
        assert fits[0].history[0]["train_loss"] == fits[1].history[0]["train_loss"]


def test_half_precision_of_torch_without_a_type_in_numpy_is_read():
    torch = pytest.importorskip("torch")
    assert np.array_equal(host("fit", torch.tensor(X).bfloat16()), X)


def test_images_of_pil_are_arrays_and_palettes_colours():
    image = pytest.importorskip("PIL.Image")
    grey = image.fromarray(np.full((5, 4), 7, np.uint8))
    x, y = reading.read_set("fit", Examples([(grey, 0), (grey, 1)]))
    assert (x.shape, x.dtype, y.tolist()) == ((2, 5, 4), np.uint8, [0, 1])
    palette = image.fromarray(np.full((5, 4, 3), (9, 8, 7), np.uint8)).convert("P", palette=image.Palette.ADAPTIVE)
    assert reading.read_set("fit", Examples([(palette, 0)]))[0][0, 0, 0].tolist() == [9, 8, 7]


def test_images_of_torch_have_their_channels_last(caplog):
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(1).random((4, 3, 6, 5)).astype(np.float32)
    with caplog.at_level(logging.INFO, "xpnet"):
        each, _ = reading.read_set("fit", Examples([(torch.tensor(i), 0) for i in images]))
    assert np.array_equal(each, images.transpose(0, 2, 3, 1))
    assert "(H, W, C)" in caplog.text


def test_a_frame_is_its_columns():
    frame = Frame({"a": [1, 2], "b": [True, False], "c": np.asarray([0.5, None], object)})
    np.testing.assert_array_equal(host("fit", frame), [[1, 1, 0.5], [2, 0, np.nan]])


@pytest.mark.parametrize(
    ("column", "kind"),
    [(["x", "y"], "text"), (np.asarray(["2020-01-01"] * 2, "M8[D]"), "dates"), (np.asarray(["x", 1], object), "text")],
)
def test_a_column_that_holds_no_numbers_is_named(column, kind):
    with raises(DTypeError, "fit", "'city'", kind, "encode"):
        host("fit", Frame({"a": [1, 2], "city": column}))


@pytest.mark.parametrize("y", [range(16), array("q", range(16)), memoryview(bytes(16)), [*range(16)], tuple])
def test_numbers_in_a_sequence_are_no_set(y):
    assert not reading.is_set(y)


class Failing(Examples):
    def __getitem__(self, i):
        raise OSError("disk\nfull")


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (Examples([]), DataError, ["example"]),
        (Examples([1, 2, 3]), DataError, ["(x, y)", "example 0"]),
        (Examples([(X[0], 0), (X[0, :2], 1)]), DataError, ["one shape", "example 1"]),
        (Examples([{"picture": 1, "label": 0}]), DataError, ["picture"]),
        (Failing([1]), DataError, ["disk"]),
        (Batches([]), DataError, ["batch"]),
        (iter([]), DataError, ["batch", "generator"]),
        (Batches([(X, Y), (X, Y[:3])]), DataError, ["batch 1", "(3,)"]),
        (Batches([(X, Y), (X, Y / 2)]), DataError, ["batch 1", "float64"]),
        (Batches([(X, Y), ((X, X), Y)]), DataError, ["batch 1", "one shape"]),
        (Batches([(X, Y), (X[:, :2], Y)]), DataError, ["batch 1", "(2,)"]),
    ],
)
def test_what_cannot_be_read_is_one_error(data, error, words):
    with raises(error, "fit", *words):
        fitted(data)


def test_a_generator_beyond_memory_is_refused_where_it_is_needed_again(monkeypatch):
    monkeypatch.setattr(reading, "_MOST", 100)
    with raises(DataError, "fit", "GB", "function that makes the generator"):
        fitted((X, Y), validation=batches())


T = X @ np.array([[1], [2], [0]], np.float32)  # targets of regression, (16, 1)
LISTS: dict[str, list[Any]] = {
    "pairs": [(X[:10], T[:10]), (X[10:], T[10:])],
    "as torch's loader": [[X[:7], T[:7]], [X[7:14], T[7:14]], [X[14:], T[14:]]],
    "by name": [{"x": X[:6], "y": T[:6]}, {"x": X[6:12], "y": T[6:12]}, {"x": X[12:], "y": T[12:]}],
    "several targets": [(X[:10], X[:10]), (X[10:], X[10:])],
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_batches_is_their_examples(name):
    batches = LISTS[name]
    y = X if name == "several targets" else T
    fits = [Trainer(nn.Sequential(nn.Linear(3, y.shape[1])).initialize(1), seed=1) for _ in range(2)]
    for fit, data in zip(fits, (batches, Batches(batches)), strict=True):
        fit.fit(data, batches, epochs=1, validation=batches)
    np.testing.assert_array_equal(fits[0].predict(X), fits[1].predict(X))
    assert fits[0].shape == (3,)
    assert fits[0].evaluate(batches)["loss"] == pytest.approx(fits[0].evaluate((X, y))["loss"], rel=1e-5)
    np.testing.assert_allclose(fits[0].predict(batches), fits[0].predict(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize("y", [T, X, Y], ids=["one target", "as many targets", "labels"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_list_that_is_batches_or_sequences_is_refused_with_what_to_do(n, y, kind):
    batches = [kind((X[:4], y[:4])) for _ in range(n)]
    trained = Trainer(nn.Sequential(nn.Linear(3, 3)).initialize(1))
    trained.fit((X, X), epochs=1)
    for where, use in (("fit", trained.fit), ("evaluate", trained.evaluate), ("predict", trained.predict)):
        with raises(DataError, where, "lambda: iter(batches)", f"items {n}", "(4, 3)"):
            use(batches)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_list_of_examples_with_several_targets_is_their_arrays(n):
    fits = [Trainer(nn.Sequential(nn.Linear(3, 2)).initialize(1), seed=1) for _ in range(2)]
    y = X[:, :2] + 1
    for fit, data in zip(fits, ([*zip(X[:n], y[:n], strict=True)], (X[:n], y[:n])), strict=True):
        fit.fit(data, epochs=1)
    np.testing.assert_array_equal(fits[0].predict(X), fits[1].predict(X))


def test_a_list_of_batches_of_images_needs_no_other_sizes():
    x, y = np.zeros((8, 5, 5, 1), np.float32), np.arange(8) % 2
    assert reading.is_stream("fit", [(x, y), (x, y)])
    assert not reading.is_stream("fit", [*zip(x, y, strict=True)])
