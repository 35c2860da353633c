"""The cells of a table's column: which are numbers, as people and programs write them, and which are missing."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["Cells", "number"]

_MISSING = frozenset(("", "na", "n/a", "#n/a", "nan", "null", "?"))  # cells without a value, in lower case
_LARGEST = 1e38  # of float32
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")  # 1,234 or 1,234,567.8
_DECIMAL = re.compile(r"[+-]?(\d*|[1-9]\d{0,2}(\.\d{3})+),\d+([eE][+-]?\d+)?|[+-]?[1-9]\d{0,2}(\.\d{3}){2,}")  # 1.234,5
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")  # 1.234, which is 1234 in a column of 1.234,5

_log = logging.getLogger("xpnet")


def number(cell: str) -> float | None:
    """Return the number in a cell, NaN where the cell is missing, None where it holds a text."""
    try:
        value = float(cell)
    except ValueError:
        return np.nan if cell.lower() in _MISSING else None
    if abs(value) < _LARGEST and "_" not in cell:
        return value
    return np.nan if value != value and cell.lower() in _MISSING else None


class Cells:
    """A column while its table is read.

    In numbers, commas group thousands: 1,234 is 1234. Where decimal is set, a comma is the decimal point, unless some
    cell of the column shows that commas group thousands, such as 1,234,567 or 1,234.50.

    Args:
        where, name: the table and the column, for messages.
        decimal: whether commas may be decimal points: they do not separate the cells.
    """

    def __init__(self, where: str, name: str, decimal: bool = False) -> None:
        self.where, self.name, self.decimal = where, name, decimal
        self._numbers: list[np.ndarray] = []
        self._codes: list[np.ndarray] = []
        self._known: dict[str, int] = {}

    def add(self, cells: Sequence[str]) -> None:
        """Add the next cells."""
        numbers = np.empty(len(cells))
        codes = np.full(len(cells), -1, np.int32)
        for i, cell in enumerate(cells):
            cell = cell.strip()
            value = None if self.decimal and _EITHER.fullmatch(cell) else number(cell)
            numbers[i] = np.nan if value is None else value
            if value is None:
                codes[i] = self._known.setdefault(cell, len(self._known))
            elif value != value:
                codes[i] = -2
        self._numbers.append(numbers)
        self._codes.append(codes)

    def done(self) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        """Return numbers, codes and texts, as a Column holds them."""
        numbers, codes = np.concatenate(self._numbers), np.concatenate(self._codes)
        values = self._with_commas()
        if not values:
            return numbers, codes, tuple(self._known)
        texts = tuple(text for text in self._known if text not in values)
        place = {text: code for code, text in enumerate(texts)}
        known = np.asarray([values.get(text, np.nan) for text in self._known])
        renumbered = np.asarray([place.get(text, -1) for text in self._known], np.int32)
        is_text = codes >= 0
        numbers[is_text] = known[codes[is_text]]
        codes[is_text] = renumbered[codes[is_text]]
        return numbers, codes, texts

    def _with_commas(self) -> dict[str, float]:
        """Return the numbers of those texts that are numbers with commas."""
        either = {text for text in self._known if self.decimal and _EITHER.fullmatch(text)}
        plain = {text: float(text) for text in either}
        grouped = {text for text in self._known if _GROUPED.fullmatch(text)}
        decimal = {text for text in self._known if _DECIMAL.fullmatch(text)}
        if not grouped and not (decimal and self.decimal):
            return plain
        if grouped <= decimal and self.decimal:
            if grouped and grouped == decimal:
                text = "%s: %r in column %r is read as %s; if its comma groups thousands, write it without"
                first = min(grouped)
                _log.warning(text, self.where, first, self.name, first.replace(",", "."))
            points = any("." in text for text in decimal)  # they group thousands
            return _read(decimal | either if points else decimal, ".", ",") | (plain if not points else {})
        return plain if decimal - grouped else plain | _read(grouped, ",", ".")  # both: they stay texts


def _read(texts: Iterable[str], group: str, point: str) -> dict[str, float]:
    return {text: float(text.replace(group, "").replace(point, ".")) for text in texts}
