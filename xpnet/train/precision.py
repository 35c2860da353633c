"""In which precision a step computes: fp32, tf32 or fp16.

fp16 is mixed precision. The optimizer keeps its parameters, the masters, in float32. The forward and backward pass of a
step use float16 copies of them, and all between the inputs and the scores is float16; the loss, the update and the
running averages of batch norm are float32. The loss is scaled, so that small gradients do not vanish; see
optim.LossScale.

Evaluation and prediction compute in float32 with the masters, which are also what a checkpoint holds: a model's figures
are the same on every backend, in whatever precision it was trained.

tf32 and fp16 are made for the tensor cores of a GPU. On a CPU fp16 gives the same to rounding, and is slow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from xpnet import ops
from xpnet.autograd import Tensor, apply, backward
from xpnet.backend import PRECISIONS, Array, Backend, current_precision, namespace, use_precision
from xpnet.data import several
from xpnet.errors import ConfigError, nearest
from xpnet.nn import Module
from xpnet.ops.checks import is_floating
from xpnet.optim import LossScale, Optimizer

__all__ = ["Precision", "check_precision", "input_dtype"]

_AS_IS = contextlib.nullcontext()

_NEEDS = {
    "fp32": "a backend",
    "tf32": "a CUDA GPU with tensor cores, of compute capability 8.0 or later",
    "fp16": "a backend with float16 numbers; a CUDA GPU is of compute capability 7.0 or later",
}


def check_precision(name: str, backend: Backend | None = None) -> None:
    """Check that a precision exists, and that a backend computes in it.

    Raises:
        ConfigError: it does not.
    """
    if name not in PRECISIONS:
        raise ConfigError("precision", "the name of a precision", nearest(str(name), PRECISIONS), precision=repr(name))
    if backend is not None and name not in backend.precisions:
        computes = f"{backend.spec}, which computes in {' and '.join(backend.precisions)}"
        do = "use precision='fp32'"
        raise ConfigError("precision", f"{_NEEDS[name]} for {name}", do, precision=name, backend=computes)


def input_dtype(model: Module, precision: str = "fp32") -> str:
    """Return the dtype of a model's inputs: its own, and float16 for the steps of precision fp16."""
    state = next(iter(model.states().values()), None)
    return "float16" if precision == "fp16" else "float32" if state is None else state.dtype_


class Precision:
    """What depends on the precision in a step.

    Args:
        name: "fp32", "tf32" or "fp16".
        model: what is trained.
        optimizer: of the model's parameters; for fp16 it gets a loss scale, unless it has one.
    Raises:
        ConfigError: the model's backend does not compute in it.
    """

    def __init__(self, name: str, model: Module, optimizer: Optimizer) -> None:
        check_precision(name, model.backend)
        self.name = name
        self.half = name == "fp16"
        self.model = model
        self.optimizer = optimizer
        optimizer.scaling = (optimizer.scaling or LossScale(model.backend)) if self.half else None

    def computing(self) -> contextlib.AbstractContextManager[None]:
        """Compute in this precision within a with-block; the model's parameters are float16 there for fp16."""
        if self.half:
            return self._computing_in_half()
        return _AS_IS if current_precision() == self.name else use_precision(self.name)

    @contextlib.contextmanager
    def _computing_in_half(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(use_precision(self.name))
            stack.enter_context(self.optimizer.cast("float16"))
            trained = set(self.optimizer.parameters)
            for p in self.model.parameters():
                if p not in trained:
                    stack.callback(setattr, p, "data", p.data)
                    p.data = _lowered(p.data)
            yield

    def inputs(self, x: Any) -> Any:
        """Bring examples to the dtype that the model computes in; those that are no floating numbers stay."""
        if not self.half:
            return x
        return several.like(x, [_lowered(array) if is_floating(array) else array for array in several.each(x)])

    def scores(self, scores: Tensor) -> Tensor:
        """Bring scores to the dtype that the loss is computed in."""
        return apply(ops.cast, scores, "float32") if self.half else scores

    def backward(self, loss: Tensor, share: float = 1.0) -> dict[Tensor, Array]:
        """Run the backward pass from a loss; for fp16 the gradients are scaled, as the optimizer's update expects.

        Args:
            loss: one number.
            share: how much it weighs, where the batch's loss is a sum of several.
        """
        scaling, dy = self.optimizer.scaling, None
        if scaling is not None:
            dy = ops.reshape(scaling.value, tuple(loss.shape))[0] * share
        elif share != 1.0:
            dy = namespace(loss.data).full(loss.shape, share, dtype=loss.dtype, device=loss.data.device)
        return backward(loss, dy)

    def plain(self, gradients: dict[Tensor, Array]) -> dict[Tensor, Array]:
        """Return the gradients of the unscaled loss in float32, for gradient hooks."""
        scaling = self.optimizer.scaling
        if scaling is None:
            return gradients
        xp, factor = namespace(scaling.value), 1.0 / scaling.value
        return {p: xp.astype(g, xp.float32) * factor for p, g in gradients.items()}


def _lowered(x: Array) -> Array:
    xp = namespace(x)
    return xp.astype(x, xp.float16, copy=False)
