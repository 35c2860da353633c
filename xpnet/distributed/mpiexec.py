"""The command mpiexec: where it is, how it is called, and what it says by itself, apart from what the processes print.

MPICH's (Hydra, also Intel's) is called with an option that makes it report how each process ended. Its own lines, such
as the block "BAD TERMINATION", are left out of the output; what they say is kept. Open MPI's stand between lines of
hyphens.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

from xpnet.errors import ConfigError

__all__ = ["Mpiexec", "Output"]


class Mpiexec:
    """An mpiexec that is installed.

    Raises:
        ConfigError: there is none.
    """

    def __init__(self) -> None:
        own = str(Path(sys.executable).parent)  # of the environment: that of the wheel that mpi4py uses
        found = shutil.which("mpiexec", path=own) or shutil.which("mpiexec")
        if found is None:
            raise ConfigError.event("launch", "mpiexec is not installed", "pip install 'xpnet[mpi]'")
        self.path = found
        asked = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        self.is_hydra = "HYDRA" in asked.stdout.upper() or "INTEL" in asked.stdout.upper()
        self.is_open = "OPEN MPI" in asked.stdout.upper() or "OPENRTE" in asked.stdout.upper()

    def command(self, processes: int, hosts: Sequence[str], program: Sequence[str]) -> list[str]:
        """Return the words that start a program in some processes."""
        words = [self.path, "-n", str(processes)]
        if self.is_hydra:
            words += ["-print-all-exitcodes", *(["-hosts", ",".join(hosts)] if hosts else [])]
        elif hosts:
            words += ["--host", ",".join(hosts)]
        if self.is_open:  # it refuses more processes than cores, which the supervisor warns of
            words += ["--map-by", ":OVERSUBSCRIBE"]
        return [*words, *program]

    def answers(self, host: str, seconds: float = 20.0) -> bool:
        """Tell whether a process can be started on a host."""
        words = [self.path, "-n", "1", "-hosts" if self.is_hydra else "--host", host, sys.executable, "-c", ""]
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False, env=dict(os.environ)
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


# Lines that a line of mpiexec's may follow: they are kept back until the next one shows whether it does.
_BEFORE = re.compile(r"$|={60,}$|-{60,}$")
_OWN = re.compile(
    r"=   (BAD TERMINATION OF ONE OF YOUR APPLICATION|PID \d+ RUNNING AT|EXIT CODE: |CLEANING UP REMAINING|"
    r"YOU CAN IGNORE THE BELOW|KILLED BY SIGNAL)|YOUR APPLICATION TERMINATED WITH THE EXIT STRING: |"
    r"This typically refers to a problem with your application\.|Please see the FAQ page for debugging suggestions|"
    r"\[(mpiexec|proxy:[\d:]+)@[^\]]*\] |Ctrl-C caught\.\.\. |Abort\(-?\d+\) on node \d+ |prterun|mpiexec: |"
    r"(ssh|kex_exchange_identification): |Host key verification failed|.*: Permission denied \("
)
_HYPHENS = re.compile(r"-{60,}$")
_OPEN = re.compile(  # how a block of Open MPI's begins
    r"(prterun|mpirun|mpiexec|orterun)\b|MPI_ABORT was invoked|There are not enough slots|Primary job  ?terminated|"
    r"An unrecognized option|PRTE (has lost|daemon)|An ORTE daemon|This process, or another one"
)
_OPEN_WARNS = re.compile(r"\[[^\]]*:\d+\] \S*/osc_ucx_component\.c:\d+ ")  # of its wheel, with a line of one space
_STATUSES = re.compile(r"(?:\[mpiexec@.*?\] Exit codes: )?\[[^\]]*\] (\d+(?:,\d+)*)$")  # a line for each machine
_MESSAGE = "\x1expnet "  # begins a line from a process to its supervisor


class Output:
    """Parts the output of mpiexec and its processes into lines of the processes and its own.

    Args:
        write: called with each line of the processes, and its end.
        receive: called with each message that a process sends its supervisor; see supervised.
    """

    def __init__(self, write: Callable[[str], None], receive: Callable[[str], None]) -> None:
        self.own: list[str] = []
        self._statuses: list[list[int]] = []  # of the processes of each machine, as os.wait has them
        self.lines = 0  # that the processes printed
        self._write, self._receive = write, receive
        self._rest = b""
        self._before: list[str] = []
        self._in_block = self._in_hyphens = self._is_after_warning = self._in_statuses = False

    @property
    def statuses(self) -> list[int]:
        """The statuses of the processes, as os.wait has them, by their numbers: mpiexec goes round the machines."""
        return [status for turn in zip_longest(*self._statuses) for status in turn if status is not None]

    def feed(self, data: bytes) -> None:
        """Take some bytes; none at the end."""
        *lines, self._rest = re.split(rb"(?<=[\n\r])", self._rest + data)
        if not data and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._take(line.decode(errors="replace"))
        if not data:
            self._flush()

    def _take(self, line: str) -> None:
        text = line.rstrip("\r\n")
        head, mark, message = text.partition(_MESSAGE)
        if mark:
            self._receive(message)
            text = line = head
            if not head:
                return
        statuses = _STATUSES.match(text)
        self._in_statuses = bool(statuses) and (self._in_statuses or text.startswith("[mpiexec@"))
        if statuses and self._in_statuses:
            self._before.clear()
            self._statuses.append(list(map(int, statuses[1].split(","))))
            self.own.append(text)
        elif self._in_hyphens:
            self.own.append(text)
            self._in_hyphens = not _HYPHENS.match(text)
        elif self._before and _HYPHENS.match(self._before[-1]) and _OPEN.match(text):
            self._before.pop()
            self._flush()
            self._in_hyphens = True
            self.own.append(text)
        elif _OPEN_WARNS.match(text) or (self._is_after_warning and text == " ") or text == "\0":
            self._is_after_warning = text != " "
        elif _OWN.match(text):
            self._before.clear()
            self._in_block = "BAD TERMINATION" in text or self._in_block
            self.own.append(text)
        elif _BEFORE.match(text):
            if self._in_block and text:  # the last line of the block
                self._in_block = False
            else:
                self._before.append(line)
        else:
            self._flush()
            self.lines += 1
            self._write(line)

    def status_of_open(self) -> tuple[int, int] | None:
        """Return the number of the process that Open MPI says has failed, and its status, as os.wait has it."""
        text = " ".join(self.own)
        if found := re.search(r"process rank (\d+) with PID \d+ on node \S+ exited on +signal (\d+)", text):
            return int(found[1]), int(found[2])
        if found := re.search(r"process rank (\d+) with PID \d+ on node \S+ exiting +improperly", text):
            return int(found[1]), 0
        if found := re.search(r"Process name: \[.*?,(\d+)\] +Exit code: +(\d+)", text):
            return int(found[1]), int(found[2]) << 8
        return None

    def _flush(self) -> None:
        for line in self._before:
            self._write(line)
        self._before.clear()
