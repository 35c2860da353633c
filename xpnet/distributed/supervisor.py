"""Start a program in several processes by mpiexec, and again after a fault.

    supervise([sys.executable, "train.py"], Group(4, restarts=3, elastic=True), say=print)

MPI cannot go on without a process that is lost, so all are ended and a new group starts. It continues from the last
checkpoint; with fixed virtual shards it comes to the same bits on any number of processes.
"""

from __future__ import annotations

import logging
import os
import secrets
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from xpnet import arguments
from xpnet.backend import processors
from xpnet.distributed.members import count_ended, kill_members
from xpnet.distributed.mpiexec import Mpiexec, Output
from xpnet.distributed.supervised import RESTART, RUN, SUPERVISED, Reported
from xpnet.errors import ConfigError
from xpnet.output import counted

__all__ = ["Group", "supervise"]

_log = logging.getLogger("xpnet")

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
            "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")  # fmt: skip
_PATIENCE = 10.0  # seconds that processes which are asked to end have for it
_POLL = 0.5  # seconds between checks of processes that run
_LATE = 60.0  # seconds after which a warning says that a process is waited for
_POLLS = 4  # after which it is certain that a process has ended which others wait for
_BAD_INPUT, _FAILED, _INTERRUPTED = 2, 1, (130, 143)  # exit codes
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@dataclass(frozen=True)
class Group:
    """Processes, and what happens after a fault.

    Args:
        processes: how many, >= 1.
        hosts: names of the machines they run on; none: this one.
        restarts: how often they may be started again, >= 0.
        elastic: start again with one process fewer, or without the hosts that do not answer.
    """

    processes: int
    hosts: tuple[str, ...] = ()
    restarts: int = 0
    elastic: bool = False

    def __post_init__(self) -> None:
        arguments.count("launch", "processes", self.processes)
        arguments.count("launch", "restarts", self.restarts, 0)
        if not all(host.strip() for host in self.hosts):
            raise ConfigError("launch", "names of hosts, with commas between", hosts=repr(",".join(self.hosts)))


@dataclass
class _Ended:
    """How a group ended: its exit code, what happened, and whether the processes said so or were asked to end."""

    code: int
    what: str = ""
    is_explained: bool = True
    is_asked: bool = False


def supervise(
    program: Sequence[str],
    group: Group,
    *,
    say: Callable[[str], None],
    out: Callable[[str], Any] | None = None,
    err: Callable[[str], Any] | None = None,
    stdin: int | None = subprocess.DEVNULL,
    joins: bool = False,
) -> int:
    """Run a program in several processes until it ends, and start it again after a fault.

    A fault is a process that was killed, or ended while others wait for it, or an exit code other than 0, 2 (bad input)
    and those of Ctrl-C and SIGTERM, which reach every process.

    Args:
        program: its words.
        group: how many processes, where, and how often they are started again.
        say: called with a line for each restart, and for an end that the processes do not explain.
        out, err: called with what the processes print; by default sys.stdout.write and sys.stderr.write.
        stdin: of process 0, as subprocess.Popen takes it; the others have none.
        joins: whether every process starts MPI, as the commands of xpnet do: then Ctrl-C before that ends them without
            their help, as an interpreter that starts would print a traceback.
    Returns:
        The exit code of the program: 0 done, 2 bad input, 128 + n if it was ended by signal n.
    Raises:
        ConfigError: mpiexec is not installed.
    """
    mpiexec, done = Mpiexec(), 0
    running = _Running(out or _writer("stdout"), err or _writer("stderr"), stdin, joins)
    with running.signals():
        while True:
            here = -(-group.processes // max(1, len(group.hosts)))
            _say_threads(here)
            ended = running.run(mpiexec.command(group.processes, group.hosts, program), here, done)
            is_fault = ended.code not in (0, _BAD_INPUT) and not (running.asked or ended.is_asked)
            if not is_fault or done == group.restarts:
                if not ended.is_explained:
                    say(ended.what)
                return ended.code
            done += 1
            if group.elastic:
                group = _left(group, mpiexec)
            place = f"from {running.reported.run}" if running.reported.run else "from the beginning"
            say(f"{ended.what}: restart {done} of {group.restarts}, {counted(group.processes, 'process')}, {place}")


def _left(group: Group, mpiexec: Mpiexec) -> Group:
    """The group without what was lost."""
    hosts = tuple(host for host in group.hosts if mpiexec.answers(host)) or group.hosts
    if len(hosts) < len(group.hosts):
        processes = group.processes * len(hosts) // len(group.hosts)
    else:
        processes = group.processes - 1
    return Group(max(1, processes), hosts, group.restarts, True)


def _say_threads(processes: int) -> None:
    found = processors()
    if processes > found:
        _log.warning("%d processes share %d cores: each waits for the others", processes, found)
    else:
        _log.info("%d processes of %d threads on %d cores", processes, found // processes, found)


class _Running:
    """Runs mpiexec, one after the other, and passes signals and output on."""

    def __init__(
        self, out: Callable[[str], Any], err: Callable[[str], Any], stdin: int | None, joins: bool = False
    ) -> None:
        self.asked = 0  # the first signal that was to end this process
        self.reported = Reported()  # of the group that runs, or ran last
        self._out, self._err, self._stdin, self._joins = out, err, stdin, joins
        self._process: subprocess.Popen[Any] | None = None

    def signals(self) -> _Signals:
        """Handle signals within a with-block."""
        return _Signals(self._ask)

    def _ask(self, number: int, frame: object) -> None:
        """Pass a signal on: training then saves and ends. A second one ends everything."""
        first, self.asked = not self.asked, self.asked or number
        process = self._process
        if process is None or process.poll() is not None:
            return
        # SIGHUP would end mpiexec alone; a second SIGINT is what it takes to end at once
        is_starting = self._joins and not self.reported.joined
        passed = signal.SIGINT if not first or (number == signal.SIGINT and not is_starting) else signal.SIGTERM
        process.send_signal(passed)
        if not first:
            process.send_signal(passed)
            threading.Timer(_PATIENCE / 5, process.kill).start()

    def run(self, command: list[str], processes: int, restart: int) -> _Ended:
        """Run mpiexec until no process of it is left; return how it ended."""
        alive, held = os.pipe()  # every process holds an end of it
        env = {**os.environ, SUPERVISED: (mark := secrets.token_hex(8)), RESTART: str(restart)}
        for name in _THREADS:
            env.setdefault(name, str(max(1, processors() // processes)))
        if restart and self.reported.run:
            env[RUN] = self.reported.run
        self.reported = Reported(self.reported.run)
        kinds: dict[str, Any] = {"start_new_session": True, "pass_fds": (held,)} if os.name == "posix" else {}
        if sys.platform == "linux":
            kinds["preexec_fn"] = partial(_end_with_parent, os.getpid())
        try:
            process: subprocess.Popen[Any] = subprocess.Popen(
                command, stdin=self._stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, **kinds
            )
        finally:
            os.close(held)
        self._process = process
        outputs = [Output(write, self.reported.receive) for write in (self._out, self._err)]
        readers = [
            threading.Thread(target=_read, args=(stream, output), daemon=True)
            for stream, output in zip((process.stdout, process.stderr), outputs, strict=True)
        ]
        for reader in readers:
            reader.start()
        is_lost = self._wait(process, mark)
        if os.name == "posix":
            ended = select.select([alive], [], [], _PATIENCE / 2)[0]  # readable when the last process has ended
            if not ended and process.returncode:
                kill_members(mark)
                select.select([alive], [], [], _PATIENCE)
        os.close(alive)
        for reader in readers:
            reader.join(_PATIENCE)
        self._process = None
        return self._how_it_ended(process.returncode, outputs[0], outputs[1], is_lost)

    def _wait(self, process: subprocess.Popen[Any], mark: str) -> bool:
        """Wait until mpiexec ends; end it, and return True, where processes wait in vain for another to start MPI.

        MPI ends all where one is lost that has started it. Before that, nobody notices.
        """
        polls = waited = 0
        while process.poll() is None:
            try:
                process.wait(_POLL)  # a signal is handled between waits
            except subprocess.TimeoutExpired:
                is_joining = self.reported.joining and not self.reported.joined
                waited += bool(is_joining)
                if waited == _LATE / _POLL:  # on another machine it may have ended
                    _log.warning("a process has not started MPI for %.0f s, and the others wait for it", _LATE)
                polls = polls + 1 if is_joining and count_ended(mark) else 0
                if polls == _POLLS:
                    process.terminate()
                elif polls > _POLLS + _PATIENCE / 2 / _POLL:
                    kill_members(mark)
        return polls >= _POLLS

    def _how_it_ended(self, code: int, out: Output, err: Output, is_lost: bool) -> _Ended:
        if self.asked:
            explained = code not in (0, -9) and bool(err.lines or out.lines)
            return _Ended(0 if code == 0 else 128 + self.asked, "interrupted", explained or code == 0)
        statuses = out.statuses or err.statuses
        if is_lost:
            early = [(rank, status >> 8) for rank, status in enumerate(statuses) if not status & 0x7F]
            rank, code = early[0] if len(early) == 1 else (None, 0)
            who = "a process" if rank is None else f"process {rank} of {len(statuses)}"
            how = "" if rank is None else f" with exit code {code}"
            what = f"{who} ended{how} while others waited for it to start MPI"
            return _Ended(code or _FAILED, what, is_explained=code == _BAD_INPUT and bool(err.lines))
        if code == 0:
            if self.reported.watched > 0 and self.reported.is_whole:  # MPI ends the others, with the same exit code
                return _Ended(_FAILED, "a process ended before it had finished", is_explained=False)
            return _Ended(0)
        if found := err.status_of_open():
            rank, status = found
            if status & 0x7F:
                return self._killed(rank, 0, status)
            how = f"with exit code {status >> 8}" if status else "before it had finished"
            return _Ended(status >> 8 or _FAILED, f"process {rank} ended {how}", is_explained=bool(err.lines))
        killed = [(rank, status) for rank, status in enumerate(statuses) if status & 0x7F]
        if text := next((line for line in out.own if "EXIT STRING: " in line), ""):
            number = int(found) if (found := text.rpartition("signal ")[2].rstrip(")")).isdecimal() else 9
            ranks = [rank for rank, status in killed if status & 0x7F == number]
            return self._killed(ranks[0] if len(ranks) == 1 else None, len(statuses), number)
        if code < 0:
            return _Ended(128 - code, f"mpiexec was ended by {_name(-code)}", is_explained=False)
        if any("assert (!closed)" in line for line in (*err.own, *out.own)):  # Hydra's, of its connection to a machine
            return _Ended(_FAILED, "a machine, or what mpiexec runs on it, was lost", is_explained=False)
        failed = next(((r, s >> 8) for r, s in enumerate(statuses) if s >> 8), None)
        if failed and not any("execvp error" in line for line in err.own):
            rank, code = failed
            if code in _INTERRUPTED:  # one process was, and the others ended with it
                return _Ended(code, is_asked=True)
            return _Ended(code, f"process {rank} ended with exit code {code}", is_explained=bool(err.lines))
        if err.lines and not any(line.startswith("ssh: ") for line in err.own):  # one that fails says why, and ends all
            return _Ended(code, f"a process ended all with exit code {code}")
        if killed:
            return self._killed(killed[0][0], len(statuses), killed[0][1] & 0x7F)
        said = [*err.own, *out.own]
        number = next((line for line in said if "EXIT CODE: " in line), "").rpartition(": ")[2]
        if number in ("6", "9", "11", "15"):  # a process on another machine: its signal, not named
            return self._killed(None, 0, int(number))
        if not said:
            return _Ended(code, f"the processes ended with exit code {code}", is_explained=False)
        why = min(said, key=lambda line: line.startswith("[mpiexec"))  # the first of another program than mpiexec
        return _Ended(_BAD_INPUT, f"mpiexec: the processes cannot be started: {why}", is_explained=False)

    def _killed(self, rank: int | None, count: int, number: int) -> _Ended:
        who = "a process" if rank is None else f"process {rank}" + (f" of {count}" if count else "")
        what = f"{who} was killed by {_name(number)}"
        return _Ended(128 + number, what, is_explained=False)


class _Signals:
    """Handlers of signals, within a with-block in the main thread."""

    def __init__(self, handler: Callable[[int, Any], None]) -> None:
        self._handler, self._before = handler, {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # such as nohup's
                    self._before[number] = signal.signal(number, self._handler)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _read(stream: Any, output: Output) -> None:
    while data := os.read(stream.fileno(), 1 << 16):
        output.feed(data)
    output.feed(b"")
    stream.close()


def _writer(name: str) -> Callable[[str], None]:
    def write(text: str) -> None:
        stream = getattr(sys, name)
        stream.write(text)
        stream.flush()

    return write


def _end_with_parent(parent: int) -> None:
    """Let Linux send this process SIGTERM when the one that started it ends, even if that is killed."""
    import ctypes

    with_parent = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(with_parent, int(signal.SIGTERM))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
