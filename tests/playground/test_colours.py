"""The colours of the page have the contrast that WCAG 2.2 asks for (1.4.3 and 1.4.11), in both themes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from xpnet import playground, serving

PAGE = Path(playground.__file__).with_name("page")
CLASSES = [f"class-{k}" for k in range(6)]
TEXT = [  # 4.5:1 against what is behind it
    *[("text", behind) for behind in ("ground", "card", "soft")],
    *[("quiet", behind) for behind in ("ground", "card", "soft")],
    *[("accent", behind) for behind in ("ground", "card", "soft")],
    ("on-accent", "accent"),
    ("bad", "bad-soft"),
]
GRAPHICS = [  # 3:1
    *[("edge", behind) for behind in ("ground", "card", "soft")],  # of fields and buttons
    *[("accent", behind) for behind in ("ground", "card")],  # bars, and the frame of what has the focus
    *[(curve, "card") for curve in ("class-0", "class-1")],
    *[("mark", name) for name in CLASSES if name != "class-0"],  # the outline of a point, and its filling
    ("class-0", "picture"),
]


def variables(theme: str) -> dict[str, str]:
    """The variables of a theme: those of the style sheets, in their order, where the dark ones replace others."""
    found: dict[str, str] = {}
    for path in (Path(serving.__file__).with_name("theme.css"), PAGE / "style.css"):
        sheet = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        dark = "".join(re.findall(r"@media \(prefers-color-scheme: dark\) \{(.*?)\}\s*\}", sheet, re.S))
        light = re.sub(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", "", sheet)
        for text in (light, dark) if theme == "dark" else (light,):
            found |= dict(re.findall(r"--([\w-]+):\s*([^;]+);", text))
    return found


def luminance(colour: np.ndarray) -> float:
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def rgb(text: str) -> np.ndarray:
    assert re.fullmatch("#[0-9a-f]{6}", text), text
    return np.array([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast(rgb("#000000"), rgb("#ffffff")) == pytest.approx(21)
    assert contrast(rgb("#777777"), rgb("#ffffff")) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("least", "pairs"), [(4.5, TEXT), (3.0, GRAPHICS)], ids=["text", "graphics"])
def test_text_and_graphics_have_contrast(theme, least, pairs):
    colours = variables(theme)
    found = {pair: round(contrast(*(rgb(colours[name]) for name in pair)), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in found.items() if ratio < least} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_are_read_on_the_strongest_colour_of_their_cells(theme):
    colours = variables(theme)
    full = float(colours["full"])
    for name in ("class-0", "class-1"):
        cell = full * rgb(colours[name]) + (1 - full) * rgb(colours["card"])
        assert contrast(rgb(colours["text"]), cell) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_points_are_seen_on_the_region_of_their_class(theme):
    colours = variables(theme)
    most = 0.08 + 0.55  # of a class's colour, as colours.js paints a certain answer
    assert "0.08 + (0.55 *" in (PAGE / "colours.js").read_text()
    for name in CLASSES:
        region = most * rgb(colours[name]) + (1 - most) * rgb(colours["picture"])
        assert contrast(rgb(colours["mark"]), region) >= 3


def test_no_script_has_a_colour_of_its_own():
    for path in PAGE.glob("*.js"):
        found = re.findall(r'"#[0-9a-f]{3,6}"|rgb\(\d', path.read_text())
        assert found == (['"#000"', '"#fff"'] if path.name == "drawing.js" else []), path.name  # ink on black
