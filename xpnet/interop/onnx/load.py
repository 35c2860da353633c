"""Open an ONNX file, check it, and make a Module of it."""

from __future__ import annotations

import os
import re
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data.opening import check_expansion, disk_size, open_file
from xpnet.errors import ConfigError, DataError, XpnetError, nearest
from xpnet.interop.onnx.graph import Graph, Plan, Port, compute_node
from xpnet.interop.onnx.limits import MOST_BYTES, Budget
from xpnet.interop.onnx.metadata import layout_of
from xpnet.interop.onnx.node import Node
from xpnet.interop.onnx.registry import NEWEST, find
from xpnet.interop.onnx.run import Run
from xpnet.interop.onnx.scan import scan
from xpnet.interop.onnx.stored import DTYPES, Stored
from xpnet.interop.onnx.weights import make_layers, separate, weights_of
from xpnet.libraries import require
from xpnet.output import counted

__all__ = ["Parsed", "load_onnx", "parse_onnx"]

_MOST_FILE = (1 << 31) - 1  # bytes; a larger file cannot be one message
_DOMAINS = ("", "ai.onnx")
_KINDS = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}  # of attributes


def load_onnx(
    path: str | os.PathLike[str],
    *,
    inputs: str | None = None,
    output: str | None = None,
    free_batch: bool = False,
    max_bytes: int = MOST_BYTES,
) -> Graph:
    """Read an ONNX file as a model that predicts, trains and moves between backends.

    Floating initializers of layers become Parameters, the running statistics of batch norm and other floating
    constants Buffers; what can be computed of constants is computed once. Dropout is active in training only.

    Args:
        path: the file. Arrays that it keeps in other files must be in its own folder.
        inputs: the layout of images that the model takes, and of those that it returns: "nchw", as in the file, or
            "nhwc", channels last as everywhere in xpnet. None: "nhwc" for a file of export_onnx that takes "nchw";
            else as in the file.
        output: the name of the one output to compute, or of another value of the graph; None: all outputs.
        free_batch: take any number of examples where the file fixes it: its first axis becomes free, and so does that
            of constant shapes of a Reshape of the same size. Otherwise a model predicts so many examples at a time.
        max_bytes: the most that one value may take, and all constants that are computed of those in the file; of a
            value in a prediction, 256 times the bytes of the inputs where that is more.
    Returns:
        The model in evaluation mode, on the default backend. It returns a Tensor, or a tuple where the graph has
        several outputs.
    Raises:
        ConfigError: an argument, or the package onnx is not installed. DataError: no such file, it is not a complete
            ONNX file, holds an op that is not read, or asks for more memory than max_bytes. No code is executed, and no
            file outside of its folder is read.
    """
    path = arguments.path("load_onnx", "path", path)
    arguments.optional(_layout)("load_onnx", "inputs", inputs)
    arguments.optional(arguments.text)("load_onnx", "output", output)
    free_batch = arguments.boolean("load_onnx", "free_batch", free_batch)
    arguments.positive("load_onnx", "max_bytes", max_bytes)
    return parse_onnx(path, max_bytes).graph(inputs, output, free_batch)


def parse_onnx(path: str | os.PathLike[str], max_bytes: int = MOST_BYTES) -> Parsed:
    """Read a file as far as it says what it holds; path, max_bytes and errors as of load_onnx."""
    file = arguments.path("load_onnx", "path", path)
    with open_file(file) as opened:
        onnx = require("load_onnx", "onnx", "onnx")
        size = os.fstat(opened.fileno()).st_size
        if size > _MOST_FILE:
            raise DataError(str(file), "a file of less than 2 GiB; arrays may be in files beside it", bytes=f"{size:,}")
        check_expansion(str(file), size, disk_size(opened), "use another copy")
        try:
            data = opened.read()
        except MemoryError as error:
            raise DataError.event(str(file), "out of memory", bytes=f"{size:,}") from error
    scan(str(file), data, onnx.ModelProto.DESCRIPTOR)
    try:
        proto = onnx.ModelProto.FromString(data)
    except Exception as error:  # DecodeError, whose module onnx imports
        raise DataError.event(str(file), "not an ONNX file", error=error) from error
    return Parsed(onnx, file, proto, len(data), max_bytes)


def _layout(where: str, name: str, value: Any) -> Any:
    return arguments.choice(where, name, value, ("nchw", "nhwc"))


class Parsed:
    """A file that was parsed; ``graph`` makes the model of it, once.

    Its ``metadata`` are what the file says of itself, by key.
    """

    def __init__(self, onnx: Any, path: Path, proto: Any, size: int, max_bytes: int) -> None:
        self.onnx, self.path, self.proto, self.max_bytes = onnx, path, proto, max_bytes
        self.where = str(path)
        self.stored = Stored(path, size)
        self.opset = self._opset()
        self.arrays: dict[str, np.ndarray] = {}  # initializers, then what is computed of them
        self.initializers: set[str] = set()
        self.metadata = {entry.key: entry.value for entry in proto.metadata_props}

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The inputs that are no initializers."""
        graph = self.proto.graph
        arrays = {tensor.name for tensor in graph.initializer}
        return tuple(self._port(value) for value in graph.input if value.name not in arrays)

    def score(self) -> str | None:
        """Return the value that an activation makes the first output of, such as Softmax of scores; None: no such."""
        graph = self.proto.graph
        name = graph.output[0].name if graph.output else ""
        last = next((node for node in graph.node if name in node.output), None)
        reader = None if last is None or last.domain not in _DOMAINS else find(last.op_type, self.opset)
        return last.input[0] if last is not None and last.input and reader is not None and reader.finishes else None

    def _opset(self) -> int:
        if not self.proto.HasField("graph") or not self.proto.opset_import:
            raise DataError(self.where, "an ONNX file with a graph and an opset", graph=self.proto.HasField("graph"))
        versions = [e.version for e in self.proto.opset_import if e.domain in _DOMAINS]
        opset = max(versions, default=1)  # none: all its ops are of other domains
        if not 1 <= opset <= NEWEST:
            do = "convert the model by onnx.version_converter, or export it with an older opset"
            raise DataError(self.where, f"opset 1 to {NEWEST}", do, opset=opset)
        return opset

    def graph(self, inputs: str | None = None, output: str | None = None, free_batch: bool = False) -> Graph:
        """Make the model; arguments and errors as of load_onnx."""
        graph = self.proto.graph
        if graph.sparse_initializer:
            raise DataError(self.where, "initializers that are dense", sparse=graph.sparse_initializer[0].values.name)
        for tensor in graph.initializer:
            if not tensor.name or tensor.name in self.arrays:
                raise DataError(self.where, "initializers with names of their own", name=repr(tensor.name))
            self.arrays[tensor.name] = self.stored.array(tensor, f"initializer {tensor.name!r}")
        self.initializers = set(self.arrays)
        ins = self.inputs
        outs = tuple(self._port(v) for v in graph.output)
        outs = self._chosen(graph, outs, output)
        nodes = self._nodes(graph, ins, outs)
        budget = Budget(self.max_bytes, self.stored.size)
        nodes = self._fold(nodes, budget)
        inputs = inputs or ("nhwc" if layout_of(self.metadata) == "nchw" else "nchw")
        plan = Plan(
            self.path.name, nodes, self.arrays, ins, outs, self._dtype(ins), inputs == "nhwc", Budget(self.max_bytes),
            self.metadata, free_batch,
        )  # fmt: skip
        layers = make_layers(plan, self.arrays, self.initializers)
        used = {name for node in nodes for name in node.inputs} | {port.name for port in outs}
        plan.constants = {name: a for name, a in self.arrays.items() if name in used and name not in plan.weights}
        return Graph(plan, layers).eval()

    def _chosen(self, graph: Any, outputs: tuple[Port, ...], name: str | None) -> tuple[Port, ...]:
        if not outputs:
            raise DataError(self.where, "a graph with an output", outputs=0)
        if name is None:
            return outputs
        known = {port.name: port for port in outputs}
        if name not in known and any(name in node.output for node in graph.node if name):
            return (Port(name, "float32", None),)
        if name not in known:
            raise ConfigError("load_onnx", "the name of an output", nearest(name, known), output=repr(name))
        return (known[name],)

    def _port(self, value: Any) -> Port:
        kind = value.type.tensor_type
        where = f"{self.where}: {value.name or 'a value'}"
        if not value.name:
            raise DataError(self.where, "inputs and outputs with names", name=repr(value.name))
        if value.type.WhichOneof("value") not in ("tensor_type", None):
            raise DataError(where, "a tensor", type=value.type.WhichOneof("value"))
        dtype = DTYPES.get(kind.elem_type, "float32" if not kind.elem_type else "")
        if not dtype:
            raise DataError(where, "elements of " + ", ".join(DTYPES.values()), elem_type=kind.elem_type)
        if not kind.HasField("shape"):
            return Port(value.name, dtype, None)
        sizes = [d.dim_value if d.WhichOneof("value") == "dim_value" else None for d in kind.shape.dim]
        sizes = [None if n == -1 else n for n in sizes]  # as PaddlePaddle writes sizes that are free
        if any(n is not None and not 0 <= n <= arguments.MOST for n in sizes):
            raise DataError(where, f"sizes of 0 to {arguments.MOST:,}", shape=tuple(sizes))
        return Port(value.name, dtype, tuple(sizes))

    def _dtype(self, inputs: tuple[Port, ...]) -> str:
        """The floating dtype that most of the file's numbers have."""
        sizes: dict[str, int] = {}
        for array in self.arrays.values():
            if array.dtype.kind == "f":
                sizes[array.dtype.name] = sizes.get(array.dtype.name, 0) + array.size
        for port in inputs:
            if port.dtype.startswith("float"):
                sizes[port.dtype] = sizes.get(port.dtype, 0) + 1
        return max(sizes, key=lambda name: sizes[name], default="float32")

    def _nodes(self, graph: Any, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> list[Node]:
        """Return the nodes that the outputs depend on, in an order in which they can be computed."""
        makers: dict[str, int] = {}
        taken = {*self.arrays, *(port.name for port in inputs)}
        if len({port.name for port in inputs}) < len(inputs):
            raise DataError(self.where, "inputs with names of their own", inputs=[port.name for port in inputs][:8])
        for i, proto in enumerate(graph.node):
            for name in proto.output:
                if name and (name in taken or name in makers):
                    raise DataError(self.where, "values with names of their own", name=repr(name))
                if name:
                    makers[name] = i
        needed: set[int] = set()
        pending = [port.name for port in outputs]
        waits: dict[int, set[int]] = {}
        while pending:
            name = pending.pop()
            maker = makers.get(name)
            if maker is None:
                if name not in taken:
                    raise DataError(self.where, "values that a node, an input or an initializer gives", name=repr(name))
            elif maker not in needed:
                needed.add(maker)
                names = [n for n in graph.node[maker].input if n]
                waits[maker] = {makers[n] for n in names if n in makers}
                pending += names
        self._check_ops(graph, sorted(needed))
        users: dict[int, list[int]] = {}
        for i in sorted(needed):
            for maker in waits[i]:
                users.setdefault(maker, []).append(i)
        ready = deque(i for i in sorted(needed) if not waits[i])
        order = []
        while ready:
            i = ready.popleft()
            order.append(i)
            for user in users.get(i, ()):
                waits[user].discard(i)
                if not waits[user]:
                    ready.append(user)
        if len(order) < len(needed):
            stuck = graph.node[min(needed - set(order))]
            what = "nodes that wait for each other, in a cycle"
            raise DataError.event(self.where, what, node=repr(stuck.name or stuck.op_type))
        taken_names: set[str] = set()
        return [self._node(graph.node[i], i, taken_names) for i in order]

    def _check_ops(self, graph: Any, needed: list[int]) -> None:
        """Raise an error that names every op that is not read, with one node of each."""
        unknown: dict[str, str] = {}
        for i in needed:
            proto = graph.node[i]
            name = proto.op_type if proto.domain in _DOMAINS else f"{proto.domain}.{proto.op_type}"
            if name not in unknown and (proto.domain not in _DOMAINS or find(proto.op_type, self.opset) is None):
                unknown[name] = repr(proto.name or f"{proto.op_type}_{i}")
        if unknown:
            listed = ", ".join(f"{op} (node {node}, opset {self.opset})" for op, node in list(unknown.items())[:20])
            more = f" and {len(unknown) - 20} more" if len(unknown) > 20 else ""
            raise DataError.event(self.where, f"ops that are not read: {listed}{more}")

    def _node(self, proto: Any, place: int, names: set[str]) -> Node:
        """Return a node with its attributes, under a name of its own that is a word."""
        shown = proto.name or f"{proto.op_type}_{place}"
        word = name = re.sub(r"\W+", "_", shown, flags=re.ASCII).strip("_") or f"{proto.op_type}_{place}"
        if word in names:
            name = f"{word}_{place}"
        while name in names:
            name += "_"
        names.add(name)
        node = Node(proto.op_type, name, self.opset, tuple(proto.input), tuple(proto.output))
        where = f"{self.where}: {node.where}"
        schema = self._schema(proto.op_type)
        for attribute in proto.attribute:
            if attribute.ref_attr_name or attribute.type not in _KINDS:
                raise DataError(where, "attributes that are numbers, texts or tensors", attribute=attribute.name)
            if attribute.name in node.attributes or (schema is not None and attribute.name not in schema):
                raise DataError(where, f"attributes of {proto.op_type}, each once", attribute=repr(attribute.name))
            node.attributes[attribute.name] = self._attribute(where, attribute)
        count, reader = len(proto.input), node.reader
        if not reader.least <= count <= reader.most:
            rule = (
                counted(reader.least, "input")
                if reader.least == reader.most
                else f"{reader.least} to {reader.most} inputs"
            )
            raise DataError(where, rule, inputs=count)
        if not proto.output or any(not n for n in node.inputs[: reader.least]):
            raise DataError(where, "the inputs that the op needs, and an output", inputs=node.inputs[:8])
        return node

    def _schema(self, op: str) -> Any:
        try:
            return self.onnx.defs.get_schema(op, min(self.opset, self.onnx.defs.onnx_opset_version()), "").attributes
        except self.onnx.defs.SchemaError:
            return None

    def _attribute(self, where: str, attribute: Any) -> Any:
        value = getattr(attribute, _KINDS[attribute.type])
        if attribute.type == 4:
            return self.stored.array(value, f"attribute {attribute.name!r}")
        if attribute.type in (3, 8):
            texts = [value] if attribute.type == 3 else list(value)
            try:
                found = [text.decode() for text in texts]
            except UnicodeDecodeError as error:
                raise DataError(where, "texts in UTF-8", attribute=attribute.name) from error
            return found[0] if attribute.type == 3 else found
        return list(value) if attribute.type in (6, 7) else value

    def _fold(self, nodes: list[Node], budget: Budget) -> list[Node]:
        """Compute what depends on integers and constants alone; return the other nodes."""
        run, rest = Run(budget, self._numpy()).on_host(), []
        try:
            nodes = separate(nodes, self.initializers, self.arrays, budget)
        except XpnetError as error:
            error.where = self.where
            raise
        learned = weights_of(nodes, self.initializers, self.arrays)
        with np.errstate(all="ignore"):
            for node in nodes:
                if any(n and (n not in self.arrays or n in learned) for n in node.inputs):
                    rest.append(node)
                    continue
                try:
                    results = compute_node(run, node, [self.arrays[n] if n else None for n in node.inputs])
                    for name, array in zip(node.outputs, results, strict=False):
                        if name:
                            budget.charge(array.nbytes)
                            self.arrays[name] = array
                except XpnetError as error:
                    error.path = f"{self.where}: {error.path}" if error.path else self.where
                    raise
        return rest

    @staticmethod
    def _numpy() -> Any:
        from xpnet.backend import get_backend

        return get_backend("numpy")
