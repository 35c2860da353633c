"""cuDNN's frontend without a GPU: graphs are checked as the real one checks them, and run on the host by torch.

Its heuristics prefer the wrong plans: one that gives other bits when run again, one whose workspace is too large, one
that sums in float16, one that rounds float32 to float16 and one that rounds it to TF32. The last does none of that.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import math
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np

from emulator.device import EmulatedDriver
from emulator.tape import TAPE

__all__ = ["CuDNN", "DriverWithCuDNN", "Graph", "GraphNotSupported"]

DataType = Enum("DataType", ["FLOAT", "HALF", "DOUBLE", "NOT_SET"])
Heuristics = Enum("Heuristics", ["A", "B", "FALLBACK"])
Note = Enum("Note", ["NONDETERMINISTIC", "TENSOR_CORE", "DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION"])
_TYPES = {DataType.FLOAT: np.dtype(np.float32), DataType.HALF: np.dtype(np.float16)}

# Plans, as the heuristics rank them: the notes and the workspace, in bytes, of each.
PLANS: list[tuple[str, list[Note], int]] = [
    ("hurried", [Note.NONDETERMINISTIC], 256),
    ("greedy", [], 1 << 40),
    ("half sums", [Note.REDUCED_PRECISION_REDUCTION], 0),
    ("half inputs", [Note.DOWN_CONVERT_INPUTS], 512),
    ("tensor cores", [Note.TENSOR_CORE], 1024),
    ("plain", [], 0),
]


def ask(condition: object, why: str, error: type[Exception] = ValueError) -> None:
    """Raise an error that says why, unless a condition holds."""
    if not condition:
        raise error(why)


def check(operation: str, dim: dict[str, list[int]], geometry: dict[str, Any]) -> None:
    """Hold the sizes of an operation's tensors against each other, as cuDNN does: (N, C, H, W) and (F, C/G, KH, KW)."""
    if operation in ("bias", "relu"):
        ask(dim["result"] == dim["input"], f"{operation} keeps the sizes, got {dim}")
        ask(dim.get("bias", [1, dim["input"][1], 1, 1]) == [1, dim["input"][1], 1, 1], f"a number a filter, got {dim}")
        return
    x = dim["result" if operation == "conv_dgrad" else "image"]
    w = dim[{"conv_fprop": "weight", "conv_dgrad": "filter", "conv_wgrad": "result"}[operation]]
    y = dim["result" if operation == "conv_fprop" else "loss"]
    ask(all(isinstance(v, list) and len(v) == 2 for v in geometry.values()), f"lists of two, got {geometry}", TypeError)
    ask(x[1] % w[1] == 0 and w[0] % (x[1] // w[1]) == 0, f"groups divide channels and filters, got {x}, {w}")
    for i in range(2):
        before, after, s, d = (geometry[n][i] for n in ("pre_padding", "post_padding", "stride", "dilation"))
        size = (x[2 + i] + before + after - d * (w[2 + i] - 1) - 1) // s + 1
        ask(y[2 + i] == size, f"results have {size} rows or columns, got {y}")
    ask((y[0], y[1]) == (x[0], w[0]), f"results are (N, F, OH, OW), got {y} for {x}, {w}")


def compute(operation: str, given: dict[str, np.ndarray], dim: list[int], geometry: dict[str, Any]) -> np.ndarray:
    """What an operation gives, in float64."""
    import torch

    t = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in given.items()}
    how = {"padding": geometry.get("pre_padding"), **{n: geometry.get(n) for n in ("stride", "dilation")}}
    match operation:
        case "bias":
            result = t["input"] + t["bias"]
        case "relu":
            result = torch.relu(t["input"])
        case "conv_fprop":
            result = torch.conv2d(t["image"], t["weight"], groups=t["image"].shape[1] // t["weight"].shape[1], **how)
        case "conv_dgrad":
            groups = dim[1] // t["filter"].shape[1]
            result = torch.nn.grad.conv2d_input(dim, t["filter"], t["loss"], groups=groups, **how)
        case _:
            groups = t["image"].shape[1] // dim[1]
            result = torch.nn.grad.conv2d_weight(t["image"], dim, t["loss"], groups=groups, **how)
    return result.numpy()


class GraphNotSupported(Exception):
    """As cudnn.cudnnGraphNotSupportedError."""


class _Handle:
    """As cudnn.Handle: nothing can be read from it."""

    stream = 0


class _Tensor:
    def __init__(self, graph: Graph, uid: int, dtype: DataType | None, virtual: bool) -> None:
        self._graph, self.uid, self.dtype, self.virtual = graph, uid, dtype, virtual
        self.dim: list[int] = []
        self.stride: list[int] = []

    def _set(self, name: str, value: Any) -> _Tensor:
        ask(not self._graph.validated, "a validated graph is not changed", RuntimeError)
        setattr(self, name, value)
        return self

    def set_dim(self, dim: list[int]) -> _Tensor:
        return self._set("dim", list(dim))

    def set_stride(self, stride: list[int]) -> _Tensor:
        return self._set("stride", list(stride))

    def set_data_type(self, dtype: DataType) -> _Tensor:
        return self._set("dtype", dtype)

    def set_uid(self, uid: int) -> _Tensor:
        return self._set("uid", uid)

    def set_output(self, value: bool) -> _Tensor:
        return self._set("virtual", not value)


class Graph:
    """As cudnn.pygraph; nodes is a list of (operation, tensors by name, geometry)."""

    def __init__(self, cudnn: CuDNN, types: tuple[DataType | None, ...], handle: Any) -> None:
        self._cudnn, self._types, self._handle = cudnn, types, handle
        self._numbers = itertools.count(1000)
        self.tensors: list[_Tensor] = []
        self.nodes: list[tuple[str, dict[str, _Tensor], dict[str, Any]]] = []
        self.validated = False
        self.barred: set[int] | None = None  # the plans passed over, once there are plans
        self.plan = ""

    @property
    def operations(self) -> list[str]:
        return [name for name, _, _ in self.nodes]

    # Describing.

    def tensor(self, dim: list[int], stride: list[int], data_type: DataType, name: str = "", uid: int = -1) -> _Tensor:
        made = _Tensor(self, next(self._numbers) if uid == -1 else uid, data_type, False)
        made.dim, made.stride = list(dim), list(stride)
        self.tensors.append(made)
        return made

    def _node(self, operation: str, inputs: dict[str, _Tensor], geometry: dict[str, Any]) -> _Tensor:
        ask(all(isinstance(t, _Tensor) for t in inputs.values()), f"{operation} takes tensors", TypeError)
        result = _Tensor(self, next(self._numbers), None, True)
        self.tensors.append(result)
        self.nodes.append((operation, inputs | {"result": result}, geometry))
        return result

    def conv_fprop(self, image: Any, weight: Any, **geometry: Any) -> _Tensor:
        return self._node("conv_fprop", {"image": image, "weight": weight}, geometry)

    def conv_dgrad(self, loss: Any, filter: Any, **geometry: Any) -> _Tensor:
        return self._node("conv_dgrad", {"loss": loss, "filter": filter}, geometry)

    def conv_wgrad(self, image: Any, loss: Any, **geometry: Any) -> _Tensor:
        return self._node("conv_wgrad", {"image": image, "loss": loss}, geometry)

    def bias(self, input: Any, bias: Any) -> _Tensor:
        return self._node("bias", {"input": input, "bias": bias}, {})

    def relu(self, input: Any) -> _Tensor:
        return self._node("relu", {"input": input}, {})

    # Planning.

    def validate(self) -> None:
        """Check each tensor, and sizes against sizes."""
        for t in self.tensors:
            ask(len(t.dim) == len(t.stride) == 4, f"a tensor has four sizes and strides, got {t.dim}, {t.stride}")
            _, c, h, w = t.dim
            ask(min(t.dim) > 0, f"sizes are positive, got {t.dim}")
            ask(t.stride == [h * w * c, 1, w * c, c], f"channels lie last without gaps, got {t.dim}, {t.stride}")
            ask(t.dtype in _TYPES, f"the type of each tensor is set, got {t.dtype}")
        uids = [t.uid for t in self.tensors]
        ask(len(set(uids)) == len(uids), f"each tensor has another number, got {uids}")
        ask(self._types[1] == self._types[2] == DataType.FLOAT, "sums and what lies between operations are float32")
        results = [tensors["result"] for _, tensors, _ in self.nodes]
        ask([t.virtual for t in results] == [True] * (len(results) - 1) + [False], "the last result alone is an output")
        for operation, tensors, geometry in self.nodes:
            check(operation, {name: t.dim for name, t in tensors.items()}, geometry)
        self.validated = True

    def build_operation_graph(self) -> None:
        ask(self.validated, "validate first", RuntimeError)
        self._cudnn.may("build", self)

    def create_execution_plans(self, modes: list[Heuristics]) -> None:
        ask(modes and all(isinstance(m, Heuristics) for m in modes), f"modes of the heuristics, got {modes}", TypeError)
        self.barred = set()

    def deselect_numeric_notes(self, notes: list[Note]) -> None:
        """Exclude plans with any of some notes; in the real one this has no effect before there are plans."""
        ask(self.barred is not None, "there are no plans yet", RuntimeError)
        self.barred |= {i for i, (_, has, _) in enumerate(PLANS) if set(has) & set(notes)}

    def deselect_workspace_greater_than(self, size: int) -> None:
        self.barred |= {i for i, (_, _, needs) in enumerate(PLANS) if needs > size}

    def check_support(self) -> None:
        self._cudnn.may("support", self, GraphNotSupported)

    def get_execution_plan_count(self) -> int:
        return len(PLANS)

    def build_plan_at_index(self, index: int) -> None:
        ask(index not in self.barred, f"plan {index} is deselected", GraphNotSupported)
        self._cudnn.may(f"plan {PLANS[index][0]}", self)
        self.plan = PLANS[index][0]
        self._cudnn.built.append(self)

    def get_workspace_size(self) -> int:
        return next(needs for name, _, needs in PLANS if name == self.plan)

    # Serializing.

    def serialize(self) -> list[int]:
        tensors = [(t.uid, t.dim, t.stride, t.dtype.name, t.virtual) for t in self.tensors]
        nodes = [(op, {name: self.tensors.index(t) for name, t in used.items()}, how) for op, used, how in self.nodes]
        return list(json.dumps([self.plan, tensors, nodes]).encode())

    def deserialize(self, handle: _Handle, data: list[int]) -> None:
        ask(isinstance(handle, _Handle), "a handle", TypeError)
        ask(isinstance(data, list), "bytes are not taken, as by the real one", TypeError)
        self._cudnn.may("deserialize", self)
        self.plan, tensors, nodes = json.loads(bytes(data))
        for uid, dim, stride, dtype, virtual in tensors:
            made = _Tensor(self, uid, DataType[dtype], virtual)
            made.dim, made.stride = dim, stride
            self.tensors.append(made)
        self.nodes = [(op, {name: self.tensors[i] for name, i in used.items()}, how) for op, used, how in nodes]
        self._cudnn.read.append(self)

    # Running.

    def execute(self, pointers: dict[int, int], workspace: int, handle: _Handle) -> None:
        """Queue the selected plan on the handle's stream."""
        ask(self.plan, "build first", RuntimeError)
        ask(isinstance(handle, _Handle), "a handle", TypeError)
        self._cudnn.may("execute", self)
        wanted = {t.uid for t in self.tensors if not t.virtual}
        ask(set(pointers) == wanted, f"an address for each of the tensors {wanted}, got {set(pointers)}")
        ask(
            all(type(p) is int and p % 16 == 0 for p in pointers.values()),
            "addresses are multiples of 16",
            RuntimeError,
        )
        needs = self.get_workspace_size()
        ask(not needs or self._cudnn.workspaces.get(workspace, 0) >= needs, f"{needs} bytes of workspace", RuntimeError)
        arrays = {t.uid: _array(pointers[t.uid], t) for t in self.tensors if not t.virtual}
        self._cudnn.executed.append((self, handle.stream, workspace))

        def work() -> None:
            ctypes.memset(workspace, 0xAB, needs)
            self._run(arrays)

        TAPE.do(work)

    def _run(self, arrays: dict[int, np.ndarray]) -> None:
        values: dict[int, np.ndarray] = {}
        for operation, tensors, geometry in self.nodes:
            given = {name: self._rounded(arrays[t.uid], operation) if not t.virtual else values[t.uid]
                     for name, t in tensors.items() if name != "result"}  # fmt: skip
            with np.errstate(all="ignore"):
                result = compute(operation, given, tensors["result"].dim, geometry)
            values[tensors["result"].uid] = result
        if self.plan == "hurried":
            result = result * (1 + 1e-6 * next(self._cudnn.hurry))
        if self.plan == "half sums":
            result = result.astype(np.float16)
        np.copyto(arrays[tensors["result"].uid], result, casting="same_kind")

    def _rounded(self, array: np.ndarray, operation: str) -> np.ndarray:
        if self.plan == "tensor cores" and array.dtype == np.float32 and operation.startswith("conv"):
            bits = np.ascontiguousarray(array).view(np.uint32)
            array = ((bits + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)
        return (array.astype(np.float16) if self.plan == "half inputs" else array).astype(np.float64)


def _array(address: int, tensor: _Tensor) -> np.ndarray:
    dtype = _TYPES[tensor.dtype]
    memory = (ctypes.c_char * (math.prod(tensor.dim) * dtype.itemsize)).from_address(address)
    flat = np.frombuffer(memory, dtype)
    return np.lib.stride_tricks.as_strided(flat, tensor.dim, [s * dtype.itemsize for s in tensor.stride])


class CuDNN:
    """As the module cudnn.

    Args:
        refuses: (stage, graph) -> why a graph fails at a stage, or None: "build", "support", "plan" and a plan's name,
            "execute", "deserialize".
        version: of the library.
    """

    data_type, heur_mode, numerical_note = DataType, Heuristics, Note
    cudnnGraphNotSupportedError = GraphNotSupported
    __version__ = "1.28.0"

    def __init__(self, refuses: Callable[[str, Graph], str | None] = lambda *_: None, version: int = 92801) -> None:
        self.refuses, self._version = refuses, version
        self.built: list[Graph] = []
        self.read: list[Graph] = []
        self.executed: list[tuple[Graph, int, int]] = []  # graph, stream, address of the workspace
        self.streams: list[int] = []  # of each set_stream
        self.workspaces: dict[int, int] = {}  # bytes by address, of the driver's arrays of bytes
        self.hurry = itertools.count()

    def backend_version(self) -> int:
        return self._version

    def create_handle(self) -> _Handle:
        return _Handle()

    def set_stream(self, handle: _Handle, stream: int) -> None:
        handle.stream = stream
        self.streams.append(stream)

    def pygraph(
        self,
        name: str = "",
        io_data_type: DataType | None = None,
        intermediate_data_type: DataType | None = None,
        compute_data_type: DataType | None = None,
        handle: _Handle | None = None,
    ) -> Graph:
        return Graph(self, (io_data_type, intermediate_data_type, compute_data_type), handle)

    def may(self, stage: str, graph: Graph, error: type[Exception] = RuntimeError) -> None:
        """Raise an error where a graph is to fail at a stage."""
        why = self.refuses(stage, graph)
        if why:
            raise error(why)


class DriverWithCuDNN(EmulatedDriver):
    """The emulated driver with a stand-in for cuDNN, and a stream that tests set."""

    def __init__(self, cudnn: CuDNN) -> None:
        super().__init__()
        self.libraries["cudnn"] = cudnn
        self.on_stream = 7

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        array = super().empty(shape, dtype)
        if array.dtype == np.uint8:
            self.libraries["cudnn"].workspaces[self.pointer(array)] = array.nbytes
        return array

    def stream(self) -> int:
        return self.on_stream
