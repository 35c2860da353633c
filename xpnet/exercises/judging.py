"""The test of an exercise on a student's functions, in this process: what is right, and what came of the rest."""

from __future__ import annotations

import traceback
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet import kernels
from xpnet.backend import Backend, use_backend
from xpnet.exercises.cases import GENERAL
from xpnet.exercises.catalog import Exercise
from xpnet.exercises.checking import widest_only
from xpnet.exercises.hints import Wrong, message_of
from xpnet.output import printable

__all__ = ["Result", "judge", "judge_file", "load_task"]


class Result(NamedTuple):
    """What is known of a student's file.

    Args:
        state: "right", "wrong" or "open": a gap is left.
        text: what is wrong, in one sentence.
        hint: what may be the reason, or "".
    """

    state: str
    text: str = ""
    hint: str = ""


def judge(exercise: Exercise, parts: Mapping[str, Any], test: Callable[[], None], backend: Backend) -> Result:
    """Run a test, and say what came of it.

    Args:
        exercise: whose test it is.
        parts: the student's functions and classes by name, in which a hint is searched where the test has none.
        test: raises an exception where something is wrong.
        backend: whose arrays the test makes.
    """
    with use_backend(backend), kernels.disable(), np.errstate(all="ignore"):
        try:
            test()
        except Wrong as wrong:
            return Result(
                "wrong",
                wrong.what,
                wrong.hint if wrong.names_mistake else _search(exercise, parts, backend) or wrong.hint,
            )
        except BaseException as error:  # KeyboardInterrupt and SystemExit too
            return _of_exception(error, exercise)
    return Result("right")


def _search(exercise: Exercise, parts: Mapping[str, Any], backend: Backend) -> str:
    """Find the hint of a typical mistake in what the general checks say."""
    try:
        with widest_only():  # a dtype that is lost is another matter
            GENERAL[exercise.name](backend, *(parts[name] for name in (*exercise.given, *exercise.parts)))
    except Wrong as wrong:
        return wrong.hint if wrong.names_mistake else ""
    except BaseException:
        return ""
    return ""


_EXPLAINED = {
    "read-only": "this array must not be changed: x = x + ... makes a new one, where x += ... writes into it",
    "cannot unpack non-iterable NoneType": "a function returns None: does it end in return?",
    "JAX arrays are immutable": "arrays of jax cannot be written: dx = add_at(dx, place, share), from xpnet.backend",
    "values to unpack": "a function returns another number of results than its docstring says",
    "'NoneType' object": "a function returns None: does it end in return?",
}


def _of_exception(error: BaseException, exercise: Exercise) -> Result:
    """Say in one line what an exception in a student's file was, and where."""
    own = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == exercise.file]
    inner = [f for f in own if f.name != "test"]
    place = inner[-1] if inner else own[-1] if own else None
    where = f"line {place.lineno}" if place else "its test"
    if isinstance(error, NotImplementedError):
        name = place.name if place else "a function"
        return Result("open", f"{name} is still to be written: {where}")
    if isinstance(error, RecursionError):
        return Result("wrong", f"{where}: a function calls itself too often (RecursionError)")
    message = message_of(error)
    hint = next((text for part, text in _EXPLAINED.items() if part in message), "")
    return Result("wrong", printable(f"{where}: {type(error).__name__}{message and ': '}{message}"[:300]), hint)


def load(path: Path) -> types.ModuleType:
    """Run the lines of a file as a module, without its test."""
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return module


def judge_file(path: Path, exercise: Exercise, backend: Backend) -> Result:
    """Run the exercise's own test on the functions of a student's file, in this process."""
    try:
        student = load(path)
    except SyntaxError as error:
        place = f"line {error.lineno}: " if error.lineno else ""
        return Result("wrong", printable(f"{type(error).__name__}: {place}{error.msg}"))
    except BaseException as error:
        return _of_exception(error, exercise)
    names = (*exercise.given, *exercise.parts)
    missing = [name for name in names if not hasattr(student, name)]
    if missing:
        return Result("wrong", f"there is no {' and no '.join(missing)} in it", "the names in the file must stay")
    task = load_task(exercise)
    for name in names:
        setattr(task, name, getattr(student, name))
    return judge(exercise, vars(task), task.test, backend)


def load_task(exercise: Exercise) -> types.ModuleType:
    """Return the file of an exercise as it is given to students, as a module."""
    module = types.ModuleType(exercise.stem)
    exec(compile(exercise.text, f"the test of {exercise.file}", "exec"), module.__dict__)
    return module
