"""A student's functions as an op, and its checks in the words of the exercise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xpnet.backend import Backend
from xpnet.exercises.checking import Case, check_case, dy_of
from xpnet.exercises.comparing import CheckError, agree, difference, float64_ok, float_types, put
from xpnet.exercises.hints import Mistake, Wrong, hint_of_numbers, is_same, reason_and_hint
from xpnet.output import counted

__all__ = ["as_op", "by_op", "compare", "hold", "numbers_of", "results"]


def results(name: str, value: Any, count: int) -> tuple[Any, ...]:
    """Check how many results a function returns; return them as a tuple."""
    if value is None:
        raise Wrong(f"{name} returns None", "does it end in return?")
    if count == 1:
        if isinstance(value, tuple):
            raise Wrong(f"{name} returns {len(value)} results, expected one")
        return (value,)
    if not isinstance(value, tuple | list):
        raise Wrong(f"{name} returns one result, expected {count}")
    if len(value) != count:
        raise Wrong(f"{name} returns {counted(len(value), 'result')}, expected {count}")
    return tuple(value)


def as_op(
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    gradients: Sequence[int] = (),
    **options: Any,
) -> Callable[..., Any]:
    """Make an op, which returns (y, vjp), of two functions.

    Args:
        forward: (*arrays, **options) -> y.
        backward: (dy, *arrays, **options) -> the gradients of some inputs, one or a tuple.
        gradients: which inputs these are.
        options: passed on to both.
    """

    def op(*arrays: Any) -> tuple[Any, Any]:
        (y,) = results(getattr(forward, "__name__", "function"), forward(*arrays, **options), 1)

        def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
            if backward is None or not any(needs[i] for i in gradients):
                return (None,) * len(arrays)
            found = backward(dy, *arrays, **options)
            each = dict(
                zip(gradients, results(getattr(backward, "__name__", "function"), found, len(gradients)), strict=True)
            )
            return tuple(each.get(i) if needs[i] else None for i in range(len(arrays)))

        return y, vjp

    return op


def by_op(op: Callable[..., Any]) -> Callable[[Case, np.ndarray], dict[int, np.ndarray]]:
    """The gradients of a case, element by element, by xpnet's own op."""

    def gradients(case: Case, dy: np.ndarray) -> dict[int, np.ndarray]:
        _, vjp = op(*case.arrays)
        found = vjp(dy, tuple(i in case.differentiable for i in range(len(case.arrays))))
        return {i: found[i] for i in case.differentiable}

    return gradients


def hold(
    case: Case,
    backend: Backend,
    names: Sequence[str],
    result: str,
    sizes: Mapping[str, int],
    mistakes: Sequence[Mistake] = (),
    settings: str = "",
) -> None:
    """Hold a case to the checks of checking.py.

    Raises:
        Wrong: what failed first, in the names of the exercise, with a hint.
    """
    try:
        check_case(case, backend)
    except CheckError as error:
        raise reason_and_hint(error, names, result, sizes, mistakes, settings) from None
    if case.differentiable:
        _after_another_call(case, backend, names, result)


def _after_another_call(case: Case, backend: Backend, names: Sequence[str], result: str) -> None:
    """Gradients depend on what the backward function is given, not on which call of the forward one was the last."""
    dtype = float_types(backend)[-1]
    arrays = [put(backend, a, dtype) for a in case.arrays]
    dy, needs = put(backend, dy_of(case.wanted().shape), dtype), [i in case.differentiable for i in range(len(arrays))]
    _, vjp = case.op(*arrays)
    wanted = vjp(dy, tuple(needs))
    case.op(-arrays[0], *arrays[1:])
    for name, got, want in zip(names, vjp(dy, tuple(needs)), wanted, strict=True):
        if got is not None and not is_same(backend.to_numpy(got), backend.to_numpy(want)):
            text = f"d{name} is wrong if {result} of other arrays was computed in between"
            raise Wrong(text, "compute anew what the gradient needs: a global name holds that of the last call", True)


def numbers_of(what: str, got: Any, backend: Backend) -> np.ndarray:
    """Return an array of the backend, or a number, as NumPy's float64; raise Wrong if it is neither."""
    if got is None:
        raise Wrong(f"{what} is None", "does the function end in return?")
    if isinstance(got, type(backend.xp.zeros(1, device=backend.device))):
        return np.asarray(backend.to_numpy(got), np.float64)
    if isinstance(got, int | float | np.generic):
        return np.asarray(got, np.float64)
    raise Wrong(f"{what} is of type {type(got).__name__}, expected an array or a number")


def compare(what: str, got: Any, want: Any, backend: Backend, guesses: Sequence[tuple[Any, str]] = ()) -> None:
    """Compare one result with numbers.

    Args:
        what: the name of the result.
        got: an array of the backend, or a number.
        want: NumPy numbers.
        guesses: numbers that typical mistakes lead to, each with its hint.
    Raises:
        Wrong: they differ.
    """
    found = numbers_of(what, got, backend)
    wanted = np.asarray(want, np.float64)
    try:
        if found.shape != wanted.shape:
            raise CheckError(what, found, wanted)
        agree(found, wanted, np.float64 if float64_ok(backend) else np.float32, 1000, what)
    except CheckError:
        text = difference(what, found, wanted)
        for numbers, hint in guesses:
            if is_same(found, numbers) and not is_same(wanted, numbers):
                raise Wrong(text, hint, True) from None
        raise Wrong(text, hint_of_numbers(found, wanted)) from None
