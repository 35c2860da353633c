"""An optimizer's update on CUDA: a launch for every 96 parameters, and two more where gradients are measured first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet.kernels import register
from xpnet.kernels.cuda import driver

__all__ = ["update"]

_ROWS, _EACH, _THREADS = 96, 8, 256  # as in update.cu; threads of a block
_ROW = np.dtype([("gradient", "u8"), ("start", "i8"), ("length", "i8"), ("age", "i4"), ("first", "i4")])
_TABLE = np.dtype([("row", _ROW, _ROWS)])
_STEP = np.dtype(
    [
        *((name, "u8") for name in ("value", "first", "second", "lr", "since", "skipped")),
        *((name, "f8") for name in ("rate", "decay", "bound")),
        ("c", "f8", 5),
        ("rows", "i8"),
        ("decoupled", "i8"),
    ]
)
_FORMULAS = ("sgd", "rmsprop", "adagrad", "adam")


@register("update", "cuda", recordable=True)
def update(value: Any, work: Any) -> Any:
    """Update the flat array of the parameters and its states in place, as optim.Optimizer does by its rule.

    Args:
        value: the parameters, (size,), float32 or float64.
        work: an optim.formula.Update.
    """
    given = [(g, *bounds, age) for g, bounds, age in zip(work.gradients, work.bounds, work.ages, strict=True)]
    given = [row for row in given if row[0] is not None and row[0].size]
    kinds = {np.dtype(g.dtype).name for g, *_ in given}
    own, scaling = np.dtype(value.dtype).name, work.scaling
    masters = {"float32": "float32", "float16": "float32", "float64": "float64"}
    if len(kinds) > 1 or work.formula not in _FORMULAS:
        return NotImplemented
    if masters.get(kind := next(iter(kinds), own)) != own or (scaling is not None and own != "float32"):
        return NotImplemented
    rows = [(driver.contiguous(g), start, stop - start, age) for g, start, stop, age in given]
    tables = [_table(rows[i : i + _ROWS]) for i in range(0, len(rows), _ROWS)]
    control = None
    if scaling is not None or work.clip_norm is not None:
        control = _prepared(kind, own, tables, work.clip_norm, scaling)
    step = _step(value, work)
    for table, count, blocks in tables:
        step["rows"] = count
        driver.blocks("update", work.formula, kind, blocks, table, step.copy(), control, threads=_THREADS)
    return True


def _table(rows: list[tuple[Any, int, int, int]]) -> tuple[np.ndarray, int, int]:
    """Lay rows into a table; also how many there are, and how many blocks work on them."""
    pointer, table, first = driver.current().pointer, np.zeros(1, _TABLE), 0
    for i, (g, start, length, age) in enumerate(rows):
        table["row"][0, i] = (pointer(g), start, length, age, first)
        first += -(-length // (_EACH * _THREADS))
    return table, len(rows), first


def _prepared(kind: str, own: str, tables: list[Any], clip_norm: float | None, scaling: Any) -> Any:
    """Measure the gradients, renew the loss scale, and return what an update then needs to know, on the device."""
    total = sum(blocks for _, _, blocks in tables)
    squares, bad = driver.empty((total,), own), driver.empty((total,), own)
    scale, base = None if scaling is None else scaling.value, 0
    for table, count, blocks in tables:
        rows = (table, count, base)
        driver.blocks("update", "gradient_sums", kind, blocks, *rows, scale, squares, bad, threads=_THREADS)
        base += blocks
    control = driver.empty((2,), own)
    state = (None, None, None) if scaling is None else (scaling.value, scaling.good, scaling.skipped)
    bounds = (1.0, 1.0, 1) if scaling is None else (float(scaling.LEAST), float(scaling.MOST), scaling.PATIENCE)
    limit = float(clip_norm or 0.0)
    sums = (squares, bad, total)
    driver.blocks("update", "prepare_gradients", kind, 1, *sums, limit, control, *state, *bounds, threads=1024)
    return control


def _step(value: Any, work: Any) -> np.ndarray:
    """Write down the numbers of a step, and where its arrays are."""
    pointer, step = driver.current().pointer, np.zeros(1, _STEP)
    for name, array in zip(("first", "second"), work.states, strict=False):
        step[name] = pointer(array)
    on_device = not isinstance(work.lr, float | int)
    step["value"], step["since"] = pointer(value), 0 if work.since is None else pointer(work.since)
    step["lr"], step["rate"] = (pointer(work.lr), 0.0) if on_device else (0, work.lr)
    step["skipped"] = 0 if work.scaling is None else pointer(work.scaling.skipped)
    step["decay"], step["decoupled"], step["bound"] = work.decay, work.decoupled, work.clip_value or 0.0
    constants = list(work.constants)
    if work.formula == "adam":
        constants += [math.log(beta) if beta else -math.inf for beta in work.constants[:2]]
    step["c"][0, : len(constants)] = constants
    return step
