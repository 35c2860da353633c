"""The test of a student's file: in this process, or in one of its own with a time limit."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Backend, get_backend, use_backend
from xpnet.errors import XpnetError
from xpnet.exercises.cases import GENERAL
from xpnet.exercises.catalog import Exercise, find
from xpnet.exercises.hints import Wrong
from xpnet.output import printable

__all__ = ["Result", "check_file", "judge", "judge_file", "report", "run_file"]

_ROOT = Path(__file__).parents[2]  # of the package
_CHILD = "import sys; sys.path.append(sys.argv[1]); from xpnet.exercises.running import main; main(*sys.argv[2:])"


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
    with use_backend(backend), np.errstate(all="ignore"):
        try:
            test()
        except Wrong as wrong:
            return Result(
                "wrong", wrong.what, wrong.hint if wrong.is_certain else _search(exercise, parts, backend) or wrong.hint
            )
        except Exception as error:
            return _of_exception(error, exercise)
    return Result("right")


def _search(exercise: Exercise, parts: Mapping[str, Any], backend: Backend) -> str:
    """Find the hint of a typical mistake in what the general checks say."""
    try:
        GENERAL[exercise.name](backend, *(parts[name] for name in (*exercise.given, *exercise.parts)))
    except Wrong as wrong:
        return wrong.hint if wrong.is_certain else ""
    except Exception:
        return ""
    return ""


_EXPLAINED = {
    "read-only": "the input must not be written: x = x + ... makes a new array where x += ... writes into it",
    "cannot unpack non-iterable NoneType": "a function returns None: does it end in return?",
    "JAX arrays are immutable": "arrays of jax cannot be written: dx = add_at(dx, place, share), from xpnet.backend",
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
    message = " ".join(str(error).split())
    hint = next((text for part, text in _EXPLAINED.items() if part in message), "")
    return Result("wrong", printable(f"{where}: {type(error).__name__}: {message}"[:300]), hint)


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
        return Result("wrong", printable(f"line {error.lineno}: {error.msg} (a file that Python cannot read)"))
    except (Exception, SystemExit) as error:
        return _of_exception(error, exercise)
    missing = [name for name in exercise.parts if not hasattr(student, name)]
    if missing:
        return Result("wrong", f"there is no {' and no '.join(missing)} in it", "the names of the file must stay")
    task = load_task(exercise)
    for name in exercise.parts:
        setattr(task, name, getattr(student, name))
    return judge(exercise, vars(task), task.test, backend)


def load_task(exercise: Exercise) -> types.ModuleType:
    """Return the file of an exercise as it is given to students, as a module."""
    module = types.ModuleType(exercise.stem)
    exec(compile(exercise.text, f"the test of {exercise.file}", "exec"), module.__dict__)
    return module


def main(path: str, name: str, backend: str, result: str) -> None:
    """Judge a file, and write the result as JSON: what the process of check_file runs."""
    sys.path.insert(0, str(Path(path).parent))
    found = judge_file(Path(path), find(name), get_backend(backend))
    Path(result).write_text(json.dumps(found), encoding="utf-8")


def check_file(path: Path, exercise: Exercise, backend: str, time_limit: float, show: bool = False) -> Result:
    """Judge a student's file in a process of its own.

    Args:
        path: the file.
        exercise: what it should solve.
        backend: the name of the backend on whose arrays.
        time_limit: seconds after which the process is ended.
        show: whether what the file prints is shown.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "result.json"
        command = [
            sys.executable,
            "-P",
            "-c",
            _CHILD,
            str(_ROOT),
            str(path.resolve()),
            exercise.stem,
            backend,
            str(written),
        ]
        output = None if show else subprocess.DEVNULL
        process = subprocess.Popen(
            command,
            cwd=path.resolve().parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = process.wait(time_limit)
        except subprocess.TimeoutExpired:
            return Result("wrong", f"it runs for more than {time_limit:g} s", "is there a loop that does not end?")
        finally:
            _end(process)
        try:
            return Result(*json.loads(written.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return Result("wrong", f"it ended, with code {code}, before its test was over")


def _end(process: subprocess.Popen[Any]) -> None:
    """End a process, and those that it started."""
    if os.name == "nt":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_file(test: Callable[[], None]) -> None:
    """Run the test of a file that was started from the command line, print what is right or wrong, and exit.

    Args:
        test: the function of that file. ``python FILE --backend torch`` runs it on the arrays of another library.
    """
    path = Path(test.__code__.co_filename)
    parser = argparse.ArgumentParser(description=f"Test {path.name}.")
    parser.add_argument("--backend", default="numpy", help="numpy, torch, jax, cupy or a registered one")
    try:
        exercise, backend = find(path.name), get_backend(parser.parse_args().backend)
    except XpnetError as error:
        sys.exit(f"xpnet: {error}")
    result = judge(exercise, test.__globals__, test, backend)
    report(exercise, result)
    sys.exit(result.state != "right")


def report(exercise: Exercise, result: Result) -> None:
    """Print what is known of one file."""
    from rich.console import Console
    from rich.markup import escape

    words = {"right": "[green]right[/]", "wrong": "[red]not right yet[/]", "open": "[yellow]not finished[/]"}
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{exercise.stem}: {words[result.state]}")
    if result.text:
        console.print(f"  {escape(result.text)}")
    if result.hint:
        console.print(f"  [bold]hint:[/] {escape(result.hint)}")
