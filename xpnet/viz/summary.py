"""The figures of a model, layer by layer, from shapes alone: nothing is computed, and no array of the model is made.

print(viz.summarize(models.build("vgg16"), (224, 224, 3)))
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from xpnet import arguments
from xpnet.nn import Field, Module, Parameter, Stage
from xpnet.viz.flow import Fork, every, flow, read_shape
from xpnet.viz.table import html, table

__all__ = ["Layer", "Summary", "summarize"]

_BYTES = 4  # of a float32


@dataclass(frozen=True)
class Layer:
    """One layer of a summary. Figures are those of one example, but for saved_bytes.

    Args:
        name: its path in the model, such as "stage1.block1.body.conv1".
        kind: such as "conv" or "max pool"; kind, details and family are the layer's own, see nn.Module.
        layer: its class.
        details: such as "3x3", "stride 2".
        family: its entry in the legends of pictures.
        input, output: shapes, without N.
        kernel_size, stride, padding: in pixels, vertical and horizontal; None for layers without windows.
        parameters: numbers that training changes, of a layer that is used twice only at its first place.
        macs: multiply-adds forward.
        flops_forward, flops_backward: operations, two a multiply-add; see summarize.
        saved_bytes: kept for the backward pass, for the whole batch.
        receptive_field: rows and columns of the image that one output number sees; None without an image, and after
            a layer that does not know it.
    """

    name: str
    kind: str
    layer: str
    details: tuple[str, ...]
    family: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    kernel_size: tuple[int, int] | None
    stride: tuple[int, int] | None
    padding: tuple[int, int] | None
    parameters: int
    macs: int
    flops_forward: int
    flops_backward: int
    saved_bytes: int
    receptive_field: tuple[int, int] | None


@dataclass(frozen=True, repr=False)
class Summary:
    """The result of summarize, which shows itself as a table.

    Args:
        input: the shape of one example; or one for each of several inputs, in a tuple or a dictionary.
        batch: N, for saved_bytes.
        steps: the layers in order; a Fork where a residual splits the data.
        parameters: of the model; one that is shared counts once.
        uncounted: layers whose multiply-adds and saved numbers are not known, since they define no cost.
    """

    input: Any
    batch: int
    steps: tuple[Layer | Fork[Layer], ...]
    parameters: int
    uncounted: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(every(self.steps)))

    def _sum(self, name: str) -> int:
        return sum(getattr(layer, name) for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds forward, for one example."""
        return self._sum("macs")

    @property
    def flops_forward(self) -> int:
        """Operations forward, for one example."""
        return self._sum("flops_forward")

    @property
    def flops_backward(self) -> int:
        """Operations backward, for one example."""
        return self._sum("flops_backward")

    @property
    def saved_bytes(self) -> int:
        """Bytes kept for the backward pass, for the whole batch."""
        return self._sum("saved_bytes")

    @property
    def output(self) -> tuple[int, ...]:
        """The shape of the model's output for one example."""
        return self.layers[-1].output if self.layers else self.input

    def to_json(self) -> dict[str, Any]:
        """Make a dictionary for json.dumps: the layers' figures and the totals."""
        names = [n for n in Layer.__dataclass_fields__ if n not in ("details", "family")]
        totals = ("input", "output", "batch", "parameters", "macs", "flops_forward", "flops_backward", "saved_bytes",
                  "uncounted")  # fmt: skip
        return {
            "layers": [{n: _plain(getattr(layer, n)) for n in names} for layer in self.layers],
            **{n: _plain(getattr(self, n)) for n in totals},
        }

    def lines(self, width: int | None = None) -> list[str]:
        """Write the table: a heading, a line a layer, the totals, and what they mean.

        Args:
            width: characters a line may have, 72 at least; where not all columns fit, the less important ones are
                left out and long names are shortened. By default the terminal's; 120 where there is none.
        """
        width = max(72, shutil.get_terminal_size((120, 24)).columns if width is None else width)
        return table(self, width)

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return html(self)


def summarize(model: Module, shape: Any, batch: int = 1) -> Summary:
    """Count the parameters, multiply-adds and saved bytes of a model's layers, from shapes alone.

    FLOPs are two for each multiply-add of the layers with weights; additions, comparisons and exponentials of other
    layers are not counted. The backward pass takes as many for the gradient of the weights and as many for that of
    the input; the latter is not computed before the first layer with parameters.

    Args:
        model: any module. A custom layer is one row if it defines ``cost``, several if it defines ``stages``. If it
            defines neither, a copy of the model is run once on zeros, and there is a row for each layer that it calls.
        shape: the input of one example, without N: (H, W, C), (D,) or other. Of a model of several inputs a tuple of
            shapes, or a dictionary by the names of forward's arguments: then its forward is run.
        batch: N, >= 1: how many examples are kept for the backward pass at once, at 4 bytes a number.
    Returns:
        A Summary.
    Raises:
        ConfigError: batch is out of range, or the forward of a custom model fails on zeros.
        ShapeError: a layer cannot take its input.
    Cost: no array of the model is made; a few milliseconds for VGG-16. Of a model that is run: one prediction.
    """
    batch = arguments.count("summary", "batch", batch)
    stages, uncounted = flow(model, shape)
    shape = read_shape(shape)
    is_one = isinstance(shape, tuple) and not isinstance(shape[0], tuple)
    start = _State(shape if is_one else (), Field.of_image(shape) if is_one else None, False)
    steps, _ = _Count(batch).steps(stages, start)
    return Summary(shape, batch, steps, model.parameter_count, uncounted)


class _State(NamedTuple):
    """The data between two layers: its shape, its receptive field, whether it needs a gradient."""

    shape: tuple[int, ...]
    field: Field | None
    learned: bool


class _Count:
    """One call of summarize: which parameters have been counted."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.seen: set[Parameter] = set()

    def steps(self, steps: Sequence[Stage | Fork[Stage]], state: _State) -> tuple[tuple[Any, ...], _State]:
        """Count steps that follow each other."""
        done: list[Layer | Fork[Layer]] = []
        for step in steps:
            if isinstance(step, Fork):
                body, ahead = self.steps(step.body, state)
                shortcut, direct = self.steps(step.shortcut, state)
                both = ahead.field and ahead.field.joined(direct.field)
                total, state = self.layer(step.sum, state._replace(field=both))
                done.append(Fork(body, shortcut, total))
            else:
                layer, state = self.layer(step, state)
                done.append(layer)
        return tuple(done), state

    def layer(self, stage: Stage, state: _State) -> tuple[Layer, _State]:
        """Count one layer."""
        layer, cost = stage.layer, stage.cost
        follows = state.field if stage.input == state.shape else None
        seen = layer.receptive_field(follows, cost.output) if follows else None
        own = layer.parameters()
        new = [p for p in own if p not in self.seen]
        self.seen.update(new)
        trained = any(p.requires_grad for p in own)
        learned = state.learned and not stage.of_input
        gradients = (trained or (learned and not own)) + learned  # of the weights, of the input
        row = Layer(
            name=stage.path or type(layer).__name__,
            kind=layer.kind or type(layer).__name__,
            layer=type(layer).__name__,
            details=layer.details(),
            family=layer.family,
            input=stage.input,
            output=cost.output,
            kernel_size=getattr(layer, "kernel_size", None),
            stride=getattr(layer, "stride", None),
            padding=getattr(layer, "padding", None),
            parameters=sum(math.prod(p.shape) for p in new),
            macs=cost.macs,
            flops_forward=2 * cost.macs,
            flops_backward=2 * cost.macs * gradients,
            saved_bytes=_BYTES * self.batch * stage.saved,
            receptive_field=seen.size if seen else None,
        )
        return row, _State(cost.output, seen, state.learned or trained)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
