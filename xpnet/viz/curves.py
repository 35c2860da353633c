"""Training curves: loss and accuracy, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["curves", "save_curves"]

_TRAIN, _TEST = "#0072B2", "#D55E00"  # blue and vermilion of Okabe and Ito, told apart by all readers


def curves(history: Sequence[dict[str, Any]], axes: Any = None) -> Any:
    """Draw the loss at the left and the test accuracy at the right.

    Args:
        history: what Trainer.fit returns.
        axes: two matplotlib axes to draw on; new ones by default.
    Returns: the matplotlib figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    if axes is None:
        axes = Figure(figsize=(9, 3.6), layout="constrained").subplots(1, 2)
    left, right = axes
    epochs = [r["epoch"] for r in history]
    tested = [r for r in history if r.get("test_accuracy") is not None]
    left.plot(epochs, [r["train_loss"] for r in history], color=_TRAIN, marker=".", label="training")
    if tested:
        left.plot([r["epoch"] for r in tested], [r["test_loss"] for r in tested], color=_TEST, marker=".", label="test")
        right.plot([r["epoch"] for r in tested], [r["test_accuracy"] for r in tested], color=_TEST, marker=".")
        last = tested[-1]
        right.set_title(f"test accuracy: {last['test_accuracy']:.2%} after epoch {last['epoch']}", fontsize=10)
    left.set_title("loss", fontsize=10)
    if all(r[name] > 0 for name in ("train_loss", "test_loss") for r in history if r.get(name) is not None):
        left.set_yscale("log")  # the perceptron's loss may be 0
    left.legend(frameon=False)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    for ax in axes:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    return left.figure


def save_curves(history: Sequence[dict[str, Any]], path: str | Path) -> None:
    """Draw the curves into a PNG file, 120 dots an inch."""
    curves(history).savefig(path, dpi=120)
