from __future__ import annotations

import numpy as np
import pytest

from tests.data.test_columns import folder, rows, table_of  # noqa: F401
from tests.harness import raises
from xpnet.data import LoadOptions, Splits, load, splits
from xpnet.data.table_rows import fitted, table_rows
from xpnet.data.table_target import Target
from xpnet.errors import ConfigError, DataError

NUMBERS = "a,few,many,real,flag,word,other\n" + rows(
    60, lambda i: f"{i},{3 * (i % 3)},{i},{i / 4},{'true' if i % 2 else 'false'},{'xyz'[i % 3]},{i % 2}"
)


@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        ("few", "classification", ("0", "3", "6")),
        ("many", "regression", ()),
        ("real", "regression", ()),
        ("flag", "classification", ("false", "true")),
        ("word", "classification", ("x", "y", "z")),
        ("real,many", "regression", ()),
        ("few, many", "regression", ()),
        ("other,flag", "multilabel", ()),
    ],
)
def test_the_values_decide_what_is_learned(target, task, classes):
    found = Target.of(table_of(NUMBERS), target)
    assert (found.task, found.classes) == (task, classes)
    assert found.names == tuple(name.strip() for name in target.split(","))
    assert task in found.describe()


def test_labels_and_numbers_are_read():
    table = table_of(NUMBERS)
    assert Target.of(table, "few").read(table).tolist() == [0, 1, 2] * 20
    assert Target.of(table, "word").read(table).tolist() == [0, 1, 2] * 20
    y = Target.of(table, "few", "regression").read(table)
    assert (y.dtype, y.tolist()) == (np.float32, [0, 3, 6] * 20)
    assert Target.of(table, "real,flag").read(table)[5].tolist() == [1.25, 1]
    assert Target.of(table, "few", "classification").classes == ("0", "3", "6")


@pytest.mark.parametrize(
    ("target", "task", "error", "words"),
    [
        (None, None, ConfigError, "name a column, a, few, many"),
        ("wrod", None, ConfigError, "did you mean 'word'"),
        ("few,wrod", None, ConfigError, "did you mean 'word'"),
        ("few,few", None, ConfigError, "columns that differ"),
        ("few,word", "classification", ConfigError, "one column"),
        ("word", "regression", DataError, "line 2, value 'x'"),
        ("few,other", "multilabel", DataError, "0 or 1 in 'few', got line 3, value 3"),
        ("real", "classification", DataError, "whole numbers or text, got value 0.25"),
        ("many", "classification", DataError, "classes 60, rows 60"),
        ("many", "classification", DataError, "classes 60, rows 60; is it the right column?"),
        ("word", "cooking", ConfigError, "task"),
    ],
)
def test_a_target_that_cannot_be_learned_is_an_error(target, task, error, words):
    with raises(error, "t.csv" if error is DataError else "task" if task == "cooking" else "target", words):
        Target.of(table_of(NUMBERS), target, task)


def test_amounts_of_money_as_the_target_are_an_error_that_says_they_are_text():
    text = "classes 40, rows 40; its values are text, such as '$1,000': write plain numbers"
    with raises(DataError, "t.csv", "each class in 'price'", text):
        Target.of(table_of("a,price\n0,7\n" + rows(39, lambda i: f'{i},"${i + 1},000"')), "price")


def test_a_missing_label_is_an_error_that_names_its_line():
    with raises(DataError, "t.csv", "'y'", "line 3"):
        Target.of(table_of("a,y\n1,x\n2,NaN\n3,z\n"), "y")


def test_one_class_is_an_error():
    with raises(DataError, "t.csv", "at least 2 classes in 'y'", "only 'x'"):
        Target.of(table_of("a,y\n1,x\n2,x\n"), "y")


def test_a_class_that_was_not_trained_is_an_error_that_names_its_line():
    target = Target.of(table_of(NUMBERS), "word")
    with raises(DataError, "new.csv", "line 3", "'q'", "x, y, z"):
        target.read(table_of("a,word\n1,x\n2,q\n", "new.csv"))
    with raises(DataError, "new.csv", "a column 'word'", "got missing 'word'; it has a, b"):
        target.read(table_of("a,b\n1,x\n2,q\n", "new.csv"))


def test_a_table_is_split_before_its_columns_are_measured():
    table_of(NUMBERS)
    train, test = table_rows("t.csv", "word").hold_out_fifth("table/test", stratified=True)
    numbers = train.x[:, 0].copy()
    train, validation, test, note, warnings = fitted(Splits(train, None, test, warnings=("w",)))
    assert (validation, warnings) == (None, ("w",))
    assert np.bincount(test.y).tolist() == [4, 4, 4]
    assert np.allclose(train.x.mean(axis=0), 0, atol=1e-6)
    assert np.allclose(train.x[:, 0], (numbers - numbers.mean()) / numbers.std(), atol=1e-6)
    assert note[0] == "word: classification, 3 classes (x, y, z)"
    assert fitted(Splits(train)).train is train


def test_a_table_is_loaded_in_parts():
    table_of(NUMBERS)
    options = LoadOptions(target="word")
    train, test = load("t.csv", options=options)
    assert (len(train), len(test)) == (48, 12)
    parts = splits("t.csv", options=options, validation=0.25)
    assert [len(part) for part in parts[:3]] == [36, 12, 12]
    assert np.array_equal(parts.test.y, test.y)
    assert parts.train.source == parts.test.source != train.source
    table_of("few,word,a,many,real,flag,other\n1,y,2,3,4,true,0\n", "other.csv")
    parts = splits("t.csv", options=options, validation="other.csv")
    assert (len(parts.train), parts.validation.y.tolist()) == (48, [1])
    assert splits("t.csv", options=LoadOptions(target="real"), validation=0).train.y.dtype == np.float32
    with raises(ConfigError, "target", "name a column"):
        load("t.csv")
    with raises(DataError, "none.csv", "no such file"):
        load("none.csv", options=options)
