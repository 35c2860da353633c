"""Each picture can be read when it is 600 pixels wide; and the check of that finds what it should."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from tests.train.fitting import digits, some_digits
from tests.viz.readable import unreadable
from xpnet import data, models, nn, viz
from xpnet.train import GradientFlow, Trainer

RNG = np.random.default_rng(0)
X = RNG.random((30, 5))


@cache
def trained() -> tuple[Trainer, GradientFlow]:
    flow = GradientFlow()
    made = Trainer(models.build("lenet5", (8, 8, 1), 10), callbacks=[flow])
    made.fit(some_digits(96), validation=some_digits(32), epochs=2)
    return made, flow


def records(*names: str) -> list[dict[str, float]]:
    return [
        {"epoch": n, "train_loss": 1 / n, **{f"validation_{name}": 0.9 + n / 100 for name in names}} for n in (1, 2, 3)
    ]


DRAWN = {
    "activations": lambda: viz.activations(trained()[0], digits()[1].x[:9]),
    "compare": lambda: viz.compare({"a-long-name-of-a-run": records("accuracy"), "b": records("accuracy")}),
    "confusion of 10": lambda: viz.confusion(RNG.integers(0, 900, (10, 10)), [f"class {k}" for k in range(10)]),
    "confusion of 2": lambda: viz.confusion(np.eye(2, dtype=int)),
    "curves of 1": lambda: viz.curves(records()),
    "curves of 3": lambda: viz.curves(records("loss", "balanced_accuracy", "top5_accuracy")),
    "curves of 6": lambda: viz.curves(records("loss", "accuracy", "f1", "precision", "recall", "macro_f1")),
    "decision boundary of 2": lambda: viz.decision_boundary(nn.Linear(2, 2), data.moons(30), title="two"),
    "decision boundary of 4": lambda: viz.decision_boundary(nn.Linear(2, 4), data.blobs(40, 4)),
    "feature maps": lambda: viz.feature_maps(trained()[0], digits()[1].x[0]),
    "filters": lambda: viz.filters(trained()[0]),
    "filters with names": lambda: viz.filters(nn.Linear(64, 10), labels=[f"digit {k}" for k in range(10)]),
    "gradient flow": lambda: viz.gradient_flow(trained()[1]),
    "gradient flows": lambda: viz.gradient_flow({"one": trained()[1], "other": trained()[1]}),
    "mistakes": lambda: viz.mistakes(RNG.random((360, 10)), digits()[1]),
    "one mistake": lambda: viz.mistakes(RNG.random((2, 10)), digits()[1].take([0, 1]), count=1),
    "multilabel": lambda: viz.multilabel(X, X > 0.5, [f"label {k}" for k in range(5)]),
    "reconstruction of images": lambda: viz.reconstruction(digits()[1].x[:20], digits()[1].x[:20] * 0.9, white=16),
    "reconstruction of rows": lambda: viz.reconstruction(X, X + 0.1),
    "regression of 1": lambda: viz.regression(X[:, 0] * 1e5, X[:, 1] * 1e5, ["price, euros"]),
    "regression of 3": lambda: viz.regression(X[:, :3], X[:, :3] + 0.1, ["a", "b", "c"]),
    "saliency": lambda: viz.saliency(trained()[0], digits()[1].x[0]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_can_be_read_when_it_is_600_pixels_wide(name):
    assert unreadable(DRAWN[name]()) == []


def axes(width: float = 6.0):
    ax = Figure(figsize=(width, 3.0), layout="constrained").subplots()
    ax.plot([0, 1], [0, 1])
    return ax


def test_small_letters_are_found():
    ax = axes(12.0)
    ax.tick_params(labelsize=12)
    assert unreadable(ax.figure) == []
    ax.set_title("small", fontsize=9)
    assert unreadable(ax.figure) == ["'small' has 6.2 pixels"]


def test_letters_over_each_other_and_beyond_the_edge_are_found():
    ax = axes()
    ax.text(0.5, 0.5, "one")
    ax.text(0.52, 0.5, "other")
    ax.text(1.02, 0.2, "a long text at the edge").set_in_layout(False)
    assert unreadable(ax.figure) == ["'a long text at the edge' is cut off", "'one' is over 'other'"]


def test_empty_axes_and_holes_are_found():
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1])
    right.set_axis_off()
    empty, hole = unreadable(figure)
    assert empty == "an axes is empty: ''"
    assert hole.endswith("is empty")
