"""What the lessons of the course say comes true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from xpnet import get_backend
from xpnet.playground.lessons import LESSONS, STEPS
from xpnet.playground.plane import Plane
from xpnet.playground.settings import Settings
from xpnet.playground.stages import open_stage


def learn(number: int, steps: int, **other) -> Plane:
    lesson = LESSONS[number - 1]
    plane = Plane(Settings.read({**lesson.settings, **other}), get_backend("cpu"))
    for _ in range(steps):
        plane.advance()
    return plane


def accuracy(number: int, steps: int, **other) -> float:
    frame = learn(number, steps, **other).frame()
    return min(frame["train"]["accuracy"], frame["test"]["accuracy"])


@pytest.mark.parametrize("lesson", LESSONS, ids=STEPS)
def test_a_lesson_has_two_sentences_and_settings_that_open(lesson):
    assert lesson.text.count(". ") + lesson.text.endswith(".") == 2
    stage = open_stage(lesson.kind, json.loads(json.dumps(lesson.settings)), get_backend("cpu"))
    stage.advance()
    assert stage.frame()["step"] == 1


def test_names_can_stand_in_an_address_and_differ():
    assert all(re.fullmatch("[a-z]+(-[a-z]+)*", name) for name in STEPS)
    assert len(set(STEPS)) == len(LESSONS) == 13


def test_pages_of_the_documentation_name_steps_that_the_course_has():
    named = {
        name
        for path in (Path(__file__).parents[2] / "examples").rglob("*.md")
        for name in re.findall(r"playground --step ([\w-]+)", path.read_text(encoding="utf-8"))
    }
    assert named - {"NAME"} == set(STEPS)


def test_the_perceptron_stops_by_itself_where_a_line_separates():
    plane = learn(1, 400)
    weights = plane.frame()["weights"]
    for _ in range(200):
        plane.advance()
    assert plane.frame()["weights"] == weights
    assert plane.frame()["train"]["accuracy"] == 1


def test_xor_needs_a_hidden_layer():
    assert accuracy(2, 800) < 0.8
    assert accuracy(2, 800, layers=[4]) > 0.98


def test_many_perceptrons_divide_the_plane():
    assert accuracy(3, 400) > 0.95


def test_without_a_bias_no_line_separates_what_lies_in_one_direction():
    assert accuracy(4, 300) < 0.7
    assert accuracy(4, 300, bias=True) == 1


def test_lines_are_composed_into_a_circle():
    assert accuracy(5, 800) > 0.95


def test_linear_layers_collapse():
    assert accuracy(6, 800) < 0.94
    assert accuracy(6, 800, activation="relu") > 0.96


def test_sigmoids_lose_the_gradient_and_relus_keep_it():
    norms = {number: learn(number, 30).frame()["norms"] for number in (7, 8)}
    assert norms[7][0] < 1e-3 * norms[7][-1]
    assert norms[8][0] > 1e-2 * norms[8][-1]
    assert accuracy(7, 1000) < 0.6
    assert accuracy(8, 1500) > 0.9


def test_a_learning_rate_is_too_small_right_or_too_large():
    def losses(lr: float) -> list[float]:
        plane, found = learn(13, 600, lr=lr), []
        for _ in range(20):
            found.append(plane.frame()["train"]["loss"])
            for _ in range(30):
                plane.advance()
        return found

    small, right, large = map(losses, (0.001, 0.1, 3))
    assert min(small) > 2 * max(right)
    assert max(large) > 5 * max(right)  # it jumps, and does not settle
