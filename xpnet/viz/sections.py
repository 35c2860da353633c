"""The sections of a report that a task has: headings, and what makes their content in HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpnet.data import Dataset
from xpnet.output import counted, number_text
from xpnet.viz import page
from xpnet.viz.boundary import decision_boundary
from xpnet.viz.confusion import confusion, mistakes
from xpnet.viz.multilabel import label_figures, multilabel
from xpnet.viz.reconstruction import reconstruction
from xpnet.viz.regression import columns_of, regression

__all__ = ["classification_sections", "multilabel_sections", "reconstruction_sections", "regression_sections"]

Section = tuple[str, Callable[[], list[str]]]
_WORST = 12
_ROWS = 40  # of a table of classes


def classification_sections(trainer: Any, counts: np.ndarray, scores: np.ndarray, test: Dataset) -> list[Section]:
    """Confusions, the figures of each class, the worst mistakes of images, the boundary of points in the plane.

    Args:
        trainer: a Trainer.
        counts: (C, C), C >= K, examples of class i predicted as j.
        scores: (N, C).
        test: labelled.
    """
    k = len(test.classes)
    sections: list[Section] = [
        ("Confusion matrix", lambda: _confusion(counts[:k, :k], test.classes)),
        ("Classes", lambda: _classes(counts, test.classes)),
    ]
    if len(test.shape) == 3:
        sections.append(("Most confident mistakes", lambda: _mistakes(scores, test)))
    if test.shape == (2,):
        sections.append(("Decision boundary", lambda: _boundary(trainer, test)))
    return sections


def regression_sections(predicted: Any, targets: Any, names: Sequence[str] = ()) -> list[Section]:
    """Predicted against true with residuals, and the largest errors.

    Args:
        predicted: (N, ...), in the units of the targets.
        targets: (N, ...).
        names: of the targets, or none.
    """
    return [("Predicted against true", lambda: _regression(predicted, targets, names))]


def multilabel_sections(probabilities: Any, targets: Any, names: Sequence[str] = ()) -> list[Section]:
    """Curves and the figures of each label.

    Args:
        probabilities: (N, L), 0..1.
        targets: (N, L), 0 or 1.
        names: of the labels, or none.
    """
    return [
        ("Labels", lambda: _labels(probabilities, targets, names)),
        ("Precision and recall", lambda: _curves(probabilities, targets, names, "precision-recall")),
        ("True and false positives", lambda: _curves(probabilities, targets, names, "roc")),
    ]


def reconstruction_sections(inputs: Any, outputs: Any, white: float | None = None) -> list[Section]:
    """Inputs and outputs side by side.

    Args:
        inputs, outputs: (N, ...), in the same units.
        white: the value of full brightness of images.
    """
    return [("Inputs and outputs", lambda: _reconstruction(inputs, outputs, white))]


def _confusion(counts: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    k = len(classes)
    wrong = counts * (1 - np.eye(k, dtype=counts.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:5]
    often = [(int(wrong.flat[i]), *divmod(int(i), k)) for i in order if wrong.flat[i]]
    words = ", ".join(f"{classes[i]} predicted as {classes[j]} ({n:,})" for n, i, j in often) or "nothing"
    alt = f"Confusion matrix: {int(np.trace(counts)):,} of {int(counts.sum()):,} correct"
    kind = "svg" if k <= 20 else "png"  # many cells are pixels
    return [page.figure(confusion(counts, classes), alt, kind), page.text(f"Most often confused: {words}.")]


def _classes(counts: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """Precision, recall and F1 of each class; of many, those with the lowest F1."""
    k = len(classes)
    correct, predicted, true = np.diag(counts)[:k], counts.sum(axis=0)[:k], counts.sum(axis=1)[:k]
    f1 = 2 * correct / np.maximum(1, predicted + true)
    order = np.argsort(f1, kind="stable")[:_ROWS] if k > _ROWS else range(k)
    rows = [
        (
            classes[i],
            f"{true[i]:,}",
            *(_share(correct[i], n) for n in (predicted[i], true[i])),
            _share(2 * correct[i], predicted[i] + true[i]),
        )
        for i in order
    ]
    words = "Precision: the share of the examples predicted as a class that are of it. Recall: the share of the "
    words += "examples of a class that are predicted as it. F1: their harmonic mean."
    if k > _ROWS:
        words += f" Of {counted(k, 'class')}, the {_ROWS} with the lowest F1."
    return [
        page.table(("class", "examples", "precision", "recall", "F1"), rows, numbers=(1, 2, 3, 4)),
        page.text(words),
    ]


def _mistakes(scores: np.ndarray, test: Dataset) -> list[str]:
    wrong = int(np.sum(np.argmax(scores, axis=1) != test.y))
    if not wrong:
        return [page.text(f"None: all {len(test):,} predictions for the test set are correct.")]
    shown = min(wrong, _WORST)
    which = "the most confident first" if shown == wrong else f"here the {shown} most confident"
    words = f"{wrong:,} of {len(test):,} predictions are wrong, {which}."
    alt = f"The {shown} test images with the most confident mistakes, each with its true and its predicted class"
    return [page.text(words), page.figure(mistakes(scores, test, count=_WORST), alt, "png")]


def _boundary(trainer: Any, test: Dataset) -> list[str]:
    alt = "The plane in the colours of the predicted classes, and the test examples over it"
    return [page.figure(decision_boundary(trainer, test), alt, "png")]


def _regression(predicted: Any, targets: Any, names: Sequence[str]) -> list[str]:
    p, t = columns_of("regression", predicted, targets)
    count = t.shape[1]
    worst = np.argsort(-np.nan_to_num(np.abs(p - t), nan=np.inf)[:, 0], kind="stable")[:3]
    alt = f"Predicted against true numbers of {len(t):,} test examples, and their residuals below"
    parts = [
        page.figure(regression(predicted, targets, names), alt, "svg" if min(count, 12) * len(t) < 2500 else "png")
    ]
    if count == 1:
        each = "; ".join(f"example {i}: {number_text(p[i, 0])} for {number_text(t[i, 0])}" for i in worst.tolist())
        parts.append(page.text(f"Largest errors: {each}."))
    else:
        left = p - t
        spread = np.square(t - t.mean(axis=0)).sum(axis=0)
        rows = [
            (
                names[k] if names else str(k),
                number_text(np.sqrt(np.square(left[:, k]).mean())),
                number_text(np.abs(left[:, k]).mean()),
                f"{1 - np.square(left[:, k]).sum() / spread[k]:.4f}" if spread[k] else "-",
            )
            for k in range(count)
        ]
        parts.append(page.table(("target", "RMSE", "MAE", "R2"), rows, numbers=(1, 2, 3)))
        if count > 12:
            parts.append(page.text(f"The picture shows the first 12 of {counted(count, 'target')}."))
    return parts


def _labels(probabilities: Any, targets: Any, names: Sequence[str]) -> list[str]:
    found = label_figures(probabilities, targets, names)
    head = ("label", "examples", "precision", "recall", "F1", "average precision", "ROC area")
    rows = [(f.name, f"{f.examples:,}", *("-" if v is None else f"{v:.1%}" for v in f[2:])) for f in found]
    words = "A label is predicted where its probability is at least one half."
    return [page.table(head, rows, numbers=range(1, 7)), page.text(words)]


def _curves(probabilities: Any, targets: Any, names: Sequence[str], curve: str) -> list[str]:
    alt = f"A curve of each label over all thresholds: {curve}"
    return [page.figure(multilabel(probabilities, targets, names, curve=curve), alt)]


def _reconstruction(inputs: Any, outputs: Any, white: float | None) -> list[str]:
    alt = "Test examples with the smallest and the largest errors, each with what the model makes of it"
    return [page.figure(reconstruction(inputs, outputs, white=white), alt, "png")]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"
