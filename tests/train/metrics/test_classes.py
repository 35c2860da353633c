"""Metrics against scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.harness import raises, sample
from xpnet.backend import get_backend
from xpnet.errors import ConfigError, DivergedError, DTypeError, ShapeError
from xpnet.train import LossMeter, accuracy, confusion_matrix, top_k_accuracy
from xpnet.train.metrics.average import Slot

sklearn = pytest.importorskip("sklearn.metrics")

SCORES = sample(60, 7)  # no ties
LABELS = np.random.default_rng(1).integers(0, 6, 60)  # class 6 never occurs


def test_accuracy_is_that_of_scikit_learn():
    want = sklearn.accuracy_score(LABELS, np.argmax(SCORES, axis=1))
    assert 0 < want < 1
    assert accuracy(SCORES, LABELS) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 5, 6, 7])
def test_top_k_accuracy_is_that_of_scikit_learn(k):
    with np.errstate(all="ignore"):
        want = 1.0 if k == 7 else sklearn.top_k_accuracy_score(LABELS, SCORES, k=k, labels=range(7))
    assert top_k_accuracy(SCORES, LABELS, k) == pytest.approx(want, abs=1e-12)


def test_the_confusion_matrix_is_that_of_scikit_learn():
    predicted = np.argmax(SCORES, axis=1)
    want = sklearn.confusion_matrix(LABELS, predicted, labels=range(7))
    got = confusion_matrix(predicted, LABELS, 7)
    assert got.dtype == np.int64
    assert np.array_equal(got, want)
    assert not np.array_equal(got, got.T)


def test_on_ties_the_first_class_is_said_and_a_tied_label_is_not_ahead():
    scores, labels = np.asarray([[1.0, 1.0, 0.0]]), np.asarray([1])
    assert accuracy(scores, np.asarray([0])) == 1.0
    assert accuracy(scores, labels) == 0.0
    assert top_k_accuracy(scores, labels, 1) == 0.0
    assert top_k_accuracy(scores, labels, 2) == 1.0


@pytest.mark.parametrize("k", [0, 8])
def test_k_outside_of_the_classes_is_refused(k):
    with raises(ConfigError, "top_k_accuracy", f"k {k}", "1 to 7"):
        top_k_accuracy(SCORES, LABELS, k)


def test_scores_that_are_nan_count_as_wrong_and_infinite_ones_as_numbers():
    scores = np.asarray([[np.nan, 1, 0], [np.nan] * 3, [2, np.nan, 1], [0, np.inf, 1], [-np.inf, 0, 1]])
    labels = np.asarray([0, 0, 0, 1, 2])
    assert accuracy(scores, labels) == top_k_accuracy(scores, labels, 1) == 2 / 5
    assert top_k_accuracy(scores, labels, 3) == 2 / 5


def test_metrics_take_lists_and_arrays_of_any_library(backend):
    scores, labels = [[1.0, 2.0], [3.0, 0.0]], [1, 1]
    for s, y in ((scores, labels), tuple(backend.from_numpy(np.asarray(a)) for a in (np.float32(scores), labels))):
        assert accuracy(s, y) == top_k_accuracy(s, y, 1) == 0.5
    assert confusion_matrix([0, 1], [1, 1], 2).tolist() == [[0, 0], [1, 1]]


BAD = {
    "a label too large": (accuracy, ([[1.0, 2.0]], [2]), ConfigError, ["label", "2"]),
    "a negative label": (top_k_accuracy, ([[1.0, 2.0]], [-1], 1), ConfigError, ["-1"]),
    "labels with fractions": (accuracy, ([[1.0, 2.0]], [0.5]), DTypeError, ["float64"]),
    "no scores": (accuracy, (None, [1]), DTypeError, ["NoneType"]),
    "rows of two lengths": (accuracy, ([[1.0, 2.0], [1.0]], [1, 0]), DTypeError, ["list"]),
    "k no whole number": (top_k_accuracy, ([[1.0, 2.0]], [1], 1.0), ConfigError, ["k 1.0"]),
    "a class too many": (confusion_matrix, ([0, 2], [0, 1], 2), ConfigError, ["predicted 2", "K 2"]),
    "a class below 0": (confusion_matrix, ([0, 1], [0, -1], 2), ConfigError, ["labels -1", "K 2"]),
    "no class": (confusion_matrix, ([0], [0], 0), ConfigError, ["classes 0"]),
}


@pytest.mark.parametrize(("metric", "arguments", "error", "values"), BAD.values(), ids=BAD.keys())
def test_what_metrics_cannot_count_is_refused(metric, arguments, error, values):
    with raises(error, metric.__name__, *values):
        metric(*arguments)


def test_sizes_that_disagree_are_refused():
    with raises(ShapeError, "accuracy", (60, 7), (59,)):
        accuracy(SCORES, LABELS[:59])
    with raises(ShapeError, "accuracy", (0, 7), (0,)):
        accuracy(SCORES[:0], LABELS[:0])
    with raises(ShapeError, "top_k_accuracy", (60,), (60,)):
        top_k_accuracy(SCORES[:, 0], LABELS)
    with raises(ShapeError, "confusion_matrix", (60,), (59,)):
        confusion_matrix(LABELS, LABELS[:59], 7)


def test_the_loss_meter_weighs_each_step_by_its_examples(backend):
    meter = LossMeter(backend)
    for step, (n, loss) in enumerate([(32, 2.0), (32, 4.0), (8, 1.0)], 1):
        meter.add(step, n, backend.from_numpy(np.asarray(loss, np.float32)))
    assert meter.read() == pytest.approx((32 * 2 + 32 * 4 + 8) / 72, rel=1e-7)


def test_it_does_not_matter_when_the_loss_meter_is_read(backend):
    often, once = LossMeter(backend), LossMeter(backend)
    for step, loss in enumerate(sample(50).astype(np.float32), 1):
        for meter in (often, once):
            meter.add(step, 3 + step % 2, backend.from_numpy(np.asarray(loss)))
        often.read()
    assert often.read() == once.read()


def test_the_loss_meter_goes_on_from_an_earlier_sum():
    assert LossMeter(get_backend("numpy")).read() == 0.0
    meter = LossMeter(get_backend("numpy"), total=6.0, count=2)
    meter.add(1, 2, np.float32(1.0))
    assert meter.read() == 2.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_loss_meter_names_the_first_step_that_is_not_finite(backend, bad):
    meter = LossMeter(backend)
    for step, loss in enumerate([1.0, 2.0, bad, 3.0, math.nan], 11):
        meter.add(step, 4, backend.from_numpy(np.asarray(loss, np.float32)))
    with raises(DivergedError, "loss", "step 13", f"loss {bad}", "lower lr"):
        meter.read()


def test_losses_in_a_buffer_and_by_themselves_make_one_average(backend):
    buffer = backend.from_numpy(np.asarray([9.0, 4.0, 1.0, 9.0], np.float32))
    meter = LossMeter(backend)
    meter.add(1, 32, backend.from_numpy(np.asarray(2.0, np.float32)))
    meter.add(2, 32, Slot(buffer, 1))
    meter.add(3, 8, Slot(buffer, 2))
    assert meter.read() == pytest.approx((32 * 2 + 32 * 4 + 8) / 72, rel=1e-7)


def test_a_buffer_of_losses_is_copied_once_a_reading(monkeypatch):
    backend, copies = get_backend("numpy"), []
    monkeypatch.setattr(type(backend), "to_numpy", lambda self, a: copies.append(a) or np.array(a))
    meter, buffer = LossMeter(backend), np.ones(1000, np.float32)
    for step in range(1000):
        meter.add(step, 4, Slot(buffer, step))
    assert meter.read() == 1.0
    assert len(copies) == 1


def test_a_loss_in_a_buffer_that_is_not_finite_names_its_step():
    meter = LossMeter(get_backend("numpy"))
    for step, place in ((7, 0), (8, 1)):
        meter.add(step, 4, Slot(np.asarray([1.0, math.nan]), place))
    with raises(DivergedError, "loss", "step 8", "loss nan"):
        meter.read()
