"""A model written as an ONNX file.

    xpnet.export_onnx(model, "m.onnx", (28, 28, 1))

The model runs on a few examples, and the ops that it calls become ONNX's own nodes; see xpnet.interop.trace. So a
custom module of ops is exported as xpnet's layers are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet import __version__, arguments
from xpnet.autograd import Tensor
from xpnet.data import Normalize, several
from xpnet.errors import ConfigError, XpnetError
from xpnet.interop.graph import Batch, Graph, Size, Value
from xpnet.interop.onnx.writer import NCHW, Stored, Writer
from xpnet.interop.onnx.writing_ops import writer_of
from xpnet.interop.trace import trace
from xpnet.libraries import require
from xpnet.nn import Module
from xpnet.writing import write_atomically

__all__ = ["OPSETS", "Exported", "export_onnx"]

OPSETS = range(17, 24)
_WHERE = "export_onnx"
_MOST = (1 << 31) - (1 << 20)  # bytes of a file of protocol buffers, less some for the nodes
_MOST_EXAMPLES = 4096  # of a fixed batch: so many are computed
_FINISHES: dict[str, Callable[[Tensor], Tensor]] = {"softmax": Tensor.softmax, "sigmoid": Tensor.sigmoid}


class Exported(NamedTuple):
    """What a file holds.

    Args:
        path: the file.
        inputs, outputs: by name, dtype and sizes, such as ("float32", ("N", 3, 32, 32)).
        opset: of the nodes.
        nodes: how many by op.
        numbers: in all constants together.
        size: of the file, in bytes.
    """

    path: Path
    inputs: dict[str, tuple[str, tuple[Any, ...]]]
    outputs: dict[str, tuple[str, tuple[Any, ...]]]
    opset: int
    nodes: dict[str, int]
    numbers: int
    size: int


def export_onnx(
    model: Module,
    path: str | Path,
    shape: Any,
    *,
    inputs: str = "nchw",
    opset: int = 21,
    batch: str | int = "N",
    normalize: Any = None,
    finish: str | Callable[[Tensor], Tensor] | None = None,
    classes: Iterable[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> Exported:
    """Write a model, as it computes in evaluation mode, as a file of ONNX nodes.

    Weights are permuted once, so there is no Transpose between layers; where a custom forward reshapes images, one is
    written. The file is checked, with the shapes of all values, before it takes the place of another.

    Args:
        model: on any backend, in its own dtype; nothing is written to it.
        path: the file, in a folder that exists.
        shape: one example, such as (H, W, C) or (D,); a tuple of such shapes, or a dictionary by name, for a model that
            takes several inputs.
        inputs: how images lie in the file's inputs and outputs: "nchw", channels first; or "nhwc", as in xpnet.
        opset: the version of ONNX's ops, 17 to 23.
        batch: the name of the dimension of examples, or their number where it is fixed, 1 to 4096.
        normalize: a data.Normalize, such as trainer.normalize, to be part of the file, or None; of several inputs one
            each, or None, in the form of shape. Inputs are then on the scale of the data.
        finish: what is applied to the output: "softmax" or "sigmoid" for probabilities, a function of a tensor, or None
            for the model's scores.
        classes: names of the outputs, kept in the file's metadata under "classes", as JSON.
        metadata: further texts by name; "description" is that of the file too.
    Returns:
        What the file holds.
    Raises:
        ConfigError: an argument out of range; onnx is not installed; or the model computes what ONNX's ops cannot: the
            message names the op and its layer. CheckpointError: the file cannot be written.
    Cost: two forward passes, of 7 examples together; the memory of the parameters about three times.
    """
    onnx = require(_WHERE, "onnx", "onnx")
    path = arguments.path(_WHERE, "path", path)
    arguments.instance(_WHERE, "model", model, kind=Module, rule="a Module")
    shape, normalize = _shapes(shape), _normalize(normalize, shape)
    arguments.choice(_WHERE, "inputs", inputs, ("nchw", "nhwc"))
    opset = arguments.count(_WHERE, "opset", opset, OPSETS[0], min(OPSETS[-1], onnx.defs.onnx_opset_version()))
    fixed = None if isinstance(batch, str) else arguments.count(_WHERE, "batch", batch, 1, _MOST_EXAMPLES)
    if isinstance(batch, str) and not batch.isidentifier():
        raise ConfigError(_WHERE, "batch, a number or a name such as N", batch=arguments.shown(batch))
    if finish is not None and (not callable(finish) or isinstance(finish, type)):
        finish = _FINISHES[arguments.choice(_WHERE, "finish", finish, tuple(_FINISHES))]
    facts = _metadata(classes, metadata, inputs, normalize)
    _check_size(sum(math.prod(s.shape) * np.dtype(s.dtype_).itemsize for s in model.states().values()))
    try:
        graph = trace(_WHERE, model, shape, batch=fixed, before=[_first(n) for n in normalize], after=finish)
    except ConfigError as error:
        if error.where != "forward":
            raise
        raise ConfigError(_WHERE, "shape, one for each input of the model's forward", shape=shape) from error
    writer = Writer(onnx, _WHERE, opset)
    dimension = str(fixed or batch)
    given = _write_inputs(writer, graph, inputs, dimension)
    _write_steps(writer, graph)
    found = _write_outputs(writer, graph, inputs, dimension)
    data = _serialized(onnx, writer, opset, given, found, facts, type(model).__name__)
    write_atomically(path, data)
    nodes: dict[str, int] = {}
    for node in writer.nodes:
        nodes[node.op_type] = nodes.get(node.op_type, 0) + 1
    numbers = sum(array.size for array in writer.arrays.values())
    return Exported(path, given, found, opset, nodes, numbers, len(data))


def _shapes(shape: Any) -> Any:
    """Check the shape of an example, or of each of several inputs."""
    if isinstance(shape, dict):
        names = [arguments.text(_WHERE, "shape", name) for name in shape]
        if shape and all(name.isidentifier() for name in names):
            return {name: arguments.shape(_WHERE, "shape", each, 1) for name, each in shape.items()}
        raise ConfigError(_WHERE, "shape with the names of the inputs", shape=arguments.shown(names))
    if isinstance(shape, tuple | list) and shape and isinstance(shape[0], tuple | list):
        return tuple(arguments.shape(_WHERE, "shape", each, 1) for each in shape)
    return arguments.shape(_WHERE, "shape", shape, 1)


def _normalize(normalize: Any, shape: Any) -> Any:
    """Check how inputs are normalized, one each."""
    count = len(shape) if isinstance(shape, dict) or (shape and isinstance(shape[0], tuple)) else 1
    each = several.each(normalize) if several.is_several(normalize) else [normalize]
    if normalize is None:
        each = [None] * count
    if len(each) != count or not all(n is None or isinstance(n, Normalize) for n in each):
        rule = "normalize, a data.Normalize or None for each input"
        raise ConfigError(_WHERE, rule, normalize=arguments.shown(normalize), inputs=count)
    return tuple(each)


def _first(normalize: Normalize | None) -> Callable[[Tensor], Tensor] | None:
    if normalize is None:
        return None

    def apply(x: Tensor) -> Tensor:
        if len(normalize.mean) not in (1, x.shape[-1]):
            raise ConfigError(_WHERE, "normalize with a number for each channel", C=x.shape[-1], mean=normalize.mean)
        xp, dtype = x.backend.xp, str(x.dtype).rpartition(".")[2]
        scale, shift = normalize.factors(xp, x.backend.device, dtype)
        return x * scale + shift

    return apply


def _metadata(
    classes: Iterable[str], metadata: Mapping[str, str] | None, inputs: str, normalize: tuple[Normalize | None, ...]
) -> dict[str, str]:
    names = [arguments.text(_WHERE, "classes", name) for name in arguments.items(_WHERE, "classes", classes)]
    more = arguments.mapping(_WHERE, "metadata", {} if metadata is None else metadata)
    for name, value in more.items():
        arguments.text(_WHERE, "metadata", name)
        arguments.text(_WHERE, "metadata", value)
    included = [None if n is None else n.to_json() for n in normalize]
    facts = {"layout": inputs, "normalization_included": included if any(included) else None}
    return {**({"classes": json.dumps(names)} if names else {}), "input": json.dumps(facts), **more}


def _check_size(size: int) -> None:
    if size > _MOST:
        what = "a model of more than 2 GB does not fit in one file"
        raise ConfigError.event(_WHERE, what, "cast it: model.to(dtype='float16')", bytes=f"{size:,}")


def _file_axes(value: Value, layout: str) -> tuple[int, ...]:
    return NCHW if layout == "nchw" and len(value.shape) == 4 else tuple(range(len(value.shape)))


def _write_inputs(writer: Writer, graph: Graph, layout: str, batch: str) -> dict[str, Any]:
    given = {}
    for name, value in graph.inputs.items():
        name = writer.unique(name if name.isidentifier() else f"input{name}")
        writer.first_input = writer.first_input or name
        stored = Stored(name, value.shape, value.dtype, _file_axes(value, layout))
        writer.keep(value, stored)
        given[name] = _described(stored, batch)
    return given


def _write_steps(writer: Writer, graph: Graph) -> None:
    for step in graph.steps:
        writer.step = step
        write = writer_of(step.function)
        if write is None:
            known = (step.function.__module__ or "").startswith("xpnet.")
            do = "it has no form in ONNX" if known else "compute it by xpnet.ops, which have one"
            raise writer.unsupported("the op cannot be exported", do)
        try:
            writer.keep(step.output, write(writer, *step.inputs, **step.options))
        except XpnetError:
            raise
        except TypeError as error:
            raise writer.unsupported(f"the op cannot be exported with these arguments ({error})", "") from error
    writer.step = None


def _write_outputs(writer: Writer, graph: Graph, layout: str, batch: str) -> dict[str, Any]:
    found = {}
    every = [(name, writer.ordered(value, _file_axes(value, layout))) for name, value in graph.outputs.items()]
    for name, stored in every:  # all are written before one gets another name
        name = writer.unique(name if name.isidentifier() else f"output{name}")
        writer.output(stored.name, name)
        found[name] = _described(stored, batch)
    return found


def _described(stored: Stored, batch: str) -> tuple[str, tuple[Any, ...]]:
    def size(n: Size) -> Any:
        if isinstance(n, Batch):
            return batch if n == Batch() else f"{n.times}*{batch}+{n.plus}"
        return n

    return stored.dtype, tuple(size(stored.shape[axis]) for axis in stored.axes)


def _serialized(
    onnx: Any,
    writer: Writer,
    opset: int,
    given: dict[str, Any],
    found: dict[str, Any],
    facts: dict[str, str],
    name: str,
) -> bytes:
    """Build the file's content, and check it."""
    helper = onnx.helper
    _check_size(sum(array.nbytes for array in writer.arrays.values()))

    def infos(values: dict[str, Any]) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
            for name, (dtype, shape) in values.items()
        ]

    arrays = [onnx.numpy_helper.from_array(array, name) for name, array in writer.arrays.items()]
    graph = helper.make_graph(writer.nodes, name, infos(given), infos(found), arrays)
    versions = [helper.make_opsetid("", opset)]
    file = helper.make_model(
        graph,
        opset_imports=versions,
        ir_version=helper.find_min_ir_version_for(versions),
        producer_name="xpnet",
        producer_version=__version__,
        doc_string=facts.get("description", ""),
    )
    helper.set_model_props(file, facts)
    try:
        onnx.checker.check_model(file, full_check=True)
    except Exception as error:  # of this library's: the checker has classes of its own
        line = str(error).strip().partition("\n")[0]
        what, do = "the nodes that were written are not valid", "please report it, with the model"
        raise ConfigError.event(_WHERE, what, do, error=line) from error
    return file.SerializeToString()
