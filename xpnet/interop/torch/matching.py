"""Which array of PyTorch goes into which array of a model: by name where names are equal, else by shape and in order.

Arrays are compared a layer at a time. Layers of both sides are sorted into kinds by the names and shapes of their
arrays: a batch norm has running averages, filters have rank 4. Within a kind, layers with the same names go together;
where names differ, the first goes to the first, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from xpnet.errors import CheckpointError, ConfigError, nearest
from xpnet.interop.torch import torchvision
from xpnet.interop.torch.reading import Found, Source
from xpnet.interop.torch.renaming import Rename, renamer
from xpnet.nn import Module
from xpnet.nn.exchange import TorchArray
from xpnet.output import counted

__all__ = ["Own", "Pair", "check_complete", "left_over", "match", "own_arrays"]

_USUAL = ("weight", "bias", "running_mean", "running_var")  # PyTorch's names, which tell kinds of layers apart


class Own(NamedTuple):
    """One array of a model, as PyTorch holds it: its path with PyTorch's name of it, and with its own."""

    name: str
    path: str
    array: TorchArray

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes in PyTorch's order of axes."""
        return self.array.shape


class Pair(NamedTuple):
    """An array of PyTorch and the array of the model that it goes into."""

    own: Own
    found: Found


class _Layer(NamedTuple):
    """The arrays of one layer."""

    name: str
    arrays: list[Any]

    @property
    def kind(self) -> tuple[Any, ...]:
        """The shapes of its arrays, with the names that tell kinds of layers apart."""
        leaves = ((_leaf(a.name), a.shape) for a in self.arrays)
        return tuple(sorted((leaf if leaf in _USUAL else "", shape) for leaf, shape in leaves))


def own_arrays(model: Module) -> list[Own]:
    """List the arrays of a model as PyTorch holds them; one that is shared appears once."""
    found, seen = [], set()
    for path, module in model.modules():
        prefix, new = model.below(path) if module is not model else "", []
        for array in module.torch_arrays():
            if array.state not in seen:
                new.append(array.state)
                local = next(name for name, part in module.named_parts() if part is array.state)
                found.append(Own(_join(prefix, array.name), _join(prefix, local), array))
        seen.update(new)
    return found


def match(
    own: Sequence[Own], source: Source, rename: Rename | None, where: str, strict: bool = True
) -> tuple[list[Pair], Source]:
    """Pair arrays off; those without a partner are in no pair.

    How many batches PyTorch's batch norm has seen is left out: it changes nothing here.

    Args:
        own: the model's.
        source: PyTorch's.
        rename: prefixes and patterns, or a function, of names; see load_torch.
        where: the function, for messages.
        strict: whether all must find a partner; else layers whose name the other side gives to another are left.
    Returns:
        The pairs, in the order of the model, and the source without what is left out.
    Raises:
        ConfigError: rename names what the model or the file does not have. CheckpointError: the order would decide
            between layers of one kind, and it is not known, or contradicts names.
    """
    arrays = [found for found in source.arrays if _leaf(found.name) != "num_batches_tracked"]
    left = {found.name: found for found in arrays}
    pairs = [] if rename is None else _renamed(own, left, rename, where)
    kept = {*left, *(pair.found.name for pair in pairs)}
    source = source._replace(arrays=[found for found in arrays if found.name in kept])
    named = {pair.own.name for pair in pairs}
    rest = [o for o in own if o.name not in named]
    theirs = _layers(list(left.values()))
    ours = _layers(rest)
    known = torchvision.model_of(_plain([layer.name for layer in theirs]))
    if known and {layer.name for layer in ours} == set(names := torchvision.layers_of(known)):
        by_name = dict(zip(_plain([f.name for f in left.values()]), left.values(), strict=True))
        for o in rest:
            found = by_name.get(_join(names[_prefix(o.name)], _leaf(o.name)))
            if found is not None and found.shape == o.shape:
                pairs.append(Pair(o, found))
    else:
        pairs += _by_kind(ours, theirs, source, strict)
    order = {o.name: i for i, o in enumerate(own)}
    return sorted(pairs, key=lambda pair: order[pair.own.name]), source


def _renamed(own: Sequence[Own], left: dict[str, Found], rename: Rename, where: str) -> list[Pair]:
    """Pair off the arrays whose names the user has given; they are taken out of what is left."""
    by_name = {name: o for o in own for name in (o.path, o.name)}
    pairs: dict[str, Pair] = {}
    renamed = renamer(rename, list(left), where)
    for name in list(left):
        new, is_said = renamed(name)
        if not is_said:
            continue
        found = left.pop(name)
        if new is None:
            continue
        o = by_name.get(new)
        if o is None:
            layers = {_prefix(o.name) for o in own}
            known, wrong = (by_name, new) if _prefix(new) in layers else (layers, _prefix(new))
            do = nearest(wrong, known) if any(known) else ""
            raise ConfigError(where, "rename to give names that the model has", do, **{name: repr(new)})
        if o.name in pairs:
            what = f"rename gives two arrays the name {o.name!r}"
            raise ConfigError.event(where, what, first=pairs[o.name].found.name, second=name)
        if o.shape != found.shape:
            raise _mismatch(where, [o], [found])
        pairs[o.name] = Pair(o, found)
    return list(pairs.values())


def _by_kind(ours: list[_Layer], theirs: list[_Layer], source: Source, strict: bool) -> list[Pair]:
    """Pair off layers of one kind: by names where those are equal, else in order."""
    pairs: list[Pair] = []
    plain = dict(zip([layer.name for layer in theirs], _plain([layer.name for layer in theirs]), strict=True))
    for kind in dict.fromkeys(layer.kind for layer in ours):
        mine = [layer for layer in ours if layer.kind == kind]
        yours = [layer for layer in theirs if layer.kind == kind]
        by_name = {plain[layer.name]: layer for layer in yours}
        if all(layer.name in by_name for layer in mine):
            chosen = [by_name[layer.name] for layer in mine]
        elif len(mine) == len(yours):
            chosen = yours if source.ordered else sorted(yours, key=lambda layer: _natural(layer.name))
            _check_order(mine, chosen, by_name, source)
        else:
            mine = [layer for layer in mine if layer.name in by_name]
            chosen = [by_name[layer.name] for layer in mine]
        for own, found in zip(mine, chosen, strict=True):
            name = plain[found.name]
            if strict or name == own.name or not (own.name in plain.values() or any(o.name == name for o in ours)):
                pairs += _within(own, found)
    return pairs


def _check_order(mine: list[_Layer], chosen: list[_Layer], by_name: dict[str, _Layer], source: Source) -> None:
    """Raise unless the order of layers of one kind is known: where the source keeps none, by numbers in the names."""
    names = [layer.name for layer in chosen]
    numbered = len({re.sub(r"\d+", "0", name) for name in names}) == 1
    why = ""
    if any(by_name.get(m.name, c) is not c for m, c in zip(mine, chosen, strict=True)):
        why = "some names are equal, but in another order"
    elif numbered and names != sorted(names, key=_natural):
        why = "the order and the numbers in the names differ"
    elif not numbered and not source.ordered:
        why = "safetensors, and names that are sorted or shuffled, keep no order"
    if why and len(chosen) > 1:
        raise CheckpointError.event(
            source.where,
            f"which layers of equal shapes belong together is not known: {why}",
            "say so by rename={file's name: model's name}",
            file=", ".join(layer.name for layer in chosen[:4]),
            model=", ".join(layer.name for layer in mine[:4]),
        )


def _within(own: _Layer, found: _Layer) -> list[Pair]:
    """Pair off the arrays of two layers of one kind: by name, else by shape and in order."""
    left = list(found.arrays)
    pairs = []
    for exact in (True, False):
        for o in own.arrays:
            if any(pair.own is o for pair in pairs):
                continue
            fits = [f for f in left if f.shape == o.shape and (not exact or _leaf(f.name) == _leaf(o.name))]
            if fits:
                left.remove(fits[0])
                pairs.append(Pair(o, fits[0]))
    return pairs


def check_complete(where: str, own: Sequence[Own], source: Source, pairs: Sequence[Pair]) -> None:
    """Raise CheckpointError unless every array of both sides is in a pair."""
    missing, unexpected = left_over(own, source, pairs)
    if missing or unexpected:
        layers = [layer.name for layer in _layers(source.arrays)]
        raise _mismatch(where, missing, unexpected, torchvision.model_of(_plain(layers)))


def left_over(own: Sequence[Own], source: Source, pairs: Sequence[Pair]) -> tuple[list[Own], list[Found]]:
    """Return what is in no pair, of both sides; a second name of an array that is in one does not count."""
    used = {pair.found.name for pair in pairs}
    memory = {pair.found.memory for pair in pairs} - {None}
    named = {pair.own.name for pair in pairs}
    missing = [o for o in own if o.name not in named]
    unexpected = [f for f in source.arrays if f.name not in used and f.memory not in memory]
    return missing, unexpected


def _mismatch(where: str, missing: Sequence[Own], unexpected: Sequence[Found], known: str = "") -> CheckpointError:
    got = {"without a partner in the file": _listed(missing), "without a partner in the model": _listed(unexpected)}
    do = torchvision.advice(known) if known and len(missing) > 2 else "see rename, and strict=False"
    return CheckpointError(where, "arrays of equal shapes in model and file", do, **got)


def _listed(arrays: Sequence[Any]) -> str:
    layers = _layers(arrays)
    first = ", ".join(f"{layer.name or 'the model'} ({_shapes(layer)})" for layer in layers[:2])
    return (first or "none") + (f" and {counted(len(layers) - 2, 'layer')} more" if len(layers) > 2 else "")


def _shapes(layer: _Layer) -> str:
    return ", ".join(f"{_leaf(array.name)} {'x'.join(map(str, array.shape)) or 'of rank 0'}" for array in layer.arrays)


def _layers(arrays: Iterable[Any]) -> list[_Layer]:
    """Put arrays together that one layer holds, in the order of first names."""
    found: dict[str, _Layer] = {}
    for array in arrays:
        prefix = _prefix(array.name)
        found.setdefault(prefix, _Layer(prefix, [])).arrays.append(array)
    return list(found.values())


def _plain(names: list[str]) -> list[str]:
    """Leave out "module.", which PyTorch's DataParallel puts before each name."""
    return [name[7:] for name in names] if names and all(name.startswith("module.") for name in names) else names


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _prefix(name: str) -> str:
    return name.rpartition(".")[0]


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
