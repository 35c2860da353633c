"""The columns of a table as numbers for a model: standardized, one-hot, without gaps; fitted on the training rows."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data.dataset import Dataset, read_rows
from xpnet.data.table import Column, Table, read_table
from xpnet.data.table_target import Target, numbers, require
from xpnet.errors import ConfigError, DataError
from xpnet.output import counted

__all__ = ["Columns"]

_MOST_VALUES = 50  # different texts of a column
_FEW = 10  # different texts that may hold numbers; rows that may differ in a text
_ID = re.compile(r"(.*[^a-z])?(id|index|idx)|column 1|unnamed: 0|.*[a-z](Id|ID)")
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}([ T].*)?|\d{1,2}:\d\d(:\d\d.*)?"
)
_AMOUNT = re.compile(r"[^\w\s]?\s?[+-]?\d[\d.,'\s]*[^\w\s]?")  # $1,234 or 12 % or 1 234

_log = logging.getLogger("xpnet")


@dataclass(frozen=True)
class Feature:
    """How one column becomes numbers.

    Args:
        name: of the column.
        median: of the training rows, which replaces missing numbers.
        mean, deviation: of the training rows, by which numbers are standardized.
        gaps: whether a 0/1 column says which cells are missing.
        values: the texts that have a 0/1 column each; None: the column is of numbers.
    """

    name: str
    median: float = 0.0
    mean: float = 0.0
    deviation: float = 1.0
    gaps: bool = False
    values: tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        """The number of columns that it becomes."""
        return (1 if self.values is None else len(self.values)) + self.gaps

    @property
    def inputs(self) -> list[str]:
        """What each of those columns is called."""
        names = [self.name] if self.values is None else [f"{self.name} is {value!r}" for value in self.values]
        return [*names, *([f"{self.name} is missing"] if self.gaps else [])]


@dataclass(frozen=True)
class Columns:
    """The preprocessing of a table, measured on its training rows.

    Numbers are standardized to mean 0 and deviation 1, texts become one 0/1 column a value, a missing number becomes
    the median, and another 0/1 column says where cells are missing.

    Args:
        features: in their order.
        target: what is predicted; None: nothing.
        ignored: columns that are left out, such as constant ones.
    """

    features: tuple[Feature, ...]
    target: Target | None = None
    ignored: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls, table: Any, target: Target | str | None = None, rows: Any = None, *, task: str | None = None
    ) -> Columns:
        """Measure the columns of a table, or of some of its rows, the training part.

        Args:
            table: a Table, or what read_table takes.
            target: the name of the column to predict, or several with commas; or a Target, or None.
            rows: the numbers of the training rows, (M,); None: all.
            task: what is learned of a target by name, "classification", "multilabel" or "regression"; None: the values
                decide: text and at most 20 different whole numbers are classes.
        Raises:
            DataError: a column holds dates, more than 50 different texts, or texts among numbers; or no column is left.
        """
        table = read_table(table)
        target = Target.of(table, target, task) if isinstance(target, str) else target
        arguments.optional(partial(arguments.instance, kind=Target, rule="a name"))("Columns.fit", "target", target)
        rows = None if rows is None else read_rows("Columns.fit", rows, len(table))
        targets = target.names if target else ()
        features, ignored = [], []
        for name in table.columns:
            if name not in targets:
                found = _measure(table, name, rows)
                features.append(found) if found else ignored.append(name)
        if not features:
            left_out = ", ".join(f"{name} ({_why(table, name)})" for name in ignored[:8]) or "none"
            raise DataError(table.name, "a column to learn from, which varies", left_out=left_out)
        return cls(tuple(features), target, tuple(ignored))

    @property
    def width(self) -> int:
        """D, the number of columns of the result."""
        return sum(feature.width for feature in self.features)

    def scaling(self) -> tuple[list[float], list[float]]:
        """Return the means and deviations of the D columns of the result: 0 and 1 of columns that hold 0 and 1."""
        number = [(f.mean, f.deviation) for f in self.features]
        parts = [[pair] + [(0.0, 1.0)] * (f.width - 1) if f.values is None else [(0.0, 1.0)] * f.width
                 for pair, f in zip(number, self.features, strict=True)]  # fmt: skip
        every = [pair for part in parts for pair in part]
        return [mean for mean, _ in every], [deviation for _, deviation in every]

    def notes(self) -> list[str]:
        """Say in a few lines what became of the columns."""
        texts = [f for f in self.features if f.values is not None]
        gaps = [f.name for f in self.features if f.gaps]
        line = f"{counted(len(self.features) - len(texts), 'column')} of numbers, standardized"
        if texts:
            line += ", " + ", ".join(f"{f.name} one-hot ({counted(len(f.values or ()), 'value')})" for f in texts[:5])
            line += f" and {len(texts) - 5} more" if len(texts) > 5 else ""
        lines = [f"{line}: {counted(self.width, 'input')}"]
        if gaps:
            lines.append(f"missing values replaced by the median and flagged: {_some(gaps)}")
        if self.ignored:
            lines.append(f"left out, as constant or different in each row: {_some(self.ignored)}")
        return lines

    def apply(self, table: Any) -> np.ndarray:
        """Return the columns of a table as numbers for the model, (N, D) float32.

        Columns may be in any order; others than those of the training are passed over, and a text that was not there
        is 0 in all its columns; the log says so.

        Args:
            table: a Table, or what read_table takes.
        Raises:
            DataError: a column is missing, or has a text for a number.
        """
        table = read_table(table)
        out = np.zeros((len(table), self.width), np.float32)
        known = {*(f.name for f in self.features), *self.ignored, *(self.target.names if self.target else ())}
        if extra := [name for name in table.columns if name not in known]:
            _log.warning(
                "%s: columns that the model was not trained with are passed over: %s", table.name, _some(extra)
            )
        start = 0
        for feature in self.features:
            require(table, feature.name)
            _fill(out[:, start : start + feature.width], table, feature)
            start += feature.width
        return out

    def dataset(self, table: Any) -> Dataset:
        """Return a table as a data set, which keeps these columns as its source.

        Raises:
            DataError: as for apply; or a target is missing or unknown. ConfigError: the columns have no target.
        """
        if self.target is None:
            raise ConfigError("Columns.dataset", "columns with a target", target=None)
        table = read_table(table)
        y = self.target.read(table)
        return Dataset(self.apply(table), y, self.target.labels, table.name, 1.0, source=self)

    def to_json(self) -> dict[str, Any]:
        """Return the columns in a form that JSON can hold."""
        return {
            "features": [asdict(f) | {"values": f.values and list(f.values)} for f in self.features],
            "target": self.target.to_json() if self.target else None,
            "ignored": list(self.ignored),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Columns:
        """Rebuild Columns from the result of to_json.

        Raises:
            ConfigError: a field is missing, or of another kind.
        """
        arguments.mapping("Columns", "values", values)
        features = [_feature(each) for each in arguments.items("Columns", "features", values.get("features"))]
        ignored = [
            arguments.text("Columns", "name", n) for n in arguments.items("Columns", "ignored", values.get("ignored"))
        ]
        if not features:
            raise ConfigError("Columns", "at least one feature", features="none")
        target = values.get("target")
        return cls(tuple(features), None if target is None else Target.from_json(target), tuple(ignored))


def _feature(values: Any) -> Feature:
    arguments.mapping("Columns", "feature", values)
    median, mean = (arguments.number("Columns", key, values.get(key)) for key in ("median", "mean"))
    deviation = arguments.number("Columns", "deviation", values.get("deviation"), 0, above=True)
    texts = values.get("values")
    if texts is not None:
        texts = tuple(arguments.text("Columns", "value", v) for v in arguments.items("Columns", "values", texts))
    name, gaps = (
        arguments.text("Columns", "name", values.get("name")),
        arguments.boolean("Columns", "gaps", values.get("gaps")),
    )
    return Feature(name, median, mean, deviation, gaps, texts)


def _some(names: Any) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _measure(table: Table, name: str, rows: np.ndarray | None) -> Feature | None:
    """Measure a column; None if it is of no use: constant, or with another value in each row, such as names."""
    if _is_text(table, name):
        column = table.columns[name].as_text()
        is_there = np.bincount(column.codes[column.codes >= 0], minlength=len(column.texts))
        codes = column.codes if rows is None else column.codes[rows]
        if is_there.max() == 1 and len(table) > _FEW:
            _refuse_amounts(table, name, column)
            return None
        used = np.unique(codes[codes >= 0])
        values = tuple(sorted(column.texts[code] for code in used.tolist()))
        if len(values) > _MOST_VALUES:
            _refuse_amounts(table, name, column)
            rule, do = f"at most {_MOST_VALUES} different texts in column {name!r}", "group them, or remove the column"
            raise DataError(table.name, rule, do, different=len(column.texts))
        gaps = bool((codes == -2).any())
        return Feature(name, gaps=gaps, values=values) if len(values) > 1 - gaps and values else None
    whole = numbers(table, name)
    if _ID.fullmatch(name) or _ID.fullmatch(name.lower()):
        known = whole[~np.isnan(whole)]
        if len(np.unique(known)) == len(table) > _FEW and (known == np.rint(known)).all():
            return None
    part = whole if rows is None else whole[rows]
    known = part[~np.isnan(part)]
    gaps = len(known) < len(part)
    if not len(known):
        return None
    median = float(np.median(known))
    part = np.where(np.isnan(part), median, part)
    mean, deviation = float(part.mean()), float(part.std())
    if deviation <= 1e-12 * abs(mean):
        if not gaps:
            return None
        deviation = 1.0
    return Feature(name, median, mean, deviation, gaps)


def _why(table: Table, name: str) -> str:
    """Say why a column is of no use."""
    if _is_text(table, name):
        return "another text in each row" if len(table.columns[name].as_text().texts) > 1 else "one text in all rows"
    known = numbers(table, name)
    known = known[~np.isnan(known)]
    return "empty" if not known.size else "constant" if known.min() == known.max() else "the number of a row"


def _is_text(table: Table, name: str) -> bool:
    """Whether a column is of texts: most cells are, or a few texts and numbers are repeated."""
    column = table.columns[name].as_booleans()
    texts, count = np.count_nonzero(column.codes >= 0), np.count_nonzero(column.codes == -1)
    if not texts:
        return False
    _refuse_dates(table, name, column)
    if texts >= count:
        return True
    repeated = np.bincount(column.codes[column.codes >= 0]).min() >= 5
    return bool(repeated) and len(column.as_text().texts) <= _FEW


def _refuse_dates(table: Table, name: str, column: Column) -> None:
    dates = sum(_DATE.fullmatch(text) is not None for text in column.texts)
    if 2 * dates > len(column.texts):
        do = "make numbers of them, such as year, month and weekday, or remove the column"
        raise DataError(table.name, f"numbers or texts in column {name!r}", do, dates=repr(column.texts[0][:40]))


def _refuse_amounts(table: Table, name: str, column: Column) -> None:
    amounts = [text for text in column.texts if _AMOUNT.fullmatch(text)]
    if 2 * len(amounts) > len(column.texts):
        rule, do = f"plain numbers in column {name!r}, such as 1234.5", "leave out units, signs and spaces"
        raise DataError(table.name, rule, do, value=repr(amounts[0][:40]))


def _fill(out: np.ndarray, table: Table, feature: Feature) -> None:
    """Write the columns of one feature, zeros before."""
    column = table.columns[feature.name]
    if feature.values is None:
        found = numbers(table, feature.name)
        is_missing = np.isnan(found)
        scaled = (np.where(is_missing, feature.median, found) - feature.mean) / feature.deviation
        out[:, 0] = np.clip(scaled, -1e30, 1e30)
    else:
        column = column.as_text()
        place = {text: i for i, text in enumerate(feature.values)}
        places = np.asarray([*(place.get(text, -1) for text in column.texts), -1, -1], np.int64)[column.codes]
        is_missing = column.codes == -2
        hit = np.flatnonzero(places >= 0)
        out[hit, places[hit]] = 1
        unseen = (places < 0) & ~is_missing
        if unseen.any():
            first = column.texts[column.codes[np.argmax(unseen)]][:40]
            text = "%s: %s of %r not in the training data, such as %r: all its columns are 0"
            _log.warning(text, table.name, counted(int(np.count_nonzero(unseen)), "value"), feature.name, first)
    if feature.gaps:
        out[:, -1] = is_missing
