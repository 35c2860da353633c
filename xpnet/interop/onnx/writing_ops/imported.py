"""Ops that only models read from ONNX files have, so that such a model can be exported again."""

from __future__ import annotations

from typing import Any

from xpnet.interop.graph import Value
from xpnet.interop.onnx import functions
from xpnet.interop.onnx.writer import Stored, Writer
from xpnet.interop.onnx.writing_ops.elementwise import unary
from xpnet.interop.onnx.writing_ops.registry import writes

__all__: list[str] = []


def _of_one(function: Any, op: str) -> None:
    @writes(function)
    def write(g: Writer, x: Value) -> Stored:
        return unary(g, op, x)


for _name, _function in {**functions.SMOOTH, **functions.ROUNDED, "erf": functions.erf}.items():
    _of_one(_function, _name.capitalize())


@writes(functions.power)
def power(g: Writer, a: Value, b: Value) -> Stored:
    """a ^ b."""
    return g.broadcast("Pow", a, b)


@writes(functions.divide_rest)
def divide_rest(g: Writer, a: Value, b: Value, *, truncated: bool) -> Stored:
    """What remains of a / b; of floating numbers ONNX has the one with the sign of a."""
    if truncated:
        return g.broadcast("Mod", a, b, fmod=1)
    whole = unary(g, "Floor", g.broadcast("Div", a, b))
    return g.broadcast("Sub", a, g.broadcast("Mul", whole, b))


@writes(functions.hard_steps)
def hard_steps(g: Writer, x: Value, *, low: float, high: float) -> Stored:
    """x outside of low .. high, else 0."""
    within = g.broadcast(
        "And",
        g.broadcast("GreaterOrEqual", x, float(low), dtype="bool"),
        g.broadcast("LessOrEqual", x, float(high), dtype="bool"),
    )
    return g.broadcast("Where", within, 0.0, x)


@writes(functions.take)
def take(g: Writer, x: Value, indices: Value, *, axis: int) -> Stored:
    """Gather along an axis."""
    stored = g.get(x)
    stored = g.plain(stored) if stored.columns is not None else stored
    name = g.node("Gather", stored.name, g.get(indices).name, axis=stored.at(axis))
    return g.result(name, stored.axes)


@writes(functions.cumulative_sum)
def cumulative_sum(g: Writer, x: Value, *, axis: int, reverse: bool) -> Stored:
    """CumSum along an axis."""
    stored = g.get(x)
    stored = g.plain(stored) if stored.columns is not None else stored
    place = g.constant(stored.at(axis), "int64")
    return g.like(g.node("CumSum", stored.name, place, reverse=int(reverse)), stored)
