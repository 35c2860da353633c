"""Where arrays live: namespaces, devices, transfer, memory. The one door to cupy, torch and jax.

    backend = get_backend("cuda:1")         # or "cpu", "torch", "torch:cuda", "jax", ...
    x = backend.from_numpy(images)          # moves only when asked
    y = backend.xp.exp(x)                   # xp is the backend's Array API namespace
    images = backend.to_numpy(y)

register_backend adds a library that is not known here.
"""

from xpnet.backend.base import Array, Backend, Memory, Recorder
from xpnet.backend.faults import is_device_lost, is_out_of_memory
from xpnet.backend.precision import PRECISIONS, current_precision, use_precision
from xpnet.backend.program import Program, again, empty, launch, noting
from xpnet.backend.registry import (
    backend_of,
    current_backend,
    get_backend,
    namespace,
    register_backend,
    use_backend,
)
from xpnet.backend.report import BackendInfo, describe_backends
from xpnet.backend.ring import Ring
from xpnet.backend.threads import blas_is_ours, cores, dismiss, free_cores, split, together, use_cores
from xpnet.backend.writing import add_at, set_at

__all__ = [
    "PRECISIONS",
    "Array",
    "Backend",
    "BackendInfo",
    "Memory",
    "Program",
    "Recorder",
    "Ring",
    "add_at",
    "again",
    "backend_of",
    "blas_is_ours",
    "cores",
    "current_backend",
    "current_precision",
    "describe_backends",
    "dismiss",
    "empty",
    "free_cores",
    "get_backend",
    "is_device_lost",
    "is_out_of_memory",
    "launch",
    "namespace",
    "noting",
    "register_backend",
    "set_at",
    "split",
    "together",
    "use_backend",
    "use_cores",
    "use_precision",
]
