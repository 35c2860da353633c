"""What a data set holds, to look at before training: counts, sizes, duplicates, columns, pictures."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data import several
from xpnet.data.dataset import Dataset
from xpnet.data.download import Progress
from xpnet.data.duplicates import Duplicates, same_examples, same_files
from xpnet.data.lazy import is_resident
from xpnet.data.loading import DATASETS, splits
from xpnet.data.scan import LeftOut, walk
from xpnet.data.sizes import sample_headers
from xpnet.data.splits import LEAST, LoadOptions, Splits
from xpnet.data.table import TABLES, Table, read_table
from xpnet.errors import ConfigError, DataError
from xpnet.output import counted

__all__ = ["ColumnFacts", "Survey", "survey"]

_MOST_COLUMNS = 200
_BINS = 24
_COMPARED = 1 << 30  # bytes of arrays that are compared
_TOP = 8  # texts of a column that are counted


@dataclass(frozen=True)
class ColumnFacts:
    """One column of numbers or text.

    Args:
        name: of the column.
        kind: "numbers", "text", "numbers and text" or "empty".
        missing: cells without a value.
        different: values.
        low, high, mean, median: of the numbers; None where there are none.
        histogram: counts of the numbers in bins of equal width from low to high.
        common: the most frequent texts, each with its count.
    """

    name: str
    kind: str
    missing: int
    different: int
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    median: float | None = None
    histogram: tuple[int, ...] = ()
    common: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Survey:
    """What was found.

    Args:
        name: of the data.
        parts: the sets by name, as training uses them; none where a table has no target, or cannot be learned from.
        notes: lines that say what was found.
        problem: why it cannot be learned from; "" where it can.
        files: the images of a folder, relative to it.
        sizes: height and width of images, EXIF applied, the most frequent first, each with its count.
        looked: how many images these are of.
        duplicates: groups of numbers of files, or of examples through the parts.
        columns: of a table, of rows of numbers, or of targets that are numbers.
        rows: of a table.
    """

    name: str
    parts: dict[str, Dataset] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problem: str = ""
    files: tuple[str, ...] = ()
    sizes: tuple[tuple[tuple[int, int], int], ...] = ()
    looked: int = 0
    duplicates: Duplicates | None = None
    columns: tuple[ColumnFacts, ...] = ()
    rows: int = 0

    @property
    def classes(self) -> dict[str, dict[str, int]]:
        """How many examples of each class, or with each label, each part has."""
        found: dict[str, dict[str, int]] = {}
        for part, data in self.parts.items():
            for name, count in zip(data.classes, _counts(data), strict=False):
                found.setdefault(name, {})[part] = int(count)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the facts in a form that JSON can hold."""
        example = next(iter(self.parts.values()), None)
        same = self.duplicates
        return {
            "name": self.name,
            "notes": list(self.notes),
            "problem": self.problem or None,
            "parts": {part: len(data) for part, data in self.parts.items()},
            "shape": None if example is None else list(example.shape),
            "classes": self.classes,
            "files": len(self.files) or None,
            "sizes": [{"height": h, "width": w, "images": n} for (h, w), n in self.sizes],
            "duplicates": None
            if same is None
            else {
                "extra": same.extra,
                "complete": same.complete,
                "groups": [[self.place(i) for i in group] for group in same.groups[:1000]],
            },
            "rows": self.rows or None,
            "columns": [
                {**vars(c), "histogram": list(c.histogram), "common": [list(pair) for pair in c.common]}
                for c in self.columns
            ],
        }

    def place(self, i: int) -> str:
        """Name the file or the example of a number in duplicates."""
        if self.files:
            return self.files[i]
        for part, data in self.parts.items():
            if i < len(data):
                return f"{part} {i}"
            i -= len(data)
        return str(i)


def survey(
    name_or_path: str,
    data_dir: str | None = None,
    *,
    options: LoadOptions | None = None,
    progress: Progress | None = None,
) -> Survey:
    """Look at a data set.

    Images of a folder that are damaged are left out and counted. A table needs no target; with one, its classes are
    counted too.

    Args:
        name_or_path, data_dir, options, progress: as data.splits takes them.
    Raises:
        ConfigError, DataError: as data.splits raises them, but for what only hinders learning from a table.
    """
    options = options or LoadOptions()
    path = Path(os.path.expanduser(name_or_path))
    is_path = name_or_path not in DATASETS
    if is_path and path.suffix.lower() in TABLES and path.is_file():
        return _of_table(path, options)
    found = _loaded(name_or_path, data_dir, options, progress)
    parts = _parts(found)
    name = path.name or str(path.absolute())
    if is_path and path.is_dir():
        return _of_folder(str(path), name, found, parts, options, progress)
    if several.is_several(found.train.x):
        shapes = {f"input {key}": x.shape[1:] for key, x in found.train.x.items()}
        raise DataError(name, "one array of examples to survey", "look at each by itself", **shapes)
    arrays = [data.x for data in parts.values()]
    known = all(map(is_resident, arrays)) and sum(x.nbytes for x in arrays) <= _COMPARED
    columns = _of_rows(parts) if len(found.train.shape) == 1 else ()
    return Survey(
        name if is_path else name_or_path,
        parts,
        (*_notes(parts), *found.note),
        duplicates=same_examples(arrays) if known else None,  # type: ignore[arg-type]
        columns=columns or _of_targets(parts),
    )


def _loaded(name: str, data_dir: str | None, options: LoadOptions, progress: Progress | None) -> Splits:
    """Load the parts as training divides them; a set too small for a validation part has none."""
    try:
        return splits(name, data_dir, least=LEAST, progress=progress, options=options)
    except ConfigError:
        if name not in DATASETS and not os.path.exists(os.path.expanduser(name)):
            raise
        return splits(name, data_dir, validation=0, progress=progress, options=options)
    except DataError:
        if options.skip_damaged or name in DATASETS or not os.path.isdir(os.path.expanduser(name)):
            raise
        return _loaded(name, data_dir, replace(options, skip_damaged=True), progress)


def _parts(found: Splits) -> dict[str, Dataset]:
    sets = {"training": found.train, "validation": found.validation, "test": found.test}
    if found.validation is found.test:
        del sets["validation"]
    return {part: data for part, data in sets.items() if data is not None}


def _of_folder(
    root: str, name: str, found: Splits, parts: dict[str, Dataset], options: LoadOptions, progress: Progress | None
) -> Survey:
    files, _ = walk(root, LeftOut())
    headers = sample_headers(files, replace(options, skip_damaged=True))
    sizes = Counter((header.height, header.width) for _, header in headers)
    same = same_files(files, progress or (lambda done, total: None))
    relative = tuple(os.path.relpath(file, root) for file in files)
    columns = _of_targets(parts)
    ordered = tuple(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))
    return Survey(name, parts, found.note, "", relative, ordered, len(headers), same, columns)


def _of_table(path: Path, options: LoadOptions) -> Survey:
    table = read_table(path)
    parts, problem, notes = (
        {},
        "",
        (f"{path.name}: {counted(len(table), 'row')}, {counted(len(table.columns), 'column')}",),
    )
    if options.target is not None:
        try:
            found = _loaded(str(path), None, options, None)
            parts, notes = _parts(found), (*notes, *found.note)
        except DataError as error:
            problem = str(error)
    columns = tuple(
        _column(name, c.numbers, c.codes, c.texts) for name, c in list(table.columns.items())[:_MOST_COLUMNS]
    )
    if options.target is None:
        notes = (*notes, *map(_described, columns), "choose the column to predict with --target COLUMN")
    return Survey(path.name, parts, notes, problem, duplicates=_same_rows(table), columns=columns, rows=len(table))


def _described(column: ColumnFacts) -> str:
    """Say in a line what a column holds."""
    parts = [column.kind]
    if column.low is not None:
        parts.append(f"{column.low:g} to {column.high:g}")
    if column.common:
        texts = ", ".join(repr(text[:20]) for text, _ in column.common[:3])
        parts.append(f"{column.different:,} different, such as {texts}")
    if column.missing:
        parts.append(f"{column.missing:,} missing")
    return f"column {column.name}: {', '.join(parts)}"


def _same_rows(table: Table) -> Duplicates:
    columns = [np.where(c.codes == -1, c.numbers, c.codes - 0.5) for c in table.columns.values()]
    return same_examples([np.stack(columns, axis=1)]) if len(table) * len(columns) < 1 << 27 else Duplicates((), False)


def _of_rows(parts: dict[str, Dataset]) -> tuple[ColumnFacts, ...]:
    x = np.concatenate([np.asarray(data.x[:], np.float64) for data in parts.values()])
    return tuple(_numbers(f"x{k}", x[:, k]) for k in range(min(x.shape[1], _MOST_COLUMNS)))


def _of_targets(parts: dict[str, Dataset]) -> tuple[ColumnFacts, ...]:
    """Describe targets that are numbers, as columns."""
    sets = list(parts.values())
    if not sets or sets[0].labelled or _is_multilabel(sets[0]):
        return ()
    y = np.concatenate([data.y.reshape(len(data), -1) for data in sets]).astype(np.float64)
    if y.shape[1] > _MOST_COLUMNS:
        return ()
    names = sets[0].classes or [f"target {k}" for k in range(y.shape[1])]
    return tuple(_numbers(name, y[:, k]) for k, name in enumerate(names))


def _numbers(name: str, values: np.ndarray) -> ColumnFacts:
    return _column(name, values, np.where(np.isnan(values), -2, -1), ())


def _column(name: str, numbers: np.ndarray, codes: np.ndarray, texts: tuple[str, ...]) -> ColumnFacts:
    values, words = numbers[codes == -1], codes[codes >= 0]
    counts = np.bincount(words, minlength=len(texts)) if len(texts) else np.zeros(0, int)
    most = np.argsort(-counts, kind="stable")[:_TOP]
    common = tuple((texts[k], int(counts[k])) for k in most if counts[k])
    kind = (
        "numbers and text" if len(values) and len(words) else "numbers" if len(values) else "text" if len(words) else ""
    )
    different = len(np.unique(values)) + int((counts > 0).sum())
    missing = int((codes == -2).sum())
    if not len(values):
        return ColumnFacts(name, kind or "empty", missing, different, common=common)
    low, high = float(values.min()), float(values.max())
    bins = np.histogram(values, _BINS, (low, high) if high > low else (low - 0.5, low + 0.5))[0]
    mean, median = float(values.mean()), float(np.median(values))
    return ColumnFacts(name, kind, missing, different, low, high, mean, median, tuple(bins.tolist()), common)


def _is_multilabel(data: Dataset) -> bool:
    return data.y.ndim == 2 and data.y.shape[1] > 1 and bool(np.isin(data.y, (0, 1)).all())


def _counts(data: Dataset) -> np.ndarray:
    if data.labelled:
        return np.bincount(data.y, minlength=len(data.classes))
    return data.y.sum(axis=0) if _is_multilabel(data) else np.zeros(0)


def _notes(parts: dict[str, Dataset]) -> tuple[str, ...]:
    counts = ", ".join(f"{len(data):,} {part}" for part, data in parts.items())
    shape = "x".join(map(str, next(iter(parts.values())).shape))
    total = sum(map(len, parts.values()))
    return (f"{counts} {'example' if total == 1 else 'examples'} of {shape}",)
