"""cuBLASLt through its C interface: handles, workspaces, and plans, which say how products of one kind are made.

Its matrices are column-major. What it takes long to find out (an algorithm for these sizes, layouts, types, alignments
and this precision) is kept as a plan, and nothing is asked of the host while a stream is captured.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from ctypes import POINTER, c_double, c_float, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import namespace
from xpnet.errors import DeviceError
from xpnet.kernels.cuda import driver

__all__ = ["BIAS", "FP32", "FP64", "PLAIN", "RELU", "TF32", "Kind", "Library", "say"]

WORKSPACE = 32 << 20  # bytes, for a device and stream: what NVIDIA advises for Hopper

# cublasStatus_t, cudaDataType_t, cublasComputeType_t, cublasLtEpilogue_t, and the attributes that are set
_STATUS = {1: "NOT_INITIALIZED", 3: "ALLOC_FAILED", 7: "INVALID_VALUE", 8: "ARCH_MISMATCH", 11: "MAPPING_ERROR"}
_STATUS |= {13: "EXECUTION_FAILED", 14: "INTERNAL_ERROR", 15: "NOT_SUPPORTED", 16: "LICENSE_ERROR"}
_TYPES = {"float32": 0, "float64": 1, "float16": 2}
FP32, FP64, TF32 = 68, 70, 77
PLAIN, RELU, BIAS = 1, 2, 4
_TURNED_A, _TURNED_B, _EPILOGUE, _BIAS_POINTER = 3, 4, 7, 8
_MOST_WORKSPACE, _REDUCTIONS, _ALIGNMENTS = 1, 3, (5, 6, 7, 8)
_IN_COMPUTING_TYPE = 2  # where a sum is split, its parts are kept as exact as they are and added in a fixed order


class _Heuristic(ctypes.Structure):
    _fields_ = (
        ("algorithm", c_uint64 * 8),
        ("workspace", c_size_t),
        ("status", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    )


_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "Create": (POINTER(c_void_p),),
    "MatmulDescCreate": (POINTER(c_void_p), c_int, c_int),
    "MatmulDescSetAttribute": (c_void_p, c_int, c_void_p, c_size_t),
    "MatrixLayoutCreate": (POINTER(c_void_p), c_int, c_uint64, c_uint64, c_int64),
    "MatmulPreferenceCreate": (POINTER(c_void_p),),
    "MatmulPreferenceSetAttribute": (c_void_p, c_int, c_void_p, c_size_t),
    "MatmulPreferenceDestroy": (c_void_p,),
    "MatmulAlgoGetHeuristic": (*[c_void_p] * 7, c_int, POINTER(_Heuristic), POINTER(c_int)),
    "Matmul": (*[c_void_p] * 12, POINTER(_Heuristic), c_void_p, c_size_t, c_void_p),
}


class Kind(NamedTuple):
    """All that a plan depends on: D (m, n) = A (m, k) B (k, n), column-major, each with its lead, column to column."""

    device: int
    computed: int  # FP32, FP64 or TF32
    dtype: str
    out: str
    sizes: tuple[int, int, int]  # m, n, k
    turned: tuple[bool, bool]  # whether A and B lie transposed
    leads: tuple[int, int, int]  # of A, B and D
    aligned: tuple[int, int, int]  # bytes, of A, B and D
    epilogue: int  # PLAIN, BIAS or BIAS | RELU: a bias for each row of D


class _Plan(NamedTuple):
    desc: c_void_p
    layouts: tuple[c_void_p, c_void_p, c_void_p]
    found: _Heuristic
    scalar: Any  # c_float or c_double


class _Failure(Exception):
    """A status other than success."""


class Library:
    """cuBLASLt, loaded, with its handles and workspaces by device and stream, and the plans made so far."""

    def __init__(self, library: Any) -> None:
        self._lock = threading.Lock()  # a plan's bias pointer is set just before its product
        self._handles: dict[int, c_void_p] = {}
        self._workspaces: dict[tuple[int, int], Any] = {}
        self._plans: dict[Kind, _Plan | None] = {}
        self._functions: dict[str, Any] = {}
        for name, kinds in _FUNCTIONS.items():
            function = getattr(library, f"cublasLt{name}")
            function.argtypes, function.restype = kinds, c_int
            self._functions[name] = function

    def multiply(self, kind: Kind, a: int, b: int, d: Any, bias: Any, add: bool) -> bool:
        """Make a product of matrices at the addresses a and b into the array d; False where there is no way.

        Raises: DeviceError where a way was found, and fails.
        """
        plan = self._plan(kind, a, b, d, bias)
        if plan is not None:
            self._run(plan, kind, a, b, d, bias if kind.epilogue & BIAS else None, add)
        return plan is not None

    def _plan(self, kind: Kind, a: int, b: int, d: Any, bias: Any) -> _Plan | None:
        if kind in self._plans:
            return self._plans[kind]
        if kind.epilogue & RELU and driver.current().capturing():
            return None  # not yet known whether it keeps NaN
        plan = None
        try:
            plan = self._search(kind)
        except _Failure as failure:
            if kind.epilogue == PLAIN:
                m, n, k = kind.sizes
                say(f"{failure} for a product of {n}x{k} and {k}x{m} in {kind.dtype}; the array library's own is used")
        if plan and kind.epilogue & RELU and not self._keeps_nan(plan, kind, a, b, d, bias):
            say("cuBLASLt's ReLU makes 0 of NaN; where it does, ReLU is computed after the product")
            plan = None
        self._plans[kind] = plan
        return plan

    def _keeps_nan(self, plan: _Plan, kind: Kind, a: int, b: int, d: Any, bias: Any) -> bool:
        """Whether the library's ReLU keeps NaN, as ours does. Nothing documents it: each plan is tried once, on d."""
        xp = namespace(d)
        nan = xp.full(bias.shape, float("nan"), dtype=bias.dtype, device=bias.device)
        self._run(plan, kind, a, b, d, nan, add=False)
        return bool(xp.all(xp.isnan(d)))

    def _search(self, kind: Kind) -> _Plan:
        """Describe a product to the library, which looks for its fastest algorithm."""
        (m, n, k), of_fp64 = kind.sizes, kind.computed == FP64
        desc = self._make("MatmulDesc", kind.computed, _TYPES["float64" if of_fp64 else "float32"])
        self._set("MatmulDesc", desc, _TURNED_A, c_int(kind.turned[0]))
        self._set("MatmulDesc", desc, _TURNED_B, c_int(kind.turned[1]))
        self._set("MatmulDesc", desc, _EPILOGUE, c_int(kind.epilogue))
        a = self._make("MatrixLayout", _TYPES[kind.dtype], *((k, m) if kind.turned[0] else (m, k)), kind.leads[0])
        b = self._make("MatrixLayout", _TYPES[kind.dtype], *((n, k) if kind.turned[1] else (k, n)), kind.leads[1])
        d = self._make("MatrixLayout", _TYPES[kind.out], m, n, kind.leads[2])
        prefers = self._make("MatmulPreference")
        self._set("MatmulPreference", prefers, _MOST_WORKSPACE, c_size_t(WORKSPACE))
        self._set("MatmulPreference", prefers, _REDUCTIONS, c_uint32(_IN_COMPUTING_TYPE))
        for attribute, alignment in zip(_ALIGNMENTS, (*kind.aligned, kind.aligned[2]), strict=True):
            self._set("MatmulPreference", prefers, attribute, c_uint32(alignment))
        found, count = _Heuristic(), c_int()
        try:
            of = self._handle(kind.device), desc, a, b, d, d, prefers
            self._call("MatmulAlgoGetHeuristic", *of, 1, ctypes.byref(found), ctypes.byref(count))
        finally:
            self._call("MatmulPreferenceDestroy", prefers)
        if not count.value or found.status:
            raise _Failure("cuBLASLt finds no algorithm")
        return _Plan(desc, (a, b, d), found, c_double if of_fp64 else c_float)

    def _run(self, plan: _Plan, kind: Kind, a: int, b: int, d: Any, bias: Any, add: bool) -> None:
        stream, at = driver.current().stream(), driver.current().pointer(d)
        workspace = driver.current().pointer(self._workspace(kind.device, stream))
        of_a, of_b, of_d = plan.layouts
        one, kept = plan.scalar(1.0), plan.scalar(1.0 if add else 0.0)
        factors = (plan.desc, ctypes.byref(one), a, of_a, b, of_b, ctypes.byref(kept))
        how = (ctypes.byref(plan.found), workspace, WORKSPACE, stream)
        try:
            with self._lock:
                if bias is not None:
                    self._set("MatmulDesc", plan.desc, _BIAS_POINTER, c_void_p(driver.current().pointer(bias)))
                self._call("Matmul", self._handle(kind.device), *factors, at, of_d, at, of_d, *how)
        except _Failure as failure:
            m, n, k = kind.sizes
            raise DeviceError("matmul", f"{failure}", a=(n, k), b=(k, m), dtype=kind.dtype) from None

    def _workspace(self, device: int, stream: int) -> Any:
        """Memory for a stream's products, one after the other; the first of them makes it."""
        if (device, stream) not in self._workspaces:
            self._workspaces[device, stream] = driver.empty((WORKSPACE,), np.uint8)
        return self._workspaces[device, stream]

    def _handle(self, device: int) -> c_void_p:
        if device not in self._handles:
            self._handles[device] = self._make("")
        return self._handles[device]

    def _make(self, kind: str, *arguments: Any) -> c_void_p:
        made = c_void_p()
        self._call(f"{kind}Create", ctypes.byref(made), *arguments)
        return made

    def _set(self, kind: str, of: c_void_p, attribute: int, value: Any) -> None:
        self._call(f"{kind}SetAttribute", of, attribute, ctypes.byref(value), ctypes.sizeof(value))

    def _call(self, name: str, *arguments: Any) -> None:
        status = self._functions[name](*arguments)
        if status:
            raise _Failure(f"cublasLt{name} answers {_STATUS.get(status, status)}")


@cache
def say(line: str) -> None:
    """Log a line, once."""
    logging.getLogger("xpnet").warning(line)
