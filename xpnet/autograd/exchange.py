"""Arrays of other libraries, by DLPack: a tensor of an array that another library made, in the same memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.arguments import boolean, shown
from xpnet.autograd.tensor import Tensor
from xpnet.backend import Array, Backend, backend_of, current_backend, get_backend
from xpnet.errors import DTypeError, XpnetError

__all__ = ["from_dlpack", "is_on_host"]

_HOST = (1, 3)  # kDLCPU and kDLCUDAHost, of DLPack's devices


def from_dlpack(x: Any, backend: str | Backend | None = None, *, copy: bool | None = None) -> Tensor:
    """Make a tensor of another library's array; both share memory where that can be.

        t = xpnet.from_dlpack(torch.ones(3))        # on NumPy: the tensor's array is torch's memory
        back = torch.from_dlpack(t)

    Memory is shared where x is on the backend's device and its library takes such an array. It is copied for another
    device, for another library where x is read-only or has negative strides, and where the library takes only
    contiguous or aligned memory, as jax. Numbers are never cast.

    Args:
        x: an array of NumPy, torch, jax, CuPy or another producer of DLPack; a Tensor without requires_grad.
        backend: where the tensor lives: as get_backend takes it; None is the default backend, NumPy unless
            within use_backend.
        copy: True: always copy; False: an error where memory cannot be shared.
    Returns:
        A Tensor without requires_grad.
    Raises:
        DTypeError: x is no such array, holds what the backend's library has no dtype for, needs a gradient, or would
            have to be copied although copy is False.
        ConfigError, DeviceError: backend or copy.
    """
    where = "from_dlpack"
    copy = None if copy is None else boolean(where, "copy", copy)
    target = current_backend() if backend is None else get_backend(backend)
    if isinstance(x, Tensor):
        x.__dlpack_device__()  # an error where it needs a gradient
        x = x.data
    if isinstance(x, type) or not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")):
        raise DTypeError(where, "x, an array of a library that has DLPack", "see numpy.asarray", x=shown(x))
    if masked := _masked(x):
        raise DTypeError(where, "x without a mask", "write x.filled(value)", masked=masked)
    if getattr(x, "requires_grad", False) is True:
        raise DTypeError(where, "x without requires_grad", "write x.detach()", requires_grad=True)
    try:
        x = x.resolve_neg() if hasattr(x, "resolve_neg") else x  # torch's DLPack leaves the sign out
        host = None if _is_native(x, target) else _on_host(x)
        with target.active():
            array = _shared(x if host is None else host, target)
            if copy or array is None:
                if copy is False:
                    rule = "x that can share its memory"
                    raise DTypeError(where, rule, "leave out copy=False", x=_kind(x), backend=target.spec)
                values = host if host is not None else backend_of(x).to_numpy(x)
                array = target.from_numpy(values)
    except XpnetError:
        raise
    except Exception as error:  # each library has its own
        what = "the array cannot be exchanged"
        raise DTypeError.event(where, what, x=_kind(x), backend=target.spec, error=error) from error
    return Tensor(array)


def is_on_host(x: Any) -> bool:
    """Whether an array of any library lies in the host's memory, as far as DLPack tells."""
    return hasattr(x, "__dlpack_device__") and x.__dlpack_device__()[0] in _HOST


def _masked(x: Any) -> int:
    """Return how many numbers of an array of NumPy a mask hides."""
    return int(np.ma.count_masked(x)) if isinstance(x, np.ma.MaskedArray) else 0


def _is_native(x: Any, target: Backend) -> bool:
    """Whether an array is of the target's library, or on a device that is not the host's memory."""
    if not is_on_host(x):
        return True
    try:
        return backend_of(x) == target
    except XpnetError:  # a producer that is no array of the standard
        return False


def _on_host(x: Any) -> np.ndarray:
    """View an array of the host's memory as NumPy's."""
    return np.asarray(x) if isinstance(x, np.ndarray) else np.from_dlpack(x)


def _shared(x: Any, target: Backend) -> Array | None:
    """Return the target's array of the same memory, or None: it must be copied, or cannot be written there."""
    if isinstance(x, np.ndarray):
        if x.dtype.kind not in "biufc" or not x.dtype.isnative:
            raise DTypeError("from_dlpack", "x of numbers in this machine's byte order", x=_kind(x))
        if target.on_host:
            return x
        if not x.flags.writeable or any(n < 0 for n in x.strides):  # torch aborts the process on negative strides
            return None
    elif backend_of(x) == target:
        x.__dlpack__()  # raises for an array that is not dense
        return x
    try:
        found = target.xp.from_dlpack(x)
    except Exception:
        return None
    same = backend_of(found) == target and str(found.dtype).endswith(str(x.dtype).rpartition(".")[2])
    return found if same else None


def _kind(x: Any) -> str:
    return f"{type(x).__name__} of {getattr(x, 'dtype', '?')}"
