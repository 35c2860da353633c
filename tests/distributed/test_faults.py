"""The failure of one process ends all, with one line; what all have in common is an error as in one process."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest
from distributed.conftest import Start
from distributed.threaded import Threaded, run

from xpnet.distributed import aborting, faults, single
from xpnet.errors import ConfigError, DataError

RULE = ConfigError("here", "a number", x=3)
LINE = "here: expected a number, got x 3"
BOUND = 30  # seconds from a fault to the end of all, promised within 10; more where other programs share the cores


class Alone(Threaded):
    """Rank 2 of 4, whose other processes do not fail."""

    def __init__(self, exits: bool = True) -> None:
        self.rank, self.size, self.code, self._exits = 2, 4, -1, exits

    def allgather_failures(self, text: str, seconds: float) -> list[str] | None:
        assert 0 < seconds < 8, "all processes have ended after ten seconds"
        return None

    def leave(self) -> bool:
        return self._exits

    def abort(self, code: int = 1) -> None:  # type: ignore[override]
        self.code = code


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (RULE, 2, LINE),
        (DataError.event("a\nb", "is empty"), 2, "a b: is empty"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (SystemExit(3), 3, "the process exits with code 3 while the others go on"),
        (SystemExit(), 1, "the process exits while the others go on"),
        (SystemExit(0), 1, "the process exits while the others go on"),
        (SystemExit("no data"), 1, "no data"),
        (MemoryError(), 1, "MemoryError"),
        (ValueError("two\nlines"), 1, "ValueError: two\\nlines"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_process_that_fails_ends_all_with_its_line_and_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    communicator = Alone()
    with pytest.raises(type(error)), aborting(communicator):
        raise error
    *trace, last = capsys.readouterr().err.splitlines()
    assert (communicator.code, last) == (code, f"xpnet: rank 2: {line}")
    assert bool(trace) == (type(error) in (ValueError, MemoryError)), "a fault of the program is shown where it is"


def test_errors_that_all_processes_have_are_raised_and_printed_if_they_differ(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(communicator: Threaded) -> None:
        with pytest.raises(ConfigError), aborting(communicator), aborting(communicator):
            raise ConfigError("here", "a number", x=4 if communicator.rank == 1 else 3)

    run(3, work)
    assert capsys.readouterr().err == "xpnet: rank 1: here: expected a number, got x 4\n"


def test_a_function_is_guarded_by_the_decorator_and_returns_its_result() -> None:
    communicator = Alone()

    @aborting(communicator)
    def work(x: int) -> int:
        if x < 0:
            raise RULE
        return x

    assert work(3) == 3
    assert communicator.code == -1
    with pytest.raises(ConfigError):
        work(-1)
    assert communicator.code == 2


def test_one_process_keeps_its_hooks_and_its_errors(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.excepthook, threading.excepthook
    faults.install(single())
    assert (sys.excepthook, threading.excepthook) == before
    with pytest.raises(ConfigError), aborting(single()):
        raise RULE
    assert capsys.readouterr().err == ""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Alone:
    """A process with the hooks, which the test takes back."""
    for where in (sys, threading):
        monkeypatch.setattr(where, "excepthook", lambda *ignored: None)
    monkeypatch.setattr(faults, "_installed", [])
    monkeypatch.setattr("atexit.register", lambda *ignored: None)
    communicator = Alone()
    faults.install(communicator)
    return communicator


def test_an_uncaught_exception_ends_all(installed: Alone, capsys: pytest.CaptureFixture[str]) -> None:
    sys.excepthook(ConfigError, RULE, None)
    assert (installed.code, capsys.readouterr().err) == (2, f"xpnet: rank 2: {LINE}\n")


def test_an_exception_in_a_thread_ends_all(installed: Alone, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise RULE

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (installed.code, capsys.readouterr().err) == (1, f"xpnet: rank 2: in a thread: {LINE}\n")


def test_a_process_that_ends_while_another_waits_ends_all(capsys: pytest.CaptureFixture[str]) -> None:
    for exits, code, line in ((True, -1, ""), (False, 1, "xpnet: rank 2: the process has ended, and another waits")):
        communicator = Alone(exits)
        faults._leave(communicator)
        assert communicator.code == code
        assert capsys.readouterr().err.startswith(line)


# Of real processes, where the others wait in a collective call.

PROCESS = """
import os, re, signal, sys, threading, time
import numpy as np
from xpnet.distributed import aborting, get_communicator
from xpnet.errors import ConfigError

communicator, how = get_communicator(), sys.argv[1]

def work():
    communicator.allreduce(np.ones(3))
    shared = re.findall(r"/dev/shm/mpich_shm_\\w+", open("/proc/self/maps").read()) if sys.platform == "linux" else []
    assert not [name for name in shared if os.path.exists(name)], "memory that is left behind when a process is killed"
    error = ConfigError("here", "a number", x=3)
    open(sys.argv[2], "w").write(str(time.monotonic()))
    if how == "alike":
        raise error
    if how == "late":
        time.sleep(0.5 * communicator.rank)
        return
    if communicator.rank == 1:
        match how:
            case "error": raise error
            case "exit": sys.exit(3)
            case "return": return
            case "kill": os.kill(os.getpid(), signal.SIGKILL)
            case "terminate": os.kill(os.getpid(), signal.SIGTERM)
    communicator.allreduce(np.ones(3))
    time.sleep(100)

if len(sys.argv) > 3:
    with aborting(communicator):
        work()
else:
    work()
"""


@pytest.mark.parametrize(
    ("how", "code", "line"),
    [
        (["error"], 2, f"xpnet: rank 1: {LINE}"),
        (["exit", "in-block"], 3, "xpnet: rank 1: the process exits with code 3 while the others go on"),
        (["return"], 1, "xpnet: rank 1: the process has ended, and another waits for it"),
        (["kill"], 9, ""),
        (["terminate"], 15, ""),
        (["alike"], 1, f"xpnet.errors.ConfigError: {LINE}"),
        (["late"], 0, ""),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_no_process_is_left_waiting(start: Start, tmp_path: Path, how: list[str], code: int, line: str) -> None:
    done = start(2, PROCESS, how[0], str(tmp_path / "fault"), *how[1:])
    seconds = time.monotonic() - float((tmp_path / "fault").read_text())
    print(f"{seconds:.1f} s from the fault to the end of all")
    assert seconds < BOUND, "the others would have waited for ever"
    assert done.code == code
    lines = done.err.splitlines()
    if how == ["alike"]:
        assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", line)
        assert done.err.count("Traceback") == 1
    else:
        assert "\n".join(lines) == line
