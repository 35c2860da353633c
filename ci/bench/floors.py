"""The least time that an op can take on a device.

    floor = max(FLOPs / rate of a large product, least bytes / bandwidth of a large copy)

Least bytes are those of each array that goes in or out, once. A cache keeps what is small, so an op on little data
may take less than its bytes say; but a launch takes some microseconds, so it seldom does.
"""

from __future__ import annotations

from typing import Any

BYTES = {"fp32": 4, "tf32": 4, "fp16": 2}  # of a number, between the layers


def floor_ms(flops: float, numbers: float, precision: str, ceilings: dict[str, Any]) -> float:
    """Milliseconds that some operations and some numbers, moved once each, take at the least.

    Args:
        flops: two a multiply-add.
        numbers: of the precision's width.
        ceilings: {"copy_gb_s", "gemm_tflop_s": {precision: ...}}, as workers/ceilings.py measures them.
    """
    compute = flops / (ceilings["gemm_tflop_s"][precision] * 1e12)
    move = numbers * BYTES[precision] / (ceilings["copy_gb_s"] * 1e9)
    return 1e3 * max(compute, move)


def with_floors(ops: list[dict[str, Any]], precision: str, ceilings: dict[str, Any]) -> list[dict[str, Any]]:
    """Add to each op its floors, forward and back, and how many times as long it took: "floor_ms" and "over"."""
    found = []
    for op in ops:
        # masters and momenta stay float32, and so does the loss
        kind = "fp32" if op["name"] in ("update", "loss") else precision
        floors = [floor_ms(f, n, kind, ceilings) for f, n in zip(op["flops"], op["numbers"], strict=True)]
        over = [ms / floor if floor else None for ms, floor in zip(op["ms"], floors, strict=True)]
        found.append({**op, "floor_ms": floors, "over": over})
    return found


def lines(ops: list[dict[str, Any]]) -> list[str]:
    """Say of each op what it took, what it must take at the least, and the ratio; forward, then back."""
    heads = ["op", "kind", "count", "forward ms", "floor", "ratio", "back ms", "floor", "ratio"]
    rows = [heads]
    for op in ops:
        row = [op["name"], op["kind"], str(op["count"])]
        for ms, floor, over in zip(op["ms"], op["floor_ms"], op["over"], strict=True):
            row += [f"{ms:.4f}", f"{floor:.4f}", "" if over is None else f"{over:.2f}x"]
        rows.append(row + [""] * (len(heads) - len(row)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    return ["  ".join(_column(i, *pair) for i, pair in enumerate(zip(r, widths, strict=True))).rstrip() for r in rows]


def _column(place: int, cell: str, width: int) -> str:
    return cell.ljust(width) if place < 2 else cell.rjust(width)
