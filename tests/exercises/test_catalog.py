"""The list of exercises, and the files that are given to students."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.harness import raises
from xpnet.errors import ConfigError
from xpnet.exercises import EXERCISES, find
from xpnet.exercises.cases import GENERAL
from xpnet.exercises.catalog import TASKS

ROOT = Path(__file__).parents[2]
each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.stem)


def test_every_file_is_in_the_list_and_every_exercise_has_general_checks():
    assert [e.file for e in EXERCISES] == sorted(path.name for path in TASKS.glob("*.py"))
    assert [e.number for e in EXERCISES] == [*range(1, 13)]
    assert [e.name for e in EXERCISES] == [*GENERAL]


@each_exercise
def test_a_file_says_where_to_read_more_and_how_to_run_it(exercise):
    doc = ast.get_docstring(ast.parse(exercise.text)) or ""
    assert doc.startswith(f"{exercise.number:02d} ")
    assert f"Read more: examples/{exercise.page}, examples/{exercise.example}" in doc
    assert f"Run the test: python {exercise.file}" in doc
    for place in (exercise.page, exercise.example):
        assert (ROOT / "examples" / place).exists(), place


@each_exercise
def test_each_part_of_a_file_is_a_gap_with_a_docstring(exercise):
    tree = ast.parse(exercise.text)
    parts = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for name in exercise.parts:
        assert "raise NotImplementedError" in (ast.get_source_segment(exercise.text, parts[name]) or "")
        assert ast.get_docstring(parts[name])
    assert exercise.text.count("raise NotImplementedError  # your code") >= len(exercise.parts)
    assert set(exercise.given) <= parts.keys()


def test_the_guide_lists_each_exercise():
    page = (ROOT / "examples/guides/exercises.md").read_text()
    for e in EXERCISES:
        assert f"| `{e.file}` | {e.title} | " in page
        assert f"(../{e.page})" in page
        assert f"(../{e.example})" in page


@pytest.mark.parametrize("name", ["5", "05", "im2col", "05_im2col", "05_im2col.py", "some/folder/05_im2col.py"])
def test_an_exercise_is_found_by_number_name_or_file(name):
    assert find(name).stem == "05_im2col"


@pytest.mark.parametrize("name", ["13", "0", "im2cl", ""])
def test_another_name_is_an_error(name):
    with raises(ConfigError, "exercise", repr(name)):
        find(name)
