"""A convolution or one of its gradients as a graph of cuDNN's frontend.

cuDNN's sizes are those of images (N, C, H, W) and filters (F, C, KH, KW); strides say that channels come last in
memory. Each tensor's sizes, strides and type are set here, because what the frontend infers differs between versions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["BIAS", "DY", "FILTERS", "IMAGES", "RESULT", "Problem", "build", "describe"]

IMAGES, FILTERS, BIAS, DY, RESULT = 1, 2, 3, 4, 5  # the tensors' numbers in every graph

_MOST_WORKSPACE = 1 << 30  # bytes: plans that need more are not used


class Problem(NamedTuple):
    """A convolution, and everything that a plan for it depends on but the device.

    work: "forward", "input gradient" or "filter gradient".
    images, filters, out: (N, H, W, C), (F, KH, KW, C/G) and (N, OH, OW, F).
    stride, padding, dilation: vertical and horizontal.
    dtype: of every array, "float32" or "float16".
    tf32: whether products of float32 numbers may be rounded to TF32.
    bias, relu: what the forward pass does before it writes y.
    """

    work: str
    images: tuple[int, ...]
    filters: tuple[int, ...]
    out: tuple[int, ...]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    dtype: str
    tf32: bool
    bias: bool = False
    relu: bool = False

    @property
    def result(self) -> tuple[int, ...]:
        """The shape of what is computed."""
        return {"forward": self.out, "input gradient": self.images, "filter gradient": self.filters}[self.work]

    def __str__(self) -> str:
        more = " with bias" * self.bias + " and relu" * self.relu
        return (
            f"{self.work}{more}, x {self.images}, w {self.filters}, stride {self.stride}, padding {self.padding}, "
            f"dilation {self.dilation}, {self.dtype}{' as tf32' * self.tf32}"
        )


def _channels_last(shape: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """The sizes (N, C, H, W), and the strides in elements, of an array (N, H, W, C) without gaps."""
    n, h, w, c = shape
    return [n, c, h, w], [h * w * c, 1, w * c, c]


def build(cudnn: Any, handle: Any, problem: Problem) -> Any:
    """Make the graph of a problem, and the best plan for it that the device and the precision allow.

    Float32 numbers are rounded to TF32 only where the problem says so, and never to anything shorter; sums are float32;
    and plans that are not deterministic are excluded.

    Raises:
        Exception: whatever the frontend raises where it has no such plan.
    """
    graph = describe(cudnn, handle, problem)
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    notes = cudnn.numerical_note
    unwanted = [notes.NONDETERMINISTIC, notes.REDUCED_PRECISION_REDUCTION]
    if problem.dtype == "float32":
        unwanted += [notes.DOWN_CONVERT_INPUTS] + [notes.TENSOR_CORE] * (not problem.tf32)
    graph.deselect_numeric_notes(unwanted)  # of plans: it has no effect before there are any
    graph.deselect_workspace_greater_than(_MOST_WORKSPACE)
    graph.check_support()
    return _first(graph)


def _first(graph: Any) -> Any:
    """Build the first plan, of those that the heuristics rank, that can be built."""
    problem: Exception = RuntimeError("cuDNN proposes no plan")
    for i in range(graph.get_execution_plan_count()):
        try:
            graph.build_plan_at_index(i)
            return graph
        except Exception as error:  # deselected above, or too much for this device: its own classes, and RuntimeError
            problem = error
    raise problem


def describe(cudnn: Any, handle: Any, problem: Problem) -> Any:
    """Make the graph of a problem."""
    kind = cudnn.data_type.HALF if problem.dtype == "float16" else cudnn.data_type.FLOAT
    sums = cudnn.data_type.FLOAT
    graph = cudnn.pygraph(io_data_type=kind, intermediate_data_type=sums, compute_data_type=sums, handle=handle)
    geometry: dict[str, Any] = {
        "pre_padding": list(problem.padding),
        "post_padding": list(problem.padding),
        "stride": list(problem.stride),
        "dilation": list(problem.dilation),
    }

    def tensor(shape: tuple[int, ...], name: str, number: int) -> Any:
        sizes, strides = _channels_last(shape)
        return graph.tensor(dim=sizes, stride=strides, data_type=kind, name=name, uid=number)

    def lay(result: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        sizes, strides = _channels_last(shape)
        result.set_dim(sizes)
        result.set_stride(strides)
        result.set_data_type(dtype)
        return result

    x, w, out = problem.images, problem.filters, problem.out
    if problem.work == "forward":
        result = graph.conv_fprop(image=tensor(x, "x", IMAGES), weight=tensor(w, "w", FILTERS), **geometry)
        if problem.bias:
            lay(result, out, sums)  # in registers only
            result = graph.bias(input=result, bias=tensor((1, 1, 1, w[0]), "b", BIAS))
        if problem.relu:
            lay(result, out, sums)
            result = graph.relu(input=result)  # keeps NaN, as xpnet's own does
    elif problem.work == "input gradient":
        result = graph.conv_dgrad(loss=tensor(out, "dy", DY), filter=tensor(w, "w", FILTERS), **geometry)
    else:
        result = graph.conv_wgrad(image=tensor(x, "x", IMAGES), loss=tensor(out, "dy", DY), **geometry)
    lay(result, problem.result, kind)
    result.set_uid(RESULT)
    result.set_output(True)
    return graph
