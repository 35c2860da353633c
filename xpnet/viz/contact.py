"""A page about a data set before training: pictures by class, balance, sizes, duplicates, columns, augmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data import AUGMENTATIONS, Dataset
from xpnet.data.augmentation import in_words, read_augment
from xpnet.data.survey import ColumnFacts, Survey
from xpnet.errors import DataError
from xpnet.output import Html, counted, escape, number_text
from xpnet.random import Key
from xpnet.viz import marks, page

__all__ = ["contact_sheet"]

_PICTURES = 600  # on a page, as many of each class as that allows
_PER_CLASS = (2, 12)
_CLASSES = 300
_CHANGED, _TIMES = 6, 7  # pictures that are augmented, and how often each
_GROUPS = 20  # of duplicates
_SIZES = 12


def contact_sheet(found: Survey, augmentation: str | None = None) -> str:
    """Make a page of HTML of what a data set holds.

    Args:
        found: from data.survey.
        augmentation: the preset whose effect on some pictures is shown; by default light and strong.
    Raises:
        ConfigError: no preset has that name.
    """
    arguments.instance("contact_sheet", "found", found, kind=Survey, rule="a Survey")
    if augmentation is not None:
        arguments.choice("contact_sheet", "augment", augmentation, AUGMENTATIONS)
    names = [n for n in (AUGMENTATIONS[1:] if augmentation is None else [augmentation]) if n != "none"]
    parts = [page.text(line) for line in found.notes]
    if found.problem:
        parts.append(page.text(f"It cannot be learned from: {found.problem}"))
    parts.append(page.tiles(_figures(found)))
    classes = found.classes
    if classes:
        parts.append(page.section("Balance", *_balance(classes, list(found.parts)), long=True))
    example = next(iter(found.parts.values()), None)
    pictures = example is not None and len(example.shape) == 3
    if example is not None and pictures:
        parts.append(page.section("Pictures", *_contact(example), long=True))
        for name in names:
            heading = f"What augmentation {name!r} makes of them"
            parts.append(page.section(heading, *_changed(example, name), long=True))
    if found.sizes:
        parts.append(page.section("Sizes", *_sizes(found)))
    if found.duplicates is not None:
        parts.append(page.section("Duplicates", *_duplicates(found), long=True))
    if found.columns:
        heading = "Columns" if not pictures else "Numbers to learn"
        parts.append(page.section(heading, *_columns(found.columns), long=True))
    return page.page(found.name, parts)


def _figures(found: Survey) -> dict[str, str]:
    figures = {part: f"{len(data):,}" for part, data in found.parts.items()}
    if found.rows:
        figures = {"rows": f"{found.rows:,}", "columns": f"{len(found.columns):,}", **figures}
    if found.classes:
        figures["classes"] = f"{len(found.classes):,}"
    if example := next(iter(found.parts.values()), None):
        figures["an example"] = " x ".join(map(str, example.shape))
    if found.duplicates is not None:
        figures["duplicates"] = f"{found.duplicates.extra:,}"
    return figures


def _balance(classes: dict[str, dict[str, int]], parts: Sequence[str]) -> list[str]:
    totals = {name: sum(counts.values()) for name, counts in classes.items()}
    least, most = min(totals, key=lambda n: totals[n]), max(totals, key=lambda n: totals[n])
    words = "All classes have as many examples."
    if totals[least] != totals[most]:
        times = f", {totals[most] / totals[least]:.1f} times as many" if totals[least] else ""
        words = f"From {totals[least]:,} ({least}) to {totals[most]:,} ({most}){times}."
    if totals[most] >= 3 * max(1, totals[least]):
        words += " --class-weights balanced gives each class the same weight."
    shown = classes
    if len(classes) > _CLASSES:
        order = sorted(classes, key=lambda n: totals[n])
        shown = {name: classes[name] for name in order[: _CLASSES // 2] + order[-_CLASSES // 2 :]}
        words += (
            f" Of {counted(len(classes), 'class')}, the {_CLASSES // 2} with the fewest and with the most examples."
        )
    return [page.text(words), marks.bars(shown, parts)]


def _contact(data: Dataset) -> list[str]:
    """Pictures of the training set, by class where there are classes."""
    if not data.labelled:
        rows = _some(len(data), 60)
        return [marks.strip((image for _, image in _read(data, rows)), data.white, "an example")]
    k = len(data.classes)
    each = min(max(_PICTURES // k, _PER_CLASS[0]), _PER_CLASS[1])
    order = np.argsort(data.y, kind="stable")
    starts = np.searchsorted(data.y[order], np.arange(k + 1))
    parts = []
    for c, name in enumerate(data.classes[:_CLASSES]):
        rows = order[starts[c] : starts[c + 1]]
        rows = rows[_some(len(rows), each)]
        images = [image for _, image in _read(data, rows)]
        parts.append(f"<h3>{escape(name)}</h3>")
        parts.append(marks.strip(images, data.white, name) if images else page.text("no pictures in the training set"))
    words = f"Of the training set, at {data.shape[0]} x {data.shape[1]}, as a network sees them."
    if k > _CLASSES:
        words += f" The first {_CLASSES} of {k:,} classes."
    return [page.text(words), *parts]


def _some(n: int, most: int) -> np.ndarray:
    """Take at most so many of n, evenly."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int)) if n else np.zeros(0, int)


def _read(data: Dataset, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the images of rows; of a lazy set, those that are damaged are left out."""
    x: Any = data.x
    try:
        yield from zip(rows.tolist(), x[rows], strict=True)
        return
    except DataError:
        pass
    for row in rows.tolist():
        try:
            image = x[row]
        except DataError:
            continue
        yield row, image


def _changed(data: Dataset, name: str) -> list[str]:
    change = read_augment("augment", name, data.classes)
    images = [image for _, image in _read(data, _some(len(data), _CHANGED))]
    if change is None or not images:
        return []
    batch = np.stack(images)
    made = [change(batch, Key(0, "augment", epoch)) for epoch in range(_TIMES)]
    rows = [
        marks.strip([batch[i], *(each[i] for each in made)], data.white, "an example, augmented")
        for i in range(len(batch))
    ]
    return [page.text(f"At the left as they are. --augment {name}: {in_words(change)}."), *rows]


def _sizes(found: Survey) -> list[str]:
    total = sum(n for _, n in found.sizes)
    rows = [(f"{h} x {w}", f"{n:,}", f"{n / total:.1%}") for (h, w), n in found.sizes[:_SIZES]]
    words = f"Height x width, turned upright, {len(found.sizes):,} different"
    words += f", of {found.looked:,} of {len(found.files):,} images." if found.looked < len(found.files) else "."
    if len(found.sizes) > _SIZES:
        words += f" The {_SIZES} most frequent:"
    return [page.text(words), page.table(("size", "images", "share"), rows, numbers=(1, 2))]


def _duplicates(found: Survey) -> list[str]:
    same = found.duplicates
    assert same is not None
    what = "files" if found.files else "rows" if found.rows else "examples"
    unless = "" if same.complete else " Not all were compared: there is too much to read."
    if not same.groups:
        return [page.text(f"No two {what} have the same bytes.{unless}")]
    words = (
        f"{same.extra:,} {what} have the same bytes as an earlier one, in {counted(len(same.groups), 'group')}.{unless}"
    )
    apart = [group for group in same.groups if len({_owner(found, i) for i in group}) > 1]
    if apart and (found.files or len(found.parts) > 1):
        where = "folders" if found.files else "parts"
        words += f" Copies in different {where}: {counted(len(apart), 'group')}, which are first."
    order = sorted(same.groups, key=lambda group: group not in apart) if len(apart) < 1000 else same.groups
    rows = [(", ".join(map(found.place, group[:6])) + (f" and {len(group) - 6} more" if len(group) > 6 else ""),)
            for group in order[:_GROUPS]]  # fmt: skip
    if found.rows:
        rows = [(", ".join(f"row {i + 1}" for i in group[:8]),) for group in order[:_GROUPS]]
    heading = f"the first {_GROUPS} groups" if len(same.groups) > _GROUPS else "groups"
    return [page.text(words), page.table((heading,), rows)]


def _owner(found: Survey, i: int) -> str:
    """The folder of a file, or the part of an example."""
    return found.place(i).rpartition("/")[0] if found.files else found.place(i).rpartition(" ")[0]


def _columns(columns: Sequence[ColumnFacts]) -> list[str]:
    head = ("column", "values", "kind", "missing", "different", "lowest", "median", "mean", "highest")
    rows = []
    for c in columns:
        texts = ", ".join(f"{_cut(text)} {n:,}" for text, n in c.common[:4]) + ", ..." * (len(c.common) > 4)
        marked = Html(f'{marks.histogram(c.histogram)}<div class="texts">{escape(texts)}</div>')
        counts = [f"{n:,}" if n else "" for n in (c.missing, c.different)]
        rows.append([_cut(c.name, 40), marked, c.kind, *counts, *map(_number, (c.low, c.median, c.mean, c.high))])
    return [page.table(head, rows, numbers=range(3, 9))]


def _number(value: float | None) -> str:
    return "" if value is None else number_text(value)


def _cut(text: str, most: int = 24) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
