"""Weights of PyTorch in a model, and a model's weights as PyTorch holds them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet import arguments
from xpnet.errors import CheckpointError, ConfigError
from xpnet.interop.layouts import channels_first, flattened
from xpnet.interop.torch import torchvision
from xpnet.interop.torch.comparing import compare, settings_of
from xpnet.interop.torch.matching import Own, Pair, check_complete, left_over, match, own_arrays
from xpnet.interop.torch.reading import is_torch_module, read
from xpnet.interop.torch.renaming import Rename
from xpnet.interop.torch.verifying import verify
from xpnet.libraries import require
from xpnet.nn import Module, State
from xpnet.output import counted, printable

__all__ = ["Loaded", "LoadedArray", "load_torch", "to_torch_state_dict"]

_log = logging.getLogger("xpnet")


class LoadedArray(NamedTuple):
    """One array that was loaded.

    Args:
        source: its name in PyTorch.
        path: the parameter or buffer of the model.
        shape: its sizes in PyTorch.
        layout: how its axes were reordered, "" where they were not.
    """

    source: str
    path: str
    shape: tuple[int, ...]
    layout: str


class Loaded(NamedTuple):
    """What load_torch did; str() is a table of it.

    Args:
        arrays: what went where, in the order of the model.
        missing: parameters and buffers of the model without an array; they kept their values.
        unexpected: arrays that went nowhere.
    """

    arrays: tuple[LoadedArray, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()

    def __repr__(self) -> str:
        left = f"missing={self.missing}, unexpected={self.unexpected}"
        return f"<{counted(len(self.arrays), 'array')} loaded, {left}; print it for the table>"

    def __str__(self) -> str:
        heading = ("PyTorch", "model", "shape", "layout")
        rows = [heading, *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, *self._left()])

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        return ((printable(a.source), a.path, _size(a.shape), a.layout) for a in self.arrays)

    def _left(self) -> list[str]:
        left = {"not in PyTorch's": self.missing, "not in the model": self.unexpected}
        return [printable(f"{where}: {', '.join(names)}") for where, names in left.items() if names]

    def print(self) -> None:
        """Print the table to standard output, as wide as the terminal."""
        from rich.console import Console
        from rich.table import Table

        table = Table("PyTorch", "model", "shape", "layout", box=None, pad_edge=False)
        for row in self._rows():
            table.add_row(*row)
        console = Console(markup=False, highlight=False)
        console.print(table)
        for line in self._left():
            console.print(line)


def load_torch(
    model: Module,
    source: Any,
    *,
    rename: Rename | None = None,
    shape: tuple[int, ...] | None = None,
    strict: bool = True,
    verbose: bool = True,
) -> Loaded:
    """Set a model's parameters and buffers from weights of PyTorch: all of them, or after an error none.

        xpnet.load_torch(models.resnet18(), "resnet18.pth")
        xpnet.load_torch(model, "net.safetensors", rename={"backbone.conv_a": "conv1"})

    A layer of PyTorch goes with a layer of the model whose arrays have the same shapes. Among several such layers equal
    names go together; where names differ, order decides, so compare the table with what you know of the two. Names of
    torchvision's AlexNet, VGG-16 and ResNet-18 are known. Axes are reordered: filters from (F, C, KH, KW) to
    (F, KH, KW, C), and the columns of the first Linear after a Flatten from the order of (C, H, W) to (H, W, C).

    The checksums of a file of torch.save are compared; safetensors, and files from before torch 1.6, have none. A file
    holds arrays only. That both sides have the same stride, padding, dilation, eps, activations and order of
    calls cannot be seen from it: the numbers differ without an error where they have not, and the log (level INFO)
    lists the model's settings. Where source is the module itself, its layers and their settings are compared too, and
    with shape also what both give for random inputs.

    Args:
        model: the module that receives the values; its dtype, backend and mode stay. Call eval() before it predicts.
        source: a file of safetensors, or of torch.save(model.state_dict(), file), recognized by its content, for which
            torch must be installed; or a state dictionary, or a torch.nn.Module.
        rename: names of PyTorch to names of the model, which then go together whatever the order: a dictionary from
            prefix ("backbone.conv_a") or compiled pattern to what takes its place, None to leave such arrays out; or a
            function from name to name. The parts of a layer may have PyTorch's names or the model's.
        shape: one example, such as (28, 28, 1). Needed where a model flattens images before the first layer, or has a
            forward of its own: the model is then run once on zeros.
        strict: whether every array of both sides must find a partner. False: the rest stays as it is.
        verbose: print a table of what went where.
    Returns:
        What went where, and what was left over.
    Raises:
        CheckpointError: the file is absent, damaged or of another kind; arrays without a partner, of a strict load or
            all; layers or outputs that differ; numbers too large for the model's dtype. ConfigError: an argument,
            or torch is not installed. Nothing has changed then. NaN is loaded, and the log names the first such array.
    Cost: memory for the weights once more; with a module and shape, a forward pass of two examples on both sides.
    """
    where = "load_torch"
    arguments.instance(where, "model", model, kind=Module, rule="a Module")
    strict, verbose = arguments.boolean(where, "strict", strict), arguments.boolean(where, "verbose", verbose)
    shape = None if shape is None else arguments.shape(where, "shape", shape, 1)
    found = read(where, source)
    own = own_arrays(model)
    pairs, found = match(own, found, rename, where, strict)
    if strict or not pairs:
        check_complete(found.where, own, found, pairs)
    if found.module is not None:
        compare(model, found.module, pairs, where)
    elif settings := settings_of(model):
        text = "%s: arrays alone are compared: see that PyTorch's layers have the model's settings too: %s"
        _log.info(text, where, settings)
    rows = flattened(model, shape, where)
    made = _received(model, pairs, rows, found.where)
    missing, unexpected = left_over(own, found, pairs)
    before = {state: state.data for state in made}
    try:
        for state, array in made.items():
            state.data = array
        if found.module is not None and shape is not None and not missing and not unexpected:
            verify(model, found.module, shape, where)
    except BaseException:
        for state, array in before.items():
            state.data = array
        raise
    if name := next((state.path for state in made if state.holds_nan()), None):
        _log.warning("%s: %s holds NaN: the model's outputs will be NaN", where, name)
    arrays = (LoadedArray(p.found.name, p.own.path, p.found.shape, _layout(p.own, rows)) for p in pairs)
    loaded = Loaded(tuple(arrays), tuple(o.path for o in missing), tuple(f.name for f in unexpected))
    if verbose:
        loaded.print()
    return loaded


def to_torch_state_dict(
    model: Module, names: Any = None, *, shape: tuple[int, ...] | None = None, numpy: bool = False
) -> dict[str, Any]:
    """Copy a model's parameters and buffers as a state dictionary of PyTorch, in its order of axes.

        twin.load_state_dict(xpnet.to_torch_state_dict(model, twin))

    Args:
        model: any module.
        names: whose names they get. None: the model's paths, with PyTorch's names of a layer's arrays, such as
            "norm1.running_mean"; a torch.nn.Module or state dictionary: those of its arrays, which are found as
            load_torch finds them; a list: in the model's order, without num_batches_tracked; "torchvision": what
            torchvision calls them in its AlexNet, VGG-16 or ResNet-18.
        shape: one example, needed as in load_torch.
        numpy: return NumPy's arrays instead of tensors of PyTorch, which then need not be installed.
    Returns:
        Arrays by name, on the host; for each batch norm also num_batches_tracked, which is 0.
    Raises:
        ConfigError: an argument; names of another number or that are not known; torch is not installed.
        CheckpointError: arrays of a module or dictionary without a partner in the model, or the reverse.
    """
    where = "to_torch_state_dict"
    arguments.instance(where, "model", model, kind=Module, rule="a Module")
    shape = None if shape is None else arguments.shape(where, "shape", shape, 1)
    torch = None if arguments.boolean(where, "numpy", numpy) else require(where, "torch", "torch")
    own = own_arrays(model)
    chosen = _names(model, own, names, where)
    rows, found = flattened(model, shape, where), {}
    for o, name in zip(own, chosen, strict=True):
        view = _view(o, o.array.state.numpy(), rows)
        found[name] = np.array(view, order="C").reshape(o.shape)
        if o.array.name == "running_var":
            found[f"{name.rpartition('.')[0]}.num_batches_tracked".removeprefix(".")] = np.zeros((), np.int64)
    return found if torch is None else {name: torch.from_numpy(array) for name, array in found.items()}


def _names(model: Module, own: Sequence[Own], names: Any, where: str) -> list[str]:
    if names is None:
        return [o.name for o in own]
    if isinstance(names, Mapping) or is_torch_module(names):
        pairs, source = match(own, read(where, names, "names"), None, where)
        check_complete(where, own, source, pairs)
        if source.module is not None:
            compare(model, source.module, pairs, where)
        return [pair.found.name for pair in pairs]
    if names == "torchvision":
        return torchvision.names_for([o.name for o in own], where)
    chosen = [arguments.text(where, "each of names", name) for name in arguments.items(where, "names", names)]
    if len(chosen) != len(own) or len(set(chosen)) != len(chosen):
        raise ConfigError(where, "names, another for each array of the model", names=len(set(chosen)), arrays=len(own))
    return chosen


def _received(model: Module, pairs: Iterable[Pair], rows: Mapping[State, int], where: str) -> dict[State, Any]:
    """Make the new array of each parameter and buffer, on its backend and in its dtype; nothing is written yet."""
    values: dict[State, np.ndarray] = {}
    for own, found in pairs:
        state = own.array.state
        read = _checked(found.read(), found.name, where)
        if state not in values:
            values[state] = np.array(np.broadcast_to(read.dtype.type(0), state.shape))
        view = _view(own, values[state], rows)
        view[...] = read.reshape(view.shape)
    made = {}
    for state, array in values.items():
        with np.errstate(over="ignore"):
            over = np.isfinite(array) & ~np.isfinite(array.astype(state.dtype_))
        if over.any():
            raise CheckpointError(where, f"numbers that {state.dtype_} holds", array=state.path, value=array[over][0])
        made[state] = state.received(array, state.path)
    return made


def _checked(array: np.ndarray, name: str, where: str) -> np.ndarray:
    if array.dtype.kind != "f":
        raise CheckpointError(where, "arrays of real floating numbers", array=name, dtype=array.dtype)
    return array


def _view(own: Own, array: np.ndarray, rows: Mapping[State, int]) -> np.ndarray:
    """View an array of the model in PyTorch's order; its flattened rows are then two axes (C, H*W)."""
    view = own.array.view(array)
    channels = rows.get(own.array.state, 0)
    return channels_first(view, channels) if channels and view.ndim == array.ndim else view


def _layout(own: Own, rows: Mapping[State, int]) -> str:
    if len(own.shape) == 4:
        return "OIHW to OHWI"
    channels = rows.get(own.array.state, 0)
    turned = len(own.shape) == len(own.array.state.shape) and 1 < channels < own.shape[-1]
    return f"CHW to HWC, C = {channels}" if turned else ""


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "-"
