"""One harness for every op: check_op holds an op to its oracle and to the contract on a backend.

An oracle takes the op's arrays and options as float64 NumPy and returns the result, by loops that are obviously right.
Inputs are float32 numbers stored as float64, so that one oracle result serves both precisions exactly.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from xpnet import kernels
from xpnet.backend import Backend, backend_of, get_backend
from xpnet.errors import XpnetError

HOST = get_backend("numpy")
STEP = 2.0**-18  # of the central differences: truncation and rounding both stay under 1e-7


def tolerance(dtype: Any, length: int) -> float:
    """The error allowed per unit of magnitude: the bound of a sum of `length` terms, and a few roundings besides."""
    return float(np.finfo(dtype).eps) * (16 + 2 * length)


def float64_ok(backend: Backend) -> bool:
    """Whether the backend's device has float64 numbers."""
    try:
        return backend.from_numpy(np.zeros(1)).dtype == backend.xp.float64
    except (ValueError, TypeError):
        return False


def float_types(backend: Backend) -> list[type]:
    """The precisions to test on a backend, the widest last."""
    return [np.float32, np.float64] if float64_ok(backend) else [np.float32]


def sample(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Distinct, evenly spaced numbers in random order: no ties, also between seeds, and nothing on a kink at 0."""
    n = math.prod(shape)
    places = np.random.default_rng([seed, *shape]).permutation(n) + 0.15 + 0.3 * (seed * 0.618034 % 1)
    return (low + (high - low) * places / max(n, 1)).astype(np.float32).astype(np.float64).reshape(shape)


def integers(*shape: int, high: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape)


def booleans(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < 0.5


def put(backend: Backend, value: Any, dtype: Any = np.float64) -> Any:
    """Move a NumPy array to the backend, floating numbers in the given precision; pass anything else through."""
    if not isinstance(value, np.ndarray):
        return value
    return backend.from_numpy(value.astype(dtype) if value.dtype.kind == "f" else value)


def agree(got: Any, want: Any, dtype: Any, length: int, what: str) -> None:
    """Assert that two results agree to the tolerance, relative to the largest number wanted (or 1)."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    finite = np.abs(want[np.isfinite(want)])
    scale = max(1.0, float(finite.max()) if finite.size else 1.0)
    np.testing.assert_allclose(got, want, rtol=0, atol=scale * tolerance(dtype, length), err_msg=what)


def few_on_jax(backend: Backend, chosen: bool) -> None:
    """Skip a case on jax, which compiles each function for each shape, unless it is one of the few chosen."""
    if backend.name == "jax" and not chosen:
        pytest.skip("jax compiles for each shape: a few cases of each op run there")


@contextlib.contextmanager
def raises(error: type[XpnetError], place: str, *values: object) -> Iterator[None]:
    """Assert that an error names the place and each offending value, as all of xpnet's do."""
    with pytest.raises(error) as caught:
        yield
    message = str(caught.value)
    assert type(caught.value) is error, f"a {type(caught.value).__name__}: {message}"
    assert message.startswith(f"{place}: "), message
    assert caught.value.is_event or ", got " in message, message
    assert "\n" not in message, message
    for value in values:
        assert str(value) in message, f"{value} is not in: {message}"


def kernel_sets(op: Callable[..., Any], backend: Backend) -> list[contextlib.AbstractContextManager[None]]:
    """Blocks within which an op is served by its first kernel, the next one, and last by its own code."""
    probe = put(backend, np.zeros(1), np.float32)
    folders = [kernel.folder for kernel in kernels.table(probe).get(getattr(op, "__name__", ""), ())]
    disabled = (kernels.disable(*folders[: i + 1]) for i in range(len(folders)))
    return [contextlib.nullcontext(), *disabled]


@dataclass(frozen=True)
class Case:
    """An op, its inputs, and who knows the answer; see check_op."""

    op: Callable[..., Any]
    arrays: tuple[Any, ...]
    oracle: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)
    torch_oracle: Callable[..., Any] | None = None
    differentiable: tuple[int, ...] = ()
    linear: tuple[int, ...] = ()
    batch: tuple[int, ...] = ()
    length: int = 0

    def answer(self, arrays: Sequence[Any]) -> np.ndarray:
        return np.asarray(self.oracle(*arrays, **self.options), np.float64)

    @property
    def key(self) -> tuple[Any, ...]:
        """What the answers depend on, so that they are computed once for all backends."""
        values = [*self.arrays, *self.options.items()]
        return (self.oracle, *((v.shape, v.tobytes()) if isinstance(v, np.ndarray) else repr(v) for v in values))


def check_op(
    op: Callable[..., Any],
    arrays: Sequence[Any],
    options: dict[str, Any] | None = None,
    backend: Backend = HOST,
    *,
    oracle: Callable[..., Any],
    torch_oracle: Callable[..., Any] | None = None,
    differentiable: Sequence[int] | None = None,
    linear: Sequence[int] = (),
    batch: Sequence[int] = (),
    length: int | None = None,
) -> None:
    """Hold an op to its oracle and to the contract of ops, on one backend.

    Args:
        op: the op; called as op(*arrays, **options).
        arrays: NumPy arrays (floating ones as float64), None or Python scalars.
        options: keywords; NumPy arrays among them are moved to the backend.
        backend: where to run.
        oracle: (*arrays, **options) -> y in float64 NumPy, written without the op.
        torch_oracle: (*tensors, **options) -> y, differentiated by torch in float64 for element-wise gradients.
        differentiable: which inputs have a gradient; by default the floating arrays.
        linear: inputs in which the op is affine, the others being held: the adjoint identity must hold.
        batch: inputs whose first axis is N; the op is run again with N=0 and N=1.
        length: the longest sum; by default the size of the largest array.
    """
    floats = tuple(i for i, a in enumerate(arrays) if isinstance(a, np.ndarray) and a.dtype.kind == "f")
    case = Case(
        op,
        tuple(arrays),
        oracle,
        dict(options or {}),
        torch_oracle,
        floats if differentiable is None else tuple(differentiable),
        tuple(linear),
        tuple(batch),
        length or max(a.size for a in arrays if isinstance(a, np.ndarray)),
    )
    for kernel_set in kernel_sets(op, backend):
        with kernel_set:
            _check_all(case, backend)


# The checks. Each message says which one failed; tests/test_harness.py sees each of them fail.


def _check_all(case: Case, backend: Backend) -> None:
    kinds = float_types(backend)
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


def _run(case: Case, arrays: Sequence[Any], backend: Backend, dtype: Any) -> tuple[Any, Callable[..., Any]]:
    options = {name: put(backend, value, dtype) for name, value in case.options.items()}
    with _unread(backend):
        y, vjp = case.op(*arrays, **options)

    def unread_vjp(dy: Any, needs: tuple[bool, ...]) -> Any:
        with _unread(backend):
            return vjp(dy, needs)

    return y, unread_vjp


@contextlib.contextmanager
def _unread(backend: Backend) -> Iterator[None]:
    """On array-api-strict, forbid that an op reads a number: on a GPU it would wait for the device."""
    if backend.name != "array-api-strict":
        yield
        return

    def read(*_: Any) -> Any:
        raise AssertionError(f"the op reads an array's number on {backend.spec}")

    kind = type(backend.xp.empty(0, device=backend.device))
    with pytest.MonkeyPatch.context() as patch:
        for method in ("__bool__", "__int__", "__float__", "__index__"):
            patch.setattr(kind, method, read)
        yield


def _needs(case: Case, wanted: Sequence[int] | None = None) -> tuple[bool, ...]:
    wanted = case.differentiable if wanted is None else wanted
    return tuple(i in wanted for i in range(len(case.arrays)))


def _kept(got: Any, like: np.ndarray, backend: Backend, dtype: Any, what: str) -> None:
    """Namespace, dtype, shape and device are those of the inputs."""
    want = type(put(backend, np.zeros(1), np.float32))
    assert type(got) is want or (isinstance(got, np.generic) and want is np.ndarray), f"{what}: namespace, {type(got)}"
    assert got.dtype == getattr(backend.xp, np.dtype(dtype).name), f"{what}: dtype, {got.dtype} from {dtype}"
    assert tuple(got.shape) == tuple(like.shape), f"{what}: shape, {tuple(got.shape)} for {tuple(like.shape)}"
    assert backend_of(got) == backend, f"{what}: device, {backend_of(got)} on {backend}"


def _check_values(case: Case, backend: Backend, dtype: Any) -> None:
    """Forward against the oracle; gradients against torch and along a direction; inputs unmodified."""
    what = f"{np.dtype(dtype).name} on {backend.spec}"
    arrays = [put(backend, a, dtype) for a in case.arrays]
    want = _answer(case)
    y, vjp = _run(case, arrays, backend, dtype)
    _kept(y, want, backend, dtype, f"forward {what}")
    agree(backend.to_numpy(y), want, dtype, case.length, f"forward {what}")
    _unmodified(arrays, case.arrays, backend, dtype, f"forward {what}")

    dy = sample(*want.shape, seed=77)
    moved = put(backend, dy, dtype)
    grads = _gradients(case, vjp, moved, _needs(case), backend, dtype, what)
    for i, g in grads.items():
        if case.torch_oracle is not None:
            agree(g, _torch_gradients(case)[i], dtype, case.length, f"gradient {i} against torch, {what}")
        v = sample(*case.arrays[i].shape, seed=i + 1)
        slope = _slope(case, i, v, dy)
        terms = 4 * case.length if dtype == np.float32 else 2**28  # in float64 the differences are what is inexact
        agree(np.sum(g * v), slope, dtype, terms, f"gradient {i} along a direction, {what}")

    _unmodified([*arrays, moved], [*case.arrays, dy], backend, dtype, f"backward {what}")


def _unmodified(arrays: Sequence[Any], originals: Sequence[Any], backend: Backend, dtype: Any, what: str) -> None:
    for i, (a, original) in enumerate(zip(arrays, originals, strict=True)):
        if isinstance(original, np.ndarray):
            same = original.astype(dtype) if original.dtype.kind == "f" else original
            assert np.array_equal(backend.to_numpy(a), same), f"input {i} was modified, {what}"


def _gradients(
    case: Case, vjp: Callable[..., Any], dy: Any, needs: tuple[bool, ...], backend: Backend, dtype: Any, what: str
) -> dict[int, np.ndarray]:
    """Call vjp; check the None pattern and what must be kept; return the gradients as float64 NumPy."""
    grads = vjp(dy, needs)
    given = len(case.arrays)  # an op called without its last inputs may still return None for them
    assert isinstance(grads, tuple), f"vjp returns one gradient an input, a tuple, {what}"
    assert len(grads) >= given, f"vjp returns one gradient an input, {what}"
    assert all(g is None for g in grads[given:]), f"vjp returns gradients of inputs it was not given, {what}"
    found = {}
    for i, g in enumerate(grads[:given]):
        assert (g is not None) == (needs[i] and i in case.differentiable), f"gradient {i} for needs {needs}, {what}"
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
        dy = sample(*y.shape, seed=77)
        g = _gradients(case, vjp, put(backend, dy, dtype), _needs(case, (i,)), backend, dtype, "adjoint")[i]
        left, right = np.sum((y - at_zero) * dy), np.sum(g * case.arrays[i])
        agree(left, right, dtype, case.length * y.size, f"adjoint identity of input {i} on {backend.spec}")


def _check_needs(case: Case, backend: Backend, dtype: Any) -> None:
    """Every subset of needs gives None where asked and the same numbers elsewhere; so does asking for everything."""
    arrays = [put(backend, a, dtype) for a in case.arrays]
    y, vjp = _run(case, arrays, backend, dtype)
    dy = put(backend, sample(*y.shape, seed=77), dtype)
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

        what = f"{view.__name__.strip('_')} inputs on {backend.spec}"
        y, vjp = _run(case, [plain(a) for a in case.arrays], backend, dtype)
        z, vjp_of_view = _run(case, [move(a) for a in case.arrays], backend, dtype)
        want, dy = backend.to_numpy(y), sample(*y.shape, seed=77)
        _kept(z, want, backend, dtype, what)
        agree(backend.to_numpy(z), want, dtype, case.length, f"forward of {what}")
        full = _gradients(case, vjp, plain(dy), _needs(case), backend, dtype, what)
        for i, g in _gradients(case, vjp_of_view, move(dy), _needs(case), backend, dtype, what).items():
            agree(g, full[i], dtype, case.length, f"gradient {i} of {what}")


def _check_batches(case: Case, backend: Backend, dtype: Any) -> None:
    """N=1 agrees with the oracle; N=0 gives an empty result, and gradients that are zero."""
    for n in (0, 1) if case.batch else ():
        part = tuple(a[:n] if i in case.batch else a for i, a in enumerate(case.arrays))
        small = replace(case, arrays=part, torch_oracle=None)
        if n == 1:
            _check_values(small, backend, dtype)
            continue
        what = f"N=0 on {backend.spec}"
        want = small.answer(part)
        y, vjp = _run(small, [put(backend, a, dtype) for a in part], backend, dtype)
        _kept(y, want, backend, dtype, f"forward {what}")
        dy = put(backend, sample(*want.shape, seed=77), dtype)
        for i, g in _gradients(small, vjp, dy, _needs(case), backend, dtype, what).items():
            assert not np.any(g), f"gradient {i}, {what}: not zero"


# Answers that do not depend on the backend, computed once.

_ANSWERS: dict[Any, Any] = {}


def _remember(key: Any, make: Callable[[], Any]) -> Any:
    if key not in _ANSWERS:
        _ANSWERS[key] = make()
    return _ANSWERS[key]


def _answer(case: Case) -> np.ndarray:
    return _remember(case.key, lambda: case.answer(case.arrays))


def _slope(case: Case, i: int, v: np.ndarray, dy: np.ndarray) -> float:
    """d/dt <dy, oracle(..., x_i + t v, ...)> at t = 0, by central differences."""

    def at(t: float) -> np.ndarray:
        return case.answer([a + t * v if j == i else a for j, a in enumerate(case.arrays)])

    return _remember((case.key, i), lambda: float(np.sum(dy * (at(STEP) - at(-STEP))) / (2 * STEP)))


def _torch_gradients(case: Case) -> dict[int, np.ndarray]:
    """Gradients of <dy, torch_oracle> by torch's autograd, in float64 on the CPU; its forward must be the oracle's."""

    def compute() -> dict[int, np.ndarray]:
        torch = pytest.importorskip("torch")
        tensors = [torch.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a for a in case.arrays]
        for i in case.differentiable:
            tensors[i].requires_grad_(True)
        options = {k: torch.from_numpy(o) if isinstance(o, np.ndarray) else o for k, o in case.options.items()}
        y = case.torch_oracle(*tensors, **options)  # type: ignore[misc]
        agree(y.detach().numpy(), _answer(case), np.float64, case.length, "the oracle against torch")
        y.backward(torch.from_numpy(sample(*y.shape, seed=77)))
        return {
            i: np.zeros(case.arrays[i].shape) if t.grad is None else t.grad.numpy()
            for i, t in enumerate(tensors)
            if i in case.differentiable
        }

    return _remember((case.key, case.torch_oracle, "torch"), compute)
