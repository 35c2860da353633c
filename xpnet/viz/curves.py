"""Training curves: loss and figures of validation or test, epoch by epoch; of one run, or of several in one picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpnet import arguments
from xpnet.errors import ConfigError
from xpnet.output import figure_text, figure_title, is_share, printable
from xpnet.viz.canvas import panels, save
from xpnet.viz.style import PALETTE, PARTS, TEXT, TITLE, WIDTH, despine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["compare", "curves", "save_curves"]

_PARTS = ("validation", "test")
_MOST = 5  # figures that are drawn
_DASHES = ("-", "--", ":", "-.")


def curves(history: Sequence[dict[str, Any]], ax: Any = None) -> Figure:
    """Draw the losses at the left, and beside them each figure of the validation and the test set on its own axes.

    Args:
        history: what Trainer.fit returns: records with epoch and train_loss, and validation_... and test_....
        ax: a matplotlib axes, of a grid, whose place they take; a new figure by default.
    Returns: the matplotlib Figure.
    Raises:
        ConfigError: matplotlib is not installed, or history is of another form.
    """
    history = _records("curves", "history", history)
    names = _figures(history)
    tested = [part for part in _PARTS if any(_value(r, f"{part}_loss") is not None for r in history)]
    figure, axes = _panels(ax, 1 + len(names))
    left, *others = axes
    for part in ("train", *tested):
        label = "training" if part == "train" else part
        _line(left, history, f"{part}_loss", color=PARTS[part], marker=".", label=label)
    left.set_title("loss", fontsize=TITLE)
    _log_if_positive(left)
    left.legend(frameon=False, fontsize=TEXT)
    for name, ax in zip(names, others, strict=False):
        for part in _PARTS:
            if _line(ax, history, f"{part}_{name}", color=PARTS[part], marker=".", label=part):
                last = [r for r in history if _value(r, f"{part}_{name}") is not None][-1]
                text = figure_text(name, last[f"{part}_{name}"])
                title = ax.get_title() or f"{part} {figure_title(name)}\n{text} after epoch {last['epoch']}"
                ax.set_title(title, fontsize=TITLE)
        if len(ax.get_lines()) > 1:
            ax.legend(frameon=False, fontsize=TEXT)
        _percent_if_share(ax, name)
    _finish(axes, [r["epoch"] for r in history])
    return figure


def compare(histories: Mapping[str, Sequence[dict[str, Any]]], ax: Any = None) -> Figure:
    """Draw the curves of several runs in one picture: a colour a run, an axes a figure.

    Args:
        histories: what Trainer.fit returns, by the name of the run, at least one.
        ax: a matplotlib axes, of a grid, whose place they take; a new figure by default.
    Returns: the matplotlib Figure: training loss, then loss and figures of validation, or of the test where a run has
        no validation.
    Raises:
        ConfigError: matplotlib is not installed, or histories are of another form.
    """
    given = arguments.mapping("compare", "histories", histories)
    runs = {str(name): _records("compare", "histories", history) for name, history in given.items()}
    if not runs:
        raise ConfigError("compare", "histories of at least one run", histories="none")
    every = [r for history in runs.values() for r in history]
    has_loss = any(_value(r, f"{part}_loss") is not None for r in every for part in _PARTS)
    names = [*["loss"] * has_loss, *_figures(every)]
    figure, axes = _panels(ax, 1 + len(names))
    for i, (run, history) in enumerate(runs.items()):
        style = {"color": PALETTE[i % 8], "linestyle": _DASHES[i // 8 % 4], "marker": "." if len(history) < 40 else ""}
        _line(axes[0], history, "train_loss", **style, label=_short(run))
        for name, ax in zip(names, axes[1:], strict=True):
            part = _part(history, name)
            _line(ax, history, f"{part}_{name}", **style)
    axes[0].set_title("training loss", fontsize=TITLE)
    _log_if_positive(axes[0])
    for name, ax in zip(names, axes[1:], strict=True):
        parts = [p for p in _PARTS if p in {_part(history, name) for history in runs.values()}]
        ax.set_title(f"{' or '.join(parts)} {figure_title(name)}", fontsize=TITLE)
        _log_if_positive(ax) if name == "loss" else _percent_if_share(ax, name)
    _finish(axes, [r["epoch"] for r in every])
    lines, labels = axes[0].get_legend_handles_labels()
    if figure.axes == axes:  # of its own
        wide, high = figure.get_size_inches()
        columns = max(1, min(len(labels), int(12 * wide) // (6 + max(map(len, labels)))))
        figure.set_size_inches(wide, high + 0.2 * -(-len(labels) // columns))
        figure.legend(lines, labels, frameon=False, fontsize=TEXT, loc="outside lower center", ncols=columns)
    else:
        axes[0].legend(frameon=False, fontsize=TEXT)
    return figure


def save_curves(history: Sequence[dict[str, Any]], path: str | Path) -> None:
    """Draw the curves into a PNG file, 120 dots an inch."""
    save(curves(history), path, dpi=120)


def _short(name: str) -> str:
    name = printable(name).replace("$", r"\$")
    return name if len(name) <= 40 else f"{name[:18]}…{name[-21:]}"


def _records(where: str, name: str, history: Any) -> list[dict[str, Any]]:
    """Check a history."""
    records = arguments.items(where, name, history)
    if not all(isinstance(r, Mapping) and {"epoch", "train_loss"} <= r.keys() for r in records):
        raise ConfigError(where, f"{name}, the records of Trainer.fit", **{name: arguments.shown(history)})
    return records


def _value(record: Mapping[str, Any], key: str) -> float | None:
    value = record.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _figures(history: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of figures of validation or test, but for the loss, in the order in which they occur."""
    found: dict[str, None] = {}
    for record in history:
        for key in record:
            part, _, name = key.partition("_")
            if part in _PARTS and name not in ("", "loss") and _value(record, key) is not None:
                found.setdefault(name)
    return list(found)[:_MOST]


def _part(history: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return the part of the data that a figure is drawn of, or "" where there is none."""
    return next((part for part in _PARTS if any(_value(r, f"{part}_{name}") is not None for r in history)), "")


def _panels(ax: Any, count: int) -> tuple[Any, list[Any]]:
    columns = count if count <= 3 else 3 if count in (5, 6) else 2
    rows = -(-count // columns)
    figure, axes = panels(ax, rows, columns, (WIDTH if columns > 1 else WIDTH / 2, 3.6 * rows))
    for unused in axes.flat[count:]:
        unused.remove()
    return figure, list(axes.flat[:count])


def _line(ax: Any, history: Sequence[Mapping[str, Any]], key: str, **style: Any) -> bool:
    """Draw a figure over the epochs that have it; whether there are any."""
    points = [(r["epoch"], value) for r in history if (value := _value(r, key)) is not None]
    if points:
        ax.plot(*zip(*points, strict=True), **style)
    return bool(points)


def _log_if_positive(ax: Any) -> None:
    """Make the axis of a loss logarithmic, unless one is not above 0, as the perceptron's may be."""
    from matplotlib.ticker import LogLocator, NullFormatter

    values = [v for line in ax.get_lines() for v in line.get_ydata()]
    if values and all(v > 0 for v in values):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())


def _percent_if_share(ax: Any, name: str) -> None:
    from matplotlib.ticker import PercentFormatter

    if is_share(name):
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))


def _finish(axes: Sequence[Any], epochs: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator, MaxNLocator

    different = sorted(set(epochs))
    despine(*axes)
    for ax in axes:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True) if len(different) > 1 else FixedLocator(different))
