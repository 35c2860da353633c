from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from tests.harness import raises
from xpnet.data import Columns, Scale, read_table
from xpnet.data.table_target import Target
from xpnet.errors import ConfigError, DataError

TEXT = """size,colour,id,unit,price
1,red,101,m,3.5
2,blue,102,m,4.25
NA,red,103,m,5.5
7,green,104,m,1.75
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def table_of(text, name="t.csv"):
    with open(name, "w") as file:
        file.write(text)
    return read_table(name)


def rows(count, line):
    """So many lines; line(i) is the i-th."""
    return "".join(line(i) + "\n" for i in range(count))


def test_numbers_are_standardized_texts_one_hot_and_gaps_filled_and_flagged():
    table = table_of(TEXT)
    columns = Columns.fit(table, Target.of(table, "price"))
    x = columns.apply(table)
    filled = np.array([1, 2, 2, 7.0])  # the median of 1, 2 and 7 is 2
    expected = (filled - filled.mean()) / filled.std()
    assert np.allclose(x[:, 0], expected)
    assert x[:, 1].tolist() == [0, 0, 1, 0]
    assert x[:, 2:5].tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0]]  # blue, green, red
    ids = np.arange(4.0)
    assert np.allclose(x[:, 5], (ids - ids.mean()) / ids.std())  # too few rows to tell that it is an id
    assert columns.width == x.shape[1] == 6
    assert columns.ignored == ("unit",)
    assert x.dtype == np.float32


def test_columns_are_measured_on_the_training_rows_alone():
    table = table_of("a,b,y\n1,u,0\n3,u,1\n1000,v,0\n,w,1\n")
    columns = Columns.fit(table, Target.of(table, "y"), np.array([0, 1]))
    assert columns.apply(table)[:, 0].tolist() == [-1, 1, 998, 0]
    assert columns.ignored == ("b",)
    assert columns.width == 1


def test_columns_come_in_any_order_and_others_are_passed_over_with_a_warning(caplog):
    table = table_of(TEXT)
    columns = Columns.fit(table, Target.of(table, "price"))
    other = table_of("more,id,colour,size\n1,101,red,1\n2,104,pink,7\n", "new.csv")
    with caplog.at_level(logging.WARNING, "xpnet"):
        x = columns.apply(other)
    whole = columns.apply(table)
    assert np.array_equal(x[0], whole[0])
    assert np.array_equal(x[1, [0, 1, 5]], whole[3, [0, 1, 5]])
    assert x[1, 2:5].tolist() == [0, 0, 0]
    assert "passed over: more" in caplog.text
    assert "1 value of 'colour'" in caplog.text
    assert "'pink'" in caplog.text


def test_a_column_that_is_missing_is_an_error_with_the_nearest_name():
    table = table_of(TEXT)
    columns = Columns.fit(table, Target.of(table, "price"))
    with raises(DataError, "new.csv", "'colour'", "did you mean 'color'"):
        columns.apply(table_of("id,color,size\n1,red,1\n", "new.csv"))


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (lambda i: "12x" if i == 40 else str(i / 2), "line 42, value '12x'"),
        (lambda i: f"name{i % 60}", "got different 60"),
        (lambda i: f"2021-03-{i % 28 + 1:02}", "dates '2021-03-01'"),
        (lambda i: f"{i % 28 + 1}.3.2021 12:30", "dates '1.3.2021 12:30'"),
        (lambda i: f"{i % 24}:30", "dates '0:30'"),
        (lambda i: "7", "left_out a"),
    ],
    ids=["text in numbers", "many texts", "dates", "european dates", "times", "constant"],
)
def test_a_column_that_cannot_be_learned_from_is_an_error(column, words):
    table = table_of("a,y\n" + rows(120, lambda i: f"{column(i)},{i % 2}"))
    with raises(DataError, "t.csv", words):
        Columns.fit(table, Target.of(table, "y"))


def test_a_few_repeated_texts_among_numbers_are_values():
    table = table_of("a,y\n" + rows(60, lambda i: f"{'3+' if i % 6 == 0 else i % 3},{i % 2}"))
    columns = Columns.fit(table, Target.of(table, "y"))
    assert columns.features[0].values == ("0", "1", "2", "3+")
    assert columns.apply(table).sum() == 60


@pytest.mark.parametrize("name", ["id", "ID", "PassengerId", "customer_id", "index", "Unnamed: 0", ""])
def test_columns_that_number_the_rows_are_left_out(name):
    table = table_of(f"{name},a,b,y\n" + rows(20, lambda i: f"{i},{i * i},person {i},{i % 2}"))
    columns = Columns.fit(table, Target.of(table, "y"))
    assert columns.ignored == (name or "column 1", "b")
    assert [f.name for f in columns.features] == ["a"]
    assert "left out" in columns.notes()[-1]


@pytest.mark.parametrize("name", ["paid", "humid", "grid", "a"])
def test_other_whole_numbers_that_differ_are_numbers(name):
    table = table_of(f"{name},y\n" + rows(20, lambda i: f"{i},{i % 2}"))
    assert Columns.fit(table, Target.of(table, "y")).features[0].name == name


def test_true_and_false_are_numbers():
    table = table_of("a,y\nTrue,1\nfalse,0\nTRUE,1\n,0\n")
    x = Columns.fit(table, Target.of(table, "y")).apply(table)
    assert (x[:, 0] > 0).tolist() == [True, False, True, True]
    assert x[:, 1].tolist() == [0, 0, 0, 1]


def test_json_keeps_the_columns():
    table = table_of(TEXT)
    columns = Columns.fit(table, Target.of(table, "price"))
    again = Columns.from_json(json.loads(json.dumps(columns.to_json())))
    assert again == columns
    assert np.array_equal(again.apply(table), columns.apply(table))


@pytest.mark.parametrize(
    "change",
    [
        {"features": 3},
        {"features": [3]},
        {"features": [{"name": "a"}]},
        {"features": [{"name": "a", "median": 0, "mean": 0, "deviation": 0, "gaps": False, "values": None}]},
        {"features": [{"name": "a", "median": 0, "mean": 0, "deviation": 1, "gaps": 3, "values": None}]},
        {"features": [{"name": "a", "median": 0, "mean": 0, "deviation": 1, "gaps": True, "values": [3]}]},
        {"ignored": [3]},
        {"ignored": None},
        {"target": 3},
        {"target": {"names": ["a"], "task": "cooking", "classes": []}},
        {"features": []},
        {"features": {}},
        {"ignored": {"x": 1}},
        *(
            {"target": {"names": names, "task": task, "classes": classes}}
            for names, task, classes in (
                ({}, "regression", []),
                ([], "multilabel", []),
                (["a", "a"], "regression", []),
                (["a"], "regression", ["x", "y"]),
                (["a", "b"], "classification", ["x", "y"]),
                (["a"], "classification", ["x"]),
                (["a"], "classification", ["x", "x"]),
                (["a"], "classification", {"x": 1, "y": 2}),
            )
        ),
    ],
    ids=str,
)
def test_json_of_another_kind_is_an_error(change):
    good = Columns.fit(table_of(TEXT)).to_json()
    with pytest.raises(ConfigError):
        Columns.from_json(good | change)
    with pytest.raises(ConfigError):
        Columns.from_json(None)  # pyright: ignore[reportArgumentType]


def test_a_data_set_keeps_its_columns():
    table = table_of("a,y\n" + rows(20, lambda i: f"{i},{'ab'[i % 2]}"))
    columns = Columns.fit(table, Target.of(table, "y"))
    found = columns.dataset(table)
    assert found.source is columns
    assert found.classes == ("a", "b")
    assert found.y.tolist() == [0, 1] * 10
    assert found.take([3, 4]).source is columns
    with raises(ConfigError, "Columns.dataset", "columns with a target"):
        Columns.fit(table).dataset(table)


@pytest.mark.parametrize("seed", range(5))
def test_no_scale_of_pixels_is_seen_in_a_table(seed):
    rng = np.random.default_rng(seed)
    numbers = {f"n{i}": np.rint(rng.normal(size=60) * 10 ** rng.uniform(-2, 4)) for i in range(9)}
    words = {f"w{i}": rng.choice(["a", "b", "c"], 60).tolist() for i in range(seed * 3)}
    numbers["n0"][:20] = np.nan
    table = read_table(numbers | words)
    columns = Columns.fit(table)
    train = columns.apply(table)
    scale = Scale.of(train, 1.0)
    assert not scale.normalized
    for i in range(60):
        assert scale.factor("predict", train[i : i + 1]) == 1.0
    far = columns.apply(read_table(numbers | words | {"n1": np.full(60, 1e30), "n2": np.full(60, -1e6)}))
    for rows in (far, far[:1], far[:7]):
        assert scale.factor("predict", rows) == 1.0


def test_why_no_column_is_left_is_said_of_each(tmp_path):
    rows = [f"{i},name {i},7,,same,{i % 2}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["id,name,seven,none,text,y", *rows]))
    said = ["id (the number of a row)", "name (another text in each row)", "seven (constant)", "none (empty)"]
    with raises(DataError, str(tmp_path / "t.csv"), *said, "text (one text in all rows)"):
        Columns.fit(str(tmp_path / "t.csv"), "y")


@pytest.mark.parametrize("repeats", [1, 2], ids=["each once", "more than 50"])
@pytest.mark.parametrize("form", ["${}", "{} %", "€ {}.50", "{} 500"])
def test_amounts_with_signs_and_spaces_are_no_texts_but_an_error_that_says_what_to_do(form, repeats):
    table = {"price": [form.format(n) for n in range(60)] * repeats, "y": np.arange(60 * repeats)}
    with raises(DataError, "table", "plain numbers in column 'price'", "leave out units", repr(form.format(0))):
        Columns.fit(table, "y", task="regression")
