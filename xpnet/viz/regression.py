"""Predicted against true numbers, and what is left between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import arguments
from xpnet.errors import ShapeError
from xpnet.output import number_text
from xpnet.viz.canvas import panels
from xpnet.viz.confusion import short
from xpnet.viz.predicting import host
from xpnet.viz.style import NEGATIVE, POSITIVE, TEXT, WIDTH, despine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["columns_of", "names_of", "regression"]

_MOST_POINTS, _MOST_TARGETS = 2000, 12


def regression(predicted: Any, targets: Any, names: Sequence[str] = (), ax: Any = None) -> Figure:
    """Draw predicted against true numbers, and below them the residuals, predicted less true; a panel a target.

    Predictions that are too high are red, those that are too low blue.

    Args:
        predicted: (N,) or (N, ...), in the units of the targets.
        targets: of the same shape.
        names: of the targets; by default their numbers.
        ax: a matplotlib axes, of a grid, whose place they take; a new figure by default.
    Returns: the matplotlib Figure: at most 12 targets, and of each at most 2,000 points, evenly taken; the errors in
        the titles are those of all points. Points that are NaN are left out.
    Raises:
        ShapeError: predicted and targets differ in shape, or names are not as many as targets. ConfigError: matplotlib
            is not installed.
    """
    predicted, targets = columns_of("regression", predicted, targets)
    shown = min(targets.shape[1], _MOST_TARGETS)
    labels = names_of("regression", names, targets.shape[1])
    columns = shown if shown <= 3 else 2 if shown == 4 else 3 if shown <= 9 else 4
    rows = -(-shown // columns)
    wide, high = (5.2, 5.0) if shown == 1 else (WIDTH, 4.4 if shown == 2 else 3.4 * rows)
    ratios = {"height_ratios": [3, 1] * rows}
    figure, axes = panels(ax, 2 * rows, columns, (wide, high), **ratios)
    for k in range(rows * columns):
        above, below = axes[2 * (k // columns), k % columns], axes[2 * (k // columns) + 1, k % columns]
        if k < shown:
            name = labels[k] if targets.shape[1] > 1 or names else ""
            _panel(above, below, predicted[:, k], targets[:, k], name, columns < 3)
        else:
            above.remove()
            below.remove()
    return figure


def columns_of(where: str, predicted: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions and targets as columns of float64, (N, T)."""
    p, t = host(predicted), host(targets)
    if not p.ndim or p.shape[:1] != t.shape[:1] or p.size != t.size or not p.size or not _real(p, t):
        raise ShapeError(where, "real numbers of one shape (N, ...), N >= 1", predicted=p.shape, targets=t.shape)
    return p.reshape(len(p), -1).astype(np.float64), t.reshape(len(t), -1).astype(np.float64)


def names_of(where: str, names: Any, count: int) -> list[str]:
    """Return the names of columns for a picture; their numbers where none are given."""
    found = arguments.items(where, "names", names)
    if found and len(found) != count:
        raise ShapeError(where, "a name for each target", names=len(found), targets=count)
    return [short(name, 28) for name in found or range(count)]


def _real(*arrays: np.ndarray) -> bool:
    return all(array.dtype.kind in "buif" for array in arrays)


def _panel(above: Any, below: Any, predicted: np.ndarray, true: np.ndarray, name: str, wide: bool) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    good = np.isfinite(predicted) & np.isfinite(true)
    predicted, true = predicted[good], true[good]
    left = predicted - true
    errors = _errors(left, true, wide)
    above.set_title(f"{name}\n{errors}" if name else errors, fontsize=TEXT)
    some = np.unique(np.linspace(0, len(true) - 1, min(len(true), _MOST_POINTS)).astype(int)) if len(true) else []
    style = {"s": 12 if len(some) < 500 else 5, "alpha": 0.7 if len(some) < 500 else 0.35, "linewidths": 0}
    if len(true):
        low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
        room = (high - low) * 0.04 or 1.0
        limits = (low - room, high + room)
        above.plot(limits, limits, color="0.6", linewidth=0.8, zorder=0)
        colours = np.where(left[some] > 0, POSITIVE, NEGATIVE)
        above.scatter(true[some], predicted[some], c=colours, **style)
        below.scatter(true[some], left[some], c=colours, **style)
        most = float(np.abs(left).max()) * 1.08 or 1.0
        above.set(xlim=limits, ylim=limits)
        below.set(xlim=limits, ylim=(-most, most))
    below.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    above.set_ylabel("predicted", fontsize=TEXT)
    below.set_ylabel("residual", fontsize=TEXT)
    below.set_xlabel("true", fontsize=TEXT)
    for ax in (above, below):
        ax.xaxis.set_major_locator(MaxNLocator(5 if wide else 4))
        for axis, values in ((ax.xaxis, true), (ax.yaxis, true if ax is above else left)):
            if np.abs(values).max(initial=0) >= 1e4:
                axis.set_major_formatter(EngFormatter(sep=""))  # 1.2M
        ax.yaxis.set_major_locator(MaxNLocator(5 if ax is above else 3))
        ax.tick_params(labelsize=TEXT, labelbottom=ax is below)
        despine(ax)


def _errors(left: np.ndarray, true: np.ndarray, wide: bool) -> str:
    if not len(true):
        return "no numbers"
    spread = float(np.square(true - true.mean()).sum())
    r2 = f", R2 {1 - float(np.square(left).sum()) / spread:.3f}" if spread else ""
    mae = f", MAE {number_text(np.abs(left).mean())}" if wide else ""
    return f"RMSE {number_text(np.sqrt(np.square(left).mean()))}{mae}{r2}"
