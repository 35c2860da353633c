"""A module of PyTorch beside a model that has its weights: whether both give the same outputs for random inputs."""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

import numpy as np

from xpnet.errors import CheckpointError
from xpnet.interop.torch.comparing import DO
from xpnet.nn import Module

__all__ = ["verify"]

_log = logging.getLogger("xpnet")
_EXAMPLES = 2
_MOST = 1 << 24  # numbers of an example that is made for this


def verify(model: Module, theirs: Any, shape: tuple[int, ...], where: str) -> None:
    """Run both in evaluation mode on normal random numbers, and compare.

    Where PyTorch's forward fails on one batch of this shape, or gives no single tensor, nothing is compared and the log
    says so.

    Args:
        model: ours, with the weights of theirs.
        theirs: the torch.nn.Module; the mode of each of its layers stays.
        shape: of one example.
        where: the function, for messages.
    Raises:
        CheckpointError: the largest difference exceeds the square root of the machine epsilon times the largest output.
    """
    if math.prod(shape) > _MOST:
        _log.warning("%s: outputs are not compared: more than %s an example", where, f"{_MOST:,} numbers")
        return
    x = np.random.default_rng(0).standard_normal((_EXAMPLES, *shape)).astype(np.float32)
    found = _outputs(theirs, x, where)
    if found is None:
        return
    want, eps = found
    backend, dtype = model.backend, next(iter(model.states().values())).dtype_
    with backend.active():
        got = backend.to_numpy(model.predict(backend.from_numpy(x.astype(str(dtype))))).astype(np.float64)
    rule = "a model that computes what PyTorch's module does"
    if got.size != want.size:
        raise CheckpointError(where, rule, DO, outputs=got.shape, PyTorch=want.shape)
    got, eps = got.reshape(want.shape), max(eps, float(np.finfo(str(dtype)).eps))
    difference = np.abs(got - want)[np.isfinite(want)].max(initial=0.0)
    most = np.abs(want)[np.isfinite(want)].max(initial=0.0)
    if (np.isfinite(got) != np.isfinite(want)).any() or difference > eps**0.5 * most:
        what = "for random inputs, the outputs differ from PyTorch's"
        do = f"compare what both compute, and in which order images are flattened; or {DO}"
        figures = {"largest difference": f"{difference:.3g}", "largest output": f"{most:.3g}"}
        raise CheckpointError.event(where, what, do, **figures)


def _outputs(theirs: Any, x: np.ndarray, where: str) -> tuple[np.ndarray, float] | None:
    """Return what a module of PyTorch gives, channels last, and the machine epsilon of its dtype."""
    torch = sys.modules["torch"]
    like = next(t for t in (*theirs.parameters(), *theirs.buffers()) if t.is_floating_point())
    given = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1) if x.ndim == 4 else x))  # (N, C, H, W)
    modes = {module: module.training for module in theirs.modules()}
    try:
        theirs.eval()
        with torch.no_grad():
            y = theirs(given.to(like.device, like.dtype))
        y = y.to("cpu", torch.float64).numpy()
    except Exception as error:  # a forward of the user's
        text = "%s: outputs are not compared: PyTorch's module takes or gives something else: %s"
        _log.warning(text, where, str(error).partition("\n")[0] or type(error).__name__)
        return None
    finally:
        for module, mode in modes.items():
            module.training = mode
    return np.moveaxis(y, 1, -1) if y.ndim == 4 else y, float(torch.finfo(like.dtype).eps)
