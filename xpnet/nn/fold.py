"""Fold a model for inference: runs of layers that are linear become one layer, the same function in fewer steps."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

from xpnet.errors import ConfigError
from xpnet.nn.affine import Foldable, Form, fewest, product, then
from xpnet.nn.container import Sequential
from xpnet.nn.module import Module
from xpnet.nn.state import State

__all__ = ["collapse", "fold"]


def fold(model: Module) -> Module:
    """Make a copy of a model for inference, with each BatchNorm folded into its neighbour where that is exact.

    Adjacent linear layers become one too where that does not add weights. See collapse, of which this is
    only_smaller=True.

        fast = nn.fold(model)
        scores = fast.predict(x)

    Args:
        model: any module; it stays as it is. What is written to it later does not change the copy.
    Returns: a new module, in evaluation mode, with arrays of its own, on the same backend and in the same dtype.
    Raises:
        ConfigError: model is not a Module, or something in a custom module cannot be copied.
    Cost: a product of weights a layer, in float64 on the host. Outputs agree to rounding.
    Source: Jacob et al. (2018), section 3.2.
    """
    return _folded("fold", model, only_smaller=True)


def collapse(model: Module, *, only_smaller: bool = False) -> Module:
    """Make a copy of a model for inference, in which each run of Linear, Conv2d and BatchNorm is one layer.

        w2 (w1 x + b1) + b2 = (w2 w1) x + (w2 b1 + b2)

    A run ends at an activation, a pool or any other layer, and where folding would not be exact: before a convolution
    with padding, unless what comes before it turns 0 into 0 pixel by pixel, so that the zeros are the same. Dropout is
    left out, and so is a Flatten of rows that are flat already. A run may begin in one Sequential and end in another;
    body and shortcut of a Residual are collapsed separately. Custom modules, and subclasses with a forward of their
    own, are copied as they are, with all that is in them.

    A folded layer has the name and place of the first of its run that is not a BatchNorm, so the layers that are left
    keep their paths; its filters are not flipped. What was shared in the model is shared in the copy, unless it was
    folded with different neighbours.

    Args:
        model: any module; it stays as it is. Running averages are used even while it is training.
        only_smaller: fold only where that does not add weights, biases aside, and so that the fewest are left. Linear
            layers 784-10-784 then stay: the one matrix in their place has 39 times the weights. A layer used in
            several places stays too.
    Returns: a new module, in evaluation mode, with arrays of its own, on the same backend and in the same dtype; a
        Sequential remains one, even of one layer.
    Raises:
        ConfigError: model is not a Module, or something in a custom module cannot be copied.
    Cost: a product of weights a layer, in float64 on the host. Outputs agree to rounding.
    """
    return _folded("collapse", model, only_smaller)


def _folded(where: str, model: Module, only_smaller: bool) -> Module:
    if not isinstance(model, Module):
        raise ConfigError(where, "a model that is a Module", model=type(model).__name__)
    for state in model.states().values():  # sets the paths that arrays are initialized by
        _ = state.data
    folder = _Folder(where, model, only_smaller)
    copied = folder(model)
    object.__setattr__(copied, "path", "")
    copied.states()
    return copied.eval()


class _Leaf(NamedTuple):
    """A layer in a Sequential or in one within it, by its names, outermost first; its form if it may be folded."""

    names: tuple[str, ...]
    layer: Module
    form: Form | None = None
    place: int = 0


class _Folder:
    """One call of fold or collapse: what it has made so far, so that what was shared stays shared."""

    def __init__(self, where: str, model: Module, only_smaller: bool) -> None:
        self.where = where
        self.only_smaller = only_smaller
        self.uses = Counter(id(state) for _, part in model.modules() for state in _states(part))
        self.made: dict[tuple[int, ...], Module] = {}  # by the ids of the modules that it replaces
        self.memo: dict[int, object] = {}  # of deepcopy

    def __call__(self, module: Module) -> Module:
        """Return the folded copy of a module, made once."""
        key = (id(module),)
        if key not in self.made:
            layers = module.in_sequence()
            made = module.copy_folded(self) if layers is None else _nested(self._sequence(layers))
            self.made[key] = self.copy(module) if made is None else made
        return self.made[key]

    def copy(self, module: Module) -> Module:
        """Copy a module as it is, with all that is in it."""
        try:
            return copy.deepcopy(module, self.memo)
        except TypeError as error:
            place = module.path or type(module).__name__
            raise ConfigError(self.where, "custom modules that can be copied", module=place, error=error) from error

    def _sequence(self, layers: Iterable[tuple[str, Module]]) -> list[_Leaf]:
        """Fold the runs of layers that follow each other, and of sequences within them."""
        leaves = [
            leaf._replace(form=self._form(leaf.layer), place=i) for i, leaf in enumerate(_computing(_leaves(layers)))
        ]
        run: list[_Leaf] = []
        left: list[_Leaf] = []
        for leaf in leaves:
            if run and _joins(run, leaf):
                run.append(leaf)
            elif run and leaf.layer.computes is False and _rows(run, leaves[leaf.place + 1 :]):
                left.append(leaf._replace(layer=self(leaf.layer)))
            else:
                left += self._runs(run)
                run = [leaf] if leaf.form else []
                left += [] if leaf.form else [leaf._replace(layer=self(leaf.layer))]
        return sorted([*left, *self._runs(run)], key=lambda leaf: leaf.place)

    def _form(self, layer: Module) -> Form | None:
        shared = any(self.uses[id(state)] > 1 for state in _states(layer))
        return None if self.only_smaller and shared else layer.conv_form()

    def _runs(self, run: list[_Leaf]) -> Iterator[_Leaf]:
        """Fold a run into one layer, or into those with the fewest weights."""
        whole = [(0, len(run))] if run else []
        for start, stop in fewest([leaf.form for leaf in run if leaf.form]) if self.only_smaller else whole:
            part = run[start:stop]
            layers = [leaf.layer for leaf in part]
            key = tuple(map(id, layers))
            if key not in self.made:
                self.made[key] = _product(layers) if len(layers) > 1 else self.copy(layers[0])
            head = next((leaf for leaf in part if _foldable(leaf.layer).fold_order), part[0])
            yield head._replace(layer=self.made[key])


def _product(layers: Sequence[Module]) -> Module:
    """Make one layer of several that follow each other."""
    foldable = [_foldable(layer) for layer in layers]
    form, filters = foldable[0].conv_form(), foldable[0].filters()
    for layer in foldable[1:]:
        second = layer.conv_form()
        assert form is not None
        assert second is not None
        filters, form = product(form, filters, second, layer.filters()), then(form, second)
    assert form is not None
    return max(foldable, key=lambda layer: layer.fold_order).folded(form, filters)


def _foldable(layer: Module) -> Foldable:
    return cast(Foldable, layer)


def _states(module: Module) -> Iterator[State]:
    return (part for _, part in module.named_parts() if isinstance(part, State))


def _leaves(layers: Iterable[tuple[str, Module]]) -> Iterator[_Leaf]:
    """Go over layers and those of sequences within them, in the order of calls."""
    for name, layer in layers:
        within = layer.in_sequence()
        if within is None:
            yield _Leaf((name,), layer)
        else:
            yield from (_Leaf((name, *leaf.names), leaf.layer) for leaf in _leaves(within))


def _computing(leaves: Iterable[_Leaf]) -> Iterator[_Leaf]:
    """Leave out layers whose output is their input, such as Dropout, and Flatten where rows are flat."""
    rank: int | None = None
    for leaf in leaves:
        before, rank = rank, leaf.layer.output_rank(rank)
        if leaf.layer.computes is not False or rank != before:
            yield leaf


def _joins(run: list[_Leaf], leaf: _Leaf) -> bool:
    """Tell whether a layer can be folded into the run before it, exactly."""
    last = run[-1].form
    if leaf.form is None or last is None or leaf.form.channels != last.filters:
        return False
    return leaf.form.padding == (0, 0) or all(_keeps_zeros(before.layer) for before in run)


def _keeps_zeros(layer: Module) -> bool:
    """Tell whether a layer turns 0 into 0, pixel by pixel: zeros around its input are zeros around its output."""
    form = layer.conv_form()
    if form is None or not form.by_pixel:
        return False
    shift = _foldable(layer).filters().shift
    return shift is None or not shift.any()


def _rows(run: list[_Leaf], after: list[_Leaf]) -> bool:
    """Tell whether a Flatten in a run of rows may stand before or after what the run folds into.

    The layer after it takes as many features as the one before it gives, so there is one row an example.
    """
    if not after or any(leaf.layer.output_rank(2) != 2 for leaf in (*run, after[0])):
        return False
    return _joins(run, after[0])


def _nested(leaves: list[_Leaf]) -> Sequential:
    """Put layers back into Sequentials, by their names."""
    named: dict[str, Module] = {}
    for name, group in itertools.groupby(leaves, key=lambda leaf: leaf.names[0]):
        inner = [leaf._replace(names=leaf.names[1:]) for leaf in group]
        named[name] = _nested(inner) if inner[0].names else inner[0].layer
    return Sequential(**named)
