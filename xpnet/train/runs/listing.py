"""Runs side by side: what their folders say of them. No checkpoint is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xpnet import arguments
from xpnet.data.opening import open_file
from xpnet.errors import CheckpointError, ConfigError, XpnetError, nearest
from xpnet.nn.storage import parse
from xpnet.train.checkpoint import nearest_run
from xpnet.train.runs.config import read_config
from xpnet.train.schema import RECORD

__all__ = ["compare_runs", "history_of", "list_runs"]

_LONGEST = 1 << 26  # bytes of a file of a run


def list_runs(folder: str | Path = "runs", sort: str = "date") -> list[dict[str, Any]]:
    """List the runs in a folder.

    Args:
        folder: which holds runs, or is one.
        sort: a figure or column: names and losses from the lowest, other figures from the highest, dates from the
            oldest. Runs without it come last.
    Returns:
        For each run {run, name, model, data, task, epochs (that are done), planned, parameters, train_loss,
        validation_..., test_... (None where it is not known), best_epoch, seconds, date (of the last epoch, as seconds
        since 1970), problem: why it cannot be read, or None}. Figures are those of the best epoch, if that is kept.
    Raises:
        ConfigError: no such folder, no run in it, or no such column.
    """
    where = arguments.path("list_runs", "folder", folder).expanduser()
    sort = arguments.text("list_runs", "sort", sort)
    if not where.is_dir():
        do = "name the folder that holds the runs: xpnet runs FOLDER"
        if str(folder) == "runs":
            do = "nothing was trained in this folder; for the runs in another: xpnet runs FOLDER"
        raise ConfigError.event(f"folder {str(folder)!r}", "no such folder here", do)
    places = [where] if (where / "config.json").exists() else sorted(p.parent for p in where.glob("*/config.json"))
    if not places:
        raise ConfigError.event(str(folder), "there are no runs in this folder", "xpnet train makes them in runs/")
    found = [_entry(place) for place in places]
    known = {key for run in found for key in run}
    if sort not in known:
        raise ConfigError("sort", "the name of a column", nearest(sort, known), sort=repr(sort))
    high = any(sort.endswith(name) for name in ("accuracy", "f1", "r2", "match"))
    having = [run for run in found if run.get(sort) is not None]
    having.sort(
        key=lambda run: (str(run[sort]) if isinstance(run[sort], str) else "", _number(run[sort])), reverse=high
    )
    return [*having, *(run for run in found if run.get(sort) is None)]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _entry(place: Path) -> dict[str, Any]:
    """What a run's folder says of it."""
    run: dict[str, Any] = {"run": str(place), "name": place.name, "date": _date(place)}
    try:
        config, origin = read_config(place)
        history, result = history_of(place), _result(place)
    except XpnetError as error:
        return {**run, "problem": str(error)}
    best = result.get("best_epoch")
    shown = history[best - 1] if isinstance(best, int) and 1 <= best <= len(history) else (history or [{}])[-1]
    figures = {key: value for key, value in shown.items() if key not in ("epoch", "seconds")}
    if result.get("epochs") == len(history):  # else it has gone on since
        figures |= {key: value for key, value in result.items() if key.startswith("test_")}
    return {
        **run,
        "model": config.model,
        "data": config.data,
        "task": config.task or "classification",
        "epochs": len(history),
        "planned": config.epochs,
        "parameters": result.get("parameters"),
        **figures,
        "best_epoch": best,
        "seconds": round(sum(_number(r.get("seconds")) for r in history), 1),
        "command": origin.get("command"),
        "problem": None,
    }


def _date(place: Path) -> float:
    return max((p.stat().st_mtime for p in (place / "metrics.jsonl", place / "config.json") if p.exists()), default=0.0)


def _result(place: Path) -> dict[str, Any]:
    """Read result.json; {} where there is none, or it holds anything else than texts and numbers."""
    path = place / "result.json"
    if not path.exists():
        return {}
    values = parse(_text(path), str(path), "the result cannot be read")
    return {key: value for key, value in values.items() if isinstance(value, str | int | float | None)}


def history_of(run: str | Path) -> list[dict[str, Any]]:
    """Read the epochs of a run.

    Raises:
        CheckpointError: there is no run, or its metrics cannot be read.
    """
    path = arguments.path("history_of", "run", run) / "metrics.jsonl"
    what = "the epochs of the run cannot be read"
    history = [parse(line, str(path), what) for line in _text(path).splitlines() if line.strip()]
    for i, record in enumerate(history, 1):
        if not RECORD.holds(record) or record["epoch"] != i or record.get("train_loss") is None:
            raise CheckpointError.event(str(path), what, line=i)
    return history


def _text(path: Path) -> str:
    do = "" if path.exists() else nearest_run(path.parent, path)
    with open_file(path, error=CheckpointError, do=do) as file:
        text = file.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise CheckpointError(str(path), f"at most {_LONGEST:,} bytes")
    return text.decode("utf-8", "replace")


def compare_runs(runs: list[str], out: str | Path) -> dict[str, list[dict[str, Any]]]:
    """Draw the curves of runs in one picture.

    Args:
        runs: their folders, at least one.
        out: the file; its suffix is the format.
    Returns: the epochs of each run, by its name: that of its folder, or its path where several have one name.
    Raises:
        CheckpointError: a folder has no run, or its metrics cannot be read. ConfigError: the picture cannot be written.
    """
    from xpnet import viz
    from xpnet.viz.canvas import check_format, need_matplotlib

    check_format(out)
    if not Path(out).parent.is_dir():
        raise ConfigError("out", "a file in an existing folder", folder=repr(str(Path(out).parent)))
    need_matplotlib()
    runs = [str(run) for run in arguments.items("compare_runs", "runs", runs)]
    histories = {name: history_of(run) for name, run in _named(runs)}
    if empty := [name for name, history in histories.items() if not history]:
        raise CheckpointError.event(empty[0], "no epoch of this run is done yet")
    viz.save(viz.compare(histories), out)
    return histories


def _named(runs: list[str]) -> Iterator[tuple[str, str]]:
    names = [Path(run).resolve().name for run in runs]
    for name, run in zip(names, runs, strict=True):
        yield (name if names.count(name) == 1 else run), run
