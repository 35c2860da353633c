"""Training curves: what is drawn, with which labels, and the file."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from tests.harness import raises
from xpnet.errors import ConfigError
from xpnet.viz.curves import compare, curves, save_curves

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
    (only,) = curves([{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0}]).axes
    assert len(only.get_lines()) == 1


def test_curves_take_the_place_of_an_axes_that_is_given():
    figure = Figure()
    _, below = figure.subplots(2)
    assert curves(HISTORY, below) is figure
    assert below not in figure.axes
    _, left, right = figure.axes
    assert [len(ax.get_lines()) for ax in (left, right)] == [2, 1]
    assert left.get_position().y1 < figure.axes[0].get_position().y0


def test_of_one_epoch_only_that_is_named():
    for ax in curves(HISTORY[:1]).axes:
        assert ax.get_xticks().tolist() == [1]


def test_the_loss_is_written_in_plain_numbers_also_within_a_decade():
    for history in (HISTORY, [{"epoch": 1, "train_loss": 0.39}, {"epoch": 2, "train_loss": 0.31}]):
        figure = curves(history)
        figure.draw_without_rendering()
        axis = figure.axes[0].yaxis
        low, high = sorted(axis.get_view_interval())
        labels = [t.label1.get_text() for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
        assert len(labels) >= 2
        assert all(float(text) > 0 for text in labels)


@pytest.mark.parametrize("history", [HISTORY, HISTORY[:1], HISTORY * 40], ids=["three", "one", "many"])
def test_a_picture_is_written(history, tmp_path):
    from PIL import Image

    save_curves(history, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG"
        assert image.size == (1080, 432)  # 9 x 3.6 inches of 120 dots
        assert len(image.convert("RGB").getcolors(2**24)) > 20


def test_a_picture_replaces_a_link_and_its_target_stays(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "curves.png").symlink_to(tmp_path / "target")
    save_curves(HISTORY, tmp_path / "curves.png")
    assert (tmp_path / "target").read_text() == "precious"
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_no_window_is_opened_and_no_global_figure_kept(monkeypatch):
    import matplotlib.pyplot as pyplot

    before = pyplot.get_fignums()
    curves(HISTORY)
    assert pyplot.get_fignums() == before


# Validation, other figures, several runs

REGRESSION = [
    {"epoch": k, "train_loss": 1.0 / k, "validation_loss": 1.2 / k, "validation_rmse": 5.0 / k, "test_rmse": 6.0 / k,
     "validation_r2": 1 - 1.0 / k, "seconds": 1.0}
    for k in range(1, 5)
]  # fmt: skip


def test_validation_has_its_own_curve_and_each_figure_its_own_axes():
    loss, rmse, r2 = curves(REGRESSION).axes
    assert [line.get_label() for line in loss.get_lines()] == ["training", "validation"]
    assert rmse.get_title() == "validation RMSE\n1.25 after epoch 4"
    assert [line.get_label() for line in rmse.get_lines()] == ["validation", "test"]
    assert points(r2.get_lines()[0]) == ([1, 2, 3, 4], [0.0, 0.5, 1 - 1 / 3, 0.75])


def test_a_loss_alone_has_one_panel():
    (only,) = curves([{"epoch": 1, "train_loss": 1.0, "test_loss": 2.0}]).axes
    assert len(only.get_lines()) == 2


def test_shares_are_in_percent_and_other_figures_are_not():
    history = [{"epoch": 1, "train_loss": 1.0, "test_loss": 1.0, "test_macro_f1": 0.5, "test_mae": 0.5}]
    _, f1, mae = curves(history).axes
    assert "50.00%" in f1.get_title()
    assert f1.yaxis.get_major_formatter()(0.5).startswith("50")
    assert mae.get_title() == "test MAE\n0.5 after epoch 1"


def test_runs_are_compared_in_one_picture_with_a_colour_each():
    figure = compare({"runs/a": HISTORY, "runs/b": HISTORY[:2]})
    train, loss, accuracy = figure.axes
    assert [points(line) for line in train.get_lines()] == [([1, 2, 3], [2.0, 0.7, 0.2]), ([1, 2], [2.0, 0.7])]
    assert [ax.get_title() for ax in figure.axes] == ["training loss", "test loss", "test accuracy"]
    colours = [{line.get_color() for line in ax.get_lines()} for ax in (train, loss, accuracy)]
    assert len(colours[0]) == 2
    assert colours[0] == colours[1] == colours[2]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["runs/a", "runs/b"]


def test_a_run_without_validation_is_compared_by_its_test():
    titles = [ax.get_title() for ax in compare({"old": HISTORY, "new": REGRESSION}).axes if ax.get_title()]
    assert titles == ["training loss", "validation or test loss", "test accuracy", "validation RMSE", "validation R2"]


def test_many_runs_with_long_names_are_drawn():
    figure = compare({f"runs/{k} with a long name {'x' * 60}": HISTORY for k in range(20)})
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].get_lines()}) == 20
    figure.draw_without_rendering()


@pytest.mark.parametrize("histories", [{}, {"a": 3}, [], {"a": [{"epoch": 1}]}])
def test_what_is_no_history_of_runs_is_an_error(histories):
    with raises(ConfigError, "compare", "histories"):
        compare(histories)
