"""The layers of a model whose forward is Python code: found by running it once on zeros."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from xpnet.autograd import Tensor, no_grad
from xpnet.data import several
from xpnet.errors import ConfigError, XpnetError
from xpnet.nn import Cost, Module, Stage, UnknownCostError
from xpnet.nn.context import inference, observe

__all__ = ["traced"]

Call = tuple[Module, Any, Any]  # module, its first input, its output


def traced(model: Module, shape: Any) -> tuple[list[Stage], tuple[str, ...]]:
    """Run a copy of a model in evaluation mode on one example of zeros, and list the layers it calls, in order.

    A layer within which no other is called is a stage; so is one that computes beside the layers it calls, or has
    parameters that none of them has.

    Args:
        model: whose forward is run.
        shape: of one example; or a tuple or dictionary of shapes, one for each input.
    Returns:
        The stages, and the names of those whose multiply-adds are not known: they define no cost.
    Raises:
        ShapeError: a layer cannot take its input. ConfigError: forward fails, or gives no Tensor.
    """
    model = copy.deepcopy(model)
    calls: list[Call] = []
    dtype = next((state.dtype_ for state in model.states().values()), "float32")
    each = shape.values() if isinstance(shape, dict) else shape if _is_several(shape) else [shape]
    inputs = [Tensor(model.backend.from_numpy(np.zeros((1, *sizes), dtype))) for sizes in each]
    try:
        with inference(), no_grad(), observe(lambda *call: calls.append(call)):
            y = several.call(model, several.like(shape if _is_several(shape) else None, inputs), lambda x: x)
    except XpnetError as error:
        if "inputs" not in error.got:
            raise
        rule = "shape with one for each input that forward takes"
        raise ConfigError("summary", rule, shape=shape, error=error.got["error"]) from error
    except Exception as error:
        what, do = "the model's forward fails on zeros", "define cost(shape), returning an nn.Cost, or stages(shape)"
        raise ConfigError.event("summary", what, do, shape=shape, error=f"{type(error).__name__}: {error}") from error
    if not isinstance(y, Tensor):
        raise ConfigError("summary", "a model that returns a Tensor", returned=f"of type {type(y).__name__}")
    given = {id(x) for x in inputs}
    return _stages([call for call in calls if isinstance(call[1], Tensor) and isinstance(call[2], Tensor)], given)


def _is_several(shape: Any) -> bool:
    return isinstance(shape, dict) or any(isinstance(sizes, tuple) for sizes in shape)


def _stages(calls: list[Call], given: set[int]) -> tuple[list[Stage], tuple[str, ...]]:
    stages: list[Stage] = []
    unknown: list[str] = []
    called, counted = {id(module) for module, _, _ in calls}, set()
    kept: dict[int, bool] = {}  # whether a tensor is among the numbers kept, by its identity
    for module, x, y in calls:
        outer = any(id(inner) in called for _, inner in module.modules() if inner is not module)
        own = {id(p) for p in module.parameters()} - counted
        if outer and not module.computes and not own:
            continue
        counted |= own
        try:
            cost = Cost(_one(y), 0, 0) if outer else module.cost(_one(x))
        except UnknownCostError:
            cost = Cost(_one(y), 0, 0)
        if cost.macs == cost.saved == 0 and (own or not outer) and type(module).cost is Module.cost:
            unknown.append(module.path or type(module).__name__)
        before = kept.get(id(x), False)
        twice = math.prod(_one(x)) if before and "x" in cost.keeps else 0
        kept[id(x)] = before or "x" in cost.keeps
        kept[id(y)] = "y" in cost.keeps or (kept[id(x)] and "=" in cost.keeps)
        stages.append(
            Stage(module.path, module, _one(x), cost, cost.saved - twice, kept[id(y)], of_input=id(x) in given)
        )
    return stages, tuple(dict.fromkeys(unknown))


def _one(t: Tensor) -> tuple[int, ...]:
    """Return the shape of one example."""
    return tuple(map(int, t.shape[1:]))
