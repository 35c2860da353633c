"""Products with matrices: Gemm, MatMul and Einsum."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from xpnet import ops
from xpnet.autograd import Tensor
from xpnet.errors import ConfigError, ShapeError
from xpnet.interop.onnx.registry import reads
from xpnet.interop.onnx.values import Value, is_host

__all__ = ["einsum", "gemm", "matmul"]


def _rows(node: Any, place: int, rank: int) -> tuple[int, ...] | None:
    """Weights are kept as (M, D), a row a neuron."""
    return (1, 0) if place == 1 and rank == 2 else None


def _gemm_rows(node: Any, place: int, rank: int) -> tuple[int, ...] | None:
    return None if node.attributes.get("transB", 0) else _rows(node, place, rank)


@reads("Gemm", parameters={1: "weight", 2: "bias"}, layout=_gemm_rows, kind="linear", family="linear")
def gemm(run: Any, node: Any, a: Any, b: Any, c: Any = None) -> Value:
    """Compute alpha * a @ b + beta * c."""
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    a, b = run.value(a), run.value(b)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise ShapeError(node.where, "matrices a and b", a=a.shape, b=b.shape)
    x = a.arranged((1, 0) if node.flag("transA") else None)
    w = b.arranged(None if node.flag("transB") else (1, 0))
    shift = None if c is None else run.tensor(c)
    fits = shift is not None and alpha == beta == 1.0 and tuple(shift.shape) == (w.shape[0],)
    y = run.apply(ops.linear, x, w, shift) if fits else run.apply(ops.linear, x, w)
    run.macs += math.prod(y.shape) * w.shape[1]
    y = y if alpha == 1.0 else run.apply(ops.multiply, y, alpha)
    if shift is None or fits or beta == 0.0:
        return Value(y)
    shift = shift if beta == 1.0 else run.apply(ops.multiply, shift, beta)
    if not (shift.ndim <= 2 and all(n in (1, m) for n, m in zip(shift.shape[::-1], y.shape[::-1], strict=False))):
        raise ShapeError(node.where, "c that broadcasts to a @ b", c=tuple(shift.shape), y=tuple(y.shape))
    return Value(run.apply(ops.add, y, shift))


@reads("MatMul", parameters={0: "weight0", 1: "weight"}, layout=_rows, kind="linear", family="linear")
def matmul(run: Any, node: Any, a: Any, b: Any) -> Any:
    """Multiply matrices, stacks of them, or vectors."""
    if is_host(a) and is_host(b) and a.dtype.kind != "f" and b.dtype.kind != "f":
        if not a.ndim or not b.ndim:
            raise ShapeError(node.where, "matrices or vectors", a=a.shape, b=b.shape)
        run.claim((*a.shape[:-1], *b.shape[:-2], *b.shape[-1:]))
        return np.matmul(a, b)
    a, b = run.value(a), run.value(b)
    ranks = a.tensor.ndim, b.tensor.ndim
    if 0 in ranks:
        raise ShapeError(node.where, "matrices or vectors", a=a.shape, b=b.shape)
    if ranks[1] == 2 and b.order == (1, 0) and ranks[0] >= 2:
        y = run.apply(ops.linear, a.arranged(None), b.tensor)
        run.macs += math.prod(y.shape) * b.tensor.shape[1]
        return Value(y)
    x = a.arranged(None).reshape(1, *a.shape) if ranks[0] == 1 else a.arranged(None)
    w = b.arranged(None).reshape(*b.shape, 1) if ranks[1] == 1 else b.arranged(None)
    y = run.apply(ops.matmul, x, w)
    run.macs += math.prod(y.shape) * x.shape[-1]
    shape = y.shape
    if ranks[0] == 1:
        shape = (*shape[:-2], *shape[-1:])
    if ranks[1] == 1:
        shape = shape[:-1]
    return Value(y if shape == y.shape else y.reshape(*shape))


@reads("Einsum", 12, kind="einsum", family="linear")
def einsum(run: Any, node: Any, first: Any, *others: Any) -> Value:
    """Multiply values and sum over the letters that the result does not have, as numpy.einsum."""
    text = node.text("equation").replace(" ", "")
    left, arrow, right = text.partition("->")
    values = [run.tensor(v) for v in (first, *others)]
    names = left.split(",")
    if len(names) != len(values) or not re.fullmatch(r"[A-Za-z,.]*(->[A-Za-z.]*)?", text) or len(text) > 200:
        raise ConfigError(node.where, "an equation with a term for each input", equation=repr(text))
    spelled = [_spelled(node, name, t.ndim) for name, t in zip(names, values, strict=True)]
    dots = max((s[0] for s in spelled), key=len)
    terms = [s[1] for s in spelled]
    result = (
        right.replace("...", dots)
        if arrow
        else dots + "".join(c for c in sorted(set("".join(terms)) - set(dots)) if "".join(terms).count(c) == 1)
    )
    total, letters = _diagonal(node, values[0], terms[0])
    for i, (t, term) in enumerate(zip(values[1:], terms[1:], strict=True), 2):
        later = set("".join(terms[i:])) | set(result)
        total, letters = _product(run, node, (total, letters), _diagonal(node, t, term), later)
    if not set(result) <= set(letters) or len(set(result)) < len(result):
        raise ConfigError(node.where, "a result of letters of the terms", equation=repr(text))
    rest = tuple(i for i, c in enumerate(letters) if c not in result)
    total = run.apply(ops.sum, total, axis=rest) if rest else total
    letters = "".join(c for c in letters if c in result)
    return Value(total.permute(*(letters.index(c) for c in result)))


def _spelled(node: Any, term: str, rank: int) -> tuple[str, str]:
    """Return what letters stand for the dots of a term, digits counted from the last, and the term with them."""
    free = rank - len(term.replace("...", ""))
    if free < 0 or (free and "..." not in term) or term.count(".") not in (0, 3) or free > 9:
        raise ShapeError(node.where, "a letter for each axis", term=repr(term), rank=rank)
    dots = "".join(str(i) for i in reversed(range(free)))
    return dots, term.replace("...", dots)


def _diagonal(node: Any, t: Tensor, term: str) -> tuple[Tensor, str]:
    """Take the diagonal of axes with one letter."""
    while len(set(term)) < len(term):
        letter = next(c for c in term if term.count(c) > 1)
        i = term.index(letter)
        j = term.index(letter, i + 1)
        n = t.shape[i]
        if t.shape[j] != n:
            raise ShapeError(node.where, "one size for each letter", term=term, x=tuple(t.shape))
        rest = [a for a in range(t.ndim) if a not in (i, j)]
        t = t.permute(*rest, i, j)
        t = t.reshape(*t.shape[:-2], n * n)[..., :: n + 1]
        term = "".join(term[a] for a in rest) + letter
    return t, term


def _product(run: Any, node: Any, a: tuple[Tensor, str], b: tuple[Tensor, str], later: set[str]) -> tuple[Tensor, str]:
    """Multiply two terms by one matrix product, summing over the letters that come no more."""
    (x, left), (y, right) = a, b
    both = [c for c in left if c in right]
    for c in both:
        n, m = x.shape[left.index(c)], y.shape[right.index(c)]
        if n != m:
            sizes = {c: n, f"{c}'": m}
            raise ShapeError(node.where, "one size for each letter", **sizes)
    batch, inner = [c for c in both if c in later], [c for c in both if c not in later]
    rows, columns = [c for c in left if c not in right], [c for c in right if c not in left]
    x = x.permute(*(left.index(c) for c in (*batch, *rows, *inner)))
    y = y.permute(*(right.index(c) for c in (*batch, *inner, *columns)))
    k, shape = len(batch), x.shape
    sizes = shape[:k], shape[k : k + len(rows)], y.shape[k + len(inner) :]
    x = x.reshape(*sizes[0], math.prod(sizes[1]), math.prod(shape[k + len(rows) :]))
    y = y.reshape(*sizes[0], x.shape[-1], math.prod(sizes[2]))
    z = run.apply(ops.matmul, x, y)
    run.macs += math.prod(z.shape) * x.shape[-1]
    return z.reshape(*sizes[0], *sizes[1], *sizes[2]), "".join((*batch, *rows, *columns))
