"""The records of a training, an epoch each: a list that shows itself as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.output import figure_text, figure_title, html_table

__all__ = ["History"]

_HEAD, _TAIL = 5, 20  # rows of a long table


class History(list[dict[str, Any]]):
    """What Trainer.fit returns: a list of {epoch, train_loss, ..., seconds}, with a table as its repr."""

    hide_table: Callable[[], None] | None = (
        None  # hides the same table, which a notebook shows as progress in this cell
    )

    def __getstate__(self) -> None:
        """Keep the records alone in a copy."""

    def _table(self) -> list[list[str]]:
        """Write a heading and a row a record; of many, the first and the last."""
        names = list(dict.fromkeys(name for record in self for name in record))
        rows = [[figure_text(name, record.get(name)) for name in names] for record in self]
        if len(rows) > _HEAD + _TAIL:
            rows = [*rows[:_HEAD], ["..."] * len(names), *rows[-_TAIL:]]
        return [[figure_title(name) for name in names], *rows]

    def __repr__(self) -> str:
        rows = self._table()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(lines) if self else "History: no epoch is done"

    def _repr_html_(self) -> str:
        if self.hide_table is not None:
            self.hide_table()
        head, *rows = self._table()
        return html_table(head, rows, numbers=range(len(head)))
