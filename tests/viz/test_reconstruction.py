from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from tests.harness import raises
from xpnet.data import Lazy
from xpnet.errors import ConfigError, ShapeError
from xpnet.viz import reconstruction

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (9, 4, 6, 1), dtype=np.uint8)
NOISE = np.arange(9.0)[:, None, None, None]  # the error of example i is i


def labels(figure) -> list[list[str]]:
    return [[t.get_text() for t in ax.texts] for ax in figure.axes]


def test_the_smallest_and_the_largest_errors_are_shown():
    figure = reconstruction(IMAGES, IMAGES + NOISE[::-1], count=3, white=255)
    smallest, largest = labels(figure)
    assert smallest == ["input"] * 3 + [f"output: {e**2:.2g}" for e in (0, 1, 2)]
    assert largest == ["input"] * 3 + [f"output: {e**2:.2g}" for e in (8, 7, 6)]


def test_an_input_is_above_its_output_in_the_same_shades():
    images = np.zeros((2, 2, 2, 1))
    outputs = images + np.array([0.0, 0.5])[:, None, None, None]
    figure = reconstruction(images, outputs, count=1, white=1)
    shades = np.asarray(figure.axes[1].get_images()[0].get_array())[..., 0]
    assert 0.0 in shades[: len(shades) // 2]
    assert 0.5 in shades[len(shades) // 2 :]


def test_of_a_lazy_set_only_what_is_asked_for_is_kept():
    read: list[int] = []

    def fill(rows, out):
        read.append(len(rows))
        out[...] = IMAGES[rows % 9]

    figure = reconstruction(Lazy((600, 4, 6, 1), fill), np.zeros((600, 4, 6, 1)), count=2, white=255)
    assert len(labels(figure)[0]) == 4
    assert max(read) <= 256


@pytest.mark.parametrize("shape", [(5, 8), (5, 8, 2), (1, 4)])
def test_what_are_no_images_are_lines(shape):
    x = RNG.normal(0, 1, shape)
    figure = reconstruction(x, (x + 0.1).reshape(len(x), -1))
    lines = figure.axes[-1].get_lines()
    assert np.allclose(lines[1].get_ydata() - lines[0].get_ydata(), 0.1)
    figure.draw_without_rendering()


def test_one_image_and_outputs_that_are_nan_are_drawn():
    reconstruction(IMAGES[:1], IMAGES[:1] * np.nan).draw_without_rendering()


def test_other_shapes_and_counts_are_an_error():
    with raises(ShapeError, "reconstruction", "(9, 4, 6, 1)", "(9, 5)"):
        reconstruction(IMAGES, np.zeros((9, 5)))
    with raises(ConfigError, "reconstruction", "count 0"):
        reconstruction(IMAGES, IMAGES, count=0)
