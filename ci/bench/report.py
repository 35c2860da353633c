"""What the benchmarks share of their results: comparisons of times, the machine, files, what was learned of MNIST."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any


def compare(xpnet_bursts: list[float], peer_bursts: list[float]) -> dict[str, float]:
    """Compare two lists of times, turn by turn.

        ratio = median over turns of peer_t / xpnet_t        spread = (third - first quartile of those) / ratio

    Returns: xpnet_ms and peer_ms (medians), ratio, spread.
    """
    ratios = [p / x for x, p in zip(xpnet_bursts, peer_bursts, strict=True)]
    first, middle, third = quantiles(ratios, n=4, method="inclusive")
    return {
        "xpnet_ms": median(xpnet_bursts),
        "peer_ms": median(peer_bursts),
        "ratio": middle,
        "spread": (third - first) / middle,
    }


def about(load: float) -> dict[str, Any]:
    """What results begin with: the machine, the versions, the cores and how many threads libraries were held to.

    Args:
        load: how busy the machine was before.
    """
    return {
        "machine": {"cpu": cpu_name(), "system": f"{platform.system()} {platform.machine()}", "load_before": load},
        "versions": {"python": platform.python_version(), "numpy": version("numpy")},
        "precision": "float32",
        "cores": cores(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
    }


def about_line(facts: dict[str, Any]) -> str:
    """Say on what machine and with what versions results were made."""
    machine = facts["machine"]
    where = f"{machine['cpu']}, {facts['cores']} cores, {machine['system']}, {facts['precision']}"
    held = "" if facts["threads"] == "default" else f"; OMP_NUM_THREADS {facts['threads']}"
    return f"{where}{held}; {versions_line(facts['versions'])}."


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write one JSON object to a file, all of it or nothing."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(facts, indent=1) + "\n")
    os.replace(part, path)


def learned_markdown(facts: dict[str, Any]) -> str:
    """Make the README's table of what networks learned: a row a network, in percent of the test images.

    Args:
        facts: the object that `run.py mnist --json` writes. Networks without a run are left out.
    """
    heads = ["network", "parameters", "test error, each seed", "mean", "LeCun et al. 1998", "ours has"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for network in facts["models"]:
        runs = [run for run in facts["runs"] if run["model"] == network["model"]]
        if not runs:
            continue
        cells = [network["title"], f"{runs[0]['parameters']:,}"]
        cells += [", ".join(f"{run['test_error']:.2f}" for run in runs) + " %", f"{mean_error(runs):.2f} %"]
        cells += [f"{network['published']} %, {network['published_row']}", network["ours"]]
        lines.append("| " + " | ".join(cells) + " |")
    machines = sorted({f"{run['machine']}; " + versions_line(run["versions"]) for run in facts["runs"]})
    lines += ["", ". ".join([*machines, f"Published: {facts['source']}"]) + "."]
    return "\n".join(lines)


def learned_verdicts(facts: dict[str, Any], *, goals: bool = True) -> list[str]:
    """Say of each network that ran its mean error and, with goals, what it was to be at most, and whether it was."""
    said = []
    for network in facts["models"]:
        runs = [run for run in facts["runs"] if run["model"] == network["model"]]
        if runs:
            met = "met" if mean_error(runs) <= network["goal"] else "MISSED"
            seeds = f"{len(runs)} seed{'s' * (len(runs) > 1)}"
            said.append(
                f"{network['model']}: mean of {seeds} {mean_error(runs):.3f} %"
                + (f", at most {network['goal']:.2f} % {met}" if goals else "")
            )
    return said


def mean_error(runs: list[dict[str, Any]]) -> float:
    """The mean test error of runs, in percent, from their counts of wrong images."""
    return fmean(100 * run["wrong"] / run["test_images"] for run in runs)


def versions_line(versions: dict[str, str]) -> str:
    """Name each library with its version."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def cores() -> int:
    """Count the cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
