from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from tests.harness import raises
from xpnet.errors import ConfigError, ShapeError
from xpnet.viz import multilabel
from xpnet.viz.multilabel import label_figures

RNG = np.random.default_rng(2)
TARGETS = (RNG.random((200, 3)) < [0.2, 0.5, 0.8]).astype(np.float32)
CHANCES = np.round(np.clip(0.3 * TARGETS + RNG.random((200, 3)) * 0.7, 0, 1), 2)  # with ties


def test_figures_of_each_label_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    for k, found in enumerate(label_figures(CHANCES, TARGETS, ["a", "b", "c"])):
        t, p = TARGETS[:, k], CHANCES[:, k]
        assert found.name == "abc"[k]
        assert found.examples == t.sum()
        for name in ("precision", "recall", "f1"):
            assert getattr(found, name) == pytest.approx(getattr(metrics, f"{name}_score")(t, p >= 0.5))
        assert found.average_precision == pytest.approx(metrics.average_precision_score(t, p))
        assert found.roc_area == pytest.approx(metrics.roc_auc_score(t, p))


def test_what_is_not_defined_is_none():
    never, always = np.zeros((4, 1)), np.ones((4, 1))
    found = label_figures(never + 0.1, never)[0]
    assert found[1:] == (0, None, None, None, None, None)
    assert label_figures(always, always)[0][1:] == (4, 1.0, 1.0, 1.0, 1.0, None)


@pytest.mark.parametrize(("curve", "function"), [("precision-recall", "precision_recall_curve"), ("roc", "roc_curve")])
def test_curves_pass_through_the_points_of_scikit_learn(curve, function):
    metrics = pytest.importorskip("sklearn.metrics")
    ax = multilabel(CHANCES, TARGETS, curve=curve).axes[0]
    options = {"drop_intermediate": False}
    first, second, _ = getattr(metrics, function)(TARGETS[:, 0], CHANCES[:, 0], **options)
    expected = set(
        zip(
            np.round(second if curve != "roc" else first, 9),
            np.round(first if curve != "roc" else second, 9),
            strict=True,
        )
    )
    line = ax.get_lines()[0]
    drawn = set(zip(np.round(line.get_xdata(), 9), np.round(line.get_ydata(), 9), strict=True))
    assert len(drawn - expected) <= 1  # the first point is that of recall 0


def test_of_many_labels_the_lowest_have_colours_and_names():
    targets = (RNG.random((50, 12)) < 0.5).astype(int)
    scores = targets * np.linspace(0.9, 0, 12) + RNG.random((50, 12))
    ax = multilabel(scores, targets, [f"label {k}" for k in range(12)]).axes[0]
    assert len(ax.get_lines()) == 12
    names = {text.get_text().partition(":")[0] for text in ax.get_legend().get_texts()}
    assert len(names) == 8
    assert "label 11" in names
    assert "label 0" not in names


def test_labels_that_no_example_has_have_no_curve():
    ax = multilabel(CHANCES, TARGETS * [1, 0, 1]).axes[0]
    assert [t.get_text()[0] for t in ax.get_legend().get_texts()] == ["0", "2"]
    assert "no label" in multilabel(CHANCES, TARGETS * 0).axes[0].texts[0].get_text()


def test_other_values_shapes_and_curves_are_an_error():
    with raises(ShapeError, "multilabel", "targets 2"):
        multilabel(CHANCES, TARGETS * 2)
    with raises(ShapeError, "multilabel", "(200, 3)", "(200, 2)"):
        multilabel(CHANCES, TARGETS[:, :2])
    with raises(ConfigError, "multilabel", "curve", "'rok'"):
        multilabel(CHANCES, TARGETS, curve="rok")
