"""One harness for every op: check_op holds an op, with each of its kernels, to its oracle and to the contract of ops.

What is checked, and how two results are compared, is in xpnet/exercises/checking.py: the exercises do the same. Here is
what only xpnet's own ops are held to: all of their kernels, torch's gradients, and that no op reads a number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from xpnet import kernels
from xpnet.backend import Backend
from xpnet.errors import XpnetError
from xpnet.exercises.checking import Case, check_case, remember
from xpnet.exercises.comparing import HOST, agree, float64_ok, float_types, put, sample, tolerance

__all__ = ["HOST", "agree", "booleans", "check_op", "few_on_jax", "float64_ok", "float_types", "integers",
           "kernel_sets", "put", "raises", "sample", "tolerance"]  # fmt: skip


def integers(*shape: int, high: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape)


def booleans(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < 0.5


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
        _torch_gradients(torch_oracle) if torch_oracle else None,
        floats if differentiable is None else tuple(differentiable),
        tuple(linear),
        tuple(batch),
        length=length or max(a.size for a in arrays if isinstance(a, np.ndarray)),
        around=_unread,
    )
    for kernel_set in kernel_sets(op, backend):
        with kernel_set:
            check_case(case, backend)


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


def _torch_gradients(torch_oracle: Callable[..., Any]) -> Callable[[Case, np.ndarray], dict[int, np.ndarray]]:
    """Gradients of <dy, torch_oracle> by torch's autograd, in float64 on the CPU; its forward must be the oracle's."""

    def compute(case: Case, dy: np.ndarray) -> dict[int, np.ndarray]:
        torch = pytest.importorskip("torch")
        tensors = [torch.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a for a in case.arrays]
        for i in case.differentiable:
            tensors[i].requires_grad_(True)
        options = {k: torch.from_numpy(o) if isinstance(o, np.ndarray) else o for k, o in case.options.items()}
        y = torch_oracle(*tensors, **options)
        agree(y.detach().numpy(), case.wanted(), np.float64, case.length, "the oracle against torch")
        y.backward(torch.from_numpy(dy))
        return {
            i: np.zeros(case.arrays[i].shape) if t.grad is None else t.grad.numpy()
            for i, t in enumerate(tensors)
            if i in case.differentiable
        }

    return lambda case, dy: remember((case.key, torch_oracle, "torch"), lambda: compute(case, dy))
