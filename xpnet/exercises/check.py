"""What the test in a student's file calls.

a = check.array([[0.0, 1.0]])                         an array of the chosen library: NumPy, or what --backend says
check.equal("softmax(a)", softmax(a), [[0.3, 0.7]])   numbers that were computed by hand
check.general("softmax", softmax)                     the checks that hold xpnet's own op to the truth
check.run(test)                                       runs the test, and says what is right or wrong
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import current_backend
from xpnet.exercises.cases import GENERAL
from xpnet.exercises.cases.holding import compare
from xpnet.exercises.comparing import float_types, put
from xpnet.exercises.running import run_file as run

__all__ = ["array", "equal", "general", "run"]


def array(values: Any) -> Any:
    """Return numbers as an array: float64 (float32 where there is no such), or integers, as they are given."""
    backend = current_backend()
    return put(backend, np.asarray(values), float_types(backend)[-1])


def equal(what: str, got: Any, want: Any) -> None:
    """Compare a result with numbers that were computed by hand.

    Args:
        what: the name of the result.
        got: an array or a number.
        want: numbers, as nested lists.
    Raises:
        Wrong: they differ; it says where, and has a hint.
    """
    compare(what, got, want, current_backend())


def general(name: str, *functions: Any) -> None:
    """Hold functions to the general checks of an exercise: many numbers, odd sizes, views, gradients, unchanged inputs.

    Args:
        name: of the exercise, such as "softmax".
        functions: those of its file, in their order.
    Raises:
        Wrong: what failed first, with a hint.
    """
    GENERAL[name](current_backend(), *functions)
