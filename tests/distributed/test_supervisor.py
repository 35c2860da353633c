"""Programs in several processes, and again after a fault. Each start of mpiexec shows several things at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import xpnet as package

PATIENCE = 120  # seconds until a group that hangs is killed
BOUND = 30  # seconds from a fault to the end of all, promised within 10; more where other programs share the cores
KILLED = re.compile(r"a process|process [0-2] of [23]")  # which one, mpiexec does not always know
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")

pytestmark = [
    pytest.mark.skipif(MPIEXEC is None, reason="mpiexec is not installed: pip install 'xpnet[mpi]'"),
    pytest.mark.skipif(os.name != "posix", reason="needs signals and /bin/sh"),
]

# What a process does is said by "rank.start=what".
PROGRAM = """
import json, os, pathlib, re, sys, time

rank, count = (int(os.environ[f"PMI_{name}"]) for name in ("RANK", "SIZE"))
start = int(os.environ["XPNET_RESTART"]) + 1
todo = dict(word.split("=") for word in sys.argv[2:]).get(f"{rank}.{start}", "")
if todo == "tell":
    from xpnet.distributed.supervised import tell_run
    tell_run("runs/a b")
threads = {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}
mine = pathlib.Path(f"seen-{rank}-{start}")
mine.with_suffix(".part").write_text(json.dumps(
    [count, sys.argv[1:], os.environ.get("XPNET_CONTINUE"), threads, os.getpid(), "" if rank else sys.stdin.read()]))
mine.with_suffix(".part").rename(mine)
while not all(pathlib.Path(f"seen-{each}-{start}").exists() for each in range(count)):
    time.sleep(0.02)
if todo.startswith("signal"):
    os.kill(os.getpid(), int(todo[6:]))
if todo.startswith("exit"):
    sys.stderr.write(todo[4:].lstrip("0123456789"))
    sys.exit(int(re.match("[0-9]+", todo[4:])[0]))
if todo == "lost":
    os.kill(os.getppid(), 9)
if todo == "wait" or any("signal" in word for word in sys.argv if f".{start}=" in word):
    time.sleep(100)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)
    (tmp_path / "program.py").write_text(PROGRAM)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's would be inherited, and respected
    yield tmp_path
    signal.signal(signal.SIGHUP, before)


def start(*words: object, **env: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1]), **env}
    command = [sys.executable, "-m", "xpnet", "launch", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """The exit code, and what was printed but for warnings."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, out, "".join(x for x in err.splitlines(True) if not x.startswith("xpnet: warning"))


def seen(rank: int, start: int = 1) -> tuple[int, list[str], str | None, dict[str, str], int, str]:
    return json.loads(Path(f"seen-{rank}-{start}").read_text())


def wait_for(*files: str) -> None:
    end = time.monotonic() + PATIENCE
    while not all(Path(file).exists() for file in files):
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" if Path("/proc").exists() else True
    )


def test_a_process_that_is_killed_ends_all_and_the_rest_starts_again_where_the_run_is(here):
    words = ("0.1=tell", "1.1=signal9", "0.2=signal11", "0.3=exit0")
    code, out, err = finish(start("-n", 3, "--restarts", 5, "--elastic", "--", "program.py", "x y", *words))
    assert (code, out) == (0, "")
    folder = here / "runs" / "a b"
    assert KILLED.sub("process", err).splitlines() == [
        f"xpnet: launch: process was killed by signal 9 (SIGKILL): restart 1 of 5, 2 processes, from {folder}",
        f"xpnet: launch: process was killed by signal 11 (SIGSEGV): restart 2 of 5, 1 process, from {folder}",
    ]
    assert [(seen(0, n)[0], seen(0, n)[2]) for n in (1, 2, 3)] == [(3, None), (2, str(folder)), (1, str(folder))]
    assert seen(2)[1] == ["x y", *words]
    assert not any(is_running(seen(rank, n)[4]) for rank, n in ((0, 1), (1, 1), (2, 1), (0, 2), (1, 2)))


def test_restarts_end_and_the_last_fault_is_the_exit_code(here):
    code, out, err = finish(start("-n", 2, "--restarts", 1, "--", "program.py", "x", "1.1=signal15", "0.2=signal9"))
    assert (code, out) == (137, "")
    assert KILLED.sub("process", err).splitlines() == [
        "xpnet: launch: process was killed by signal 15 (SIGTERM): restart 1 of 1, 2 processes, from the beginning",
        "xpnet: launch: process was killed by signal 9 (SIGKILL)",
    ]


@pytest.mark.parametrize(
    ("said", "line"),
    [("a line of its own\n", "a line of its own\n"), ("", "xpnet: launch: process 1 ended with exit code 2\n")],
    ids=["said", "silent"],
)
def test_bad_input_is_one_line_and_is_not_started_again(here, said, line):
    code, out, err = finish(start("-n", 2, "--restarts", 3, "--", "program.py", "x", f"1.1=exit2{said}"))
    assert (code, out, err) == (2, "", line)
    assert not Path("seen-0-2").exists()


JOINING = """
import os, pathlib, sys, time

rank, start = int(os.environ["PMI_RANK"]), int(os.environ["XPNET_RESTART"])
pathlib.Path(f"began-{start}").write_text(str(time.monotonic()))
def end(code):
    pathlib.Path(f"failed-{start}").write_text(str(time.monotonic()))
    os._exit(code)
if rank == 1 and start < 2:
    end(7 * start)
from xpnet.distributed import get_communicator
communicator = get_communicator()
if rank == 1 and start == 2:
    end(0)
communicator.barrier()
"""


def test_a_process_that_ends_before_or_after_it_starts_mpi_is_a_fault_whatever_its_exit_code(here):
    pytest.importorskip("mpi4py")
    (here / "program.py").write_text(JOINING)
    code, out, err = finish(start("-n", 2, "--restarts", 3, "--", "program.py"))
    early = "process 1 of 2 ended with exit code {} while others waited for it to start MPI"
    said = (early.format(0), early.format(7), "a process ended before it had finished")
    expected = [f"{what}: restart {i} of 3, 2 processes, from the beginning" for i, what in enumerate(said, 1)]
    assert (code, out, err.splitlines()) == (0, "", [f"xpnet: launch: {line}" for line in expected])
    for n in range(3):
        seconds = float(Path(f"began-{n + 1}").read_text()) - float(Path(f"failed-{n}").read_text())
        print(f"start {n}: {seconds:.1f} s from the fault to the next start")
        assert seconds < BOUND


def test_a_machine_that_is_lost_is_a_fault_and_its_processes_are_started_again(here):
    code, out, err = finish(start("-n", 2, "--restarts", 1, "--", "program.py", "x", "0.1=lost"))
    line = "xpnet: launch: a machine, or what mpiexec runs on it, was lost: restart 1 of 1, 2 processes, from the"
    assert (code, out, err.splitlines()) == (0, "", [f"{line} beginning"])


def test_processes_that_one_of_them_told_of_ctrl_c_are_not_started_again(here):
    code, out, err = finish(start("-n", 2, "--restarts", 3, "--", "program.py", "x", "0.1=exit130", "1.1=exit130"))
    assert (code, out, err) == (130, "", "")
    assert not Path("seen-0-2").exists()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_signal_ends_all_and_nothing_is_started_again(here, name):
    number = getattr(signal, name)
    process = start("-n", 2, "--restarts", 3, "--", "program.py", "x", "0.1=wait", "1.1=wait")
    try:
        wait_for("seen-0-1", "seen-1-1")
        process.send_signal(number)
    finally:
        code, _, err = finish(process)
    assert code == (-9 if name == "SIGKILL" else 128 + number)
    assert "Traceback" not in err or name == "SIGINT"  # the program's own
    end = time.monotonic() + PATIENCE
    while any(is_running(seen(rank)[4]) for rank in (0, 1)):
        assert time.monotonic() < end, "a process was left behind"
        time.sleep(0.02)
    assert not Path("seen-0-2").exists()


STARTING = """
import os, pathlib, time

if "PMI_RANK" in os.environ:
    pathlib.Path(f"seen-{os.environ['PMI_RANK']}").touch()
    time.sleep(100)
"""


def test_ctrl_c_while_interpreters_start_is_one_line(here):
    (here / "site").mkdir()
    (here / "site" / "sitecustomize.py").write_text(STARTING)
    root = str(Path(package.__file__).parents[1])
    process = start("-n", 2, "--", "train", "softmax", PYTHONPATH=os.pathsep.join((str(here / "site"), root)))
    try:
        wait_for("seen-0", "seen-1")
        process.send_signal(signal.SIGINT)
    finally:
        code, out, err = finish(process)
    assert (code, out, err) == (130, "", "xpnet: launch: interrupted\n")


def test_threads_are_divided_more_processes_than_cores_are_said_and_standard_input_is_left_alone(here):
    from xpnet.backend import processors

    n = processors() + 1
    process = start("-n", n, "--", "program.py", "x", OMP_NUM_THREADS="7")
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (
        0,
        f"xpnet: warning: {n} processes share {n - 1} cores: each waits for the others\n",
    )
    threads = seen(n - 1)[3]
    assert threads["OMP_NUM_THREADS"] == "7", "what the user sets stays"
    assert threads["OPENBLAS_NUM_THREADS"] == threads["NUMBA_NUM_THREADS"] == "1"
    assert seen(0)[5] == ""
    process = start("-n", 1, "--", "program.py", "x")
    assert finish(process) == (0, "", "")
    assert seen(0)[3]["OMP_NUM_THREADS"] == str(n - 1)


SSH = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
[ -e "$host.lost" ] && { echo "ssh: connect to host $host port 22: No route to host" >&2; exit 255; }
exec sh -c "$*"
"""


def test_hosts_are_passed_on_and_one_that_is_lost_is_left_out(here):
    (here / "ssh").write_text(SSH)
    (here / "ssh").chmod(0o755)
    ssh = {"HYDRA_LAUNCHER_EXEC": str(here / "ssh")}
    Path("b.lost").touch()
    code, out, err = finish(start("-n", 4, "--hosts", "a,b", "--restarts", 2, "--", "program.py", "x", **ssh))
    assert (code, out) == (2, "")
    why = r"ssh: connect to host b port 22: No route to host|\[mpiexec.* failed\."  # mpiexec may lose the first
    assert re.fullmatch(rf"xpnet: launch: mpiexec: the processes cannot be started: ({why})\n", err)
    Path("b.lost").unlink()
    (here / "program.py").write_text(
        PROGRAM.replace("    os.kill(", '    pathlib.Path("b.lost").touch()\n    os.kill(')
    )
    words = ("-n", 4, "--hosts", "a,b", "--restarts", 2, "--elastic", "--", "program.py", "x", "1.1=signal9")
    code, out, err = finish(start(*words, **ssh))
    assert (code, out, err.count("\n")) == (0, "", 1), err  # mpiexec's first line of the lost host, and no more
    assert err.endswith("restart 1 of 2, 2 processes, from the beginning\n")
    assert seen(0, 2)[0] == 2
