"""Training curves: loss and accuracy, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpnet import arguments
from xpnet.errors import ConfigError
from xpnet.viz.canvas import PALETTE, panels, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves", "save_curves"]

_TRAIN, _TEST = PALETTE[:2]


def curves(history: Sequence[dict[str, Any]], ax: Any = None) -> Figure:
    """Draw the loss at the left and the test accuracy at the right.

    Args:
        history: what Trainer.fit returns.
        ax: a matplotlib axes, of a grid, whose place the two take; a new figure by default.
    Returns: the matplotlib Figure.
    Raises:
        ConfigError: matplotlib is not installed.
    """
    history = arguments.items("curves", "history", history)
    if not all(isinstance(r, Mapping) and {"epoch", "train_loss"} <= r.keys() for r in history):
        raise ConfigError("curves", "history, the records of Trainer.fit", history=arguments.shown(history))
    figure, axes = panels(ax, 1, 2, (9.0, 3.6))
    from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

    left, right = axes[0]
    epochs = [r["epoch"] for r in history]
    tested = [r for r in history if r.get("test_accuracy") is not None]
    left.plot(epochs, [r["train_loss"] for r in history], color=_TRAIN, marker=".", label="training")
    if tested:
        left.plot([r["epoch"] for r in tested], [r["test_loss"] for r in tested], color=_TEST, marker=".", label="test")
        right.plot([r["epoch"] for r in tested], [r["test_accuracy"] for r in tested], color=_TEST, marker=".")
        last = tested[-1]
        right.set_title(f"test accuracy: {last['test_accuracy']:.2%} after epoch {last['epoch']}", fontsize=10)
    else:
        right.text(0.5, 0.5, "no test set", ha="center", va="center", transform=right.transAxes, color="0.4")
    left.set_title("loss", fontsize=10)
    if all(r[name] > 0 for name in ("train_loss", "test_loss") for r in history if r.get(name) is not None):
        left.set_yscale("log")  # the perceptron's loss may be 0
        left.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        left.yaxis.set_major_formatter("{x:g}")
        left.yaxis.set_minor_formatter(NullFormatter())
    left.legend(frameon=False)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    for ax in (left, right):
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True) if len(epochs) > 1 else FixedLocator(epochs))
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    return figure


def save_curves(history: Sequence[dict[str, Any]], path: str | Path) -> None:
    """Draw the curves into a PNG file, 120 dots an inch."""
    save(curves(history), path, dpi=120)
