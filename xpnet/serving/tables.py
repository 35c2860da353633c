"""Rows of JSON as a table: what a file of the same cells would be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data.table import Table, read_table
from xpnet.errors import DataError
from xpnet.output import counted

__all__ = ["table_of"]


def table_of(rows: list[Any], names: Sequence[str]) -> Table:
    """Return rows as a table, whose cells are read as those of a .csv file are: null is a missing one.

    Args:
        rows: objects by the name of a column, each with the same names; or lists, in the order of names.
        names: of the columns of the run.
    Raises:
        DataError: rows differ in their columns, or a cell holds neither a number nor a text.
    """
    first = rows[0]
    if isinstance(first, dict):
        names = list(first)
    elif not isinstance(first, list):
        raise DataError("rows", "objects by the name of a column, or lists", row=arguments.shown(first))
    cells = np.empty((len(rows), len(names)), object)
    for i, row in enumerate(rows):
        cells[i] = _cells(i + 1, row, names, type(first))
    return read_table({name: cells[:, j] for j, name in enumerate(names)})


def _cells(number: int, row: Any, names: Sequence[str], kind: type) -> list[Any]:
    """Return the cells of a row in the order of names."""
    if not isinstance(row, kind):
        raise DataError("rows", "rows that are all objects, or all lists", row=number)
    if kind is list:
        if len(row) != len(names):
            columns = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            raise DataError("rows", f"{counted(len(names), 'cell')} in a row: {columns}", row=number, cells=len(row))
        found = row
    else:
        if odd := set(row).symmetric_difference(names):
            do = "give null where a value is missing"
            raise DataError("rows", "the columns of the first row in each", do, row=number, column=repr(min(odd)))
        found = [row[name] for name in names]
    for name, cell in zip(names, found, strict=True):
        if not isinstance(cell, str | int | float | None):
            raise DataError("rows", "cells that are numbers, texts or null", row=number, column=repr(name))
    return found
