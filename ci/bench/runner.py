"""Run cases: for each one process a library, all at once, taking turns; then the same with new processes.

A round starts every process anew. It goes through all cases before the next round begins, so that the processes of one
case lie minutes apart. Results are written after each case.
"""

import importlib.util
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rows import Results, Row, timed
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


def mnist_folder(given: str | None) -> Path:
    """The folder of MNIST's files."""
    root = Path(given or os.environ.get("XPNET_DATA_DIR", "")).expanduser()
    folder = next((path.parent for path in root.rglob("train-images-idx3-ubyte*")), None)
    if folder is None:
        raise SystemExit(f"--data-dir: expected a folder with MNIST's four files, got {root}")
    return folder


def choose_peers(names: str | None, known: dict[str, Library]) -> dict[str, Library]:
    """xpnet's libraries, and those of the packages that --peers names (None: all) and that are installed."""
    packages, found = dict.fromkeys(library.package for library in known.values()), {}
    wanted = packages if names is None else [name.strip() for name in names.split(",") if name.strip()]
    if unknown := set(wanted) - set(packages):
        raise SystemExit(f"--peers: expected some of {', '.join(packages)}, got {', '.join(unknown)}")
    for package in packages:
        if package == "xpnet" or (package in wanted and importlib.util.find_spec(package)):
            found |= {name: library for name, library in known.items() if library.package == package}
        elif package in wanted:
            say(f"{package} is not installed, left out")
    return found


def request(case: Case, device: str = "cpu") -> dict[str, Any]:
    """What a worker is asked to build."""
    rate = {"lr": LEARNING_RATE, "momentum": MOMENTUM}
    return {**WORKLOADS[case.name]._asdict(), **case._asdict(), "device": device, **rate}


class Runner:
    """Collects the turns of cases.

    Args:
        suite: "cpu", "growth" or "gpu".
        libraries: by name; "baseline" runs where options.baseline names another checkout of xpnet.
        options: seconds of the short turns of a process, json, the file that takes the results, minutes after which
            nothing new is begun, and baseline.
        device: where all is computed.
    """

    def __init__(self, suite: str, libraries: dict[str, Library], options: Namespace, device: str = "cpu") -> None:
        self.suite, self.options, self.device = suite, options, device
        self.libraries = {n: known for n, known in libraries.items() if n != "baseline" or options.baseline}
        self.deadline = time.monotonic() + 60 * options.minutes
        self.results = Results(options.json)
        self.rows: dict[tuple[Case, str], Row] = {}
        self._compiled: set[str] = set()

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
            self.once(case)
        except WorkerError as error:
            say(f"{label}: {error}")
            self.results.failed = True
            return False
        took = [f"{name} {row['value']:.4g} ms" for (found, name), row in self.rows.items() if found == case]
        say(f"{label}: {', '.join(took)}")
        return True

    def once(self, case: Case) -> None:
        """Start a process for each library that can run a case, let them take turns, and add what they took.

        Raises:
            WorkerError: xpnet fails, or a library builds another model; a peer that fails to open is left out.
        """
        wanted = {name: library for name, library in self.libraries.items() if library.runs(case)}
        if self.left() < COMPILING and wanted.pop("torch-compiled", None):
            say("torch-compiled is left out, too little time is left to compile")
        for name in {"xpnet", "baseline"} & set(wanted) - self._compiled:
            with self._start(name, case) as worker:  # compiles loops, which later processes find on disk
                self._open(worker, name, case)
            self._compiled.add(name)
        with ExitStack() as stack:
            started = {name: stack.enter_context(self._start(name, case)) for name in wanted}
            counts: dict[str, int] = {}
            for name, library in wanted.items():
                try:
                    counts[name] = self._open(started[name], name, case)
                except WorkerError as error:
                    if library.package == "xpnet":
                        raise
                    say(f"{name} is left out; {error}")
                    started[name].close()
            if len(set(counts.values())) > 1:
                raise WorkerError(f"expected equal numbers of parameters, got {counts}")
            turns = take_turns({name: started[name] for name in counts}, self.options.seconds)
            for name, found in turns.items():
                peak = started[name].ask(do="memory")["peak_mb"]
                old = self.rows.get((case, name), {"turns": [], "long": [], "mb": peak})
                every = {"turns": [*old["turns"], found["short"]], "long": [*old["long"], found["long"]]}
                self.rows[case, name] = timed(self.suite, case, name, **every, mb=min(old["mb"], peak))
                self.results.add(self.rows[case, name])

    def _root(self, name: str) -> Path:
        return self.options.baseline.resolve() if name == "baseline" else ROOT

    def _start(self, name: str, case: Case) -> Worker:
        patience = max(30.0, min(REPLY_SECONDS, self.left() + 30))
        library = self.libraries[name]
        env = environment(self.device, case.cores or library.cores, self._root(name))
        return Worker(library.worker, env, patience, library.processes)

    def _open(self, worker: Worker, name: str, case: Case) -> int:
        asked = {**request(case, self.device), **self.libraries[name].options, "root": str(self._root(name))}
        return worker.ask(do="open", **asked)["parameters"]
