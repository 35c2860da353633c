"""What is remembered of a folder."""

from __future__ import annotations

import pytest

from xpnet.exercises import EXERCISES, find
from xpnet.exercises.folder import find_folder, start, states
from xpnet.exercises.judging import Result
from xpnet.exercises.progress import FILE, record

SOFTMAX = find("softmax")


@pytest.fixture
def folder(tmp_path):
    """A folder with a file that was changed, and found right."""
    start(tmp_path)
    (tmp_path / SOFTMAX.file).write_text("changed")
    record(tmp_path, {SOFTMAX: Result("right")})
    return tmp_path


def test_a_file_that_was_found_right_is_right_until_it_is_changed(folder):
    assert states(folder)[SOFTMAX] == Result("right")
    (folder / SOFTMAX.file).write_text("changed again")
    assert states(folder)[SOFTMAX] == Result("changed")
    (folder / SOFTMAX.file).write_text(SOFTMAX.text)
    assert states(folder)[SOFTMAX] == Result("untouched")
    (folder / SOFTMAX.file).unlink()
    assert states(folder)[SOFTMAX] == Result("missing")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"02_softmax": 3}', '{"02_softmax": ["x", "right", 1, 2, 3]}', "\0", "[" * 100_000],
    ids=["nothing", "cut", "a list", "a number", "a number in it", "too long", "a zero byte", "deep"],
)
def test_damaged_progress_is_none(folder, text):
    (folder / FILE).write_text(text)
    assert states(folder)[SOFTMAX] == Result("changed")
    record(folder, {SOFTMAX: Result("right")})
    assert states(folder)[SOFTMAX] == Result("right")


def test_progress_that_cannot_be_kept_is_one_line(folder):
    (folder / FILE).unlink()
    (folder / FILE).mkdir()
    assert record(folder, {SOFTMAX: Result("right")}).startswith("this result was not kept: ")
    assert states(folder)[SOFTMAX] == Result("changed")


def test_an_unknown_state_is_none(folder):
    (folder / FILE).write_text((folder / FILE).read_text().replace('"right"', '"splendid"'))
    assert states(folder)[SOFTMAX] == Result("changed")


def test_nothing_is_written_beside_a_file_that_stands_elsewhere(tmp_path):
    (tmp_path / SOFTMAX.file).write_text("changed")
    record(tmp_path, {SOFTMAX: Result("right")})
    assert [path.name for path in tmp_path.iterdir()] == [SOFTMAX.file]


def test_the_folder_is_this_one_or_the_only_one_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_folder() is None
    start("mine")
    assert str(find_folder()) == "mine"
    start("other")
    assert find_folder() is None
    start("exercises")
    assert str(find_folder()) == "exercises"
    monkeypatch.chdir("other")
    assert str(find_folder()) == "."


def test_all_files_are_untouched_at_first(tmp_path):
    assert start(tmp_path).written == [e.file for e in EXERCISES]
    assert set(states(tmp_path).values()) == {Result("untouched")}
    assert set(states(None).values()) == {Result("missing")}
