"""Run cases: for each one process a library, all at once, taking turns; then the same with new processes.

A round starts every process anew. It goes through all cases before the next round begins, so that the processes of one
case lie minutes apart. Results are written after each case.
"""

import importlib.util
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rows import Row, about, timed, write
from turns import REPLY_SECONDS, ROOT, Worker, WorkerError, environment, take_turns
from workloads import LEARNING_RATE, MOMENTUM, WORKLOADS, Case, Library

COMPILING = 100.0  # seconds that must be left where torch.compile is to begin


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def choose(only: str, known: dict[Any, Iterable[str]]) -> list[Any]:
    """What --only names, of known things and the names of each; all when it is empty."""
    picked: list[Any] = []
    for name in filter(None, (name.strip() for name in only.split(","))):
        found = [thing for thing, names in known.items() if name in names]
        if not found:
            every = dict.fromkeys(name for names in known.values() for name in names)
            raise SystemExit(f"--only: expected some of {', '.join(every)}, got {name}")
        picked += [thing for thing in found if thing not in picked]
    return picked if only else list(known)


def choose_peers(names: str | None, known: dict[str, Library]) -> dict[str, Library]:
    """xpnet's libraries, and those of the packages that --peers names (None: all) and that are installed."""
    packages, found = dict.fromkeys(library.package for library in known.values()), {}
    wanted = packages if names is None else [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in packages:
            raise SystemExit(f"--peers: expected some of {', '.join(packages)}, got {name}")
    for package in packages:
        if package == "xpnet" or (package in wanted and importlib.util.find_spec(package)):
            found |= {name: library for name, library in known.items() if library.package == package}
        elif package in wanted:
            say(f"{package} is not installed, left out")
    return found


class Runner:
    """Collects the turns of cases.

    Args:
        suite: "cpu", "growth" or "gpu".
        libraries: by name.
        seconds: of the short turns of a process.
        path: the file that takes the results.
        device: where all is computed.
        baseline: another checkout of xpnet, for the library "baseline".
        minutes: after so many nothing new is begun.
    """

    def __init__(
        self,
        suite: str,
        libraries: dict[str, Library],
        seconds: float,
        path: Path | None,
        device: str = "cpu",
        baseline: Path | None = None,
        minutes: float = float("inf"),
    ) -> None:
        self.suite, self.libraries, self.seconds, self.path = suite, dict(libraries), seconds, path
        self.device, self.baseline, self.deadline = device, baseline, time.monotonic() + 60 * minutes
        if baseline is None:
            self.libraries.pop("baseline", None)
        self.facts, self.failed = about(), False
        self._rows: dict[tuple[Case, str], Row] = {}
        self._compiled: set[tuple[Case, Path]] = set()

    def left(self) -> float:
        """Seconds until nothing new is begun."""
        return self.deadline - time.monotonic()

    def run(self, cases: list[Case], processes: int) -> None:
        """Run each case in so many processes a library."""
        for i in range(processes):
            for j, case in enumerate(cases, 1):
                self.attempt(case, f"[{i + 1}/{processes}, {j}/{len(cases)}] {case.names(self.suite)[0]}")

    def attempt(self, case: Case, label: str) -> bool:
        """Run a case once, unless the time is up; one that fails is reported, and the next goes on."""
        if self.left() < 0:
            say(f"{label}: left out, the time is up")
            return False
        try:
            took = self.once(case)
            say(f"{label}: " + ", ".join(f"{name} {ms:.4g} ms" for name, ms in took.items()))
        except WorkerError as error:
            say(f"{label}: {error}")
            self.failed = True
            return False
        return True

    def once(self, case: Case) -> dict[str, float]:
        """Start a process for each library that can run a case, let them take turns, and add what they took.

        Returns:
            The value of each library, over all its processes.
        Raises:
            WorkerError: xpnet fails, or a library builds another model; a peer that fails to open is left out.
        """
        request = self.request(case)
        wanted = {name: library for name, library in self.libraries.items() if library.runs(case)}
        if self.left() < COMPILING and wanted.pop("torch-compiled", None):
            say("torch-compiled is left out, too little time is left to compile")
        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            for name, library in wanted.items():
                self._compile(case, library, self._root(name), request)
            started = {name: stack.enter_context(self._start(lib, name, case)) for name, lib in wanted.items()}
            counts: dict[str, int] = {}
            for name, library in wanted.items():
                try:
                    said = self._open(started[name], library, name, request)
                except WorkerError as error:
                    if library.package == "xpnet":
                        raise
                    say(f"{name} is left out; {error}")
                    started[name].close()
                    continue
                workers[name], counts[name] = started[name], said["parameters"]
                self.facts["versions"][name if name == "baseline" else library.package] = said["version"]
            if len(set(counts.values())) > 1:
                raise WorkerError(f"expected equal numbers of parameters, got {counts}")
            turns = take_turns(workers, self.seconds)
            peaks = {name: worker.ask(do="memory")["peak_mb"] for name, worker in workers.items()}
        return {name: self._add(case, name, turns[name], peaks[name]) for name in workers}

    def request(self, case: Case) -> dict[str, Any]:
        """What a worker is asked to build."""
        rate = {"lr": LEARNING_RATE, "momentum": MOMENTUM}
        return {**WORKLOADS[case.name]._asdict(), **case._asdict(), "device": self.device, **rate}

    def _root(self, name: str) -> Path:
        return self.baseline.resolve() if name == "baseline" and self.baseline else ROOT

    def _start(self, library: Library, name: str, case: Case) -> Worker:
        patience = max(30.0, min(REPLY_SECONDS, self.left() + 30))
        return Worker(library.worker, environment(self.device, case.cores, self._root(name)), patience)

    def _open(self, worker: Worker, library: Library, name: str, request: dict[str, Any]) -> dict[str, Any]:
        root = {"root": str(self._root(name))} if library.package == "xpnet" else {}
        return worker.ask(do="open", **request, **library.options, **root)

    def _compile(self, case: Case, library: Library, root: Path, request: dict[str, Any]) -> None:
        """Run a first process of xpnet that does not count: later ones find its loops compiled."""
        if library.package != "xpnet" or not library.options.get("fast", True) or (case, root) in self._compiled:
            return
        self._compiled.add((case, root))
        name = "xpnet" if root == ROOT else "baseline"
        with self._start(library, name, case) as worker:
            self._open(worker, library, name, request)

    def _add(self, case: Case, name: str, turns: dict[str, list[float]], peak: float) -> float:
        old = self._rows.get((case, name), {"turns": [], "long": [], "mb": peak})
        every = {"turns": [*old["turns"], turns["short"]], "long": [*old["long"], turns["long"]]}
        row = timed(self.suite, case, name, **every, mb=min(old["mb"], peak))
        self._rows[case, name] = row
        self.keep()
        return row["value"]

    def keep(self, more: Iterable[Row] = ()) -> None:
        """Write the rows, and add others."""
        self.facts["rows"] = [*(row for row in self.facts["rows"] if row["suite"] != self.suite), *self._rows.values()]
        self.facts["rows"] += more
        write(self.path, self.facts)
