"""Out of memory and lost devices: errors of the libraries become one line with what to do."""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Callable, Iterator

from xpnet.backend import Backend, is_device_lost, is_out_of_memory
from xpnet.errors import DeviceError, DeviceLostError
from xpnet.nn import Module

__all__ = ["device_errors", "largest_batch", "out_of_memory_advice"]

_BYTES = 4  # of a float32


@contextlib.contextmanager
def out_of_memory_advice(where: str, batch: int, largest: Callable[[], int | None] = lambda: None) -> Iterator[None]:
    """Within a with-block, turn an out-of-memory error into a DeviceError that names a batch size to try.

    Args:
        where: the function, such as "fit".
        batch: its batch size.
        largest: estimates the largest batch that fits, None where it is unknown; called only after an error.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, DeviceError) or not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the arrays of the failed step
        raise DeviceError.event(where, "out of memory", _advice(batch, largest()), batch_size=batch) from error


def _advice(batch: int, largest: int | None) -> str:
    if batch == 1 or (largest is not None and largest < 1):
        return "use a smaller model"
    if largest is None or largest >= batch:  # unknown, or something else needs memory too
        return f"try batch_size={batch // 2}"
    return f"try batch_size={largest}, the estimated largest that fits"


def largest_batch(model: Module, shape: tuple[int, ...], backend: Backend, used: int) -> int | None:
    """Estimate the largest batch that a training step has memory for, from the model's costs.

        N = (total - used - gradients) / (kept + passing)   bytes

    where kept is the size of an example's activations until the backward pass, and passing that of the gradients at the
    layer where they are largest.

    Args:
        model: it knows its cost; see Module.stages.
        shape: of one example.
        backend: whose memory.
        used: bytes in use before the step, parameters and optimizer state included.
    Returns:
        N >= 0, or None where the cost of the model or the memory of the backend is unknown. Workspaces of ops are not
        counted.
    """
    total = backend.memory().total
    try:
        stages = list(model.stages(shape))
    except Exception:  # a custom layer
        return None
    if not total or not stages:
        return None
    kept = sum(stage.saved for stage in stages)
    passing = max(math.prod(stage.input) + math.prod(stage.cost.output) for stage in stages)
    gradients = 2 * model.parameter_count  # each alone, then all in one flat array
    free = total - used - _BYTES * gradients
    return max(0, free // (_BYTES * max(1, kept + passing)))


@contextlib.contextmanager
def device_errors(where: str) -> Iterator[None]:
    """Within a with-block, turn the errors of a lost device into one DeviceLostError."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DeviceLostError) or not is_device_lost(error):
            raise
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        do = "start a new process from the last checkpoint"
        raise DeviceLostError.event(where, "the device stopped working", do, error=reason) from error
