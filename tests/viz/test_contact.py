from __future__ import annotations

import re

import numpy as np
import pytest

from tests.harness import raises
from tests.viz.test_report import Page
from xpnet.data import Dataset, Lazy
from xpnet.data.duplicates import Duplicates
from xpnet.data.survey import ColumnFacts, Survey, survey
from xpnet.errors import ConfigError, DataError
from xpnet.viz.contact import contact_sheet
from xpnet.viz.style import ON_DARK, PALETTE, PARTS

RNG = np.random.default_rng(6)


def images(n: int, classes: int, shape=(10, 12, 3)) -> Dataset:
    x = RNG.integers(0, 256, (n, *shape), dtype=np.uint8)
    return Dataset(x, np.arange(n) % classes, tuple(f"class {k}" for k in range(classes)), "noise")


def test_the_page_has_its_sections_and_needs_nothing_else():
    page = Page(contact_sheet(survey("digits")))
    assert page.headings == [
        "digits", "Balance", "Pictures", "What augmentation 'light' makes of them",
        "What augmentation 'strong' makes of them", "Duplicates",
    ]  # fmt: skip
    assert page.references == [picture["src"] for picture in page.pictures]
    assert not {"script", "link", "iframe"} & page.tags


def test_parts_of_the_data_have_the_colours_of_the_curves_of_a_training():
    page = contact_sheet(survey("digits"))
    names = {"train": "training", "validation": "validation", "test": "test"}
    for palette in (PALETTE, ON_DARK):
        colours = {part: palette[PALETTE.index(colour)] for part, colour in PARTS.items()}
        assert all(f"--{part}: {colour};" in page for part, colour in colours.items())
    for part, name in names.items():
        assert f'<i class="{name}" style="width:' in page
        assert re.search(rf"\.bars i{'' if part == 'train' else '.' + name}, [^}}]*var\(--{part}\)", page)


@pytest.mark.parametrize(("name", "shown"), [("none", []), ("light", ["light"]), ("strong", ["strong"])])
def test_one_augmentation_is_shown_if_it_is_named(name, shown):
    headings = Page(contact_sheet(Survey("noise", {"training": images(8, 2)}), name)).headings
    assert [h.split("'")[1] for h in headings if "augmentation" in h] == shown


@pytest.mark.parametrize(("classes", "each"), [(1, 12), (2, 12), (100, 6), (400, 2)])
def test_pictures_are_at_most_some_of_each_class(classes, each):
    n = max(40, 8 * classes)
    data = images(n, max(classes, 2), (4, 4, 1))
    if classes == 1:
        data = data.take(data.y == 0)  # of the other class there are none
    page = Page(contact_sheet(Survey("noise", {"training": data}), "none"))
    pictures = [p for p in page.pictures if p["alt"] == "class 0"]
    assert len(pictures) == min(each, int((data.y == 0).sum()))
    assert len(page.pictures) <= 12 * 50 + 10


def test_one_picture_of_one_class_is_enough():
    page = Page(contact_sheet(Survey("noise", {"training": images(2, 2).take([0])})))
    assert len([p for p in page.pictures if p["alt"] == "class 0"]) == 1


def test_only_the_pictures_that_are_shown_are_read_and_damaged_ones_are_passed_over():
    read = []

    def fill(rows, out):
        read.extend(rows.tolist())
        if 5 in rows:
            raise DataError.event("5.png", "cannot read the image")
        out[...] = 7

    data = Dataset(Lazy((10_000, 8, 8, 3), fill), np.arange(10_000) % 2, ("a", "b"), "lazy")
    found = Survey("lazy", {"training": data.take(np.append([5], np.arange(100)))})
    page = Page(contact_sheet(found, "none"))
    assert len(set(read)) < 30
    assert [p["alt"] for p in page.pictures].count("a") > 3


def test_names_are_text_and_not_markup():
    data = Dataset(RNG.integers(0, 9, (4, 5, 5, 1), dtype=np.uint8), np.arange(4) % 2, ("<b>", "x" * 300), "noise")
    column = ColumnFacts("<i>", "text", 0, 1, common=(("<u>", 3),))
    html = contact_sheet(Survey("<s>", {"training": data}, columns=(column,)))
    assert not re.search("<b>|<i>|<u>|<s>", html)
    assert {"<b>", "x" * 300} <= set(Page(html).words)


def test_copies_in_different_folders_come_first():
    found = Survey("photos", files=("a/1", "a/2", "a/3", "b/4"), duplicates=Duplicates(((0, 1), (2, 3))))
    words = Page(contact_sheet(found)).text
    assert words.index("a/3, b/4") < words.index("a/1, a/2")
    assert "2 files have the same bytes" in words


def test_a_table_shows_a_histogram_and_numbers_of_each_column():
    column = ColumnFacts("price", "numbers", 3, 40, 1.0, 250_000.0, 9.5, 7.0, (1, 0, 4))
    html = contact_sheet(Survey("t.csv", rows=50, columns=(column,)))
    assert html.count("<rect ") == 2
    assert {"price", "3", "40", "250,000", "9.5"} <= set(Page(html).words)


def test_balance_advises_class_weights_only_where_it_matters():
    even, odd = images(20, 2), images(20, 2).take([0, 1, 2, 4, 6, 8, 10])
    assert "--class-weights" not in contact_sheet(Survey("noise", {"training": even}))
    assert "--class-weights" in contact_sheet(Survey("noise", {"training": odd}))


def test_what_is_no_preset_is_an_error():
    with raises(ConfigError, "contact_sheet", "'lihgt'"):
        contact_sheet(Survey("noise"), "lihgt")
