from __future__ import annotations

import csv
import sys
import types

import numpy as np
import pytest

from tests.harness import raises
from xpnet.data import read_table
from xpnet.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(text, name="t.csv", encoding="utf-8"):
    with open(name, "wb") as file:
        file.write(text.encode(encoding))
    return name


def values(column):
    """The cells of a column as Python values: the reverse of how they are kept."""
    return [
        None if code == -2 else column.texts[code] if code >= 0 else number
        for number, code in zip(column.numbers.tolist(), column.codes.tolist(), strict=True)
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_told_from_the_text(separator):
    rows = [["a", "b", "c"], ["1", "x, y; z", "2.5"], ["-3e2", 'say "hi"', ""]]
    with open("t.csv", "w", encoding="utf-8-sig", newline="") as file:  # with a byte order mark, as Excel writes it
        csv.writer(file, delimiter=separator).writerows(rows)
    table = read_table("t.csv")
    assert list(table.columns) == ["a", "b", "c"]
    assert values(table.columns["a"]) == [1.0, -300.0]
    assert values(table.columns["b"]) == ["x, y; z", 'say "hi"']
    assert values(table.columns["c"]) == [2.5, None]


def test_a_cell_may_hold_lines_and_empty_lines_are_passed_over():
    table = read_table(write('a,b\n1,"x\ny"\n\n2,z\n'))
    assert values(table.columns["b"]) == ["x\ny", "z"]
    assert table.lines.tolist() == [3, 5]


@pytest.mark.parametrize("mark", ["", "NA", "NaN", "nan", "null", "?", " ", "N/A", "#N/A"])
def test_marks_of_missing_values_are_known(mark):
    assert values(read_table(write(f"a,b\n{mark},x\n1,y\n")).columns["a"]) == [None, 1.0]


@pytest.mark.parametrize("cell", ["1_000", "inf", "-Infinity", "1e300", "0x10", "1.2.3", "12%", "-nan"])
def test_what_is_no_finite_number_is_a_text(cell):
    assert values(read_table(write(f"a,b\n{cell},1\n")).columns["a"]) == [cell]


def test_a_decimal_comma_is_read_where_semicolons_separate_the_cells():
    table = read_table(write("a;b\n1,5;x\n2;y\n1.234,5;z\n"))
    assert values(table.columns["a"]) == [1.5, 2.0, 1234.5]
    assert values(read_table(write('a,b\n"1,5",x\n')).columns["a"]) == ["1,5"]


def test_more_rows_than_are_parsed_at_a_time_are_joined():
    text = "a,b\n" + "".join(f"{i},t{i % 3}\n" for i in range(9000))
    table = read_table(write(text))
    assert np.array_equal(table.columns["a"].numbers, np.arange(9000))
    assert values(table.columns["b"])[8998:] == ["t1", "t2"]
    assert len(table) == 9000
    assert table.lines[-1] == 9001


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "file empty"),
        ("a,b\n", "rows 0"),
        ("a\n1\n2\n", "columns 1"),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", "names of columns in the first line"),
        ("a,b\n1,2,3\n", "line 2, cells 3"),
        ("a,b\n1,2\n3\n", "line 3, cells 1"),
        ("a,b,a\n1,2,3\n", "name 'a'"),
        ("a,b\n1,\0\n", "of bytes"),
        ("a,b\n" + "x" * 140_000 + ",1\n", "field larger"),
    ],
)
def test_a_text_that_is_no_table_is_an_error(text, words):
    with raises(DataError, "t.csv", words):
        read_table(write(text))


def test_a_text_in_another_encoding_is_an_error():
    with raises(DataError, "t.csv", "UTF-8", "0xfc"):
        read_table(write("a,b\nMünchen,1\n", encoding="latin-1"))


def test_a_line_without_end_is_not_read_into_memory():
    with open("t.csv", "wb") as file:
        file.write(b"a,b\n" + b"1" * (5 << 20))
    with raises(DataError, "t.csv", "lines of fewer than"):
        read_table("t.csv")


def test_a_missing_file_and_a_folder_are_errors():
    with raises(DataError, "none.csv", "no such file"):
        read_table("none.csv")
    with raises(DataError, ".", "regular file", "folder"):
        read_table(".")


class Frame:
    """A frame, as far as read_table looks at it."""

    def __init__(self, **columns):
        self.columns = list(columns)
        self.values = columns

    def __getitem__(self, name):
        return types.SimpleNamespace(to_numpy=lambda: self.values[name])


def test_a_frame_is_read_column_by_column():
    frame = Frame(
        a=np.array([1.5, np.nan]),
        b=np.array(["x", None], object),
        c=np.array([True, False]),
        d=np.array(["2020-02-01", "NaT"], "M8[ns]"),
    )
    table = read_table(frame)
    assert values(table.columns["a"]) == [1.5, None]
    assert values(table.columns["b"]) == ["x", None]
    assert values(table.columns["c"]) == ["True", "False"]
    assert values(table.columns["d"])[0] == "2020-02-01"
    assert table.place(1) == {"row": 2}


def test_a_dictionary_of_lists_is_read():
    table = read_table({"a": [1, 2.5, None], "b": ["x", "3", "y"], "c": np.arange(3), "d": [True, False, True]})
    assert values(table.columns["a"]) == [1.0, 2.5, None]
    assert values(table.columns["b"]) == ["x", 3.0, "y"]
    assert values(table.columns["c"]) == [0.0, 1.0, 2.0]
    assert values(table.columns["d"]) == ["True", "False", "True"]
    with raises(DataError, "table", "one length", "2, 1"):
        read_table({"a": [1, 2], "b": [1]})
    with raises(DataError, "read_table", "a frame"):
        read_table({"a": [[1, 2]], "b": [[1, 2]]})


def test_what_is_neither_a_path_nor_a_frame_is_an_error():
    with raises(DataError, "read_table", "a frame of pandas or polars"):
        read_table(3)
    with raises(ConfigError, "read_table", "source"):
        read_table("")
    with raises(DataError, "table", "finite numbers", "column 'a'"):
        read_table(Frame(a=np.array([1, np.inf]), b=np.array([1, 2])))


def test_a_parquet_file_without_a_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with raises(DataError, "t.parquet", "pip install pyarrow"):
        read_table(write("PAR1", "t.parquet"))


def test_a_parquet_file_is_read_by_the_library_that_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    library = types.ModuleType("pandas")
    library.__dict__["read_parquet"] = lambda path: Frame(a=np.array([1, 2]), b=np.array(["x", "y"], object))
    monkeypatch.setitem(sys.modules, "pandas", library)
    assert values(read_table(write("PAR1", "t.parquet")).columns["b"]) == ["x", "y"]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_real_frames_and_their_parquet_files_are_read(library):
    frame = pytest.importorskip(library).DataFrame({"a": [1.5, None], "b": ["x", "y"], "c": [True, False]})
    assert values(read_table(frame).columns["a"]) == [1.5, None]
    assert values(read_table(frame).columns["c"]) == ["True", "False"]


SEMICOLONS = {
    "decimal": (["1,5", ",25", "3", "-2,5e2", "NA"], [1.5, 0.25, 3.0, -250.0, None]),
    "points group": (["1.234,5", "1.234", "999", "1.234.567"], [1234.5, 1234.0, 999.0, 1234567.0]),
    "commas group": (["1,234.5", "1,234", "999", "0.125"], [1234.5, 1234.0, 999.0, 0.125]),
    "many commas": (["1,234,567", "1,234"], [1234567.0, 1234.0]),
    "points": (["1.234", "2.5", "-3.125"], [1.234, 2.5, -3.125]),
    "both": (["1,5", "1,234.5", "1.234"], ["1,5", "1,234.5", 1.234]),
}


@pytest.mark.parametrize("name", SEMICOLONS)
def test_what_a_comma_means_is_one_thing_in_a_column(name, caplog):
    cells, want = SEMICOLONS[name]
    assert values(read_table(write("a;b\n" + "".join(f"{c};1\n" for c in cells))).columns["a"]) == want
    assert not caplog.records


def test_where_a_comma_may_mean_either_the_log_says_how_it_is_read(caplog):
    table = read_table(write("a;price\n1;1,234\n2;950\n"))
    assert values(table.columns["price"]) == [1.234, 950.0]
    assert [r.getMessage() for r in caplog.records] == [
        "t.csv: '1,234' in column 'price' is read as 1.234; if its comma groups thousands, write it without"
    ]


@pytest.mark.parametrize("frame", [False, True])
def test_commas_that_group_thousands_are_read_where_commas_separate_cells(frame):
    cells, want = ["1,234", "-12,345.5", "999", "1,234,567", "", "x"], [1234.0, -12345.5, 999.0, 1234567.0, None, "x"]
    lines = "".join(f'"{cell}",1\n' for cell in cells)
    table = read_table({"a": np.array(cells), "b": np.arange(6)} if frame else write("a,b\n" + lines))
    assert values(table.columns["a"]) == want
    odd = ["1,5", "1,23", "12,34,567", "01,234", "1,234,", ",234"]
    table = read_table(write("a,b\n" + "".join(f'"{cell}",1\n' for cell in odd)))
    assert values(table.columns["a"]) == odd
