"""An ONNX file as a trained model: a Trainer and what it knows, as a run gives them, to predict and to evaluate."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import arguments, nn
from xpnet.backend import Backend, get_backend
from xpnet.data import Normalize
from xpnet.errors import ConfigError, DataError, XpnetError
from xpnet.interop.onnx.graph import Graph
from xpnet.interop.onnx.load import Parsed, parse_onnx
from xpnet.interop.onnx.metadata import Facts, layout_of, read_facts
from xpnet.train.tasks import Reconstruction, Regression, saved_task
from xpnet.train.trainer import Trainer

__all__ = ["open_graph", "open_onnx", "undo"]

_WHITE = 255.0  # of pixels in files of images
_DO = "export it with such an input"


def open_graph(file: str | os.PathLike[str] | Parsed, output: str | None = None) -> tuple[Graph, tuple[int, ...]]:
    """Load a file of one input, and return the model, which takes images channels last, and the shape of an example.

    Args:
        file: its path, or what was parsed of it.
        output: as of load_onnx.
    Raises:
        DataError: it has several inputs, or sizes of the input are free. Otherwise as load_onnx.
    """
    file = file if isinstance(file, Parsed) else parse_onnx(file)
    where, inputs = file.where, file.inputs
    sizes = inputs[0].shape if len(inputs) == 1 else None
    images = sizes and len(sizes) == 4 and layout_of(file.metadata) is None and not _is_last(sizes)
    model = file.graph("nhwc" if images else None, output)
    shape = model.input_shape if sizes else None
    if shape is None or not all(isinstance(n, int) and n > 0 for n in shape):
        inputs = ", ".join(f"{port.name} {port.shape}" for port in model.plan.inputs)
        raise DataError(where, "one input, whose sizes are fixed but for N", _DO, inputs=inputs)
    return model, tuple(n for n in shape if n is not None)


def _is_last(sizes: tuple[int | None, ...]) -> bool:
    """Whether the images of a foreign file have their channels last: few there, and many where they would be first."""
    return sizes[3] in (1, 3) and sizes[1] not in (1, 3)


def open_onnx(
    file: str | os.PathLike[str] | Parsed,
    backend: str | Backend | None = None,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    scale: float | None = None,
) -> tuple[Trainer, dict[str, Any]]:
    """Open a file as open_run opens a run.

    Inputs are what the metadata of a file of xpnet say. For another file they are (pixels * scale - mean) / std.

    Args:
        file: its path, or what was parsed of it.
        backend: where to compute; the default one by default.
        mean, std: of each channel, or one of all, after scale. 0 and 1 by default.
        scale: what pixels of 0..255 are multiplied by; 1/255 by default, where mean or std is given.
    Returns:
        A Trainer to predict and evaluate with, and {model_name, shape, classes, task, white, fit, ...}.
    Raises:
        ConfigError: the file says how inputs are normalized and an argument does too, or neither does. DataError: as
            open_graph; or the outputs are no scores (N, K).
    """
    given = (mean, std, scale) != (None, None, None)
    file = file if isinstance(file, Parsed) else parse_onnx(file)
    where, facts = file.where, read_facts(file.where, file.metadata)
    task = facts.task or {"name": "classification"}
    finished = file.score() if task.get("name") in ("classification", "multilabel") else None
    model, shape = open_graph(file, finished)
    normalize = _normalize(where, model, facts, mean, std, scale, given, len(shape) == 3)
    if given and normalize is not None and len(normalize.mean) not in (1, shape[-1]):
        name = "mean" if mean and len(mean) > 1 else "std"
        raise ConfigError(name, f"one number, or {shape[-1]}, one for each channel", numbers=len(normalize.mean))
    network = _of_rows(where, model, shape, task.get("name") == "reconstruction")
    if facts.included and not finished:
        network, normalize = _undone(where, network, facts, shape, normalize)
    network = network.to(get_backend(backend))
    if not network.parameters():
        raise DataError(where, "a file with weights of layers, in floating numbers", parameters=0)
    classes = _classes(where, facts, task, math.prod(network.cost(shape).output), shape)
    trainer = Trainer(network, shards=1)
    meta = {
        "model_name": facts.model or Path(where).name,
        "shape": list(shape),
        "classes": list(classes),
        "unnamed": not facts.classes,
        "task": task,
        "white": _WHITE if facts.white is not None or given or (facts.included is None and len(shape) == 3) else None,
        "normalize": None if normalize is None else normalize.to_json(),
        "fit": facts.fit,
        "columns": facts.columns,
        "data": "",
    }
    try:
        trainer.take_scale(meta)
    except XpnetError as error:
        raise DataError.event(where, "metadata task cannot be read", error=error) from error
    return trainer, meta


def _classes(where: str, facts: Facts, task: dict[str, Any], count: int, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of so many outputs, those that the file gives or numbers of classes, once they fit."""
    name, given = task.get("name"), len(facts.classes)
    if name == "reconstruction":
        if count != math.prod(shape):
            raise DataError(where, "an output of the size of the input", input=shape, outputs=count)
    elif name == "classification":
        if given and given != max(2, count):
            raise DataError(where, "metadata classes, a name for each output", classes=given, outputs=count)
        return facts.classes or tuple(str(k) for k in range(max(2, count)))
    elif given not in (0, count):
        raise DataError(where, "metadata classes, a name for each output", classes=given, outputs=count)
    return facts.classes


class _Scaled(nn.Module):
    """The numbers times a factor, plus a shift: one for each of the last axis, or one of all."""

    kind = "scaled"
    across_batch = False

    def __init__(self, factor: Any, shift: Any) -> None:
        super().__init__()
        self.factor, self.shift = _constant(factor), _constant(shift)

    def forward(self, x: Any) -> Any:
        """Multiply and add."""
        return x * self.factor + self.shift

    def cost(self, shape: tuple[int, ...]) -> nn.Cost:
        """Cost of one example of any shape."""
        return nn.Cost.of(shape, shape)


def _constant(values: Any) -> nn.Buffer:
    array = np.asarray(values, np.float32)
    state = nn.Buffer(array.shape)
    state.data = state.backend_.from_numpy(np.array(array, order="C"))
    return state


def _undone(
    where: str, network: nn.Module, facts: Facts, shape: tuple[int, ...], normalize: Normalize | None
) -> tuple[nn.Module, Normalize | None]:
    """Return a network that gives scores, of one that gives answers, and how its inputs are normalized.

    Raises:
        DataError: it is not known how scores become answers.
    """
    task = saved_task(facts.task)
    if isinstance(task, Regression):
        if task.mean is None or task.deviation is None:
            return network, normalize
        if task.mean.size != math.prod(network.cost(shape).output):
            raise DataError(where, "metadata task with a mean of each output", means=task.mean.size)
        mean, deviation = task.mean.reshape(-1), task.deviation.reshape(-1)
        return nn.Sequential(network, _Scaled(1 / deviation, -mean / deviation)), normalize
    if not isinstance(task, Reconstruction):
        rule, do = "a file that gives scores, probabilities or values", "export it without --with-preprocessing"
        raise DataError(where, rule, do, task=task.name)
    if facts.normalize is None:
        return network, None
    # the targets are the inputs as they are normalized: so they come here, and are brought back to their units first
    if len(facts.normalize.mean) not in (1, shape[-1]):
        raise DataError(where, "metadata preprocessing with a mean for each channel", mean=len(facts.normalize.mean))
    mean, std = (np.asarray(v, np.float64) * facts.normalize.white for v in (facts.normalize.mean, facts.normalize.std))
    mean, std = (np.broadcast_to(v, shape[-1:]) for v in (mean, std))
    parts: list[nn.Module] = [_Scaled(std, mean), network]
    if facts.columns is None:  # else answers are standardized
        count = math.prod(shape) // shape[-1]
        parts.append(_Scaled(np.tile(1 / std, count), np.tile(-mean / std, count)))
    return nn.Sequential(*parts), None if facts.columns is not None else facts.normalize


def _normalize(
    where: str,
    model: Graph,
    facts: Facts,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    scale: float | None,
    given: bool,
    images: bool,
) -> Normalize | None:
    """Return how inputs are normalized, by the metadata or by arguments."""
    if facts.included is not None:
        if given:
            names = {"mean": mean, "std": std, "scale": scale}
            name = next(name for name, value in names.items() if value is not None)
            raise ConfigError.event(where, "the file says how its inputs are normalized", f"omit {name}")
        if not facts.included or facts.columns is None or facts.normalize is None:
            return None if facts.included else facts.normalize
        # columns of a table come standardized, and the file does that: y * std + mean
        return undo(where, facts.normalize, model.input_shape)
    included = layout_of(model.metadata) is not None and '"normalization_included": [' in model.metadata["input"]
    if not given:
        if included or not images:
            return None
        what = "the file does not say on which scale its images are"
        do = "give scale=1/255, or another that the model was trained with, and its mean and std"
        raise ConfigError.event(where, what, do)
    factor = arguments.number("scale", "scale", 1 / _WHITE if scale is None else scale, 0, above=True)
    averages, deviations = mean or (0.0,), std or (1.0,)
    most = max(len(averages), len(deviations))
    averages, deviations = (v * most if len(v) == 1 else v for v in (averages, deviations))
    return Normalize(averages, deviations, 1.0 / factor)


def undo(where: str, normalize: Normalize, shape: Any) -> Normalize:
    """Return what undoes the standardization of the columns of a table, for a file that does it: y * std + mean.

    Raises:
        DataError: it is not one of so many columns.
    """
    if len(normalize.mean) not in (1, *(shape or ())[-1:]) or normalize.white != 1.0:
        raise DataError(where, "metadata preprocessing with a mean for each column", mean=len(normalize.mean))
    pairs = [(-m / s, 1 / s) for m, s in zip(normalize.mean, normalize.std, strict=True)]
    return Normalize(tuple(m for m, _ in pairs), tuple(s for _, s in pairs), 1.0)


def _of_rows(where: str, model: Graph, shape: tuple[int, ...], copies: bool) -> nn.Module:
    """Return the model, or, where its scores have further axes of size 1 or are copies, the model and Flatten."""
    if len(model.plan.outputs) != 1:
        names = ", ".join(port.name for port in model.plan.outputs)
        raise DataError(where, "one output", outputs=names)
    output = model.cost(shape).output
    if len(output) < 2:
        return model
    if math.prod(output) != max(output) and not copies:
        raise DataError(where, "scores (N, K)", output=output)
    return nn.Sequential(model, nn.Flatten())
