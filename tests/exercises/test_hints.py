"""What two arrays alone say of a mistake."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import sample
from xpnet.exercises.comparing import difference
from xpnet.exercises.hints import hint_of_numbers

WANT = sample(3, 4)
SQUARE = sample(3, 3)

GUESSES = {
    "swapped": (WANT.T, WANT, "the axes are swapped"),
    "too many": (WANT[None], WANT, "an axis too many"),
    "missing": (WANT.sum(axis=0), WANT, "an axis is missing"),
    "another size": (WANT[:2], WANT, ""),
    "nan": (WANT * np.nan, WANT, "nan (not a number)"),
    "infinite": (WANT + np.inf, WANT, "a number became infinite"),
    "sign": (-WANT, WANT, "the sign is wrong"),
    "zeros": (0 * WANT, WANT, "all numbers are 0"),
    "a factor": (1.5 * WANT, WANT, "all numbers are 1.5 times what they should be"),
    "transposed": (SQUARE.T, SQUARE, "rows and columns are swapped"),
    "reversed": (WANT[:, ::-1], WANT, "in reverse order along axis 1"),
    "sorted": (np.sort(WANT, axis=None).reshape(3, 4), WANT, "in another order"),
    "shifted": (WANT + 0.5, WANT, "all numbers differ by the same, 0.5"),
    "one sign": (np.array(-3.0), np.array(3.0), "the sign is wrong"),
    "one number": (np.array(6.0), np.array(3.0), ""),
    "float32": (WANT[:1] * (1 + 1e-7 * SQUARE.ravel()[:4]), WANT[:1], "are nearly right"),
    "a constant": (WANT + 1e-8, WANT, "are nearly right"),
    "float16": (WANT.astype(np.float16), WANT, "are nearly right"),
    "one row in another order": (WANT[:1, ::-1], WANT[:1], "in reverse order along axis 1"),
    "other numbers": (sample(3, 4, seed=1), WANT, ""),
}


@pytest.mark.parametrize("kind", GUESSES)
def test_two_arrays_give_a_hint(kind):
    got, want, words = GUESSES[kind]
    hint = hint_of_numbers(got, want)
    assert words in hint
    assert bool(hint) == bool(words)


@pytest.mark.parametrize(
    ("got", "want", "text"),
    [
        ([[1, 2], [5, 4]], [[1, 2], [3, 4]], "y, at [1, 0]: expected 3, got 5"),
        (2, 1, "y: expected 1, got 2"),
        ([1, 2], [[1], [2]], "y: expected shape (2, 1), got (2,)"),
        ([1.0, np.nan], [1.0, 2.0], "y, at [1]: expected 2, got nan"),
        ([1.0, 1 + 1e-9], [1.0, 1.0], "y, at [1]: expected 1, got 1.0000000010000001"),
    ],
)
def test_a_difference_says_where_it_is_first(got, want, text):
    assert difference("y", np.array(got), np.array(want)) == text
