"""A tape, and a step that is recorded and replayed: not what is computed, but how."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy import array_equal

import xpnet
from xpnet import ops
from xpnet.backend import Backend
from xpnet.exercises.cases.holding import compare
from xpnet.exercises.comparing import float_types, put, sample
from xpnet.exercises.hints import Wrong, message_of

__all__ = ["replay", "tape"]


def tape(backend: Backend, make: Any, apply: Any, backward: Any) -> None:
    """Tensors that are used twice, a network, a long chain; the gradients are those of xpnet.backward."""
    dtype = float_types(backend)[-1]
    _shared(backend, dtype, make, apply, backward)
    _counted(backend, dtype, make, apply, backward)
    _network(backend, dtype, make, apply, backward)
    _chain(backend, dtype, make, apply, backward)


def gradients_of(found: Any, leaves: dict[str, Any]) -> dict[str, Any]:
    """Check that backward found the gradients of the leaves, and of nothing else."""
    if not isinstance(found, dict):
        raise Wrong(f"backward returns {type(found).__name__}, expected a dictionary from leaf to gradient")
    for name, leaf in leaves.items():
        if leaf not in found:
            raise Wrong(f"the gradient of {name} is missing in what backward returns", "a leaf has no vjp")
    if len(found) > len(leaves):
        raise Wrong("backward returns gradients of more than the leaves", "only tensors without a vjp are leaves")
    return {name: found[leaf] for name, leaf in leaves.items()}


def _shared(backend: Backend, dtype: Any, make: Any, apply: Any, backward: Any) -> None:
    """Sum of ((a + b) + a) * c, c = 1: the vjp of add gives the same array to both of its inputs."""
    numbers = sample(2, 3)
    leaves = {name: make(put(backend, numbers if name != "c" else np.ones((2, 3)), dtype)) for name in "abc"}
    s = apply(ops.add, apply(ops.add, leaves["a"], leaves["b"]), leaves["a"])
    found = gradients_of(backward(apply(ops.sum, apply(ops.multiply, s, leaves["c"]))), leaves)
    one = np.ones((2, 3))
    compare(
        "the gradient of b in sum(((a + b) + a) * c)", found["b"], one, backend,
        [(2 * one, "the vjp of add gives one array to both inputs, and += writes into it: add with + instead")],
    )  # fmt: skip
    compare(
        "the gradient of a in sum(((a + b) + a) * c)", found["a"], 2 * one, backend,
        [(one, "a is used twice: the second gradient is added to the first, it does not replace it")],
    )  # fmt: skip


def _counted(backend: Backend, dtype: Any, make: Any, apply: Any, backward: Any) -> None:
    """x doubled ten times by x + x: each result's vjp is called once, after all of its gradient is there."""
    calls = []

    def add(a: Any, b: Any) -> Any:
        y, vjp = ops.add(a, b)

        def counted(dy: Any, needs: tuple[bool, ...]) -> Any:
            calls.append(1)
            return vjp(dy, needs)

        return y, counted

    x = t = make(put(backend, np.ones(()), dtype))
    for _ in range(10):
        t = apply(add, t, t)
    found = gradients_of(backward(t), {"x": x})["x"]
    if len(calls) > 10:
        text = f"10 results, and {len(calls):,} calls of a vjp: each is to be called once"
        raise Wrong(text, "take the tensor with the largest number, when all parts of its gradient were added", True)
    compare("the gradient of x, doubled ten times", found, 1024.0, backend)


def _network(backend: Backend, dtype: Any, make: Any, apply: Any, backward: Any) -> None:
    """Two layers with the same weights, and cross-entropy."""
    labels = backend.from_numpy(np.array([2, 0, 1, 2, 0]))
    arrays = {"x": sample(5, 3), "w": sample(3, 3, seed=1), "b": sample(3, seed=2)}

    def loss(tensors: dict[str, Any], apply: Any) -> Any:
        h = tensors["x"]
        for _ in range(2):
            h = apply(ops.tanh, apply(ops.linear, h, tensors["w"], tensors["b"]))
        return apply(partial(_cross_entropy, labels), h)

    moved = {name: put(backend, a, dtype) for name, a in arrays.items()}
    leaves = {name: make(a) for name, a in moved.items()}
    y = loss(leaves, apply)
    if y is None:
        raise Wrong("apply returns None", "does it end in return?")
    found = gradients_of(backward(y), leaves)
    own = {name: xpnet.Tensor(a, requires_grad=True) for name, a in moved.items()}
    result = loss(own, xpnet.apply)
    compare("the loss of a network", y.data, backend.to_numpy(result.data), backend)
    wanted = xpnet.backward(result)
    for name, leaf in own.items():
        compare(f"d{name} of a network", found[name], backend.to_numpy(wanted[leaf]), backend)


def _cross_entropy(labels: Any, logits: Any) -> Any:
    y, vjp = ops.softmax_cross_entropy(logits, labels)
    return y, lambda dy, needs: vjp(dy, (needs[0], False))[:1]


def _chain(backend: Backend, dtype: Any, make: Any, apply: Any, backward: Any) -> None:
    """3,000 additions in a row, more than Python may call within each other."""
    if backend.name != "numpy":
        return  # the tape is the same; thousands of calls take long elsewhere
    x = t = make(np.zeros((), dtype))
    for _ in range(3000):
        t = apply(ops.add, t, x)
    try:
        found = gradients_of(backward(t), {"x": x})["x"]
    except RecursionError:
        text = "a chain of 3,000 additions ends in a RecursionError"
        raise Wrong(text, "a function that calls itself goes 1,000 deep at most: use a loop", True) from None
    compare("the gradient of x, added 3,001 times", found, 3001.0, backend)


def replay(backend: Backend, program: Any, captured: Any) -> None:
    """Work in its order, inputs that are copied, results that stay, shapes, two inputs, a step that updates weights."""
    if not backend.writable:
        raise Wrong(f"the arrays of {backend.spec} cannot be written", "use --backend numpy or torch here")
    dtype = float_types(backend)[-1]
    _program(backend, dtype, program)
    _captured(backend, dtype, captured)
    _updates(backend, dtype, captured)


def _program(backend: Backend, dtype: Any, program: Any) -> None:
    y = put(backend, np.zeros(2), dtype)
    x = put(backend, np.array([1.0, 2.0]), dtype)
    recorded = program()
    recorded.launch(_double, y, x)
    not_run = [(np.zeros(2), "launch runs the work at once, and keeps it")]
    compare("y after program.launch(double, y, x)", y, [2.0, 4.0], backend, not_run)
    recorded.launch(_add_one, y)
    compare("y after program.launch(add_one, y)", y, [3.0, 5.0], backend)
    x[...] = 10.0 * x
    recorded.replay()
    compare("y after program.replay()", y, [21.0, 41.0], backend, [
        (np.array([20.0, 40.0]), "the work is replayed in the wrong order"),
        (np.array([3.0, 5.0]), "replay has run nothing"),
        (np.array([4.0, 6.0]), "replay runs the last work only"),
    ])  # fmt: skip
    recorded.replay()
    compare("y after a second program.replay()", y, [21.0, 41.0], backend)


def _double(y: Any, x: Any) -> None:
    y[...] = 2.0 * x


def _add_one(y: Any) -> None:
    y[...] = y + 1.0


def _captured(backend: Backend, dtype: Any, captured: Any) -> None:
    """y = 2 a + b for some shapes; nothing that a caller holds is written."""
    calls = []

    def step(program: Any, a: Any, b: Any) -> Any:
        calls.append(tuple(a.shape))
        y = backend.xp.zeros_like(a)
        program.launch(_double, y, a)
        program.launch(_add, y, b)
        return y

    run, kept = captured(step), []
    for turn, shapes in enumerate(_SHAPES):
        arrays = [sample(*shape, seed=2 * turn + i) for i, shape in enumerate(shapes)]
        given = [put(backend, a, dtype) for a in arrays]
        what = f"call {turn + 1} of a captured step (2 a + b, a of shape {shapes[0]}, b of shape {shapes[1]})"
        try:
            y = run(*given)
        except (ValueError, RuntimeError) as error:  # of a library whose shapes do not fit
            raise Wrong(f"{what}: {type(error).__name__}: {message_of(error)}", _SIGNATURE, True) from None
        want = 2 * arrays[0] + arrays[1]
        before = [(old[2], _NOT_READ) for old in kept if old[2].shape == want.shape]
        compare(what, y, want, backend, before)
        kept.append((what, y, want, given, arrays))
    for what, y, want, given, arrays in kept:
        try:
            compare(what, y, want, backend)
        except Wrong:
            text = f"the result of {what} was overwritten by a later call"
            raise Wrong(text, "return a copy: the next replay writes into the same array", True) from None
        for name, a, original in zip("ab", given, arrays, strict=True):
            if not array_equal(backend.to_numpy(a), original.astype(dtype)):
                text = f"the caller's array {name} was overwritten by a later call"
                raise Wrong(text, "record with copies of the inputs: they are what later calls write into", True)
    signatures = len({*_SHAPES})
    if len(calls) > signatures:
        text = f"{len(_SHAPES)} calls with {signatures} signatures called the Python of the step {len(calls)} times"
        raise Wrong(text, "keep a recording for each signature in self.recordings, and replay it", True)


# Of a and b: the same again, another b alone, other shapes of equal sizes, another a alone.
_SHAPES = [((2, 3), (3,)), ((2, 3), (3,)), ((2, 3), (2, 3)), ((3, 2), (3, 2)), ((2, 3), (3,)), ((3, 2), (3, 2)),
           ((4, 3), (3,))]  # fmt: skip
_SIGNATURE = (
    "a call with other shapes has another signature, and a recording of its own: "
    "signature = tuple(x.shape for x in inputs)"
)
_NOT_READ = "a replay reads the arrays of the recording: first copy the inputs of this call into them"


def _add(y: Any, b: Any) -> None:
    y[...] = y + b


def _updates(backend: Backend, dtype: Any, captured: Any) -> None:
    """A step that moves a weight: each call moves it once, also the one that records."""
    w = put(backend, np.zeros(1), dtype)

    def step(program: Any, x: Any) -> Any:
        program.launch(_add, w, x)
        return w

    run = captured(step)
    for turn, total in enumerate([1.0, 3.0, 6.0]):
        y = run(put(backend, np.array([turn + 1.0]), dtype))
        if turn == 0 and float(backend.to_numpy(w)[0]) == 2.0:
            hint = "launch runs the work already: the call that records does not replay"
            raise Wrong("the first call ran its work twice", hint, True)
        compare(f"w after step {turn + 1} of w = w + x, for x = 1, 2, 3", y, [total], backend)
