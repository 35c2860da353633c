"""The rows of a table as a data set that can be split before its columns are measured on the training part.

rows = table_rows("iris.csv", "species")          # x is the number of a row
train, test = rows.hold_out_fifth("table/test", stratified=True)
train, test = fitted(train, test)                 # x is the columns, as measured on train
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpnet.data.columns import Columns
from xpnet.data.dataset import Dataset
from xpnet.data.splits import Splits
from xpnet.data.table import Table, read_table
from xpnet.data.table_target import Target

__all__ = ["fitted", "table_rows"]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Where the rows of a split are from."""

    table: Table
    target: Target


def table_rows(source: Any, target: str | None, task: str | None = None) -> Dataset:
    """Return the rows of a table, to be split and then given to fitted.

    Args:
        source: as for read_table.
        target, task: as for Target.of.
    Raises:
        DataError: as for read_table and Target.of. ConfigError: the target is no column.
    """
    table = read_table(source)
    found = Target.of(table, target, task)
    numbers = np.arange(len(table), dtype=np.float32)[:, np.newaxis]  # exact: a table has at most 2**24 rows
    return Dataset(numbers, found.read(table), found.labels, table.name, 1.0, source=_Rows(table, found))


def fitted(parts: Splits, validation: Any = None, columns: Columns | None = None) -> Splits:
    """Return the parts of a split table with their columns measured on the training part; other parts as they are.

    Args:
        parts: of table_rows.
        validation: another table, in the place of the validation part.
        columns: that were measured before, in the place of the training part's.
    """
    if not isinstance(parts.train.source, _Rows):
        return parts
    table, target = parts.train.source.table, parts.train.source.target
    columns = columns or Columns.fit(table, target, _numbers(parts.train))
    if columns.target is None:  # of another run, which learned another target
        columns = replace(columns, target=target)
    train = columns.dataset(table.take(_numbers(parts.train)))
    held, test = (part and columns.dataset(table.take(_numbers(part))) for part in parts[1:3])
    held = held if validation is None else columns.dataset(validation)
    note = (*parts.note, target.describe(), *columns.notes())
    return parts._replace(train=train, validation=held, test=test, note=note)


def _numbers(part: Dataset) -> np.ndarray:
    return np.asarray(part.x)[:, 0].astype(np.int64)
