"""Training curves: what is drawn, with which labels, and the file."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from xpnet.viz.curves import curves, save_curves

HISTORY = [
    {"epoch": 1, "train_loss": 2.0, "test_loss": 1.5, "test_accuracy": 0.5, "seconds": 1.0},
    {"epoch": 2, "train_loss": 0.7, "test_loss": 0.9, "test_accuracy": 0.75, "seconds": 1.0},
    {"epoch": 3, "train_loss": 0.2, "test_loss": 0.4, "test_accuracy": 0.9125, "seconds": 1.0},
]


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def points(line) -> tuple[list[float], list[float]]:
    return list(line.get_xdata()), list(line.get_ydata())


def test_losses_are_at_the_left_and_the_accuracy_at_the_right():
    left, right = curves(HISTORY).axes
    train, test = left.get_lines()
    (accuracy,) = right.get_lines()
    assert points(train) == ([1, 2, 3], [2.0, 0.7, 0.2])
    assert points(test) == ([1, 2, 3], [1.5, 0.9, 0.4])
    assert points(accuracy) == ([1, 2, 3], [0.5, 0.75, 0.9125])
    assert train.get_color() != test.get_color() == accuracy.get_color()


def test_axes_and_curves_are_labelled():
    left, right = curves(HISTORY).axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["training", "test"]
    assert left.get_title() == "loss"
    assert left.get_xlabel() == right.get_xlabel() == "epoch"
    assert "91.25%" in right.get_title()
    assert "epoch 3" in right.get_title()
    assert right.yaxis.get_major_formatter()(0.5).startswith("50")


def test_losses_are_on_a_logarithmic_axis_unless_one_is_0():
    assert curves(HISTORY).axes[0].get_yscale() == "log"
    for name in ("train_loss", "test_loss"):
        left, _ = curves([*HISTORY, HISTORY[-1] | {"epoch": 4, name: 0.0}]).axes
        assert left.get_yscale() == "linear"


def test_without_a_test_set_only_the_training_loss_is_drawn():
    left, right = curves([{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0}]).axes
    assert len(left.get_lines()) == 1
    assert not right.get_lines()


def test_curves_are_drawn_on_axes_that_are_given():
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots(2)
    assert curves(HISTORY, axes) is figure
    assert len(axes[0].get_lines()) == 2


@pytest.mark.parametrize("history", [HISTORY, HISTORY[:1], HISTORY * 40], ids=["three", "one", "many"])
def test_a_picture_is_written(history, tmp_path):
    from PIL import Image

    save_curves(history, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG"
        assert image.size == (1080, 432)  # 9 x 3.6 inches of 120 dots
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 20


def test_no_window_is_opened_and_no_global_figure_kept(monkeypatch):
    import matplotlib.pyplot as pyplot

    before = pyplot.get_fignums()
    curves(HISTORY)
    assert pyplot.get_fignums() == before
