from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest

from xpnet import Tensor, data, nn
from xpnet.errors import ShapeError
from xpnet.train import Trainer, make_task

metrics = pytest.importorskip("sklearn.metrics")

rng = np.random.default_rng(0)
X = rng.normal(size=(90, 5)).astype(np.float32)
Y = rng.integers(0, 6, 90)  # class 6 has no example
NAMES = list("abcdefg")
SET = data.from_arrays(X, Y, NAMES)


def test_figures_are_those_of_scikit_learn():
    figures = Trainer(nn.Linear(5, 7).initialize(3)).evaluate(SET)
    predicted = figures["scores"].argmax(axis=1)
    assert figures["accuracy"] == metrics.accuracy_score(Y, predicted)
    assert figures["top5_accuracy"] == metrics.top_k_accuracy_score(Y, figures["scores"], k=5, labels=range(7))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes without examples
        assert figures["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(Y, predicted))
    options = {"labels": range(7), "zero_division": 0}
    assert figures["macro_f1"] == pytest.approx(metrics.f1_score(Y, predicted, average="macro", **options))
    each = metrics.precision_recall_fscore_support(Y, predicted, **options)
    assert list(figures["per_class"]) == NAMES
    assert [list(of.values()) for of in figures["per_class"].values()] == np.stack(each).T.tolist()
    assert np.array_equal(figures["confusion"], metrics.confusion_matrix(Y, predicted, labels=range(7)))


def test_a_score_that_is_nan_counts_as_wrong_in_every_figure():
    scores, y = np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 0])
    scores[3, 0] = np.nan  # which argmax takes for the largest
    figures = make_task("classification").figures(scores, y, ("a", "b", "c"))
    predicted = [0, 1, 2, 3]  # 3 is none
    assert figures["accuracy"] == metrics.accuracy_score(y, predicted) == 0.75
    assert figures["per_class"]["a"] == {"precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "examples": 2}
    assert figures["balanced_accuracy"] == pytest.approx(2.5 / 3)
    assert figures["confusion"].sum() == 3


def test_labels_all_of_one_class_are_named(caplog):
    with caplog.at_level(logging.WARNING, "xpnet"):
        Trainer(nn.Linear(5, 2)).fit(data.from_arrays(X, np.zeros(90, int), ["cat", "dog"]), epochs=1)
    assert "all labels are 'cat'" in caplog.text


def scored_once(*shape: int) -> nn.Module:
    """A model that gives one score an example, in such a shape."""

    class Scores(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x).reshape(-1, *shape)

    return Scores().initialize(3)


@pytest.mark.parametrize("shape", [(), (1,)], ids=["N", "N by 1"])
def test_one_score_for_two_classes_learns_by_binary_cross_entropy(shape):
    y = (X[:, 0] > 0).astype(int)
    model = scored_once(*shape)
    before = nn.binary_cross_entropy(model(Tensor(X)).reshape(-1), y.astype(np.float32)).item()
    trainer = Trainer(model)
    assert trainer.evaluate(data.from_arrays(X, y))["loss"] == pytest.approx(before, rel=1e-5)
    assert trainer.fit(data.from_arrays(X, y), epochs=30)[-1]["train_loss"] < before / 2
    assert ((trainer.predict(X).reshape(-1) > 0.5) == y).mean() > 0.9


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("loss", [nn.softmax_cross_entropy, nn.hinge_loss, nn.perceptron_loss, None])
def test_one_score_where_each_class_needs_one_is_an_error(loss, classes):
    if loss is None and classes == 2:
        return
    for shape in [(), (1,)]:
        trainer = Trainer(scored_once(*shape), loss=loss)
        with pytest.raises(ShapeError, match=f"a score for each class.*K {classes}"):
            trainer.fit(data.from_arrays(X, Y % classes), epochs=1)
