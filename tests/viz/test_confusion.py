"""Confusion matrices and mistakes: colours, numbers, names, order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from tests.harness import raises
from tests.viz.subjects import rgb, texts
from xpnet.data import Dataset
from xpnet.errors import ConfigError, ShapeError
from xpnet.viz import confusion, mistakes

COUNTS = np.array([[8, 2, 0], [0, 5, 0], [1, 1, 2]])


def cells(figure) -> dict[tuple[int, int], str]:
    """The counts that are written: {(row, column): text}."""
    return {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in figure.axes[0].texts[:-3]}


def test_rows_are_true_classes_and_counts_are_written_where_there_are_any():
    figure = confusion(COUNTS)
    assert cells(figure) == {(i, j): str(n) for (i, j), n in np.ndenumerate(COUNTS) if n}
    ax = figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted as", "true class")
    assert ax.get_title() == "15 of 19 correct, 78.95%"
    assert [t.get_text() for t in ax.texts[-3:]] == ["80%", "100%", "50%"]


def test_a_cell_is_the_stronger_the_larger_its_share_of_the_row():
    shade = 1.0 - rgb(confusion(COUNTS).axes[0])
    strength = np.sqrt(COUNTS / COUNTS.sum(axis=1, keepdims=True))
    blue, red = (1.0, 141 / 255, 77 / 255), (46 / 255, 188 / 255, 224 / 255)  # what #0072B2 and #D1431F lack of white
    for i, j in np.ndindex(3, 3):
        np.testing.assert_allclose(shade[i, j], strength[i, j] * np.array(blue if i == j else red), atol=1e-9)


def test_letters_are_white_where_the_cell_is_dark():
    figure = confusion(np.array([[9, 1], [0, 0]]))
    colours = [t.get_color() for t in figure.axes[0].texts]
    assert colours[:2] == ["white", "black"]
    assert [t.get_text() for t in figure.axes[0].texts[-2:]] == ["90%", "none"]


def test_classes_are_named_shortened_and_never_taken_for_formulas():
    names = ["a", "a name  that\nis very long indeed", "$x_1$"]
    figure = confusion(COUNTS, names)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["a", "a name th…g indeed", r"\$x_1\$"]
    assert len(labels[1]) == 18
    figure.draw_without_rendering()


@pytest.mark.parametrize("k", [2, 20, 21, 100])
def test_counts_are_written_up_to_20_classes(k):
    figure = confusion(np.eye(k, dtype=int) * 3)
    assert len(figure.axes[0].texts) == (2 * k if k <= 20 else 0)
    assert len(figure.axes[0].get_xticklabels()) <= 25
    assert max(figure.get_size_inches()) <= 10


def test_nothing_overlaps_of_20_long_names():
    figure = confusion(np.eye(20, dtype=int), [f"{i} is a long name" for i in range(20)])
    figure.draw_without_rendering()
    ax = figure.axes[0]
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
        assert all(b.x0 >= 0 and b.y0 >= 0 for b in boxes)


def test_a_matrix_of_another_shape_is_refused():
    with raises(ShapeError, "confusion", "(2, 3)"):
        confusion(np.zeros((2, 3)))
    with raises(ShapeError, "confusion", "(3, 3)", "classes 2"):
        confusion(COUNTS, ["a", "b"])
    with raises(ShapeError, "confusion", "()"):
        confusion(np.zeros(()))


def test_counts_of_any_library_will_do(backend):
    assert cells(confusion(backend.from_numpy(COUNTS))) == cells(confusion(COUNTS))
    assert cells(confusion(COUNTS.tolist())) == cells(confusion(COUNTS))


def test_of_more_classes_a_colour_bar_says_the_share():
    counts = np.full((21, 21), 1) + 79 * np.eye(21, dtype=int)
    (ax,) = confusion(counts).axes
    (bar,) = ax.child_axes
    assert bar.get_ylabel() == "share of the true class"
    shades, at = rgb(bar), np.sqrt([0.80, 0.01]) * 63  # of 64 rows, by the square root
    np.testing.assert_allclose(shades[round(at[0]), 0], rgb(ax)[3, 3], atol=0.01)
    np.testing.assert_allclose(shades[round(at[1]), 1], rgb(ax)[3, 4], atol=0.01)
    assert not confusion(np.eye(20, dtype=int)).axes[0].child_axes


def bright(n: int, channels: int = 1) -> Dataset:
    """n images of 2x2, image i of brightness i + 1 everywhere, of class i % 3."""
    x = np.ones((n, 2, 2, channels), np.uint8) * np.arange(1, n + 1, dtype=np.uint8)[:, None, None, None]
    return Dataset(x, np.arange(n) % 3, ("cat", "dog", "cow"), "bright", white=100.0)


# 0 is predicted as 1, 1 correctly, 2 as 0 with the highest probability, 3 correctly, 4 as 2 with the lowest
SCORES = np.array([[0.0, 2.0, 0.0], [0.0, 9.0, 0.0], [5.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.1]])


def test_the_most_confident_mistakes_come_first_with_their_true_and_predicted_class():
    figure = mistakes(SCORES, bright(5))
    second = f"{np.e**2 / (np.e**2 + 2):.0%}"
    assert texts(figure) == [
        "true: cow\npred: cat, 99%",
        f"true: cat\npred: dog, {second}",
        "true: dog\npred: cow, 36%",
    ]
    assert second == "79%"


def test_mistakes_of_probabilities_are_those_of_their_scores():
    chances = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
    assert texts(mistakes(chances, bright(5))) == texts(mistakes(SCORES, bright(5)))


def test_each_mistake_is_its_own_image_on_the_scale_of_the_set():
    figure = mistakes(SCORES, bright(5))
    ax = figure.axes[0]
    sheet = rgb(ax)
    for text, brightness in zip(ax.texts, (3, 1, 5), strict=True):
        x, y = text.get_position()
        np.testing.assert_allclose(sheet[int(y) + 20, int(x)], brightness / 100)


@pytest.mark.parametrize("room", [None, (3.0, 5.0), (7.0, 2.0)], ids=str)
def test_captions_of_long_names_lie_apart(room):
    names = tuple(f"{'very ' * k}long name {k}" for k in range(3))
    data = Dataset(np.ones((40, 5, 6, 1), np.uint8), np.arange(40) % 3, names, "alike", white=1.0)
    ax = None if room is None else Figure(figsize=room).subplots()
    figure = mistakes(np.roll(np.eye(3)[np.arange(40) % 3], 1, axis=1), data, ax)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 12
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    tiles = figure.axes[0].get_images()[0].get_window_extent()
    assert all(tiles.x0 - 3 < b.x0 and b.x1 < tiles.x1 + 3 for b in boxes)
    if room is None:
        assert {text.get_fontsize() for text in figure.axes[0].texts} == {9.0}


def test_no_more_than_asked_for_are_drawn():
    scores = np.roll(np.eye(3)[np.arange(40) % 3], 1, axis=1)
    assert len(texts(mistakes(scores, bright(40)))) == 12
    assert len(texts(mistakes(scores, bright(40, 3), count=7))) == 7
    assert len(texts(mistakes(scores[:5], bright(5)))) == 5
    with raises(ConfigError, "mistakes", "count 0"):
        mistakes(scores, bright(40), count=0)


def test_without_mistakes_that_is_said():
    assert texts(mistakes(np.eye(3)[np.arange(5) % 3], bright(5))) == ["no mistakes among 5 examples"]


def test_huge_scores_do_not_overflow():
    scores = np.zeros((5, 3))
    scores[:, 1] = 1e4
    with np.errstate(all="raise", under="ignore"):
        assert texts(mistakes(scores, bright(5)))[0].endswith("100%")


def test_scores_of_other_examples_and_sets_without_images_are_refused():
    with raises(ShapeError, "mistakes", "(4, 3)", "N = 5"):
        mistakes(SCORES[:4], bright(5))
    with raises(ShapeError, "mistakes", "(5, 2)", "K = 3"):
        mistakes(SCORES[:, :2], bright(5))
    rows = Dataset(np.ones((5, 4), np.float32), np.arange(5) % 3, ("a", "b", "c"), "rows")
    with raises(ShapeError, "mistakes", "(4,)"):
        mistakes(SCORES, rows)


@pytest.mark.parametrize("draw", [lambda ax: confusion(COUNTS, ax=ax), lambda ax: mistakes(SCORES, bright(5), ax)],
                         ids=["confusion", "mistakes"])  # fmt: skip
def test_an_axes_that_is_given_is_drawn_on(draw):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert draw(right) is figure
    assert right.get_images()
    assert not left.get_images()
