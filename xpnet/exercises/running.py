"""A student's file, tested: in a process of its own with a time limit, or where it was started itself."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xpnet.backend import get_backend
from xpnet.errors import XpnetError
from xpnet.exercises.catalog import EXERCISES, Exercise, find
from xpnet.exercises.judging import Result, judge, judge_file
from xpnet.exercises.progress import record
from xpnet.output import printable
from xpnet.writing import write_atomically

__all__ = ["check_file", "end_all", "run_file"]

_ROOT = Path(__file__).parents[2]  # of the package
_CHILD = "import sys; sys.path.append(sys.argv[1]); from xpnet.exercises.running import main; main(*sys.argv[2:])"


_processes: set[subprocess.Popen[Any]] = set()  # those that run


def end_all() -> None:
    """End the processes of files that are being tested."""
    for process in [*_processes]:
        _end(process)


def main(path: str, name: str, backend: str, result: str) -> None:
    """Judge a file, and write the result as JSON: what the process of check_file runs."""
    sys.path.insert(0, str(Path(path).parent))
    found = judge_file(Path(path), find(name), get_backend(backend))
    write_atomically(result, json.dumps(found).encode())
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # a student's file may have closed or replaced it
            stream.flush()
    os._exit(0)  # a thread that the file started, or what it registered for the end, is not waited for


def check_file(
    path: Path, exercise: Exercise, backend: str, time_limit: float, show: Callable[[str], None] | None = None
) -> Result:
    """Judge a student's file in a process of its own.

    Args:
        path: the file.
        exercise: what it should solve.
        backend: the name of the backend on whose arrays.
        time_limit: seconds after which the process is ended.
        show: is called with what the file prints, of a long text with the beginning.
    """
    path = path.resolve()
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "result.json"
        command = [sys.executable, "-P", "-c", _CHILD, str(_ROOT), str(path), exercise.stem, backend, str(written)]
        process = subprocess.Popen(
            command,
            cwd=path.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _processes.add(process)
        printed: list[bytes] = []
        reader = threading.Thread(target=_read, args=(process.stdout, printed), daemon=True)
        reader.start()
        try:
            code: int | None = process.wait(time_limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
            _processes.discard(process)
            reader.join(1)
        if show is not None and printed:
            show(b"".join(printed).decode(errors="replace"))
        if code is None:
            return Result(
                "wrong",
                f"it runs for more than {time_limit:g} s",
                "is there a loop that does not end? If not, raise --time-limit",
            )
        try:
            return Result(*json.loads(written.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return Result("wrong", f"it ended, with code {code}, before its test was over")


def _read(stream: Any, kept: list[bytes]) -> None:
    """Read a stream to its end, and keep the first 64 kB."""
    while block := stream.read1(1 << 16):
        if sum(map(len, kept)) < 1 << 16:
            kept.append(block)


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
    _report(exercise, result, path.parent)
    if lost := record(path.parent, {exercise: result}):
        print(printable(lost))
    sys.exit(result.state != "right")


def _report(exercise: Exercise, result: Result, folder: Path) -> None:
    """Print what is known of one file of a folder, and which is next."""
    from rich.console import Console
    from rich.markup import escape

    words = {"right": "[green]right[/]", "wrong": "[red]not right yet[/]", "open": "[yellow]not finished[/]"}
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{exercise.stem}: {words[result.state]}")
    if result.text:
        console.print(f"  {escape(result.text)}")
    if result.hint:
        console.print(f"  [bold]hint:[/] {escape(result.hint)}")
    following = [e for e in EXERCISES if e.number == exercise.number + 1 and (folder / e.file).exists()]
    if result.state == "right" and following:
        console.print(f"Next: {following[0].file}, {following[0].title}")
