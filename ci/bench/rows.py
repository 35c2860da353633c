"""The results: one row for each library and case, in files of one format.

    {"machine": ..., "versions": {...}, "notes": [...], "rows": [row, ...]}

    row: {"suite", "name", "batch", "task", "precision", "cores", "cudnn", "library",     what was measured
          "unit", "value",      ms (of a step), s, images/s or % (of wrong answers)
          "spread",             (slowest - fastest process) / fastest; of one process (third - first quartile) / median
          "turns", "long",      a list for each process: the value of each short and of each long turn
          "mb", ...}            the peak memory of the process with the least, and what only that suite has

The value of a step is that of the best process: the median over its short turns.
"""

import json
import os
import platform
from importlib.metadata import distributions
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from workloads import Case

PACKAGES = ["xpnet", "numpy", "numba", "torch", "jax", "scikit-learn", "onnxruntime", "fastapi", "uvicorn", "mpi4py"]
PACKAGES += ["mpich", "cupy-cuda13x", "nvidia-cudnn-frontend"]
Row = dict[str, Any]
Turns = list[list[float]]  # a list for each process


KEY = ("suite", "task", "name", "batch", "precision", "cores", "cudnn")  # what rows of one case have in common


class Results:
    """What a suite measures: rows, where and when, notes; and whether a part failed. A file has it all at any time."""

    def __init__(self, path: Path | None, continued: bool = False) -> None:
        old = path.read_text() if continued and path and path.exists() else ""
        self.path, self.facts, self.failed = path, json.loads(old) if old else about(), False
        self.rows: list[Row] = self.facts["rows"]

    def note(self, text: str) -> None:
        """Add a sentence that stands below the tables."""
        self.facts["notes"].append(text)

    def add(self, *rows: Row) -> None:
        """Add rows, each in the place of the one of the same case and library, if there is one."""
        for row in rows:
            place = next((i for i, old in enumerate(self.rows) if case_of(old) == case_of(row)), len(self.rows))
            self.rows[place : place + 1] = [row]
        write(self.path, self.facts)


def case_of(row: Row) -> tuple[Any, ...]:
    """What a row is of: its case and library."""
    return *[row.get(part) for part in KEY], row["library"]


def of_runs(
    suite: str, task: str, name: str, library: str, unit: str, values: Any, pick: Any = median, **more: Any
) -> Row:
    """Make the row of a figure of which there is one a process or seed; pick chooses or computes that of all."""
    row = {"suite": suite, "task": task, "name": name, "library": library, "unit": unit, "value": pick(values)}
    row["turns"] = turns = [[value] for value in values]
    return row | ({} if unit == "%" or len(turns) < 2 else {"spread": spread(turns)}) | more


def timed(suite: str, case: Case, library: str, turns: Turns, **more: Any) -> Row:
    """Make the row of a step's time in ms: the best process, and the spread over processes."""
    row = {"suite": suite, **case._asdict(), "library": library, "unit": "ms", "value": best(turns)}
    return {**row, "spread": spread(turns), "turns": turns, **more}


def best(turns: Turns) -> float:
    """The least of the processes' medians."""
    return min(median(each) for each in turns)


def spread(turns: Turns) -> float:
    """How far the processes' medians lie apart, as a part of the least; of one process the spread of its turns."""
    if len(turns) > 1:
        return max(median(each) for each in turns) / best(turns) - 1
    first, middle, third = quantiles(turns[0] * 2, n=4, method="inclusive")
    return (third - first) / middle


def about() -> dict[str, Any]:
    """What a file begins with: the machine, how busy it was before, the versions of what is installed."""
    held = os.environ.get("OMP_NUM_THREADS")
    machine = f"{cpu_name()}, {cores()} cores, {platform.system()} {platform.machine()}"
    found = {each.name.lower(): each.version for each in distributions()}
    return {
        "machine": machine + (f", OMP_NUM_THREADS {held}" if held else ""),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {"python": platform.python_version(), **{name: found[name] for name in PACKAGES if name in found}},
        "notes": [],
        "rows": [],
    }


def write(path: Path | None, facts: dict[str, Any]) -> None:
    """Write results to a file, a row a line, all of it or nothing."""
    if path is None:
        return
    head = json.dumps({key: value for key, value in facts.items() if key != "rows"}, indent=1)
    rows = ",\n".join(json.dumps(_short(row)) for row in facts["rows"])
    part = path.with_name(path.name + ".part")
    part.write_text(f'{head[:-2]},\n "rows": [\n{rows}\n]}}\n')
    os.replace(part, path)


def _short(value: Any) -> Any:
    """Round every float to five digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return [_short(item) for item in value] if isinstance(value, list | tuple) else value


def cores() -> int:
    """Count the cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()
