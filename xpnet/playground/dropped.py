"""Points from a file that was dropped on the page."""

from __future__ import annotations

import csv
import math
from typing import Any

import numpy as np

from xpnet.errors import DataError
from xpnet.playground.settings import MOST_CLASSES, MOST_POINTS

__all__ = ["read_points"]

_SPREAD = 1.4  # the standard deviation of each coordinate, as shown


def read_points(text: str) -> tuple[list[list[Any]], str]:
    """Read points from CSV: x, y and a class in the first three columns, with or without a first row of names.

    The coordinates are standardized to fit the picture; of more than 500 rows, 500 evenly spaced ones are taken.

    Args:
        text: lines, separated by commas, semicolons or tabs.
    Returns:
        Points as Settings takes them, and a line about what was left out and which classes have which numbers, or "".
    Raises:
        DataError: there are no such rows, one is not of two numbers and a class, or there are too many classes.
    """
    first = text.lstrip("\ufeff").partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        rows = [
            row
            for row in csv.reader(text.lstrip("\ufeff").splitlines(), delimiter=separator)
            if any(map(str.strip, row))
        ]
    except csv.Error as error:
        raise DataError.event("CSV file", "it cannot be read", error=str(error)) from None
    if rows and _numbers(rows[0]) is None:
        rows = rows[1:]
    found = [(_numbers(row), row[2].strip() if len(row) > 2 else "") for row in rows]
    for number, (xy, name) in enumerate(found, 1):
        if xy is None or not name:
            raise DataError("CSV file", "rows of x, y, class", row=number, content=",".join(rows[number - 1])[:60])
    names = sorted({name for _, name in found}, key=lambda name: (len(name), name))
    if len(found) < 2 or len(names) > MOST_CLASSES:
        raise DataError(
            "CSV file", f"2 rows or more, of at most {MOST_CLASSES} classes", rows=len(found), classes=len(names)
        )
    xy = np.asarray([pair for pair, _ in found], np.float64)  # (N, 2)
    scale = xy.std(axis=0)
    xy = np.clip((xy - xy.mean(axis=0)) / np.where(scale > 0, scale, 1.0) * _SPREAD, -4, 4)
    taken = np.unique(np.linspace(0, len(xy) - 1, min(len(xy), MOST_POINTS)).round().astype(int))
    points = [[round(float(xy[i, 0]), 2), round(float(xy[i, 1]), 2), names.index(found[i][1])] for i in taken]
    notes = [f"{len(taken)} of {len(xy):,} rows are taken, evenly spaced"] if len(taken) < len(xy) else []
    if names != [str(k) for k in range(len(names))]:
        notes += ["classes: " + ", ".join(f"{name[:20]} is {k}" for k, name in enumerate(names))]
    return points, "; ".join(notes)


def _numbers(row: list[str]) -> tuple[float, float] | None:
    try:
        x, y = float(row[0]), float(row[1])
    except (ValueError, IndexError):
        return None
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None
