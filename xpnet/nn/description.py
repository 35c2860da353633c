"""What a layer says of itself, so that summaries, pictures, threads and folding hold no list of layers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from xpnet.nn.affine import Form
from xpnet.nn.cost import Cost, UnknownCostError
from xpnet.nn.exchange import TorchArray, by_rank
from xpnet.nn.parts import Parts
from xpnet.nn.receptive import Field
from xpnet.nn.state import State

if TYPE_CHECKING:
    from xpnet.nn.module import Module

__all__ = ["Description", "Stage"]


class Stage(NamedTuple):
    """One layer at its place in a model, for one example.

    Args:
        path: where it is, such as "stage1.body.conv2".
        layer: the module.
        input: the shape of its input.
        cost: its own cost.
        saved: numbers it keeps that no layer before it keeps already; their sum is what the model keeps.
        kept: whether its output is among the numbers kept so far.
        branches: of a sum, how many stages before it are its body's and how many its shortcut's.
        of_input: whether its input is one of the model's, of which no gradient is needed, though other layers are
            before it.
    """

    path: str
    layer: Module
    input: tuple[int, ...]
    cost: Cost
    saved: int
    kept: bool
    branches: tuple[int, int] | None = None
    of_input: bool = False


class Description(Parts):
    """The attributes and methods by which a module describes itself; each layer overrides what is true of it.

    Attributes:
        kind: its name in summaries; by default the class's.
        family: its entry in the legends of pictures: "convolution", "linear", "pooling", "normalization", "activation",
            "reshape", "dropout", "sum" or "other".
        across_batch: whether its output for one example depends on the others of the batch, in training or always, as
            with BatchNorm. Only models whose modules all say False are trained in several threads; None is unknown.
        synchronizes: whether its forward asks nn.context for what to do about the others, where a part of the batch is
            computed at a time.
        across_batch_in_inference: the same in evaluation mode; by default what across_batch says.
        pointwise: whether the output at a place depends on the input at that place alone, features aside, and has as
            many axes.
        computes: whether its output holds new numbers; False for layers that only reshape or pass on their input in
            evaluation mode; None: True unless it contains layers.
        fuses: whether its forward takes activation=..., the name of an activation to apply to its output.
        fused: the name by which such a layer knows this activation.
        torch_classes: the classes of torch.nn that compute the same; () where none does, or it is not compared.
        torch_names: PyTorch's names of the layer's own arrays, where they are others.
    """

    kind: str = ""
    family: str = "other"
    across_batch: bool | None = None
    synchronizes: bool = False
    pointwise: bool = False
    computes: bool | None = None
    fuses: bool = False
    fused: str | None = None
    torch_classes: tuple[str, ...] = ()
    torch_names: ClassVar[dict[str, str]] = {}

    @property
    def across_batch_in_inference(self) -> bool | None:
        """Whether the output for one example depends on the others in evaluation mode."""
        return self.across_batch

    def details(self) -> tuple[str, ...]:
        """Return what sets the layer apart from others of its kind, such as ("3x3", "stride 2")."""
        return ()

    def settings(self) -> dict[str, Any]:
        """Return the arguments of the constructor that build such a layer, initializers apart.

        Each is the attribute of its name; instead of an array, whether there is one.
        """
        found = {}
        for name, parameter in inspect.signature(type(self)).parameters.items():
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and hasattr(self, name):
                value = getattr(self, name)
                is_array = isinstance(value, State) or (value is None and name in self._may_be_none)
                found[name] = value is not None if is_array else value
        return found

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Work out output shape, multiply-adds and saved numbers for one example from its shape alone.

        Args:
            shape: the input without N, such as (H, W, C) or (D,).
        Raises:
            ShapeError: the layer cannot take such an input. UnknownCostError: the module does not define its cost.
        """
        raise UnknownCostError(
            self.path or type(self).__name__,
            "a layer that defines cost(shape), returning an nn.Cost, or stages(shape, kept=False) for its layers",
            layer=type(self).__name__,
        )

    def stages(self, shape: tuple[int, ...], kept: bool = False) -> Iterator[Stage]:
        """Go over the layers that compute, in order, from shapes alone; a module is one stage by default.

        Args:
            shape: the input of one example.
            kept: whether a layer before keeps the input for the backward pass.
        Raises:
            ShapeError: a layer cannot take its input. UnknownCostError: a layer does not define its cost.
        """
        cost = self.cost(shape)
        twice = math.prod(shape) if kept and "x" in cost.keeps else 0
        yield Stage(
            self.path,
            cast("Module", self),
            shape,
            cost,
            cost.saved - twice,
            "y" in cost.keeps or (kept and "=" in cost.keeps),
        )

    def receptive_field(self, field: Field, output: tuple[int, ...]) -> Field | None:
        """Return which pixels of the image the layer's outputs depend on; None where that is not known.

        Args:
            field: the pixels that the layer's inputs depend on.
            output: the shape of the output of one example.
        """
        return field if self.pointwise else None

    def output_rank(self, rank: int | None) -> int | None:
        """Return how many axes the output has, N included, for an input of so many; None where that is not known."""
        return rank if self.pointwise else None

    def conv_form(self) -> Form | None:
        """Return the form of the convolution that the layer is in evaluation mode, None where it is none.

        A layer that returns a form can be folded; it also defines ``filters`` and ``folded``, as nn.Foldable says.
        """
        return None

    def torch_settings(self) -> dict[str, Any]:
        """Return what an equal layer of torch.nn has for settings, by attribute: what changes its output.

        A frozenset is several values, any of which may be meant.
        """
        return {}

    def torch_arrays(self) -> Iterator[TorchArray]:
        """Go over the arrays of this layer itself as PyTorch holds them; of rank 4, the last axis is second there."""
        for name, part in self.named_parts():
            if isinstance(part, State):
                yield TorchArray(self.torch_names.get(name, name), part, by_rank)

    def in_sequence(self) -> list[tuple[str, Module]] | None:
        """Return the layers that forward applies one after the other, with their names; None if it does more."""
        return None

    def copy_folded(self, fold: Callable[[Module], Module]) -> Module | None:
        """Return a copy in which the layers within are folded, fold(layer) each; None to be copied as it is."""
        return None
