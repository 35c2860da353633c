"""The ops that are read: for each name and opset version a function that computes a node.

    @reads("Relu")
    def relu(run, node, x):
        return run.unary(ops.relu, x)

The function receives the run, the node with its attributes, and the node's inputs, None for those left out. It returns
one value, or a tuple of them. What its parameters say of the number of inputs is checked when a file is loaded.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

__all__ = ["FAMILIES", "NEWEST", "Reader", "find", "names", "reads"]

FAMILIES = (
    "activation", "constant", "convolution", "elementwise", "indexing", "linear", "logic", "loss", "normalization",
    "parts", "pooling", "reduction", "resize", "shape",
)  # fmt: skip
NEWEST = 28  # the newest opset whose changes have been read

F = TypeVar("F", bound=Callable[..., Any])


class Reader(NamedTuple):
    """How an op is read, in the versions from since to until.

    Args:
        function: computes a node.
        since, until: the first and the last version of the opset.
        parameters: names of the inputs that training changes, by place.
        buffers: names of the inputs that a model keeps, by place, which training does not change by gradients.
        layout: (node, input, rank) -> the order of axes in which a weight is kept, or None.
        kind, family: what summaries call a node, and its entry in the legends of pictures.
        passes: whether it gives its input unchanged.
        drops: whether it drops numbers in training, by draws that its layer keys.
        learned: what a constant of it is called that is learned where it follows a layer, such as "shift"; or "".
        finishes: whether it makes scores answers, such as probabilities.
        least, most: the number of inputs.
    """

    function: Callable[..., Any]
    since: int
    until: int
    parameters: Mapping[int, str]
    buffers: Mapping[int, str]
    layout: Callable[[Any, int, int], tuple[int, ...] | None]
    kind: str
    family: str
    least: int
    most: float
    passes: bool = False
    drops: bool = False
    learned: str = ""
    finishes: bool = False

    def order(self, node: Any, place: int, rank: int) -> tuple[int, ...] | None:
        """Return the order of axes in which an input is kept where it is a weight; None: as in the file."""
        return self.layout(node, place, rank) if place in self.parameters else None


_READERS: dict[str, list[Reader]] = {}


def reads(
    name: str,
    since: int = 1,
    until: int = NEWEST,
    *,
    parameters: Mapping[int, str] | None = None,
    buffers: Mapping[int, str] | None = None,
    layout: Callable[[Any, int, int], tuple[int, ...] | None] = lambda node, place, rank: None,
    kind: str = "",
    family: str = "other",
    inputs: int | None = None,
    **traits: Any,
) -> Callable[[F], F]:
    """Make the decorated function the reader of an op; see Reader.

    inputs is the number of inputs, where the function takes more in other versions of the op.
    """

    def register(function: F) -> F:
        least, most = _inputs(function) if inputs is None else (inputs, inputs)
        reader = Reader(
            function, since, until, parameters or {}, buffers or {}, layout, kind or name.lower(), family, least, most,
            **traits,
        )  # fmt: skip
        _READERS.setdefault(name, []).append(reader)
        return function

    return register


def _inputs(function: Callable[..., Any]) -> tuple[int, float]:
    """How many inputs a reader takes."""
    least: int = 0
    most: float = 0
    for parameter in list(inspect.signature(function).parameters.values())[2:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = float("inf")
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            most += 1
            least += parameter.default is parameter.empty
    return least, most


@functools.cache
def _load() -> None:
    for family in FAMILIES:
        importlib.import_module(f"xpnet.interop.onnx.reading_ops.{family}")


def find(name: str, opset: int) -> Reader | None:
    """Return the reader of an op in a version of the opset; None where there is none."""
    _load()
    return next((r for r in _READERS.get(name, ()) if r.since <= opset <= r.until), None)


def names() -> list[str]:
    """Return the names of all ops that are read."""
    _load()
    return sorted(_READERS)
