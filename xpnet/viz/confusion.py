"""The confusion matrix of a classifier, and its most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import arguments
from xpnet.data import Dataset
from xpnet.errors import ShapeError
from xpnet.output import counted, printable
from xpnet.viz.canvas import figure_of, panels
from xpnet.viz.predicting import best_probability, host
from xpnet.viz.sheet import text_width
from xpnet.viz.style import CORRECT, DENSE, QUIET, TEXT, TITLE, WIDTH, WRONG, rgb
from xpnet.viz.tiles import mosaic, pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["confusion", "mistakes"]

_NUMBERED = 20  # classes up to which the counts are written


def confusion(counts: Any, classes: Sequence[str] | None = None, ax: Any = None) -> Figure:
    """Draw how often each class (a row) is predicted as each other (a column).

    Correct predictions are blue, wrong ones red, the stronger the larger their share of the row, by its square root, so
    that rare confusions are visible. Up to 20 classes counts are written, and the share of each row that is correct; of
    more classes a colour bar says the share.

    Args:
        counts: (K, K), examples of class i predicted as class j at [i, j]; Trainer.evaluate(...)["confusion"].
        classes: the K names; by default their numbers.
        ax: a matplotlib axes to draw on; a new figure by default.
    Returns: the matplotlib Figure.
    Raises:
        ShapeError: counts is not (K, K), or classes are not K. ConfigError: matplotlib is not installed.
    """
    counts = host(counts)
    k = len(counts) if counts.ndim else 0
    names = [*map(short, range(k) if classes is None else arguments.items("confusion", "classes", classes))]
    if counts.shape != (k, k) or len(names) != k or not k:
        raise ShapeError("confusion", "counts (K, K) and K classes", counts=counts.shape, classes=len(names))
    inner = min(7.5, max(2.2, 0.42 * k)) if k <= _NUMBERED else 5.5  # inches, without names and titles
    figure, axes = panels(ax, size=(inner + 2.4, inner + 1.9))
    ax = axes[0, 0]
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    strength = np.sqrt(share)[..., np.newaxis]  # (K, K, 1)
    full = np.where(np.eye(k, dtype=bool)[..., np.newaxis], rgb(CORRECT), rgb(WRONG))
    ax.imshow(1.0 - strength * (1.0 - full), interpolation="nearest")
    each = -(-k // 25)
    turned = {"rotation": 90} if 0.09 * max(map(len, names)) > each * inner / k else {}
    size = TEXT if k <= 12 else DENSE
    ax.set_xticks(range(0, k, each), names[::each], fontsize=size, **turned)
    ax.set_yticks(range(0, k, each), names[::each], fontsize=size)
    ax.set_xlabel("predicted as")
    ax.set_ylabel("true class")
    correct, total = int(np.trace(counts)), int(counts.sum())
    ax.set_title(f"{correct:,} of {total:,} correct, {correct / max(1, total):.2%}", fontsize=TITLE)
    ax.tick_params(length=0)
    ax.spines[:].set_linewidth(0.5)
    if k <= _NUMBERED:
        _number(ax, counts, share, size)
    else:
        _shares(ax)
    return figure


def mistakes(scores: Any, data: Dataset, ax: Any = None, *, count: int = 12) -> Figure:
    """Draw the most confident mistakes of a classifier, each with its true and its predicted class.

    Args:
        scores: (N, K), of the set's examples in their order, Trainer.evaluate(...)["scores"]; or their probabilities,
            as Trainer.predict returns them.
        data: the set: images (N, H, W, C), labels, names of classes.
        ax: a matplotlib axes to draw on; a new figure by default.
        count: how many at most, >= 1.
    Returns: the matplotlib Figure: the mistakes of the highest probability (softmax of the scores), in that order.
    Raises:
        ShapeError: scores are not (N, K), or the set is not of images. ConfigError: count is out of range, or
            matplotlib is not installed.
    """
    scores, count = host(scores).astype(np.float64), arguments.count("mistakes", "count", count)
    arguments.instance("mistakes", "data", data, kind=Dataset, rule="a Dataset")
    if scores.ndim != 2 or len(scores) != len(data) or scores.shape[1] < len(data.classes):
        raise ShapeError("mistakes", f"scores (N, K), N = {len(data)}, K = {len(data.classes)}", scores=scores.shape)
    if len(data.shape) != 3:
        raise ShapeError("mistakes", "a set of images (H, W, C)", shape=data.shape)
    predicted = np.argmax(scores, axis=1)
    sure = best_probability(scores)
    wrong = np.flatnonzero(predicted != data.y)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:count]
    if not len(worst):
        figure, axes = panels(ax, size=(6.4, 1.0))
        axes[0, 0].text(0.5, 0.5, f"no mistakes among {counted(len(data), 'example')}", ha="center", va="center")
        axes[0, 0].set_axis_off()
        return figure
    names = [short(c, 12) for c in data.classes]
    labels = [f"true: {names[data.y[i]]}\npred: {names[predicted[i]]}, {sure[i]:.0%}" for i in worst]
    images = np.stack([pixels(data.x[i], data.white) for i in worst])
    if images.ndim == 3:
        images = images[..., np.newaxis].repeat(3, axis=3)  # (n, H, W, 3)
    # inches: captions of TEXT fit above a tile of the side
    side = max(1.35, *(text_width(line, TEXT) + 0.15 for label in labels for line in label.split("\n")))
    aspect, columns = data.shape[0] / data.shape[1], min(len(worst), 6, int(WIDTH / side))
    if ax is not None:
        columns = _columns(ax, len(worst), aspect)
    rows = -(-len(worst) // columns)
    columns = -(-len(worst) // rows)
    figure, axes = panels(ax, size=(1.05 * side * columns, rows * (1.05 * side * aspect + 0.4)))
    if ax is None:
        figure.set_layout_engine("none")
        axes[0, 0].set_position((0.01, 0.01, 0.98, 0.98))
    mosaic(axes[0, 0], images, columns, labels)
    return figure


def _columns(ax: Any, count: int, aspect: float) -> int:
    """How many columns make the tiles as large as they can be on an axes."""
    dpi, room = figure_of(ax).dpi, ax.get_window_extent()
    wide, high = room.width / dpi, room.height / dpi  # inches
    return max(range(1, count + 1), key=lambda c: min(wide / c, (high / -(-count // c) - 0.4) / aspect))


def _number(ax: Any, counts: np.ndarray, share: np.ndarray, size: int) -> None:
    """Write the counts into their cells, and each row's share of correct predictions beside it."""
    for (i, j), n in np.ndenumerate(counts):
        if n:
            dark = share[i, j] > 0.35
            cell = ax.text(j, i, str(n), ha="center", va="center", fontsize=size, color="white" if dark else "black")
            cell.set_in_layout(False)  # it is within the axes, and measuring all of them takes long
    for i, row in enumerate(counts):
        text = f"{share[i, i]:.0%}" if row.sum() else "none"
        ax.annotate(text, (1.0, i), (5, 0), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
                    va="center", fontsize=size, color=QUIET)  # fmt: skip


def _shares(ax: Any) -> None:
    """Draw a colour bar of the share of the row: of correct predictions at the left, of wrong ones at the right."""
    beside = ax.inset_axes((1.03, 0.0, 0.06, 1.0))
    strength = np.linspace(0.0, 1.0, 64)[:, np.newaxis, np.newaxis]
    beside.imshow(
        1.0 - strength * (1.0 - np.stack([rgb(CORRECT), rgb(WRONG)])),
        aspect="auto",
        origin="lower",
        extent=(0, 2, 0, 1),
    )
    shares = (0.0, 0.01, 0.1, 0.25, 0.5, 1.0)
    beside.set_yticks(np.sqrt(shares), [f"{s:.0%}" for s in shares], fontsize=TEXT)
    beside.set_xticks((0.5, 1.5), ("correct", "wrong"), fontsize=TEXT, rotation=90)
    beside.tick_params(length=0)
    beside.yaxis.tick_right()
    beside.yaxis.set_label_position("right")
    beside.set_ylabel("share of the true class", fontsize=TEXT)
    beside.spines[:].set_linewidth(0.5)


def short(name: object, longest: int = 18) -> str:
    """A class's name on one line, shortened in the middle where it is long; "$" does not begin a formula."""
    name = printable(" ".join(str(name).split())).replace("$", r"\$")
    half = longest // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[1 - half :]}"
