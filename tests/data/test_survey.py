from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.harness import raises
from xpnet.data import LoadOptions
from xpnet.data.survey import survey
from xpnet.errors import ConfigError, DataError
from xpnet.output import to_json

RNG = np.random.default_rng(4)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve cats of 20x30, six dogs of 24x24, a copy in each class, and a damaged file."""
    root = tmp_path_factory.mktemp("data") / "photos"
    for name, count, size in (("cat", 12, (30, 20)), ("dog", 6, (24, 24))):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i:02}.png")
    shutil.copy(root / "cat" / "00.png", root / "cat" / "copy.png")
    shutil.copy(root / "cat" / "01.png", root / "dog" / "wrong.png")
    (root / "dog" / "broken.png").write_bytes((root / "dog" / "00.png").read_bytes()[:200])
    (root / "dog" / "notes.txt").write_text("no image")
    return root


def test_a_folder_is_counted_by_class_and_part(photos):
    found = survey(str(photos))
    assert {name: sum(counts.values()) for name, counts in found.classes.items()} == {"cat": 13, "dog": 7}
    assert sum(map(len, found.parts.values())) == 20
    assert list(found.parts) == ["training", "test"]  # a tenth would be fewer than training holds out unasked


def test_sizes_are_those_of_the_files(photos):
    found = survey(str(photos))
    assert dict(found.sizes)[20, 30] == 14
    assert found.looked == 21  # the header of the damaged one can be read


def test_what_is_left_out_and_why_is_in_the_notes(photos):
    notes = " ".join(survey(str(photos)).notes)
    assert "damaged" in notes
    assert "another suffix" in notes


def test_duplicates_are_named_by_their_paths(photos):
    found = survey(str(photos))
    groups = [[found.place(i) for i in group] for group in found.duplicates.groups]
    assert groups == [["cat/00.png", "cat/copy.png"], ["cat/01.png", "dog/wrong.png"]]


def test_sets_by_name_are_compared_example_by_example():
    found = survey("digits")
    assert found.duplicates.extra == 0
    assert found.classes["3"]["test"] == 28
    assert "1,293 training, 144 validation, 360 test examples of 8x8x1" in found.notes[0]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "table.csv"
    rows = [f"{i % 10},{'red' if i % 3 else 'blue'},{'' if i % 5 else i / 2},{i * 10}" for i in range(40)]
    path.write_text("\n".join(["a,colour,gaps,price", *rows, rows[0]]))
    return path


def test_columns_of_a_table_are_described(table):
    found = survey(str(table))
    a, colour, gaps, _ = found.columns
    assert (a.kind, a.missing, a.different, a.low, a.high) == ("numbers", 0, 10, 0, 9)
    assert sum(a.histogram) == 41
    assert colour.common == (("red", 26), ("blue", 15))
    assert (gaps.missing, gaps.median) == (32, 7.5)
    assert found.duplicates.groups == ((0, 40),)
    assert found.rows == 41
    assert not found.parts


def test_a_target_adds_the_parts_or_the_reason_why_it_cannot_be_learned(table, tmp_path):
    assert survey(str(table), options=LoadOptions(target="colour")).classes.keys() == {"red", "blue"}
    dated = tmp_path / "dated.csv"
    dated.write_text("day,y\n" + "\n".join(f"2024-01-{i:02},{i}" for i in range(1, 29)))
    found = survey(str(dated), options=LoadOptions(target="y"))
    assert "dates" in found.problem
    assert not found.parts


def test_rows_of_numbers_and_targets_of_numbers_are_columns(tmp_path):
    x, y = RNG.normal(0, 1, (30, 4)), RNG.normal(5, 1, 30)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    found = survey(str(tmp_path / "d.npz"))
    assert [c.name for c in found.columns] == ["x0", "x1", "x2", "x3"]
    assert found.columns[2].mean == pytest.approx(x[:, 2].mean(), abs=1e-6)


def test_labels_of_a_matrix_are_counted(tmp_path):
    y = (RNG.random((50, 3)) < 0.4).astype(np.uint8)
    np.savez(tmp_path / "d.npz", x=RNG.integers(0, 255, (50, 6, 6, 1), dtype=np.uint8), y=y, classes=["a", "b", "c"])
    found = survey(str(tmp_path / "d.npz"))
    assert {name: sum(counts.values()) for name, counts in found.classes.items()} == dict(
        zip("abc", y.sum(axis=0).tolist(), strict=True)
    )


@pytest.mark.parametrize("what", ["digits", "moons", "photos", "table"])
def test_the_facts_are_json(what, request):
    name = what if what in ("digits", "moons") else str(request.getfixturevalue(what))
    facts = json.loads(to_json(survey(name).to_json()))
    assert facts["notes"]
    assert facts["duplicates"]["complete"]


def test_what_is_no_data_is_an_error(tmp_path):
    with raises(ConfigError, "data", "did you mean 'digits'"):
        survey("digist")
    with raises(DataError, str(tmp_path), "files 0"):
        survey(str(tmp_path))


def test_the_columns_of_a_table_without_a_target_are_described(tmp_path):
    (tmp_path / "t.csv").write_text("size,kind\n1.5,red\n3,blue\n,red\n")
    notes = survey(str(tmp_path / "t.csv")).notes
    assert "column size: numbers, 1.5 to 3, 1 missing" in notes
    assert "column kind: text, 2 different, such as 'red', 'blue'" in notes
    assert "target" in notes[-1]
    assert not any(
        "column size" in line for line in survey(str(tmp_path / "t.csv"), options=LoadOptions(target="kind")).notes
    )
