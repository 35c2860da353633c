"""An optimizer's update on CUDA: a launch for every 96 parameters of a group, and two more to measure the gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet.kernels import register
from xpnet.kernels.cuda import driver

__all__ = ["update"]

_ROWS, _EACH, _THREADS = 96, 8, 256  # as in update.cu; threads of a block
_ROW = np.dtype([("gradient", "u8"), ("start", "i8"), ("length", "i8"), ("first", "i8")])
_TABLE = np.dtype([("row", _ROW, _ROWS)])
_STEP = np.dtype(
    [
        *((name, "u8") for name in ("value", "first", "second", "lr", "t", "skipped")),
        *((name, "f8") for name in ("rate", "decay", "bound")),
        ("c", "f8", 5),
        ("number", "i8"),
        ("rows", "i8"),
        ("decoupled", "i8"),
    ]
)
_RULES = ("sgd", "rmsprop", "adagrad", "adam")


@register("update", "cuda", recordable=True)
def update(value: Any, work: Any) -> Any:
    """Update parameters and state in place, as optim.update.update defines it.

    Args:
        value: the parameters, (size,), float32 or float64.
        work: an optim.update.Update.
    """
    segments = [s for s in work.segments if s.gradient.size]
    kinds = {np.dtype(s.gradient.dtype).name for s in segments}
    own, scaling = np.dtype(value.dtype).name, work.scaling
    masters = {"float32": "float32", "float16": "float32", "float64": "float64"}
    if len(kinds) > 1 or work.formula not in _RULES:
        return NotImplemented
    if masters.get(kind := next(iter(kinds), own)) != own or (scaling is not None and own != "float32"):
        return NotImplemented
    tables = []
    for group in range(len(work.rates)):
        rows = [(driver.contiguous(g), start, stop - start) for start, stop, g, of in segments if of == group]
        tables += [(group, *_table(rows[i : i + _ROWS])) for i in range(0, len(rows), _ROWS)]
    control = None
    if scaling is not None or work.clip_norm is not None:
        control = _prepared(kind, own, tables, work.clip_norm, scaling)
    for group, table, count, blocks in tables:
        step = _step(value, work, group)
        step["rows"] = count
        driver.blocks("update", work.formula, kind, blocks, table, step, control, threads=_THREADS)
    return None


def _table(rows: list[tuple[Any, int, int]]) -> tuple[np.ndarray, int, int]:
    """Return a table of rows (gradient, start, length), how many there are, and how many blocks work on them."""
    pointer, table, first = driver.current().pointer, np.zeros(1, _TABLE), 0
    for i, (g, start, length) in enumerate(rows):
        table["row"][0, i] = (pointer(g), start, length, first)
        first += -(-length // (_EACH * _THREADS))
    return table, len(rows), first


def _prepared(kind: str, own: str, tables: list[Any], clip_norm: float | None, scaling: Any) -> Any:
    """Measure the gradients, update the loss scale, and return the factor and the flag of update.cu's control."""
    total = sum(blocks for *_, blocks in tables)
    squares, bad = driver.empty((total,), own), driver.empty((total,), own)
    scale, base = None if scaling is None else scaling.value, 0
    for _, table, count, blocks in tables:
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


def _step(value: Any, work: Any, group: int) -> np.ndarray:
    """Return the numbers of a step for a group, and the addresses of its arrays."""
    pointer, step = driver.current().pointer, np.zeros(1, _STEP)
    for name, array in zip(("first", "second"), work.state.values(), strict=False):
        step[name] = pointer(array)
    lr, t = work.rates[group], work.t
    step["value"] = pointer(value)
    step["lr"], step["rate"] = (0, lr) if isinstance(lr, float | int) else (pointer(lr), 0.0)
    step["t"], step["number"] = (0, t) if isinstance(t, int) else (pointer(t), 0)
    step["skipped"] = 0 if work.scaling is None else pointer(work.scaling.skipped)
    step["decay"], step["decoupled"], step["bound"] = work.decays[group], work.decoupled, work.clip_value or 0.0
    constants = list(work.constants)
    if work.formula == "adam":
        constants += [math.log(beta) if beta else -math.inf for beta in work.constants[:2]]
    step["c"][0, : len(constants)] = constants
    return step
