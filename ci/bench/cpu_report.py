"""What comes out of the benchmark on the processor: the README's tables, and what was to be reached."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from report import about_line
from whole_process import markdown as process_markdown
from workloads import NUMPY_SHARE, RATIO_TARGETS, RIVALS

TITLES = {"torch": "PyTorch", "jax": "JAX jit", "sklearn": "scikit-learn"}
_TURNS = ("xpnet_bursts_ms", "peer_bursts_ms")  # what results leaves to turns
_KEY = ("name", "batch", "task", "fast", "peer")


@dataclass(frozen=True)
class Row:
    """One comparison; times are milliseconds a step, peaks are MB of 2**20 bytes, None when not asked for.

    fast says whether xpnet had compiled loops, xpnet_how what it ran the step by. The burst lists hold the time of each
    turn, so that ratio and spread can be worked out again.
    """

    name: str
    batch: int
    task: str
    fast: bool
    xpnet_how: str
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


def results(rows: Iterable[Row]) -> dict[str, list[dict[str, Any]]]:
    """Divide rows into results, a row a comparison, and turns, the times behind each."""
    every = [asdict(row) for row in rows]
    return {
        "results": [{key: value for key, value in row.items() if key not in _TURNS} for row in every],
        "turns": [{key: row[key] for key in (*_KEY, *_TURNS)} for row in every],
    }


def best(rows: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Of the rows of one step, that of the faster rival; None where no rival ran."""
    return min((row for row in rows if row["peer"] in RIVALS), key=lambda row: row["peer_ms"], default=None)


def least(row: dict[str, Any]) -> float | None:
    """The least ratio for a row's step; None where none is set."""
    target = RATIO_TARGETS.get((row["name"], row["batch"], row["task"]))
    return target if target is None or row["fast"] else NUMPY_SHARE * target


def steps(facts: dict[str, Any]) -> dict[tuple[str, int, str, bool], list[dict[str, Any]]]:
    """The results by step and by whether loops were compiled: a row for each peer."""
    found: dict[tuple[str, int, str, bool], list[dict[str, Any]]] = {}
    for row in facts["results"]:
        found.setdefault((row["name"], row["batch"], row["task"], row["fast"]), []).append(row)
    return found


def said(rows: list[dict[str, Any]]) -> str:
    """One line on one step: its time, and the time of each peer, with what was to be reached."""
    first = rows[0]
    with_loops = first["xpnet_how"] if first["fast"] else "NumPy alone"
    parts = [f"{first['xpnet_ms']:.3f} ms ({with_loops})"]
    for row in rows:
        layout = f", {row['peer_layout']}" if row["peer_layout"] else ""
        parts.append(f"{TITLES[row['peer']]} {row['peer_ms']:.3f} ms{layout}, {row['ratio']:.2f}x")
    rival = best(rows)
    if rival and (target := least(rival)):
        parts.append(f"at least {target:.3g}x {verdict(rival['ratio'], target)}")
    return "; ".join([*parts, *filter(None, [_memory(rows)])])


def verdict(ratio: float, target: float) -> str:
    """Whether a ratio reaches its target."""
    return "met" if ratio >= target else "MISSED"


def markdown(facts: dict[str, Any]) -> str:
    """Make the README's tables of a results file: training, inference, NumPy alone, the whole process; then where."""
    found = steps(facts)
    lines: list[str] = []
    for task in ("training", "inference"):
        lines += _table(f"{task} step", [rows for key, rows in found.items() if key[2:] == (task, True)], others=True)
    alone = [rows for key, rows in found.items() if not key[3]]
    lines += _table("NumPy alone, without numba", alone)
    if facts.get("process"):
        lines += [process_markdown(facts["process"]), ""]
    return "\n".join([*lines, about_line(facts)])


def _table(title: str, groups: list[list[dict[str, Any]]], *, others: bool = False) -> list[str]:
    """One table: a line a step. others: a column for the peers that were not the best."""
    if not groups:
        return []
    heads = [title, "xpnet", "best peer", "ratio (spread)", "to reach", *(["other peers"] if others else [])]
    heads.append("peak memory, xpnet / PyTorch")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for rows in groups:
        first, rival = rows[0], best(rows)
        what = f"{first['name']}, batch {first['batch']}"
        if not others and first["task"] != "training":
            what += f", {first['task']}"
        cells = [what, f"{_ms(first['xpnet_ms'])} ms", "", "", ""]
        if rival:
            cells[2:4] = [_peer(rival), f"{rival['ratio']:.2f}x ({rival['spread']:.0%})"]
            if target := least(rival):
                met = verdict(rival["ratio"], target)
                cells[4] = f"{target:.3g}x, {'met' if met == 'met' else '**missed**'}"
        if others:
            cells.append(", ".join(_peer(row) for row in rows if row is not rival))
        cells.append(_memory(rows).replace("memory ", "").replace(", met", "").replace("MISSED", "**missed**"))
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _peer(row: dict[str, Any]) -> str:
    return f"{TITLES[row['peer']]} {_ms(row['peer_ms'])} ms"


def _ms(ms: float) -> str:
    """Three digits that count."""
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}"


def _memory(rows: list[dict[str, Any]]) -> str:
    """Say the peaks of xpnet and of PyTorch, and whether xpnet's is no more; nothing where they are not known."""
    for row in rows:
        ours, theirs = row["xpnet_peak_mb"], row["peer_peak_mb"]
        if row["peer"] == "torch" and ours is not None and theirs is not None:
            return f"memory {ours:.0f} / {theirs:.0f} MB, {'met' if ours <= theirs else 'MISSED'}"
    return ""
