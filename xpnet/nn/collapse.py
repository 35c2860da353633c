"""Collapse a model: runs of layers that are linear become one layer, the same function in fewer steps."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from xpnet.errors import ConfigError
from xpnet.nn.activation import Activation
from xpnet.nn.container import Residual, Sequential
from xpnet.nn.conv import Conv2d
from xpnet.nn.fold import Form, fewest, fold, form_of, keeps_zeros, settle
from xpnet.nn.linear import Flatten, Linear
from xpnet.nn.module import Module
from xpnet.nn.normalization import BatchNorm, Dropout, LayerNorm
from xpnet.nn.pool import GlobalAvgPool2d
from xpnet.nn.state import State

__all__ = ["Folding", "collapse"]


def collapse(model: Module, *, only_smaller: bool = False) -> Module:
    """Make a copy of a model for inference, in which each run of Linear, Conv2d and BatchNorm is one layer.

        w2 (w1 x + b1) + b2 = (w2 w1) x + (w2 b1 + b2)

    A run ends at an activation, a pool or any other layer, and where folding would not be exact: before a convolution
    with padding, unless what comes before it turns 0 into 0 pixel by pixel, so that the zeros are the same. Dropout is
    left out, and so is a Flatten of rows that are flat already. A run may begin in one Sequential and end in another;
    body and shortcut of a Residual are collapsed each by itself. Modules of your own, and subclasses, are copied as
    they are, with all that is in them.

    A folded layer has the name and place of the first of its run that is no BatchNorm, so the layers that are left
    keep their paths; its filters are not flipped. What was shared in the model is shared in the copy, unless it was
    folded with different neighbours.

    Args:
        model: any module; it stays as it is. Running averages are used even while it is training.
        only_smaller: fold only where that does not add weights, biases aside, and so that the fewest are left. Linear
            layers 784-10-784 then stay: the one matrix in their place has 39 times the weights. A layer used in
            several places stays too.
    Returns: a new module, in inference, with arrays of its own, dtype and backend as before; a Sequential remains
        one, if only of one layer.
    Raises:
        ConfigError: model is no Module, or something in a module of your own cannot be copied.
    Cost: a product of weights a layer, in float64 on the host. Outputs agree to rounding.
    Source: Jacob et al. (2018), section 3.2, for batch norms.
    """
    if not isinstance(model, Module):
        raise ConfigError("collapse", "the model is a Module", model=type(model).__name__)
    model.states()  # sets the paths by which arrays not made yet will be made
    collapsed = _Collapse(model, only_smaller).module(model)
    object.__setattr__(collapsed, "path", "")
    return collapsed.eval()


class _Leaf(NamedTuple):
    """A layer in a Sequential or in one within it, by its names, outermost first; its form if it may be folded."""

    names: tuple[str, ...]
    layer: Module
    form: Form | None = None
    place: int = 0


class _Collapse:
    """One call of collapse: what it has made so far, so that what was shared stays shared."""

    def __init__(self, model: Module, only_smaller: bool) -> None:
        self.only_smaller = only_smaller
        self.uses = Counter(id(state) for _, part in model.modules() for state in _states(part))
        self.made: dict[tuple[int, ...], Module] = {}  # by the ids of the modules that it replaces
        self.memo: dict[int, object] = {}  # of deepcopy

    def module(self, module: Module) -> Module:
        """Collapse what is known and copy the rest, once for each module."""
        key = (id(module),)
        if key not in self.made:
            if type(module) is Sequential:
                self.made[key] = _nested(self._sequence(module))
            elif type(module) is Residual:
                shortcut = None if module.shortcut is None else self.module(module.shortcut)
                self.made[key] = Residual(self.module(module.body), shortcut)
            else:
                self.made[key] = self._copy(module)
        return self.made[key]

    def _copy(self, module: Module) -> Module:
        for _, part in module.modules():
            for state in _states(part):
                if id(state) not in self.memo:
                    new = type(state)(state.shape, state.initializer)
                    new.seed, new.requires_grad = state.seed, state.requires_grad
                    self.memo[id(state)] = settle(new, state.numpy(), state)
        try:
            return copy.deepcopy(module, self.memo)
        except TypeError as error:
            place = module.path or type(module).__name__
            raise ConfigError("collapse", "modules of your own can be copied", module=place, error=error) from error

    def _sequence(self, model: Sequential) -> list[_Leaf]:
        """Fold the runs of a Sequential and of those within it."""
        leaves = [leaf._replace(form=self._form(leaf.layer), place=i) for i, leaf in enumerate(_needed(_leaves(model)))]
        run: list[_Leaf] = []
        left: list[_Leaf] = []
        for leaf in leaves:
            if run and _joins(run, leaf):
                run.append(leaf)
            elif run and type(leaf.layer) is Flatten and _rows(run, leaves[leaf.place + 1 :]):
                left.append(leaf._replace(layer=self.module(leaf.layer)))
            else:
                left += self._folded(run)
                run = [leaf] if leaf.form else []
                left += [] if leaf.form else [leaf._replace(layer=self.module(leaf.layer))]
        return sorted([*left, *self._folded(run)], key=lambda leaf: leaf.place)

    def _form(self, layer: Module) -> Form | None:
        shared = any(self.uses[id(state)] > 1 for state in _states(layer))
        return None if self.only_smaller and shared else form_of(layer)

    def _folded(self, run: list[_Leaf]) -> Iterator[_Leaf]:
        """Fold a run into one layer, or into those with the fewest weights."""
        whole = [(0, len(run))] if run else []
        for start, stop in fewest([leaf.form for leaf in run if leaf.form]) if self.only_smaller else whole:
            part = run[start:stop]
            layers = [leaf.layer for leaf in part]
            key = tuple(map(id, layers))
            if key not in self.made:
                self.made[key] = fold(layers) if len(layers) > 1 else self._copy(layers[0])
            head = next((leaf for leaf in part if type(leaf.layer) is not BatchNorm), part[0])
            yield head._replace(layer=self.made[key])


class Folding(_Collapse):
    """The BatchNorms of a model folded into the layers beside them; every other module is the model's own, no copy.

    Args:
        model: whose arrays are made. A layer used in several places stays as it is.
    """

    def __init__(self, model: Module) -> None:
        super().__init__(model, only_smaller=True)
        self.states: list[State] = []  # those that were folded

    def layers(self, model: Sequential) -> list[Module]:
        """Return the layers of a Sequential and of those within it, in the order of calls, without Dropout."""
        return [leaf.layer for leaf in self._sequence(model)]

    def module(self, module: Module) -> Module:
        return module

    def _copy(self, module: Module) -> Module:
        return module

    def _folded(self, run: list[_Leaf]) -> Iterator[_Leaf]:
        if not any(type(leaf.layer) is BatchNorm for leaf in run):
            yield from run
            return
        self.states += [state for leaf in run for state in _states(leaf.layer)]
        for leaf in super()._folded(run):
            place = next(old.layer.path for old in run if old.place == leaf.place)
            if not any(leaf.layer is old.layer for old in run):
                object.__setattr__(leaf.layer, "path", place)
            yield leaf


def _states(module: Module) -> Iterator[State]:
    return (value for value in vars(module).values() if isinstance(value, State))


def _leaves(model: Sequential) -> Iterator[_Leaf]:
    """Go over the layers of a Sequential and of those within it, in the order of calls."""
    for name, child in model.children():
        if type(child) is Sequential:
            yield from (_Leaf((name, *leaf.names), leaf.layer) for leaf in _leaves(child))
        else:
            yield _Leaf((name,), child)


def _needed(leaves: Iterator[_Leaf]) -> Iterator[_Leaf]:
    """Leave out what passes its input on: Dropout in inference, Flatten where rows are flat."""
    flat = False
    for leaf in leaves:
        kind = type(leaf.layer)
        if kind is Dropout or (kind is Flatten and flat):
            continue
        keeps_rows = kind in (Linear, BatchNorm, LayerNorm) or isinstance(leaf.layer, Activation)
        flat = kind in (Flatten, GlobalAvgPool2d) or (flat and keeps_rows)
        yield leaf


def _joins(run: list[_Leaf], leaf: _Leaf) -> bool:
    """Tell whether a layer can be folded into the run before it, exactly."""
    last = run[-1].form
    if leaf.form is None or last is None or leaf.form.channels != last.filters:
        return False
    return leaf.form.padding == (0, 0) or all(keeps_zeros(before.layer) for before in run)


def _rows(run: list[_Leaf], after: list[_Leaf]) -> bool:
    """Tell whether a Flatten in a run of rows may stand before or after what the run folds into.

    The layer after it takes as many features as the one before it gives, so there is one row an example.
    """
    if not after or any(type(leaf.layer) is Conv2d for leaf in (*run, after[0])):
        return False
    return _joins(run, after[0])


def _nested(leaves: list[_Leaf]) -> Sequential:
    """Put layers back into Sequentials, by their names."""
    named: dict[str, Module] = {}
    for name, group in itertools.groupby(leaves, key=lambda leaf: leaf.names[0]):
        inner = [leaf._replace(names=leaf.names[1:]) for leaf in group]
        named[name] = _nested(inner) if inner[0].names else inner[0].layer
    return Sequential(**named)
