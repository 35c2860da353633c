"""The results as Markdown: a line a case, a column a library; what was to be reached, memory and notes after them."""

from itertools import chain
from statistics import median
from typing import Any

import workloads as known
from rows import KEY, Row, best
from workloads import PYTORCH, RIVALS, TITLES

Group = dict[str, Row]  # the rows of one case, by library
NAMES = {"lenet5": "LeNet-5", "alexnet": "AlexNet", "resnet18": "ResNet-18", "mlp": "MLP", "cnn": "small CNN"}
MANY = 10  # results of one cell, of which only the mean is shown if there are more


def markdown(facts: dict[str, Any]) -> str:
    """Make a table for each suite and task of a results file, and say where it was measured."""
    found: dict[tuple, dict[tuple, Group]] = {}
    for row in facts["rows"]:
        key = tuple(row.get(part) for part in KEY)
        found.setdefault(key[:2], {}).setdefault(key, {})[row["library"]] = row
    tables = [table(" ".join(part for part in key if part), [*groups.values()]) for key, groups in found.items()]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return "\n\n".join([*tables, ". ".join([*facts["notes"], f"{facts['machine']}; {versions}."])])


def table(title: str, groups: list[Group]) -> str:
    """Make one table; columns that hold nothing are left out."""
    present = set(chain(*groups))
    titles = dict.fromkeys(title for library, title in TITLES.items() if library in present)
    heads = [title, *titles, "to reach", "spread, xpnet / best peer", "peak memory, xpnet / PyTorch", "remarks"]
    lines = [
        [label(g), *(cell(g, t) for t in titles), targets(g), spreads(g), memory(g), ours(g).get("remarks", "")]
        for g in groups
    ]
    kept = [i for i in range(len(heads)) if any(line[i] for line in lines)]
    every = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(line[i] for i in kept) + " |" for line in every)


def ours(group: Group) -> Row:
    """The row that others are compared with: xpnet's, or the first."""
    return group.get("xpnet") or next(iter(group.values()))


def label(group: Group) -> str:
    """The name of a case."""
    row = ours(group)
    cores = row.get("cores", 0)
    parts = [NAMES.get(row["name"], row["name"]), f"batch {row['batch']}" if row.get("batch") else ""]
    parts += [
        row["precision"] if row["suite"] in ("gpu", "ops") else "",
        f"{cores} core{'s' * (cores > 1)}" if cores else "",
    ]
    return ", ".join(filter(None, [*parts, "" if row.get("cudnn", True) else "without cuDNN"]))


def fastest(group: Group, names: Any) -> Row | None:
    """Of some libraries' rows the one with the least value."""
    return min((group[name] for name in names if name in group), key=lambda row: row["value"], default=None)


def digits(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def cell(group: Group, title: str) -> str:
    """The value of a library; of a peer also how many times xpnet's it is, and in long turns."""
    row, mine = fastest(group, [name for name, each in TITLES.items() if each == title]), ours(group)
    if row is None:
        return ""
    if row["unit"] == "%":
        if len(row["turns"]) > MANY:
            return f"mean {row['value']:.2f} %"
        mean = f"; mean {row['value']:.2f} %" if len(row["turns"]) > 1 else ""
        return ", ".join(f"{value:.2f}" for value, *_ in row["turns"]) + f" %{mean}"
    said = f"{digits(row['value'])} {row['unit']}"
    if row is mine:
        return said
    said += f", {row['value'] / mine['value']:.2f}x" if mine["value"] else ""
    return said + (f" (long {best(row['long']) / best(mine['long']):.2f}x)" if row.get("long") else "")


def targets(group: Group) -> str:
    """What was to be reached, and whether it was: a ratio of a rival's time to the library's, or an error."""
    row, said = ours(group), []
    if "least" in row:
        return f"at least {row['least']:.2f} %: {'met' if row['value'] >= row['least'] else '**missed**'}"
    if "goal" in row:
        return f"at most {row['goal']:.2f} %: {'met' if row['value'] <= row['goal'] else '**missed**'}"
    for name, rivals, least in goals(row):
        rival = fastest(group, rivals)
        if rival and name in group and least:
            ratio, who = rival["value"] / group[name]["value"], "" if name == "xpnet" else f"{TITLES[name]} "
            turns = f" (turn by turn {turn_by_turn(rival, row):.2f}x)" if rivals == ("baseline",) else ""
            met = "met" if ratio >= least else "**missed**"
            said.append(f"{who}{ratio:.2f}x{turns} of {least:.3g}x {TITLES[rival['library']]}, {met}")
    return "; ".join(said)


def goals(row: Row) -> list[tuple[str, tuple[str, ...], float | None]]:
    """Of a case: the library, its rivals, and the least ratio of the fastest rival's time to the library's."""
    if row["suite"] == "cpu":
        least = known.TARGETS.get((row["name"], row["batch"], row["task"]), 1.0)
        wanted = [("xpnet", RIVALS, least), ("xpnet-numpy", RIVALS, known.NUMPY_SHARE * least)]
        return [*wanted, ("xpnet", ("baseline",), known.BEFORE_TARGET)]
    if row["suite"] == "gpu":
        eager, fast = known.GPU_TARGETS[row["name"], row["cudnn"]]
        return [("xpnet", ("torch",), eager), ("xpnet", ("torch-captured", "torch-compiled"), fast)]
    if row["suite"] == "distributed":
        reduced = [(way, ("bound",), known.REDUCTION_TARGET) for way in ("tree", "allreduce")]
        shards = [(f"{way}-shards", (way,), known.SHARDS_TARGET) for way in ("thread", "threads")]
        least = known.PROCESSES_TARGET if row["value"] > known.PROCESSES_FROM else None
        return [*reduced, *shards, *((way, ("thread",), least) for way in ("processes-plain", "processes"))]
    if row["suite"] == "estimators":
        return [("xpnet", ("sklearn",), known.ESTIMATORS_TARGET)]
    least = known.PROCESS_TARGET
    return (
        [("xpnet", PYTORCH, least), ("xpnet-numpy", PYTORCH, known.NUMPY_SHARE * least)]
        if row["suite"] == "process"
        else []
    )


def turn_by_turn(old: Row, new: Row) -> float:
    """The median over all turns of the ratio of two times measured one after the other."""
    return median(a / b for a, b in zip(chain(*old["turns"]), chain(*new["turns"]), strict=True))


def spreads(group: Group) -> str:
    """How far processes lie apart, of xpnet and of the best peer."""
    found = [row for row in (ours(group), fastest(group, RIVALS)) if row and "spread" in row]
    return " / ".join(f"{row['spread']:.0%}" for row in found)


def memory(group: Group) -> str:
    """Peaks of xpnet and of PyTorch."""
    mine, theirs = ours(group).get("mb"), (fastest(group, PYTORCH) or {}).get("mb")
    if not (mine and theirs):
        return f"{mine:.0f} MB" if mine else ""
    return f"{mine:.0f} / {theirs:.0f} MB{', **missed**' if mine > theirs else ''}"
