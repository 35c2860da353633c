"""Points from a CSV file."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import get_backend
from xpnet.errors import ConfigError, DataError
from xpnet.playground.dropped import read_points
from xpnet.playground.plane import Plane
from xpnet.playground.settings import Settings


@pytest.mark.parametrize(
    "text",
    [
        "x,y,kind\n10,1,cat\n20,2,dog\n30,3,cat\n",
        "\ufeff10;1;cat\r\n20;2;dog\r\n30;3;cat",
        "a\tb\tc\td\n10\t1\tcat\t7\n\n20\t2\tdog\t7\n30\t3\tcat\t7\n",
        '"10","1"," cat"\n"20","2","dog"\n"30","3","cat"\n',
        "10,1,cat\r20,2,dog\r30,3,cat\r",
    ],
    ids=["names", "semicolons", "tabs and further columns", "quotes", "ends of lines of old"],
)
def test_points_are_standardized_and_classes_numbered(text):
    points, note = read_points(text)
    scale = 1.4 / np.std([1, 2, 3])
    assert points == [[round(-scale, 2), round(-scale, 2), 0], [0, 0, 1], [round(scale, 2), round(scale, 2), 0]]
    assert note == "classes: cat is 0, dog is 1"
    Settings.read({"data": "points", "points": points})


def test_of_many_rows_some_are_taken_and_that_is_said():
    points, note = read_points("\n".join(f"{i},{i % 7},{i % 2}" for i in range(1999)))
    assert len(points) == 500
    assert note == "500 of 1,999 rows are taken, evenly spaced"
    assert {point[2] for point in points} == {0, 1}


def test_classes_that_are_numbers_are_in_their_order():
    assert [point[2] for point in read_points("0,0,10\n1,1,9\n2,2,2\n")[0]] == [2, 1, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "rows 0"),
        ("x,y,class\n", "rows 0"),
        ("1,2\n3,4\n", "row 1"),
        ("1,2,a\n3,,b\n", "row 2"),
        ("1,2,a\nnan,1,b\n", "row 2"),
        ("1,2,a\n3,1,\n", "row 2"),
        ("\n".join(f"{i},0,{i}" for i in range(7)), "classes 7"),
        ('1,2,"' + "x" * 200_000 + '"', "cannot be read"),
    ],
    ids=["empty", "names alone", "no class", "a gap", "nan", "no name", "seven classes", "a large field"],
)
def test_what_is_no_file_of_points_is_one_line(text, words):
    with pytest.raises(DataError) as found:
        read_points(text)
    assert words in str(found.value)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 300


def test_the_plane_answers_a_file_and_refuses_what_is_no_text():
    plane = Plane(Settings(), get_backend("cpu"))
    assert plane.command("csv", {"text": "0,0,a\n1,1,b"})[0]["points"] == [[-1.4, -1.4, 0], [1.4, 1.4, 1]]
    with pytest.raises(ConfigError, match="text"):
        plane.command("csv", {"text": None})
