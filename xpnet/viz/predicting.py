"""Run a model for a picture: in evaluation mode, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.autograd import Tensor, backward, no_grad
from xpnet.backend import Array
from xpnet.data import host as read
from xpnet.errors import ConfigError, ShapeError, nearest
from xpnet.nn import Module, inference, watch

__all__ = [
    "Scale",
    "Subject",
    "best_probability",
    "host",
    "layer_name",
    "one_of",
    "outputs",
    "prepared",
    "single_image",
    "slope",
    "unpack",
]

Subject = Any  # a Module, or a Trainer, which is a floor above
Scale = Callable[[Array], Array] | None


def unpack(subject: Subject, normalize: Scale = None) -> tuple[Module, Scale]:
    """Return the model and the normalization of the subject of a picture.

    Args:
        subject: a Module, or a Trainer (or whatever has a ``model`` and a ``normalize``).
        normalize: used instead of the trainer's.
    Raises:
        ConfigError: it is neither a Module nor a Trainer.
    """
    arguments.optional(arguments.function)("viz", "normalize", normalize)
    if isinstance(subject, Module):
        return subject, normalize
    model = getattr(subject, "model", None)
    if not isinstance(model, Module):
        raise ConfigError("viz", "a model that is a Module or a Trainer", model=type(subject).__name__)
    return model, normalize or getattr(subject, "normalize", None)


def host(values: Any) -> np.ndarray:
    """Bring a Tensor, an array of any library, or a list to the host."""
    return read("viz", values)


def best_probability(scores: np.ndarray) -> np.ndarray:
    """Return the probability of each row's highest score, (N,).

    Args:
        scores: (N, K), float64: scores, whose softmax is taken, or probabilities, which add up to 1.
    """
    best = scores.max(axis=1)
    if scores.size and scores.min() >= 0.0 and np.allclose(scores.sum(axis=1), 1.0, atol=1e-3):
        return best
    return 1.0 / np.exp(scores - best[:, None]).sum(axis=1)  # the highest score's share, whose own term is 1


def prepared(model: Module, x: np.ndarray, normalize: Scale) -> Array:
    """Move examples (N, ...) to the model's backend, normalized, in the model's dtype."""
    backend = model.backend
    state = next(iter(model.states().values()), None)
    dtype = getattr(backend.xp, "float32" if state is None else state.dtype_)
    batch = backend.from_numpy(np.ascontiguousarray(x))
    return backend.xp.astype(normalize(batch) if normalize else batch, dtype, copy=False)


def outputs(model: Module, x: Array) -> dict[str, Array]:
    """Run a model on x (N, ...) without a tape, and return each layer's output by layer_name, in order of calls."""
    layers = dict(model.modules())
    with inference(), no_grad(), watch() as seen:
        model(Tensor(x))
    return {layer_name(path, layers[path]): y.data for path, y in seen.items() if isinstance(y, Tensor)}


def slope(model: Module, x: Array, label: int | None) -> tuple[Array, Array]:
    """Differentiate one score of each example by the example alone.

    Args:
        model: computes scores (N, K).
        x: examples, (N, ...), on the model's backend.
        label: whose score, 0 .. K-1; None: the highest of each example.
    Returns: scores (N, K), and the gradient, shaped like x.
    Raises:
        ShapeError: the output is not (N, K). ConfigError: label is outside 0 .. K-1.
    """
    leaf, parameters = Tensor(x, requires_grad=True), [p for p in model.parameters() if p.requires_grad]
    try:
        for p in parameters:
            p.requires_grad = False
        with inference():
            scores = model(leaf)
        if scores.ndim != 2:
            raise ShapeError("saliency", "a model that computes scores (N, K)", scores=scores.shape)
        if label is not None:
            label = arguments.count("saliency", "label", label, 0, scores.shape[1] - 1)
        xp, device = model.backend.xp, scores.data.device
        best = xp.argmax(scores.data, axis=1, keepdims=True) if label is None else label  # (N, 1), or one number
        classes = xp.expand_dims(xp.arange(scores.shape[1], dtype=xp.int64, device=device), axis=0)  # (1, K)
        chosen = xp.broadcast_to(xp.astype(classes == best, scores.dtype), scores.shape)
        return scores.data, backward(scores, chosen)[leaf]
    finally:
        for p in parameters:
            p.requires_grad = True


def layer_name(path: str, layer: Module) -> str:
    """Return a layer's path; of a model that is one layer, its class."""
    return path or type(layer).__name__


def one_of(where: str, layer: str, names: Sequence[str], kind: str) -> str:
    """Return the layer if it is among names; ConfigError with the nearest and the list where it is not."""
    if arguments.text(where, "layer", layer) in names:
        return layer
    if not names:
        raise ConfigError(where, f"one of {kind}", layer=repr(layer), layers="none of that kind")
    hint, every = nearest(layer, names), ", ".join(names)
    do = f"{hint} They are {every}" if hint.startswith("did") else f"choose one of {every}"
    raise ConfigError(where, f"one of {kind}", do, layer=repr(layer))


def single_image(where: str, image: Any) -> np.ndarray:
    """Return one image (H, W, C) as an array; ShapeError if it is not one."""
    image = host(image)
    if image.ndim != 3:
        raise ShapeError(where, "one image (H, W, C), as the data set has it", image=image.shape)
    return image
