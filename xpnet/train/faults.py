"""What goes wrong on a device while a model trains, said in one line with what to do."""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Callable, Iterator

from xpnet.backend import Backend, is_device_lost, is_out_of_memory
from xpnet.errors import DeviceError, DeviceLostError
from xpnet.nn import Module

__all__ = ["advised", "largest_batch", "watching_the_device"]

_BYTES = 4  # of a float32


@contextlib.contextmanager
def advised(where: str, batch: int, largest: Callable[[], int | None] = lambda: None) -> Iterator[None]:
    """Within a with-block, turn a lack of memory into a DeviceError that names a batch size to try.

    Args:
        where: what is done, such as "fit".
        batch: the batch size that it is done with.
        largest: estimates the largest batch that fits, None where nothing is known; asked only then.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, DeviceError) or not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the arrays of the step that was under way
        raise DeviceError(
            where, "a step fits in the device's memory", _advice(batch, largest()), batch_size=batch
        ) from error


def _advice(batch: int, largest: int | None) -> str:
    if batch == 1 or (largest is not None and largest < 1):
        return "use a smaller model"
    if largest is None or largest >= batch:  # nothing is known, or something else needs memory too
        return f"try batch_size={batch // 2}"
    return f"try batch_size={largest}, the largest that should fit by estimate"


def largest_batch(model: Module, shape: tuple[int, ...], backend: Backend, used: int) -> int | None:
    """Estimate the largest batch that a training step has memory for, from the model's costs.

        N = (total - used - gradients) / (kept + passing)   bytes

    where kept is what an example's activations take until the backward pass, and passing the gradients of the layer
    with the most.

    Args:
        model: it knows its cost; see Module.stages.
        shape: of one example.
        backend: whose memory.
        used: bytes in use before the step, parameters and optimizer state included.
    Returns:
        N >= 0, or None where the model does not know its cost or the backend its memory. What an op needs for itself
        for a moment is not counted.
    """
    total = backend.memory().total
    try:
        stages = list(model.stages(shape))
    except Exception:  # a layer of one's own
        return None
    if not total or not stages:
        return None
    kept = sum(stage.saved for stage in stages)
    passing = max(math.prod(stage.input) + math.prod(stage.cost.output) for stage in stages)
    gradients = 2 * model.parameter_count  # each by itself, then all in one flat array
    free = total - used - _BYTES * gradients
    return max(0, free // (_BYTES * max(1, kept + passing)))


@contextlib.contextmanager
def watching_the_device(where: str) -> Iterator[None]:
    """Within a with-block, turn the errors of a device that is gone into one DeviceLostError."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DeviceLostError) or not is_device_lost(error):
            raise
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise DeviceLostError(
            where, "the device goes on working", "start again from the last checkpoint", error=reason
        ) from error
