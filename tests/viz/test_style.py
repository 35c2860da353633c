"""The language of all pictures: colours told apart by everybody, one meaning of red and blue, one set for all pages."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

import xpnet
from xpnet.viz import style

SOURCES = Path(xpnet.__file__).parent
# How a colour, in linear RGB, looks to those who lack one kind of cone: Machado, Oliveira and Fernandes (2009)
SEEN = {
    "all cones": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)


def lab(colour: np.ndarray, eye: str = "all cones") -> np.ndarray:
    """CIE L*a*b* of red, green and blue, 0 to 1, as an eye sees them."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.asarray(SEEN[eye]) @ linear, 0, 1) / (0.95047, 1.0, 1.08883)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", SEEN)
@pytest.mark.parametrize("palette", ["PALETTE", "ON_DARK"])
def test_the_colours_are_told_apart_with_any_colour_vision(palette, eye):
    colours = getattr(style, palette)
    for one, other in itertools.combinations(colours, 2):
        apart = float(np.linalg.norm(lab(style.rgb(one), eye) - lab(style.rgb(other), eye)))
        assert apart > (16 if palette == "PALETTE" else 12), (one, other)


def test_signed_numbers_are_blue_white_red_and_darker_the_larger_they_are():
    scale = style.signed([-1.0, 0.5], [[3.0]])
    assert (scale["vmin"], scale["vmax"]) == (-3.0, 3.0)
    colours = scale["cmap"](np.linspace(0.0, 1.0, 41))[:, :3]
    light = [lab(colour)[0] for colour in colours]
    assert np.argmax(light) == 20
    assert (np.diff(light[:21]) > 0).all()
    assert (np.diff(light[20:]) < 0).all()
    assert (colours[:18, 2] > colours[:18, 0]).all()
    assert (colours[23:, 0] > colours[23:, 2]).all()
    assert light[20] > 95


def test_numbers_without_a_sign_begin_at_0_and_zeros_have_a_scale_too():
    assert style.unsigned([1.0, 2.0])["vmin"] == 0.0
    assert style.unsigned([1.0, 2.0])["vmax"] == 2.0
    assert style.signed(np.zeros(3))["vmax"] == style.unsigned(np.zeros(0))["vmax"] == 1.0


def test_a_colour_bar_has_the_scale_of_its_picture_and_says_what_is_shown():
    ax = Figure().subplots()
    ax.imshow([[-1.0, 4.0]], **style.signed([-1.0, 4.0]))
    bar = style.bar(ax, "weight")
    assert bar.ax.get_ylim() == (-4.0, 4.0)
    assert bar.ax.get_ylabel() == "weight"


def test_the_playground_has_the_same_colours():
    page = (SOURCES / "playground" / "page" / "style.css").read_text()
    found = re.findall(r"--class-(\d): (#\w{6});", page)
    bright, dark = style.PALETTE[:6], style.ON_DARK
    assert found == [(str(k), colour.lower()) for palette in (bright, dark) for k, colour in enumerate(palette)]


def test_no_other_file_of_the_pictures_writes_a_colour_or_a_colour_map():
    files = [*sorted((SOURCES / "viz").glob("*.py")), *sorted((SOURCES.parent / "examples").glob("[0-9]*.py"))]
    for path in files:
        greys = (
            r"#(?:222222|666666)\b" if path.name == "sheet.py" else r"--\w+: #\w+" if path.name == "page.py" else "$^"
        )
        text = re.sub(greys, "", path.read_text())  # of lines and letters, and of the ground of a page
        assert path.name == "style.py" or not re.findall(r"#[0-9A-Fa-f]{6}\b|RdBu\w*|viridis|cividis", text), path
