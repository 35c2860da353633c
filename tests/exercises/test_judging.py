"""Files that are broken in other ways than wrong numbers: each is one line, and breaks nothing else."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from tests.exercises import solutions
from xpnet.backend import get_backend
from xpnet.exercises import EXERCISES, find
from xpnet.exercises.judging import Result, judge_file

FILES = {
    "nothing": (b"", "there is no softmax in it"),
    "a name lost": (b"def softmaks(a):\n    return a\n", "there is no softmax in it"),
    "no Python": (b"def softmax(a):\n    return = a\n", "SyntaxError: line 2: invalid syntax"),
    "an indent": (b"def softmax(a):\nreturn a\n", "IndentationError: line 2: expected an indented block"),
    "bytes": (b"x = '\xff'\n", "SyntaxError: "),
    "a zero byte": (b"x = 1\0\n", "source code string cannot contain null bytes"),
    "a module that is not there": (
        b"import nothing_here\n",
        "line 1: ModuleNotFoundError: No module named 'nothing_here'",
    ),
    "an end": (b"x = 1\nimport sys\nsys.exit(3)\n", "line 3: SystemExit: 3"),
    "an error": (b"def softmax(a):\n    return a.nothing\n", "line 2: AttributeError: "),
    "no function": (b"softmax = 3\n", "its test: TypeError: 'int' object is not callable"),
    "two arguments": (b"def softmax(a, b):\n    return a\n", "its test: TypeError: softmax() missing 1 required"),
    "a gap": (b"def softmax(a):\n    raise NotImplementedError\n", "softmax is still to be written: line 2"),
    "a message of many lines": (b"def softmax(a):\n    raise ValueError('one\\n\\x1b[31mtwo')\n", "one \\x1b[31mtwo"),
    "without an end": (b"def softmax(a):\n    return softmax(a)\n", "RecursionError"),
    "an interrupt": (b"def softmax(a):\n    raise KeyboardInterrupt\n", "line 2: KeyboardInterrupt"),
    "an end in a function": (b"def softmax(a):\n    raise SystemExit(3)\n", "line 2: SystemExit: 3"),
    "an interrupt at once": (b"x = 1\nraise KeyboardInterrupt\n", "line 2: KeyboardInterrupt"),
    "any exception": (
        b"class E(BaseException):\n    pass\ndef softmax(a):\n    raise E('why')\n",
        "line 4: E: why",
    ),
    "an exception without a text": (
        b"class E(Exception):\n    def __str__(self):\n        raise self\ndef softmax(a):\n    raise E\n",
        "line 5: E",
    ),
    "a string": (b"def softmax(a):\n    return 'p'\n", "softmax(a) is of type str, expected an array"),
    "a dictionary": (b"def softmax(a):\n    return {}\n", "softmax(a) is of type dict"),
    "a list": (
        b"def softmax(a):\n    return [[0.125, 0.25, 0.625]]\n",
        "softmax(a) is of type list, expected an array or a number",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_broken_file_is_one_line(kind, tmp_path):
    data, words = FILES[kind]
    exercise = find("softmax")
    path = tmp_path / exercise.file
    path.write_bytes(data)
    found = judge_file(path, exercise, get_backend("numpy"))
    assert found.state == ("open" if kind == "a gap" else "wrong")
    assert words in found.text
    assert found.text.isprintable()


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.stem)
def test_a_file_with_the_solution_is_right(exercise, tmp_path):
    """The solutions stand below the gaps, in the file itself."""
    path = tmp_path / exercise.file
    chosen = "globals().update(tape(Tensor))\n" if exercise.name == "tape" else ""
    path.write_text(exercise.text + inspect.getsource(solutions).partition("annotations\n")[2] + chosen)
    assert judge_file(path, exercise, get_backend("numpy")) == Result("right")


@pytest.mark.parametrize("name", ["allclose", "isclose", "array_equal", "isfinite", "abs", "argwhere"])
def test_a_file_that_replaces_a_function_of_numpy_is_compared_without_it(name, tmp_path, monkeypatch):
    monkeypatch.setattr(np, name, getattr(np, name))  # puts it back after the test
    exercise = find("softmax")
    path = tmp_path / exercise.file
    path.write_text(f"import numpy as np\nnp.{name} = lambda *a, **k: True\ndef softmax(a):\n    return a\n")
    found = judge_file(path, exercise, get_backend("numpy"))
    assert (found.state, found.text) == ("wrong", "softmax(a), at [0, 0]: expected 0.125, got 0")


def test_a_file_may_read_others_beside_it_and_its_own_name(tmp_path):
    exercise = find("momentum")
    path = tmp_path / exercise.file
    path.write_text(
        "from pathlib import Path\n"
        "assert Path(__file__).exists() and __name__ != '__main__'\n"
        "def sgd_step(w, v, g, lr, momentum):\n"
        "    v = momentum * v + g\n"
        "    return w - lr * v, v\n"
    )
    assert judge_file(path, exercise, get_backend("numpy")) == Result("right")
