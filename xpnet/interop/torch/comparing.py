"""A module of PyTorch beside a model: where layers compute something else, although their arrays have equal shapes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from xpnet.errors import CheckpointError
from xpnet.interop.torch.matching import Pair
from xpnet.nn import Module

__all__ = ["DO", "compare", "settings_of"]

Named = tuple[str, Any]
DO = "pass its state_dict() to compare arrays alone"
_PASSING = ("Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "Flatten", "Identity")  # no new numbers in prediction


def compare(model: Module, theirs: Any, pairs: Sequence[Pair], where: str) -> None:
    """Compare the layers whose arrays go together, and those without arrays as far as their order is known.

    Layers without arrays are compared one by one where both sides are layers one after the other; else those of a class
    that both sides have as many of, and a class that the model has none of is an error. Dropout is not compared, and
    what a forward computes beside its layers is not seen.

    Args:
        model: ours.
        theirs: the torch.nn.Module.
        pairs: the arrays that go together.
        where: the function, for messages.
    Raises:
        CheckpointError: a class, or a setting that changes the output, differs.
    """
    ours = {model.below(path) if module is not model else "": module for path, module in model.modules()}
    modules = dict(theirs.named_modules())
    layers = dict.fromkeys((_layer(pair.own.path), _layer(pair.found.name)) for pair in pairs)
    for path, name in layers:
        if path in ours and name in modules:
            _compare((path, ours[path]), (name, modules[name]), where)
    own = [(p, m) for p, m in ours.items() if m.torch_classes and not any(m.torch_arrays()) and not _passes(m)]
    leaves = [(n, m) for n, m in modules.items() if not [*m.children(), *m.parameters(False)]]
    others = [(n, m) for n, m in leaves if type(m).__name__ not in _PASSING]
    containers = [m for m in modules.values() if [*m.children()]]
    if _is_chain(model) and all(type(m).__name__ == "Sequential" for m in containers):
        _compare_chains(own, others, where)
        return
    mine, yours = _by_class(own), _by_class(others)
    for kind, found in mine.items():
        if len(found) == len(yours[kind]):
            for pair in zip(found, yours[kind], strict=True):
                _compare(*pair, where)
    absent = [name for kind in yours if kind not in mine and kind != "AdaptiveAvgPool2d" for name, _ in yours[kind]]
    if absent and not any(module.is_custom for module in ours.values()):
        rule = "a model that has PyTorch's kinds of layers"
        raise CheckpointError(where, rule, DO, **{absent[0]: type(modules[absent[0]]).__name__})


def settings_of(model: Module) -> str:
    """Write the settings of a model's layers that no array shows, such as "eps 1e-05; stride (1, 1) or (2, 2)"."""
    found: dict[str, dict[str, None]] = {}
    for _, layer in model.modules():
        for name, value in (layer.torch_settings() if layer.torch_classes else {}).items():
            text = " or ".join(sorted(map(str, value))) if isinstance(value, frozenset) else str(value)
            found.setdefault(name, {})[text] = None
    return "; ".join(f"{name} {' or '.join(values)}" for name, values in sorted(found.items()))


def _compare_chains(own: list[Named], others: list[Named], where: str) -> None:
    """Compare layers that are applied one after the other; an adaptive pool may leave the size as it is."""
    others = [o for o in others if type(o[1]).__name__ != "AdaptiveAvgPool2d" or _pair(o[1].output_size) == (1, 1)]
    for pair in zip(own, others, strict=False):
        _compare(*pair, where)
    if len(own) != len(others):
        first = own[len(others)] if len(own) > len(others) else others[len(own)]
        side = "model" if len(own) > len(others) else "PyTorch"
        rule = "as many layers without arrays on both sides"
        got = {"model": len(own), "PyTorch": len(others), f"more in {side}": first[0]}
        raise CheckpointError(where, rule, DO, **got)


def _compare(own: Named, found: Named, where: str) -> None:
    (path, layer), (name, theirs) = own, found
    classes = [c.__name__ for c in type(theirs).__mro__ if c.__module__.startswith("torch.nn.")]
    if not layer.torch_classes or classes[0] == "Module":  # a class of the user's, on one side
        return
    label = f"{path or type(layer).__name__} and {name or type(theirs).__name__}"
    if not set(classes) & set(layer.torch_classes):
        rule = f"{label} to be layers of one kind"
        raise CheckpointError(where, rule, DO, model=type(layer).__name__, PyTorch=type(theirs).__name__)
    for setting, value in layer.torch_settings().items():
        other = getattr(theirs, setting, value)
        if setting == "padding" and isinstance(other, str):
            other = _in_pixels(theirs, other)
        if other not in value if isinstance(value, frozenset) else not _equal(value, other):
            value = " or ".join(sorted(map(str, value))) if isinstance(value, frozenset) else value
            raise CheckpointError(where, f"{label} of one {setting}", DO, model=value, PyTorch=other)


def _in_pixels(theirs: Any, padding: str) -> Any:
    """Return the padding of a convolution that names it, as a pair; the name where the sides differ."""
    if padding == "valid":
        return (0, 0)
    totals = [d * (k - 1) for d, k in zip(theirs.dilation, theirs.kernel_size, strict=True)]
    return padding if any(n % 2 for n in totals) else tuple(n // 2 for n in totals)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and len(one) == 2:
        other = _pair(other)
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9)
    return one == (tuple(other) if isinstance(other, list) else other)


def _pair(value: Any) -> Any:
    return value if isinstance(value, tuple | list | str | None) else (value, value)


def _passes(layer: Module) -> bool:
    return layer.computes is False


def _is_chain(model: Module) -> bool:
    """Whether a model is layers of xpnet one after the other."""
    within = model.in_sequence()
    if within is None:
        return not any(True for _ in model.children()) and not model.is_custom
    return all(_is_chain(layer) for _, layer in within)


def _by_class(layers: list[Named]) -> defaultdict[str, list[Named]]:
    found: defaultdict[str, list[Named]] = defaultdict(list)
    for name, layer in layers:
        known = getattr(layer, "torch_classes", None)
        found[known[0] if known else type(layer).__name__].append((name, layer))
    return found


def _layer(name: str) -> str:
    return name.rpartition(".")[0]
