"""WHERE arrays live: namespaces, devices, transfer, memory. Only this folder imports cupy, torch and jax.

    backend = get_backend("cuda:1")         # or "cpu", "torch", "torch:cuda", "jax", ...
    x = backend.from_numpy(images)          # copies to the device
    y = backend.xp.exp(x)                   # xp is the backend's Array API namespace
    images = backend.to_numpy(y)

register_backend adds another library.
"""

from xpnet.backend.base import Array, Backend, Memory, Recorder
from xpnet.backend.blas import can_limit_blas, limit_threads
from xpnet.backend.faults import is_device_lost, is_out_of_memory
from xpnet.backend.heap import keep_freed_memory
from xpnet.backend.launching import (
    as_contiguous,
    as_rows,
    as_shape,
    copied,
    empty,
    empty_aligned,
    launch,
    record_call,
    scratch,
    this_thread,
)
from xpnet.backend.precision import PRECISIONS, current_precision, use_precision
from xpnet.backend.recording import Program, Unsupported
from xpnet.backend.registry import (
    add_at,
    backend_of,
    current_backend,
    get_backend,
    library,
    namespace,
    register_backend,
    set_at,
    use_backend,
)
from xpnet.backend.report import BackendInfo, describe_backends
from xpnet.backend.staging import StagingBuffers
from xpnet.backend.threads import (
    available_cores,
    cores,
    processors,
    run_alone,
    run_parallel,
    shut_down_workers,
    split,
    use_cores,
)

__all__ = [
    "PRECISIONS",
    "Array",
    "Backend",
    "BackendInfo",
    "Memory",
    "Program",
    "Recorder",
    "StagingBuffers",
    "Unsupported",
    "add_at",
    "as_contiguous",
    "as_rows",
    "as_shape",
    "available_cores",
    "backend_of",
    "can_limit_blas",
    "copied",
    "cores",
    "current_backend",
    "current_precision",
    "describe_backends",
    "empty",
    "empty_aligned",
    "get_backend",
    "is_device_lost",
    "is_out_of_memory",
    "keep_freed_memory",
    "launch",
    "library",
    "limit_threads",
    "namespace",
    "processors",
    "record_call",
    "register_backend",
    "run_alone",
    "run_parallel",
    "scratch",
    "set_at",
    "shut_down_workers",
    "split",
    "this_thread",
    "use_backend",
    "use_cores",
    "use_precision",
]
