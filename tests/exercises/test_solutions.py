"""Each exercise can be solved, on every backend; typical wrong solutions are wrong, and the hint says why."""

from __future__ import annotations

import pytest

from tests.exercises.judging import judged
from tests.exercises.mistakes import MISTAKES
from tests.harness import few_on_jax
from xpnet.exercises import EXERCISES
from xpnet.exercises.judging import Result

RIGHT = Result("right")


@pytest.mark.parametrize("name", [e.name for e in EXERCISES])
def test_a_solution_is_right(name, backend):
    few_on_jax(backend, name in ("softmax", "backpropagation", "momentum"))
    if not backend.writable and name == "replay":
        pytest.skip("a replay writes into arrays")
    assert judged(name, backend) == RIGHT


@pytest.mark.parametrize(("name", "what", "replaced", "words"), MISTAKES, ids=[f"{m[0]}-{m[1]}" for m in MISTAKES])
def test_a_wrong_solution_is_wrong_and_the_hint_says_why(name, what, replaced, words):
    found = judged(name, **replaced)
    assert found.state == "wrong"
    assert words in f"{found.text} {found.hint}", found
