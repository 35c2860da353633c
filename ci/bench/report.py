"""What comes out of the benchmarks: tables for a reader, and the JSON object behind them.

Of speed: a row for each workload, batch and peer. Of learning: a row for each network, with its runs' test errors.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

from workloads import MEMORY_TARGETS, RATIO_TARGETS

_TURNS = ("peer_layout", "xpnet_bursts_ms", "peer_bursts_ms")  # what results leaves out


@dataclass(frozen=True)
class Row:
    """One comparison; times are milliseconds a training step, peaks are MB of 2**20 bytes, None when not asked for.

    The burst lists hold the time of each turn, so that ratio and spread can be worked out again.
    """

    name: str
    batch: int
    xpnet_ms: float
    peer: str
    peer_layout: str
    peer_ms: float
    ratio: float
    spread: float
    xpnet_peak_mb: float | None
    peer_peak_mb: float | None
    xpnet_bursts_ms: list[float]
    peer_bursts_ms: list[float]


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


def verdict(row: Row) -> str:
    """Say what the row's targets are and whether each is met; empty where none is set."""
    key, said = (row.name, row.batch, row.peer), []
    if key in RATIO_TARGETS:
        least = RATIO_TARGETS[key]
        said.append(f"{least:g}x {'met' if row.ratio >= least else 'MISSED'}")
    if key in MEMORY_TARGETS and row.xpnet_peak_mb is not None and row.peer_peak_mb is not None:
        said.append(f"memory {'met' if row.xpnet_peak_mb <= row.peer_peak_mb else 'MISSED'}")
    return ", ".join(said)


def print_table(rows: list[Row], memory: bool) -> None:
    """Print the rows to standard output, at least 160 columns wide so that no number is cut."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    headings = ["workload", "batch", "peer", "xpnet ms", "peer ms", "ratio", "spread"]
    headings += ["xpnet MB", "peer MB"] if memory else []
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("workload", "peer") else "right", no_wrap=True)
    table.add_column("target", no_wrap=True)
    for row in rows:
        peer = f"{row.peer}, {row.peer_layout}" if row.peer_layout else row.peer
        cells = [row.name, str(row.batch), peer, f"{row.xpnet_ms:.3f}", f"{row.peer_ms:.3f}"]
        cells += [f"{row.ratio:.2f}", f"{row.spread:.0%}"]
        if memory:
            cells += ["" if mb is None else f"{mb:.0f}" for mb in (row.xpnet_peak_mb, row.peer_peak_mb)]
        table.add_row(*cells, verdict(row))
    console = Console()
    console.width = max(console.width, 160)
    console.print(table)


def write_json(path: Path, rows: list[Row], versions: dict[str, str], load: float) -> None:
    """Write one JSON object, all of it or nothing: results, a row a comparison, and turns, the times behind each."""
    facts: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "system": f"{platform.system()} {platform.machine()}", "load_before": load},
        "versions": {"python": platform.python_version(), **versions},
        "precision": "float32",
        "cores": cores(),
        "results": [{key: value for key, value in asdict(row).items() if key not in _TURNS} for row in rows],
        "turns": [{key: asdict(row)[key] for key in ("name", "batch", "peer", *_TURNS)} for row in rows],
    }
    write_facts(path, facts)


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write one JSON object to a file, all of it or nothing."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(facts, indent=1) + "\n")
    os.replace(part, path)


_TITLES = {"torch": "PyTorch eager", "jax": "JAX jit", "sklearn": "scikit-learn"}


def markdown(facts: dict[str, Any]) -> str:
    """Make the README's table of a results file: a row a workload and batch, a column a peer."""
    rows: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for result in facts["results"]:
        rows.setdefault((result["name"], result["batch"]), {})[result["peer"]] = result
    heads = ["training step", "xpnet", *_TITLES.values(), "peak memory, xpnet / PyTorch"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for (name, batch), peers in rows.items():
        cells = [f"{name}, batch {batch}", f"{next(iter(peers.values()))['xpnet_ms']:.2f} ms"]
        cells += [f"{r['peer_ms']:.2f} ms, {r['ratio']:.2f}x" if (r := peers.get(peer)) else "" for peer in _TITLES]
        peaks = peers.get("torch", {})
        both = peaks.get("xpnet_peak_mb"), peaks.get("peer_peak_mb")
        cells.append("" if None in both else f"{both[0]:.0f} / {both[1]:.0f} MB")
        lines.append("| " + " | ".join(cells) + " |")
    machine, versions = facts["machine"], _versions(facts["versions"])
    lines += ["", f"{machine['cpu']}, {facts['cores']} cores, {machine['system']}, {facts['precision']}; {versions}."]
    return "\n".join(lines)


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
    machines = sorted({f"{run['machine']}; " + _versions(run["versions"]) for run in facts["runs"]})
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


def _versions(versions: dict[str, str]) -> str:
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
