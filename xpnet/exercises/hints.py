"""From a check that failed to a sentence that says what is wrong, and to a hint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet.exercises.checking import dy_of
from xpnet.exercises.comparing import CheckError, agree, difference

__all__ = ["Mistake", "Wrong", "hint_of_numbers", "is_same", "message_of", "reason_and_hint"]


def message_of(error: BaseException) -> str:
    """Return the text of an exception on one line; "" where it has none, or where str of it fails."""
    try:
        return " ".join(str(error).split())
    except BaseException:  # a class of a student's file
        return ""


class Wrong(Exception):
    """A student's function that is not right yet.

    Args:
        what: what is wrong, in one sentence.
        hint: what may be the reason, or "".
        names_mistake: whether the hint is of a mistake that leads to exactly these numbers.
    """

    def __init__(self, what: str, hint: str = "", names_mistake: bool = False) -> None:
        super().__init__(what)
        self.what, self.hint, self.names_mistake = what, hint, names_mistake


class Mistake(NamedTuple):
    """A typical mistake: the numbers that it leads to, and what to say then.

    Args:
        part: "y", or the number of the input whose gradient is wrong.
        numbers: (want, dy, *arrays) -> what the mistake computes, in float64 NumPy.
        hint: what to say.
    """

    part: int | str
    numbers: Callable[..., Any]
    hint: str


_WRITES = "a line such as {0} -= ... or {0}[...] = ... writes into the caller's array; {0} = {0} - ... makes a new one"
_KINDS = {
    "layout": "the numbers are wrong if the input is a view, such as a[:, ::2]: does the code read memory as it lies?",
    "namespace": "return an array of the library that the inputs are of, made by functions of xp",
    "device": "make new arrays on the device of the input: xp.zeros(shape, dtype=x.dtype, device=x.device)",
    "dtype": "new arrays need the dtype of the input: xp.zeros(shape, dtype=x.dtype)",
}


def reason_and_hint(
    error: CheckError,
    names: Sequence[str],
    result: str,
    sizes: Mapping[str, int],
    mistakes: Sequence[Mistake],
    settings: str = "",
) -> Wrong:
    """Say in the words of an exercise what a check of checking.py found.

    Args:
        error: what failed.
        names: of the op's inputs, in their order.
        result: the name of the op's result.
        sizes: letters of the shapes, such as N, and their values.
        mistakes: those that are typical of the exercise.
        settings: of the case, such as "S = 2".
    """
    inputs, names = names, [*names, f"d{result}"]
    what = result if error.part is None else f"d{names[error.part]}"
    if error.kind == "modified":
        name = names[error.part or 0]
        return Wrong(f"the input {name} was overwritten", _WRITES.format(name))
    if error.kind == "namespace":
        kind = error.what.rpartition("'")[0].rpartition("'")[2]
        return Wrong(f"{what} is of type {kind}, expected an array", _KINDS["namespace"])
    if error.kind == "dtype":
        got, _, want = error.what.rpartition("dtype, ")[2].partition(" from ")
        return Wrong(f"{what} has dtype {got}, expected {want}", _KINDS["dtype"])
    if error.got is None:
        return Wrong(f"{what}: {error.what.rpartition(': ')[2]}", _KINDS.get(error.kind, ""))
    text = difference(what, error.got, error.want)
    if error.kind == "slope":
        text = (
            f"{what} is not the slope of {result}: in a random direction expected {error.want:.6g}, got {error.got:.6g}"
        )
    text += _of_case(error.case, inputs, settings)
    if error.kind == "layout":
        return Wrong(text, _KINDS["layout"])
    if hint := _of_mistake(error, mistakes) or _of_size(error.got, error.want, sizes):
        return Wrong(text, hint, True)
    return Wrong(text, hint_of_numbers(error.got, error.want))


def _of_case(case: Any, inputs: Sequence[str], settings: str) -> str:
    """Say which case a check was of: " (x of shape (2, 5), S = 2)"."""
    if case is None:
        return ""
    shapes = [f"{name} of shape {np.shape(a)}" for name, a in zip(inputs, case.arrays, strict=True)]
    return f" ({', '.join([*shapes, settings] if settings else shapes)})"


def _of_mistake(error: CheckError, mistakes: Sequence[Mistake]) -> str:
    """Return the hint of the mistake that leads to the numbers of a failed check, or ""."""
    case, part = error.case, "y" if error.part is None else error.part
    if case is None:
        return ""
    for mistake in mistakes:
        if mistake.part == part:
            with np.errstate(all="ignore"):
                numbers = mistake.numbers(error.want, dy_of(case.wanted().shape), *case.arrays)
            if is_same(error.got, numbers) and not is_same(error.want, numbers):
                return mistake.hint
    return ""


def is_same(got: Any, want: Any) -> bool:
    """Whether two results are equal to what float32 can tell."""
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return False
    try:
        agree(got, want, np.float32, 1000, "")
    except CheckError:
        return False
    return True


def hint_of_numbers(got: Any, want: Any) -> str:
    """Guess from two arrays alone what is wrong: swapped axes, a factor, a sign, an overflow; or return ""."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape:
        return _hint_of_shapes(got, want)
    if np.isnan(got).any() and not np.isnan(want).any():
        return "nan (not a number) comes from inf - inf, inf / inf or 0 / 0: an exponential that overflows, or ln 0?"
    if np.isinf(got).any() and not np.isinf(want).any():
        return "a number became infinite: a division by 0, ln 0, or an exponential that overflows?"
    if _is_near(got, want):
        return "the numbers are nearly right: is a part computed in float16 or float32, or a small constant added?"
    factor = _factor(got, want)
    if factor is not None and abs(factor + 1.0) < 1e-4:
        return "the sign is wrong: all numbers have the opposite one" if want.size > 1 else "the sign is wrong"
    return _hint_of_many(got, want, factor) if want.size > 2 else ""


def _hint_of_shapes(got: np.ndarray, want: np.ndarray) -> str:
    if got.ndim > want.ndim:
        return "an axis too many: is a sum missing, or an index?"
    if got.ndim < want.ndim:
        return "an axis is missing: keepdims=True keeps it in a sum"
    if sorted(got.shape) == sorted(want.shape):
        return "the axes are swapped"
    return ""


def _hint_of_many(got: np.ndarray, want: np.ndarray, factor: float | None) -> str:
    if not got.any():
        return "all numbers are 0"
    if factor is not None:
        return f"all numbers are {factor:.4g} times what they should be"
    if got.shape == got.T.shape and is_same(got, want.T):
        return "rows and columns are swapped"
    for axis in range(got.ndim):
        if got.shape[axis] > 1 and is_same(got, np.flip(want, axis)):
            return f"the numbers are right, but in reverse order along axis {axis}"
    if is_same(np.sort(got, axis=None), np.sort(want, axis=None)):
        return "the numbers are right, but in another order"
    if is_same(got - want, np.full(want.shape, np.mean(got - want))):
        return f"all numbers differ by the same, {np.mean(got - want):.6g}"
    return ""


def _is_near(got: np.ndarray, want: np.ndarray) -> bool:
    """Whether two results differ by no more than float16 numbers do from what they stand for."""
    finite = np.isfinite(want)
    return bool(np.any(want[finite]) and np.max(np.abs((got - want)[finite])) < 2.0**-10 * np.max(np.abs(want[finite])))


def _factor(got: np.ndarray, want: np.ndarray) -> float | None:
    """The number by which all of got differ from want, if there is one that is not 1."""
    if not want.any():
        return None
    factor = float(np.sum(got * want) / np.sum(want * want))
    return factor if is_same(got, factor * want) and not is_same(got, want) else None


def _of_size(got: Any, want: Any, sizes: Mapping[str, int]) -> str:
    """Say which size of the shapes all numbers are too large or too small by; or return "".

    Only its letter is given: the hint may stand under a case of another size than the one it was found with.
    """
    got, want = np.asarray(got), np.asarray(want)
    factor = _factor(got, want) if got.shape == want.shape else None
    if factor is None:
        return ""
    for name, size in sizes.items():
        if size > 1 and abs(factor / size - 1.0) < 1e-4:
            return f"all numbers are {name} times too large: is a division by {name} missing?"
        if size > 1 and abs(factor * size - 1.0) < 1e-4:
            return f"all numbers are {name} times too small: is it divided by {name} once too often?"
    return ""
