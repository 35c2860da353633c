"""How an op is held to the truth, on one backend: xpnet's tests do it to xpnet's ops, the exercises to a student's.

    check_case(Case(op, arrays, oracle, linear=(0, 1), batch=(0,), length=5), backend)

An oracle takes the op's arrays and options as float64 NumPy and returns the result, by loops that are obviously right.
Inputs are float32 numbers stored as float64, so that one oracle result serves both precisions exactly.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy import array_equal

from xpnet.backend import Backend, backend_of
from xpnet.exercises.comparing import HOST, CheckError, agree, float_types, put, require, sample

__all__ = ["Case", "check_case", "dy_of", "remember", "widest_only"]

STEP = 2.0**-18  # of the central differences: truncation and rounding both stay under 1e-7


_ANSWERS: dict[Any, Any] = {}  # what does not depend on the backend


def remember(key: Any, make: Callable[[], Any]) -> Any:
    """Return what was made for a key, made once."""
    if key not in _ANSWERS:
        _ANSWERS[key] = make()
    return _ANSWERS[key]


@dataclass(frozen=True)
class Case:
    """An op, its inputs, and who knows the answer.

    Args:
        op: called as op(*arrays, **options), returns (y, vjp).
        arrays: NumPy arrays (floating ones as float64), None or Python scalars.
        oracle: (*arrays, **options) -> y in float64 NumPy, written without the op.
        options: keywords; NumPy arrays among them are moved to the backend.
        gradients: (case, dy) -> the gradient of <dy, y> by input, element by element; None: along directions only.
        differentiable: which inputs have a gradient.
        linear: inputs in which the op is affine, the others being held: the adjoint identity must hold.
        batch: inputs whose first axis is N; the op is run again with N of each of `sizes`.
        length: the longest sum.
        around: a block within which the op is called.
    """

    op: Callable[..., Any]
    arrays: tuple[Any, ...]
    oracle: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)
    gradients: Callable[[Case, np.ndarray], dict[int, np.ndarray]] | None = None
    differentiable: tuple[int, ...] = ()
    linear: tuple[int, ...] = ()
    batch: tuple[int, ...] = ()
    sizes: tuple[int, ...] = (0, 1)
    length: int = 0
    around: Callable[[Backend], contextlib.AbstractContextManager[None]] | None = None

    def block(self, backend: Backend) -> contextlib.AbstractContextManager[None]:
        """Return the block within which the op is called."""
        return contextlib.nullcontext() if self.around is None else self.around(backend)

    def answer(self, arrays: Sequence[Any]) -> np.ndarray:
        """Return the oracle's result for other arrays."""
        return np.asarray(self.oracle(*arrays, **self.options), np.float64)

    def wanted(self) -> np.ndarray:
        """Return the oracle's result, computed once for all backends."""
        return remember(self.key, lambda: self.answer(self.arrays))

    @property
    def key(self) -> tuple[Any, ...]:
        """What the answers depend on, so that they are computed once for all backends."""
        values = [*self.arrays, *self.options.items()]
        return (self.oracle, *((v.shape, v.tobytes()) if isinstance(v, np.ndarray) else repr(v) for v in values))


def check_case(case: Case, backend: Backend) -> None:
    """Hold an op to its oracle and to the contract of ops, on one backend.

    Raises:
        CheckError: what failed first; its message says which check it was.
    """
    kinds = float_types(backend)
    if _widest_only.get():
        kinds = kinds[-1:]
    if backend.name == "jax":  # compiles each function for each shape, and has no views: the checks of values, once
        kinds = kinds[:1]
    for dtype in kinds:
        _check_values(case, backend, dtype)
    if backend.name != "jax":
        _check_batches(case, backend, kinds[-1])
    if backend.name not in ("jax", "array-api-strict"):  # the latter is NumPy underneath, forty times slower
        _check_needs(case, backend, kinds[-1])
        _check_adjoint(case, backend, kinds[-1])
        _check_layouts(case, backend, kinds[-1])


_widest_only: contextvars.ContextVar[bool] = contextvars.ContextVar("xpnet_widest_only", default=False)


@contextlib.contextmanager
def widest_only() -> Iterator[None]:
    """Check in the widest precision only, within a with-block."""
    token = _widest_only.set(True)
    try:
        yield
    finally:
        _widest_only.reset(token)


@contextlib.contextmanager
def _of(case: Case, part: int | None = None) -> Iterator[None]:
    """Say in an error whose check it is."""
    try:
        yield
    except CheckError as error:
        if error.case is None:
            error.case, error.part = case, part if error.part is None else error.part
        raise


def _run(case: Case, arrays: Sequence[Any], backend: Backend, dtype: Any) -> tuple[Any, Callable[..., Any]]:
    options = {name: put(backend, value, dtype) for name, value in case.options.items()}
    with case.block(backend):
        y, vjp = case.op(*arrays, **options)

    def inner_vjp(dy: Any, needs: tuple[bool, ...]) -> Any:
        with case.block(backend):
            return vjp(dy, needs)

    return y, inner_vjp


def _needs(case: Case, wanted: Sequence[int] | None = None) -> tuple[bool, ...]:
    wanted = case.differentiable if wanted is None else wanted
    return tuple(i in wanted for i in range(len(case.arrays)))


def dy_of(shape: Sequence[int]) -> np.ndarray:
    """Return the gradient of a result of some shape that the checks give to vjp."""
    return sample(*shape, seed=77)


def _kept(got: Any, like: np.ndarray, backend: Backend, dtype: Any, what: str) -> None:
    """Namespace, dtype, shape and device are those of the inputs."""
    want = type(put(backend, np.zeros(1), np.float32))
    is_one = isinstance(got, want) or (isinstance(got, np.generic) and want is np.ndarray)
    require(is_one, f"{what}: namespace, {type(got)}", "namespace")
    known = got.dtype == getattr(backend.xp, np.dtype(dtype).name)
    require(known, f"{what}: dtype, {got.dtype} from {np.dtype(dtype)}", "dtype")
    if tuple(got.shape) != tuple(like.shape):
        raise CheckError(f"{what}: shape", np.asarray(backend.to_numpy(got)), like, "shape")
    require(backend_of(got) == backend, f"{what}: device, {backend_of(got)} on {backend}", "device")


def _check_values(case: Case, backend: Backend, dtype: Any) -> None:
    """Forward against the oracle; gradients element by element and along a direction; inputs unmodified."""
    what = f"{np.dtype(dtype).name} on {backend.spec}"
    arrays = [put(backend, a, dtype) for a in case.arrays]
    want = case.wanted()
    with _of(case):
        y, vjp = _run(case, arrays, backend, dtype)
        _kept(y, want, backend, dtype, f"forward {what}")
        agree(backend.to_numpy(y), want, dtype, case.length, f"forward {what}")
        _unmodified(arrays, case.arrays, backend, dtype, f"forward {what}")

    dy = dy_of(want.shape)
    moved = put(backend, dy, dtype)
    grads = _gradients(case, vjp, moved, _needs(case), backend, dtype, what)
    for i, g in grads.items():
        with _of(case, i):
            if case.gradients is not None:
                full = case.gradients(case, dy)[i]
                agree(g, full, dtype, case.length, f"gradient {i} element by element, {what}")
            v = sample(*case.arrays[i].shape, seed=i + 1)
            slope = _slope(case, i, v, dy)
            terms = 4 * case.length if dtype == np.float32 else 2**28  # in float64 the differences are what is inexact
            agree(np.sum(g * v), slope, dtype, terms, f"gradient {i} along a direction, {what}", "slope")
    _unmodified([*arrays, moved], [*case.arrays, dy], backend, dtype, f"backward {what}")


def _unmodified(arrays: Sequence[Any], originals: Sequence[Any], backend: Backend, dtype: Any, what: str) -> None:
    for i, (a, original) in enumerate(zip(arrays, originals, strict=True)):
        if isinstance(original, np.ndarray):
            same = original.astype(dtype) if original.dtype.kind == "f" else original
            if not array_equal(backend.to_numpy(a), same):
                raise CheckError(f"input {i} was modified, {what}", kind="modified", part=i)


def _gradients(
    case: Case, vjp: Callable[..., Any], dy: Any, needs: tuple[bool, ...], backend: Backend, dtype: Any, what: str
) -> dict[int, np.ndarray]:
    """Call vjp; check the None pattern and what must be kept; return the gradients as float64 NumPy."""
    grads = vjp(dy, needs)
    given = len(case.arrays)  # an op called without its last inputs may still return None for them
    require(isinstance(grads, tuple), f"vjp returns one gradient an input, a tuple, {what}")
    require(len(grads) >= given, f"vjp returns one gradient an input, {what}")
    extra = all(g is None for g in grads[given:])
    require(extra, f"vjp returns gradients of inputs it was not given, {what}")
    found = {}
    for i, g in enumerate(grads[:given]):
        with _of(case, i):
            due = needs[i] and i in case.differentiable
            require((g is not None) == due, f"gradient {i} for needs {needs}, {what}", "none")
            if g is not None:
                _kept(g, case.arrays[i], backend, dtype, f"gradient {i}, {what}")
                found[i] = np.asarray(backend.to_numpy(g), np.float64)
    return found


def _check_adjoint(case: Case, backend: Backend, dtype: Any) -> None:
    """<A x, dy> = <x, A' dy> for each input in which the op is affine: A x = op(x) - op(0)."""
    for i in case.linear:
        arrays = [put(backend, a, dtype) for a in case.arrays]
        zeroed = [put(backend, np.zeros_like(a), dtype) if j == i else arrays[j] for j, a in enumerate(case.arrays)]
        y, vjp = _run(case, arrays, backend, dtype)
        at_zero, _ = _run(case, zeroed, backend, dtype)
        y, at_zero = (np.asarray(backend.to_numpy(a), np.float64) for a in (y, at_zero))
        dy = dy_of(y.shape)
        g = _gradients(case, vjp, put(backend, dy, dtype), _needs(case, (i,)), backend, dtype, "adjoint")[i]
        left, right = np.sum((y - at_zero) * dy), np.sum(g * case.arrays[i])
        with _of(case, i):
            what = f"adjoint identity of input {i} on {backend.spec}"
            agree(left, right, dtype, case.length * y.size, what, "slope")


def _check_needs(case: Case, backend: Backend, dtype: Any) -> None:
    """Every subset of needs gives None where asked and the same numbers elsewhere; so does asking for everything."""
    arrays = [put(backend, a, dtype) for a in case.arrays]
    y, vjp = _run(case, arrays, backend, dtype)
    dy = put(backend, dy_of(y.shape), dtype)
    everything = (True,) * len(case.arrays)
    full = _gradients(case, vjp, dy, everything, backend, dtype, "needs")
    for n in range(len(case.differentiable) + 1):
        for wanted in itertools.combinations(case.differentiable, n):
            needs = _needs(case, wanted)
            some = _gradients(case, vjp, dy, needs, backend, dtype, "needs")
            for i, g in some.items():
                agree(g, full[i], dtype, case.length, f"gradient {i} changes with needs {needs} on {backend.spec}")


def _strided(backend: Backend, a: np.ndarray, dtype: Any) -> Any:
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return put(backend, wide, dtype)[..., ::2]


def _reversed(backend: Backend, a: np.ndarray, dtype: Any) -> Any:
    return backend.xp.flip(put(backend, np.ascontiguousarray(a[..., ::-1]), dtype), axis=-1)


def _transposed(backend: Backend, a: np.ndarray, dtype: Any) -> Any:
    return backend.xp.permute_dims(put(backend, np.ascontiguousarray(a.T), dtype), tuple(range(a.ndim))[::-1])


def _broadcast(backend: Backend, a: np.ndarray, dtype: Any) -> Any:
    return backend.xp.broadcast_to(put(backend, a[:1], dtype), a.shape)


def _misaligned(backend: Backend, a: np.ndarray, dtype: Any) -> Any:
    moved = put(backend, a, dtype)
    view = np.zeros(moved.nbytes + 1, np.uint8)[1:].view(moved.dtype).reshape(a.shape)
    view[...] = moved
    return view


def _read_only(backend: Backend, a: np.ndarray, dtype: Any) -> Any:
    view = put(backend, a, dtype).copy()
    view.flags.writeable = False
    return view


def _check_layouts(case: Case, backend: Backend, dtype: Any) -> None:
    """Views with steps, negative strides, permuted axes or stride 0 give what contiguous arrays of equal values do.

    So do misaligned and read-only arrays of NumPy.
    """
    for view in (_strided, _reversed, _transposed, _broadcast, *((_misaligned, _read_only) if backend == HOST else ())):

        def move(a: Any, view: Any = view) -> Any:
            viewable = isinstance(a, np.ndarray) and a.ndim and a.size
            return view(backend, a, dtype) if viewable else put(backend, a, dtype)

        def plain(a: Any, view: Any = view) -> Any:
            repeat = view is _broadcast and isinstance(a, np.ndarray) and a.ndim and a.size
            return put(backend, np.broadcast_to(a[:1], a.shape).copy() if repeat else a, dtype)

        what = view.__name__.strip("_") + f" inputs on {backend.spec}"
        y, vjp = _run(case, [plain(a) for a in case.arrays], backend, dtype)
        z, vjp_of_view = _run(case, [move(a) for a in case.arrays], backend, dtype)
        want, dy = backend.to_numpy(y), dy_of(y.shape)
        _kept(z, want, backend, dtype, what)
        agree(backend.to_numpy(z), want, dtype, case.length, f"forward of {what}", "layout")
        full = _gradients(case, vjp, plain(dy), _needs(case), backend, dtype, what)
        for i, g in _gradients(case, vjp_of_view, move(dy), _needs(case), backend, dtype, what).items():
            agree(g, full[i], dtype, case.length, f"gradient {i} of {what}", "layout")


def _check_batches(case: Case, backend: Backend, dtype: Any) -> None:
    """N=1 agrees with the oracle; N=0 gives an empty result, and gradients that are zero."""
    for n in case.sizes if case.batch else ():
        part = tuple(a[:n] if i in case.batch else a for i, a in enumerate(case.arrays))
        small = replace(case, arrays=part, gradients=None)
        if n:
            _check_values(small, backend, dtype)
            continue
        what = f"N=0 on {backend.spec}"
        want = small.answer(part)
        y, vjp = _run(small, [put(backend, a, dtype) for a in part], backend, dtype)
        _kept(y, want, backend, dtype, f"forward {what}")
        dy = put(backend, dy_of(want.shape), dtype)
        for i, g in _gradients(small, vjp, dy, _needs(case), backend, dtype, what).items():
            require(not np.any(g), f"gradient {i}, {what}: not zero")


def _slope(case: Case, i: int, v: np.ndarray, dy: np.ndarray) -> float:
    """d/dt <dy, oracle(..., x_i + t v, ...)> at t = 0, by central differences."""

    def at(t: float) -> np.ndarray:
        return case.answer([a + t * v if j == i else a for j, a in enumerate(case.arrays)])

    return remember((case.key, i), lambda: float(np.sum(dy * (at(STEP) - at(-STEP))) / (2 * STEP)))
