"""Modules made of modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, overload

from xpnet.arguments import Check, instance, integer, optional, shown
from xpnet.autograd import Tensor
from xpnet.errors import ConfigError, ShapeError, nearest
from xpnet.nn.context import watching
from xpnet.nn.cost import Cost
from xpnet.nn.description import Stage
from xpnet.nn.module import Module
from xpnet.nn.receptive import Field

__all__ = ["Residual", "Sequential"]

_module: Check = partial(instance, kind=Module, rule="a Module")


class _Composite(Module):
    """A module made of modules: its cost is that of their stages."""

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Sum the stages' costs for one example; what two of them keep counts once."""
        stages = list(self.stages(shape))
        if not stages:
            return Cost(shape, 0, 0, "=")
        keeps = "x" * _keeps_input(stages) + "y" * stages[-1].kept
        return Cost(stages[-1].cost.output, sum(s.cost.macs for s in stages), sum(s.saved for s in stages), keeps)


def _keeps_input(stages: list[Stage]) -> bool:
    """Whether the first stage that is not only a change of shape keeps its input."""
    first = next((s for s in stages if "=" not in s.cost.keeps), None)
    return first is not None and "x" in first.cost.keeps


class Sequential(_Composite):
    """Layers one after the other.

        Sequential(Linear(784, 128), ReLU(), Linear(128, 10))
        Sequential(hidden=Linear(784, 128), act=ReLU(), scores=Linear(128, 10))

    An activation after a Linear or Conv2d is computed within that layer's op; the layers stay as written.

    Args:
        layers: modules, named "0", "1", ... ; named: modules with other names, after those.
    Raises:
        ConfigError: an argument is not a Module, or its name is that of an attribute of every module.
    """

    across_batch = False
    computes = False
    _calls: list[tuple[Module, dict[str, Any]]] | None = None  # what forward calls, found at the first call
    _cached = ("_calls",)

    def __init__(self, *layers: Module, **named: Module) -> None:
        for name, layer in {**{str(i): m for i, m in enumerate(layers)}, **named}.items():
            if not isinstance(layer, Module):
                do = "write Sequential(*layers)" if isinstance(layer, list | tuple) else ""
                raise ConfigError("Sequential", "layers that are modules", do, **{name: shown(layer)})
            if hasattr(Sequential, name):
                raise ConfigError("Sequential", "names that are not attributes of every module", name=repr(name))
            setattr(self, name, layer)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        object.__setattr__(self, "_calls", None)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        object.__setattr__(self, "_calls", None)

    def calls(self) -> list[tuple[Module, dict[str, Any]]]:
        """Return what forward calls, in turn: a layer, with the activation that is fused into it as an option."""
        if self._calls is None:
            calls: list[tuple[Module, dict[str, Any]]] = []
            for layer in self:
                if layer.fused and calls and calls[-1][0].fuses and not calls[-1][1]:
                    calls[-1] = (calls[-1][0], {"activation": layer.fused})
                else:
                    calls.append((layer, {}))
            object.__setattr__(self, "_calls", calls)
            return calls
        return self._calls

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers in turn."""
        if watching():
            for layer in self:
                x = layer(x)
            return x
        for layer, options in self._calls or self.calls():
            x = layer(x, **options)
        return x

    def settings(self) -> dict[str, Any]:
        """Return the layers by name."""
        return dict(self.children())

    def in_sequence(self) -> list[tuple[str, Module]] | None:
        """Return the layers, with their names."""
        return list(self.children())

    def stages(self, shape: tuple[int, ...], kept: bool = False) -> Iterator[Stage]:
        """Go over the layers' stages in turn."""
        for layer in self:
            for stage in layer.stages(shape, kept):
                yield stage
                shape, kept = stage.cost.output, stage.kept

    def __iter__(self) -> Iterator[Module]:
        return (layer for _, layer in self.children())

    def __len__(self) -> int:
        return len(list(self.children()))

    @overload
    def __getitem__(self, index: int | str) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | str | slice) -> Module:
        named = list(self.children())
        if isinstance(index, str):
            if index not in dict(named):
                do = nearest(index, dict(named)) if named else ""
                raise ConfigError("Sequential", "the name of a layer", do, index=shown(index))
            return dict(named)[index]
        if not isinstance(index, slice):
            index = integer("Sequential", "index", index)
            if not -len(named) <= index < len(named):
                raise ConfigError("Sequential", "the index of a layer", index=index, layers=len(named))
        return Sequential(**dict(named[index])) if isinstance(index, slice) else named[index][1]


class Residual(_Composite):
    """Add the output of a body to the input: y = body(x) + shortcut(x).

    Args:
        body: a module whose output is shaped like the shortcut's.
        shortcut: a module, such as a 1x1 convolution where sizes differ; None is the identity.
    Raises:
        ShapeError: on call, the two shapes differ.
    Source: He, Zhang, Ren and Sun (2016).
    """

    kind = "sum"
    family = "sum"
    across_batch = False
    computes = True

    _checks: ClassVar[dict[str, Check]] = {"body": _module, "shortcut": optional(_module)}

    def __init__(self, body: Module, shortcut: Module | None = None) -> None:
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Apply body and shortcut to x and add."""
        ahead = self.body(x)
        direct = x if self.shortcut is None else self.shortcut(x)
        if ahead.shape != direct.shape:
            raise ShapeError("Residual", "body and shortcut of one shape", body=ahead.shape, shortcut=direct.shape)
        return ahead + direct

    def stages(self, shape: tuple[int, ...], kept: bool = False) -> Iterator[Stage]:
        """Go over the body's stages, then the shortcut's, then the sum."""
        body = list(self.body.stages(shape, kept))
        yield from body
        output = body[-1].cost.output if body else shape
        kept = kept or _keeps_input(body)
        direct = list(self.shortcut.stages(shape, kept)) if self.shortcut is not None else []
        yield from direct
        beside = direct[-1].cost.output if direct else shape
        if beside != output:
            raise ShapeError(self.path or "Residual", "body and shortcut of one shape", body=output, shortcut=beside)
        yield Stage(self.path, self, shape, Cost(output, 0, 0), 0, False, (len(body), len(direct)))

    def receptive_field(self, field: Field, output: tuple[int, ...]) -> Field:
        """Return the field of the sum's terms."""
        return field

    def copy_folded(self, fold: Callable[[Module], Module]) -> Module:
        """Return a Residual of the folded body and shortcut."""
        return Residual(fold(self.body), None if self.shortcut is None else fold(self.shortcut))
