"""The target of a table: the columns that are to be predicted, as labels or as numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data.table import Column, Table
from xpnet.errors import ConfigError, DataError, nearest
from xpnet.output import counted

__all__ = ["TASKS", "Target"]

TASKS = ("classification", "multilabel", "regression")
_MOST_CLASSES = 20  # different whole numbers that are classes if no task is given


@dataclass(frozen=True)
class Target:
    """What is to be predicted.

    Args:
        names: of the columns.
        task: one of TASKS.
        classes: the names of the classes, K >= 2, of a classification; else ().
    """

    names: tuple[str, ...]
    task: str
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, table: Table, target: str | None, task: str | None = None) -> Target:
        """Choose the columns, the task, if it is None, and the classes.

        Text, true or false, and at most 20 different whole numbers are classes; several columns of 0 and 1 are labels
        of a multi-label task; other numbers are for regression.

        Args:
            table: the table.
            target: the name of a column, or several separated by commas.
            task: one of TASKS, or None.
        Raises:
            DataError: there is no such column, a cell is missing, the column does not suit the task, or there is one
                class only, or a class for more than half of the rows.
        """
        if target is None:
            do = f"name a column, {_some(table.columns)}"
            raise ConfigError("target", "the column to predict", do, target="none")
        names = _names(table, arguments.text("target", "target", target))
        if task is not None:
            arguments.choice("task", "task", task, TASKS)
        columns = [table.columns[name].as_booleans() for name in names]
        for name, column in zip(names, columns, strict=True):
            if (column.codes == -2).any():
                row = int(np.argmax(column.codes == -2))
                rule, do = f"a value of {name!r} in each row", "leave out rows without one"
                raise DataError(table.name, rule, do, **table.place(row), value="none")
        task = task or _infer([table.columns[name] for name in names], columns)
        if task != "classification":
            found = cls(names, task)
            found.read(table)
            return found
        if names[1:]:
            raise ConfigError("target", "one column for classification", target=repr(target))
        classes = _classes(table, names[0])
        return cls(names, task, classes)

    def read(self, table: Table) -> np.ndarray:
        """Return the labels of a table's rows, (N,) int64, or its numbers, (N,) or (N, L) float32.

        Raises:
            DataError: a column is missing, a cell has no value, a text for a number, or an unknown class.
        """
        for name in self.names:
            require(table, name)
        if self.task != "classification":
            parts = [numbers(table, name, missing=False) for name in self.names]
            for name, part in zip(self.names, parts, strict=True):
                wrong = (part != 0) & (part != 1) if self.task == "multilabel" else np.zeros(0, bool)
                if wrong.any():
                    row = int(np.argmax(wrong))
                    raise DataError(table.name, f"0 or 1 in {name!r}", **table.place(row), value=f"{part[row]:g}")
            y = np.stack(parts, axis=1).astype(np.float32)
            return np.ascontiguousarray(y[:, 0]) if len(self.names) == 1 and self.task == "regression" else y
        column = table.columns[self.names[0]].as_text()
        place = {name: k for k, name in enumerate(self.classes)}
        for code in (-2, *range(len(column.texts))):
            if (code < 0 or column.texts[code] not in place) and (found := np.flatnonzero(column.codes == code)).size:
                value = repr(column.texts[code]) if code >= 0 else "none"
                rule = f"{self.names[0]!r} in the classes of the training set, {_some(self.classes)}"
                raise DataError(table.name, rule, **table.place(found[0]), value=value)
        return np.asarray([place.get(text, -1) for text in column.texts], np.int64)[column.codes]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, or of the columns of numbers."""
        return self.classes or self.names

    def describe(self) -> str:
        """Say the choice in a line, such as "species: classification, 3 classes (a, b, c)"."""
        kinds = f", {counted(len(self.classes), 'class')} ({_some(self.classes)})" if self.classes else ""
        return f"{', '.join(self.names)}: {self.task}{kinds}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields in a form that JSON can hold."""
        return {"names": list(self.names), "task": self.task, "classes": list(self.classes)}

    @classmethod
    def from_json(cls, values: Any) -> Target:
        """Rebuild a Target from the result of to_json; ConfigError where it is another thing."""
        arguments.mapping("Target", "values", values)
        names, classes = (arguments.items("Target", key, values.get(key)) for key in ("names", "classes"))
        for name in (*names, *classes):
            arguments.text("Target", "name", name)
        task = arguments.choice("Target", "task", values.get("task"), TASKS)
        labelled = task == "classification"
        for key, found, low, high in (
            ("names", names, 1, 1 if labelled else math.inf),
            ("classes", classes, 2 if labelled else 0, math.inf if labelled else 0),
        ):
            if not low <= len(found) <= high or len(set(found)) < len(found):
                raise ConfigError("Target", f"{key} of {task}, that differ", **{key: arguments.shown(found)})
        return cls(tuple(names), task, tuple(classes))


def _some(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(list(names)[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _names(table: Table, target: str) -> tuple[str, ...]:
    """Return the names of columns in a text: one name, or several with commas."""
    names = [target] if target in table.columns else [part.strip() for part in target.split(",")]
    for name in names:
        if name not in table.columns:
            raise ConfigError("target", f"a column of {table.name}", _closest(name, table), target=repr(name))
    if len(set(names)) < len(names):
        raise ConfigError("target", "columns that differ", target=repr(target))
    if len(names) == len(table.columns):
        raise ConfigError("target", "at least one column that is not a target", target=repr(target))
    return tuple(names)


def require(table: Table, name: str) -> Column:
    """Return a column by its name; DataError with the nearest names where it is missing."""
    if name not in table.columns:
        raise DataError(table.name, f"a column {name!r}, as in training", _closest(name, table), missing=repr(name))
    return table.columns[name]


def _closest(name: str, table: Table) -> str:
    """Say which column comes nearest to a name, or the first ones."""
    hint = nearest(name, table.columns)
    return hint if hint.startswith("did you mean") else f"it has {_some(table.columns)}"


def numbers(table: Table, name: str, missing: bool = True) -> np.ndarray:
    """Return a column of numbers, NaN where one is missing; DataError where there is a text, or one may not miss."""
    column = table.columns[name].as_booleans()
    wrong = column.codes >= 0 if missing else column.codes != -1
    if wrong.any():
        row = int(np.argmax(wrong))
        got = repr(column.texts[column.codes[row]][:40]) if column.codes[row] >= 0 else "none"
        do = "correct it, or leave the cell empty if it is unknown" if missing else ""
        raise DataError(table.name, f"numbers in column {name!r}", do, **table.place(row), value=got)
    return column.numbers


def _infer(raw: Sequence[Column], columns: Sequence[Column]) -> str:
    if len(columns) > 1:
        binary = all((c.codes == -1).all() and np.isin(c.numbers, (0, 1)).all() for c in columns)
        return "multilabel" if binary else "regression"
    column = raw[0]
    is_number = column.codes == -1
    if not is_number.any():
        return "classification"
    if not is_number.all():
        return "regression" if 2 * np.count_nonzero(is_number) > len(is_number) else "classification"
    values = np.unique(column.numbers)
    return "classification" if len(values) <= _MOST_CLASSES and (values == np.rint(values)).all() else "regression"


def _classes(table: Table, name: str) -> tuple[str, ...]:
    """Return the classes in a column, sorted: numbers by value, texts by name."""
    column, where = table.columns[name], table.name
    if (column.codes == -1).all():
        values = np.unique(column.numbers)
        if (values != np.rint(values)).any():
            rule, do = f"labels in {name!r} that are whole numbers or text", "take the task regression"
            raise DataError(where, rule, do, value=f"{float(values[values != np.rint(values)][0]):g}")
        classes = [format(v, ".12g") for v in values.tolist()]
    else:
        column = column.as_text()
        classes = sorted(column.texts[code] for code in np.unique(column.codes).tolist())
    if len(classes) < 2:
        raise DataError(where, f"at least 2 classes in {name!r}", classes=f"only {classes[0]!r}")
    if 2 * len(classes) > len(table):
        rule, do = f"at least 2 rows for each class in {name!r} on average", "is it the right column?"
        raw = table.columns[name]
        if (texts := raw.codes[raw.codes >= 0]).size:
            text = repr(raw.texts[texts[0]][:40])
            do = f"its values are text, such as {text}: write plain numbers to predict a number, or name another column"
        raise DataError(where, rule, do, classes=len(classes), rows=len(table))
    return tuple(classes)
