"""How well each of several labels is predicted: curves of precision against recall, and the figures of each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xpnet import arguments
from xpnet.errors import ShapeError
from xpnet.viz.canvas import panels
from xpnet.viz.regression import columns_of, names_of
from xpnet.viz.style import PALETTE, QUIET, TEXT, despine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LabelFigures", "label_figures", "multilabel"]

_MOST = 8  # labels with a colour
CURVES = ("precision-recall", "roc")


class LabelFigures(NamedTuple):
    """What is measured of one label; None where it is not defined, such as the recall of a label that no example has.

    Args:
        name: of the label.
        examples: that have it.
        precision: the share of those predicted to have it that do.
        recall: the share of those that have it that are predicted.
        f1: 2*precision*recall / (precision + recall).
        average_precision: the area under the steps of precision against recall.
        roc_area: the area under the curve of true against false positives.
    """

    name: str
    examples: int
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None
    roc_area: float | None


def multilabel(
    probabilities: Any, targets: Any, names: Sequence[str] = (), ax: Any = None, *, curve: str = "precision-recall"
) -> Figure:
    """Draw a curve of each label over all thresholds, its area in the legend.

    Args:
        probabilities: (N, L), or scores: only their order matters.
        targets: (N, L), 0 or 1.
        names: of the labels; by default their numbers.
        ax: a matplotlib axes to draw on; a new figure by default.
        curve: "precision-recall", or "roc": true against false positives.
    Returns: the matplotlib Figure. Of more than 8 labels, the 8 with the smallest areas have colours, the others are
        grey. Labels that no example has have no curve, nor, for roc, labels that all have.
    Raises:
        ShapeError: probabilities and targets differ in shape. ConfigError: curve is none of both, or matplotlib is not
            installed.
    """
    probabilities, targets = columns_of("multilabel", probabilities, targets)
    labels = names_of("multilabel", names, targets.shape[1])
    of_precision = arguments.choice("multilabel", "curve", curve, CURVES) == CURVES[0]
    found = [_roc(p, t) if not of_precision else _precision_recall(p, t) for p, t in _each(probabilities, targets)]
    drawn = [(area, k) for k, (area, _, _) in enumerate(found) if area is not None]
    coloured = [k for _, k in sorted(drawn)[:_MOST]] if len(drawn) > _MOST else [k for _, k in drawn]
    figure, axes = panels(ax, size=(6.8, 4.4))
    ax = axes[0, 0]
    for k in [k for _, k in drawn if k not in coloured]:
        ax.plot(*found[k][1:], color="0.8", linewidth=0.8, zorder=1)
    for i, k in enumerate(coloured):
        area, x, y = found[k]
        ax.plot(x, y, color=PALETTE[i], linewidth=1.5, label=f"{labels[k]}: {area:.3f}", zorder=2)
    if not of_precision:
        ax.plot((0, 1), (0, 1), color="0.6", linewidth=0.8, linestyle=":")
    kind = "average precision" if of_precision else "area"
    ax.set_xlabel("recall" if of_precision else "false positive rate")
    ax.set_ylabel("precision" if of_precision else "true positive rate")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    despine(ax)
    if coloured:
        title = f"{kind}, the {_MOST} lowest of {len(drawn)}" if len(drawn) > _MOST else kind
        ax.legend(
            frameon=False, fontsize=TEXT, title=title, title_fontsize=TEXT, loc="upper left", bbox_to_anchor=(1.0, 1.0)
        )
    else:
        ax.text(0.5, 0.5, "no label with and without examples", ha="center", va="center", color=QUIET)
    return figure


def label_figures(probabilities: Any, targets: Any, names: Sequence[str] = ()) -> list[LabelFigures]:
    """Measure each label; a probability of at least 1/2 predicts it."""
    probabilities, targets = columns_of("multilabel", probabilities, targets)
    found = []
    for name, (p, t) in zip(names or map(str, range(targets.shape[1])), _each(probabilities, targets), strict=True):
        predicted, true = p >= 0.5, t > 0.5
        both, n_predicted, n_true = int((predicted & true).sum()), int(predicted.sum()), int(true.sum())
        precision, recall = (both / n_predicted if n_predicted else None), (both / n_true if n_true else None)
        f1 = 2 * both / (n_predicted + n_true) if n_predicted + n_true else None
        found.append(LabelFigures(name, n_true, precision, recall, f1, _precision_recall(p, t)[0], _roc(p, t)[0]))
    return found


def _each(probabilities: np.ndarray, targets: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    if not np.isin(targets, (0, 1)).all():
        raise ShapeError("multilabel", "targets of 0 and 1", targets=float(targets[~np.isin(targets, (0, 1))][0]))
    return [(p, t) for p, t in zip(probabilities.T, targets.T, strict=True)]


def _counts(p: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives as the threshold falls past each different score."""
    order = np.argsort(-p, kind="stable")
    last = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)  # of examples with the same score
    true = np.cumsum(t[order])[last]
    return true, last + 1 - true


def _precision_recall(p: np.ndarray, t: np.ndarray) -> tuple[float | None, np.ndarray, np.ndarray]:
    true, false = _counts(p, t)
    if not true[-1]:
        return None, true, false
    precision, recall = true / (true + false), true / true[-1]
    area = float((np.diff(recall, prepend=0.0) * precision).sum())
    return area, *_thinned(np.append(0.0, recall), np.append(precision[0], precision))


def _roc(p: np.ndarray, t: np.ndarray) -> tuple[float | None, np.ndarray, np.ndarray]:
    true, false = _counts(p, t)
    if not true[-1] or not false[-1]:
        return None, true, false
    x, y = np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1])
    return float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum()), *_thinned(x, y)


def _thinned(x: np.ndarray, y: np.ndarray, most: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """A curve in few enough points for a file."""
    some = np.unique(np.linspace(0, len(x) - 1, min(len(x), most)).astype(int))
    return x[some], y[some]
