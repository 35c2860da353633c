"""Tables: named columns of numbers and text, read from a .csv or .parquet file or from a frame of pandas or polars."""

from __future__ import annotations

import csv
import importlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BufferedReader
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data.arrays import host
from xpnet.data.cells import Cells, number
from xpnet.data.dataset import read_rows
from xpnet.data.opening import check_expansion, disk_size, open_file
from xpnet.errors import DataError
from xpnet.output import counted

__all__ = ["TABLES", "Column", "Table", "read_table"]

TABLES = (".csv", ".tsv", ".parquet")  # the suffixes of files that hold a table
_MOST_ROWS, _MOST_COLUMNS = 1 << 24, 10_000
_LONGEST = 1 << 22  # characters of a line
_SAMPLE = 1 << 16  # characters from which the separator is inferred
_ROWS = 4096  # parsed at a time


@dataclass(frozen=True, eq=False)
class Column:
    """One column; each cell is a number, a text or missing.

    Args:
        numbers: float64, (N,); NaN where the cell is no number.
        codes: int32, (N,): the place of a cell's text in texts; -1 where it is a number, -2 where it is missing.
        texts: the different texts.
    """

    numbers: np.ndarray
    codes: np.ndarray
    texts: tuple[str, ...] = ()

    def as_text(self) -> Column:
        """Return the same column with its numbers written as text: 3 and 3.0 as "3"."""
        is_number = self.codes == -1
        if not is_number.any():
            return self
        values, inverse = np.unique(self.numbers[is_number], return_inverse=True)
        known = {text: code for code, text in enumerate(self.texts)}
        places = [known.setdefault(format(v, ".12g"), len(known)) for v in values.tolist()]
        codes = self.codes.copy()
        codes[is_number] = np.asarray(places, np.int32)[inverse]
        return Column(np.full(len(codes), np.nan), codes, tuple(known))

    def as_booleans(self) -> Column:
        """Return a column of the words true and false as 1 and 0, others as they are."""
        words = [text.lower() for text in self.texts]
        if not words or not set(words) <= {"true", "false"} or (self.codes == -1).any():
            return self
        values = np.asarray([word == "true" for word in words] + [np.nan], np.float64)  # a missing cell: the last
        return Column(values[np.maximum(self.codes, -1)], np.where(self.codes >= 0, -1, self.codes).astype(np.int32))


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Named columns of the same N rows.

    Args:
        name: of the file, in messages.
        columns: by name.
        lines: the line of each row in its file, (N,), or its number.
        row: what the lines are called in messages, "line" or "row".
    """

    name: str
    columns: Mapping[str, Column]
    lines: np.ndarray
    row: str = "line"

    def __len__(self) -> int:
        return len(self.lines)

    def __repr__(self) -> str:
        return f"<Table {self.name}: {counted(len(self), 'row')} of {', '.join(self.columns)}>"

    def take(self, rows: Any) -> Table:
        """Copy rows by their numbers, 0..N-1, or by a mask of N booleans.

        Raises:
            ConfigError: they are neither.
        """
        rows = read_rows("Table.take", rows, len(self))
        found = {name: replace(c, numbers=c.numbers[rows], codes=c.codes[rows]) for name, c in self.columns.items()}
        return replace(self, columns=found, lines=self.lines[rows])

    def place(self, row: Any) -> dict[str, int]:
        """Return where a row is, for messages."""
        return {self.row: int(self.lines[row])}


def read_table(source: Any) -> Table:
    """Read a table; one that was read already is returned as it is.

    A .csv file is UTF-8 text whose first line names the columns; they are separated by commas, semicolons or tabs, and
    may be quoted. Cells that are empty, NA, NaN, null or ? are missing. Commas in numbers group thousands, 1,234.5.
    Where semicolons or tabs separate the cells, commas are decimal points, 1.234,5, unless a cell of the column shows
    that they group thousands.

    Args:
        source: the path of a .csv, .tsv or .parquet file; a Table; a frame of pandas, polars or pyarrow; or a
            dictionary of columns, lists or arrays.
    Raises:
        DataError: the file is missing, of another format or longer than 16 million rows, a line has other cells than
            the first one, two columns have one name, or .parquet cannot be read here.
    Cost: 12 bytes a cell, and the different texts.
    """
    if isinstance(source, Table):
        return source
    if not isinstance(source, str | os.PathLike):
        return _of_frame("table", source)
    path = arguments.path("read_table", "source", source)
    where = str(path)
    with open_file(path) as file:
        check_expansion(where, os.fstat(file.fileno()).st_size, disk_size(file))
        if path.suffix.lower() == ".parquet":
            return _read_parquet(where)
        try:
            return _read_csv(file, where)
        except UnicodeDecodeError as error:
            do = "save it as CSV UTF-8"
            raise DataError(where, "text in UTF-8", do, byte=hex(error.object[error.start])) from error
        except csv.Error as error:
            raise DataError.event(where, "cannot read the table", error=error) from error


def _read_csv(file: BufferedReader, where: str) -> Table:
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    sample = text.read(_SAMPLE)
    if "\0" in sample or not sample.strip():
        raise DataError(where, "a table in text", "save it as CSV UTF-8", file="empty" if not sample else "of bytes")
    separator = _separator(sample)
    text.seek(0)
    reader = csv.reader(_lines(text, where), delimiter=separator, strict=False)
    names = _header(next((row for row in reader if row), []), where)
    columns = [Cells(where, name, separator != ",") for name in names]
    lines: list[int] = []
    rows: list[list[str]] = []
    for row in reader:
        if not any(cell.strip() for cell in row) and len(row) != len(names):
            continue  # an empty line
        if len(row) != len(names):
            got = {"line": reader.line_num, "cells": len(row)}
            raise DataError(where, f"{counted(len(names), 'cell')} in each line, as in the first", **got)
        rows.append(row)
        lines.append(reader.line_num)
        if len(rows) == _ROWS:
            _grow(columns, rows)
        if len(lines) > _MOST_ROWS:
            raise DataError(where, f"at most {_MOST_ROWS:,} rows", "split the file")
    _grow(columns, rows)
    if not lines:
        raise DataError(where, "rows below the names of the columns", rows=0)
    return Table(where, {column.name: Column(*column.done()) for column in columns}, np.asarray(lines))


def _lines(text: io.TextIOWrapper, where: str) -> Iterator[str]:
    while line := text.readline(_LONGEST):
        if len(line) == _LONGEST:
            rule, do = f"lines of fewer than {_LONGEST:,} characters", "is it a table?"
            raise DataError(where, rule, do, line=arguments.shown(line[:40]))
        yield line


def _separator(sample: str) -> str:
    """Return the separator that splits the first lines into the most cells, as many in each."""
    lines = sample.splitlines(keepends=True)
    lines = lines[:-1] if len(sample) == _SAMPLE and len(lines) > 1 else lines
    best, most = ",", 1
    for separator in ",;\t":
        counts = [len(row) for row in csv.reader(lines[:100], delimiter=separator) if row]
        alike = min(counts, default=0) if len(set(counts)) == 1 else min(counts[:1], default=0) / 2
        if alike > most:
            best, most = separator, alike
    return best


def _header(cells: Sequence[str], where: str) -> list[str]:
    """Return the names of the columns; DataError where the first line holds values."""
    names = [cell.strip() for cell in cells]
    numbers = [name for name in names if number(name) is not None]
    do = "put a line with the names of the columns first"
    if len(names) < 2:
        raise DataError(where, "at least 2 columns, separated by commas, semicolons or tabs", columns=len(names))
    if 2 * len(numbers) >= len(names):
        raise DataError(where, "names of columns in the first line", do, first=", ".join(names[:5]))
    return check_names(where, names)


def check_names(where: str, names: Sequence[str]) -> list[str]:
    """Return the names of columns, "column 1" for one without; DataError where two are the same, or there are many."""
    names = [name or f"column {i}" for i, name in enumerate(names, 1)]
    if len(names) > _MOST_COLUMNS:
        raise DataError(where, f"at most {_MOST_COLUMNS:,} columns", columns=len(names))
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise DataError(where, "names of columns that differ", "rename one", name=repr(twice))
    return names


def _grow(columns: Sequence[Cells], rows: list[list[str]]) -> None:
    for column, cells in zip(columns, zip(*rows, strict=True), strict=rows != []):
        column.add(cells)
    rows.clear()


def _read_parquet(where: str) -> Table:
    for module, reader in (("pyarrow.parquet", "read_table"), ("pandas", "read_parquet")):
        try:
            read = getattr(importlib.import_module(module), reader)
        except ImportError:
            continue
        try:
            frame = read(where)
        except Exception as error:  # of the library, for any damage
            raise DataError.event(where, "cannot read the .parquet file", error=error) from error
        return _of_frame(where, frame)
    do = "pip install pyarrow, or save the table as .csv"
    raise DataError.event(where, "a .parquet file is read by pyarrow or pandas, which are not installed", do)


def _of_frame(where: str, frame: Any) -> Table:
    """Read a dictionary of columns, or a frame: an object with names, and columns that have a to_numpy."""
    try:
        keys = list(frame if isinstance(frame, Mapping) else getattr(frame, "column_names", None) or frame.columns)
        arrays = [_cells(frame[key]) for key in keys]
    except Exception as error:  # whatever it is, it is no frame
        do = "give a path, a frame of pandas or polars, or a dictionary of columns"
        raise DataError("read_table", "a table", do, source=arguments.shown(frame)) from error
    names = check_names(where, [str(key) for key in keys])
    if any(len(cells) != len(arrays[0]) for cells in arrays):
        raise DataError(where, "columns of one length", rows=", ".join(str(len(cells)) for cells in arrays[:8]))
    if not arrays or len(arrays[0]) == 0:
        raise DataError(where, "columns with rows", columns=", ".join(names[:8]) or "none", rows=0)
    columns = {name: _of_array(where, name, a) for name, a in zip(names, arrays, strict=True)}
    return Table(where, columns, np.arange(1, len(arrays[0]) + 1), "row")


def _cells(column: Any) -> np.ndarray:
    """Return a column as an array (N,)."""
    cells = column.to_numpy() if hasattr(column, "to_numpy") else column
    if isinstance(cells, list | tuple):  # words and numbers stay what they are
        cells = np.asarray(cells, None if len({type(cell) for cell in cells}) == 1 else object)
    cells = host("read_table", cells)
    if cells.ndim != 1:
        raise DataError("read_table", "columns (N,)", shape=cells.shape)
    return cells


def _of_array(where: str, name: str, values: np.ndarray) -> Column:
    if values.dtype.kind == "b":
        return Column(np.full(len(values), np.nan), values.astype(np.int32), ("False", "True"))
    if values.dtype.kind in "uif":
        numbers = values.astype(np.float64)
        if np.isinf(numbers).any():
            raise DataError(where, "finite numbers", column=repr(name), row=int(np.argmax(np.isinf(numbers))) + 1)
        return Column(numbers, np.where(np.isnan(numbers), -2, -1).astype(np.int32))
    cells = Cells(where, name)
    cells.add(["" if _is_missing(v) else str(v) for v in values.tolist()] if values.dtype.kind != "M" else
                np.datetime_as_string(values, "D").tolist())  # fmt: skip
    return Column(*cells.done())


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value
