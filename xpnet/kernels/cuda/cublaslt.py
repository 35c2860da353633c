"""cuBLASLt through its C interface: handles, workspaces, and plans, which say how a product is computed.

Its matrices are column-major. What is slow to find out (an algorithm for these sizes, layouts, types, alignments and
this precision) is kept as a plan, so that the host waits for nothing while a stream is captured.
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
from xpnet.kernels.cuda.driver import DeviceArray

__all__ = ["BIAS", "FP32", "FP64", "PLAIN", "RELU", "TF32", "Library", "Product", "warn_once"]

WORKSPACE = 32 << 20  # bytes, for a device and stream: NVIDIA's advice for Hopper

# cublasStatus_t, cudaDataType_t, cublasComputeType_t, cublasLtEpilogue_t, and the attributes that are set
_STATUS = {1: "NOT_INITIALIZED", 3: "ALLOC_FAILED", 7: "INVALID_VALUE", 8: "ARCH_MISMATCH", 11: "MAPPING_ERROR"}
_STATUS |= {13: "EXECUTION_FAILED", 14: "INTERNAL_ERROR", 15: "NOT_SUPPORTED", 16: "LICENSE_ERROR"}
_TYPES = {"float32": 0, "float64": 1, "float16": 2}
FP32, FP64, TF32 = 68, 70, 77
PLAIN, RELU, BIAS = 1, 2, 4
_TRANSPOSED_A, _TRANSPOSED_B, _EPILOGUE, _BIAS_POINTER = 3, 4, 7, 8
_MOST_WORKSPACE, _REDUCTIONS, _ALIGNMENTS = 1, 3, (5, 6, 7, 8)
_IN_COMPUTING_TYPE = 2  # parts of a split sum keep the computing type, and are added in a fixed order


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


class Product(NamedTuple):
    """All that a plan depends on: D (m, n) = A (m, k) B (k, n), column-major."""

    device: int
    computed: int  # FP32, FP64 or TF32
    dtype: str
    out: str
    sizes: tuple[int, int, int]  # m, n, k
    transposed: tuple[bool, bool]  # whether A and B lie transposed in memory
    leading: tuple[int, int, int]  # leading dimensions of A, B and D: elements from one column to the next
    aligned: tuple[int, int, int]  # bytes, of A, B and D
    epilogue: int  # PLAIN, BIAS or BIAS | RELU: a bias for each row of D


class _Plan(NamedTuple):
    desc: c_void_p
    layouts: tuple[c_void_p, c_void_p, c_void_p]
    found: _Heuristic
    scalar: type[c_float] | type[c_double]


class _Failure(Exception):
    """A status other than success."""


class Library:
    """cuBLASLt, loaded, with its handles and workspaces by device and stream, and the plans made so far."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._lock = threading.Lock()  # a plan's bias pointer is set just before its product
        self._handles: dict[int, c_void_p] = {}
        self._workspaces: dict[tuple[int, int], DeviceArray] = {}
        self._plans: dict[Product, _Plan | None] = {}
        self._functions: dict[str, Any] = {}
        for name, types in _FUNCTIONS.items():
            function = getattr(library, f"cublasLt{name}")
            function.argtypes, function.restype = types, c_int
            self._functions[name] = function

    def multiply(self, product: Product, a: int, b: int, d: DeviceArray, bias: DeviceArray | None, add: bool) -> bool:
        """Compute a product of matrices at the addresses a and b into the array d; False where there is no algorithm.

        Raises: DeviceError where there is one, and it fails.
        """
        plan = self._plan(product, a, b, d, bias)
        if plan is not None:
            self._run(plan, product, a, b, d, bias if product.epilogue & BIAS else None, add)
        return plan is not None

    def _plan(self, product: Product, a: int, b: int, d: DeviceArray, bias: DeviceArray | None) -> _Plan | None:
        if product in self._plans:
            return self._plans[product]
        if product.epilogue & RELU and driver.current().capturing():
            return None  # whether its ReLU keeps NaN cannot be tried now
        plan = None
        try:
            plan = self._search(product)
        except _Failure as failure:
            if product.epilogue == PLAIN:
                m, n, k = product.sizes
                what = f"{failure} for a product of {n}x{k} and {k}x{m} in {product.dtype}"
                warn_once(f"{what}; the array library's own is used")
        if plan and product.epilogue & RELU and not self._keeps_nan(plan, product, a, b, d, bias):
            warn_once("cuBLASLt's ReLU makes 0 of NaN; where it does, ReLU is computed after the product")
            plan = None
        self._plans[product] = plan
        return plan

    def _keeps_nan(self, plan: _Plan, product: Product, a: int, b: int, d: DeviceArray, bias: Any) -> bool:
        """Whether the library's ReLU keeps NaN, as ours does. Nothing documents it: each plan is tried once, on d."""
        xp = namespace(d)
        nan = xp.full(bias.shape, float("nan"), dtype=bias.dtype, device=bias.device)
        self._run(plan, product, a, b, d, nan, add=False)
        return bool(xp.all(xp.isnan(d)))

    def _search(self, product: Product) -> _Plan:
        """Describe a product to the library, which searches its fastest algorithm."""
        (m, n, k), fp64 = product.sizes, product.computed == FP64
        (a_transposed, b_transposed), (lda, ldb, ldd) = product.transposed, product.leading
        attributes = {_TRANSPOSED_A: a_transposed, _TRANSPOSED_B: b_transposed, _EPILOGUE: product.epilogue}
        desc = self._make("MatmulDesc", product.computed, _TYPES["float64" if fp64 else "float32"])
        for attribute, value in attributes.items():
            self._set("MatmulDesc", desc, attribute, c_int(value))
        a = self._make("MatrixLayout", _TYPES[product.dtype], *((k, m) if a_transposed else (m, k)), lda)
        b = self._make("MatrixLayout", _TYPES[product.dtype], *((n, k) if b_transposed else (k, n)), ldb)
        d = self._make("MatrixLayout", _TYPES[product.out], m, n, ldd)
        prefers = self._make("MatmulPreference")
        self._set("MatmulPreference", prefers, _MOST_WORKSPACE, c_size_t(WORKSPACE))
        self._set("MatmulPreference", prefers, _REDUCTIONS, c_uint32(_IN_COMPUTING_TYPE))
        for attribute, alignment in zip(_ALIGNMENTS, (*product.aligned, product.aligned[2]), strict=True):
            self._set("MatmulPreference", prefers, attribute, c_uint32(alignment))
        found, count = _Heuristic(), c_int()
        try:
            described = self._handle(product.device), desc, a, b, d, d, prefers
            self._call("MatmulAlgoGetHeuristic", *described, 1, ctypes.byref(found), ctypes.byref(count))
        finally:
            self._call("MatmulPreferenceDestroy", prefers)
        if not count.value or found.status:
            raise _Failure("cuBLASLt finds no algorithm")
        return _Plan(desc, (a, b, d), found, c_double if fp64 else c_float)

    def _run(self, plan: _Plan, product: Product, a: int, b: int, d: DeviceArray, bias: Any, add: bool) -> None:
        stream, at = driver.current().stream(), driver.pointer(d)
        workspace = driver.pointer(self._workspace(product.device, stream))
        layout_a, layout_b, layout_d = plan.layouts
        alpha, beta = plan.scalar(1.0), plan.scalar(1.0 if add else 0.0)
        factors = (plan.desc, ctypes.byref(alpha), a, layout_a, b, layout_b, ctypes.byref(beta))
        how = (ctypes.byref(plan.found), workspace, WORKSPACE, stream)
        try:
            with self._lock:
                if bias is not None:
                    self._set("MatmulDesc", plan.desc, _BIAS_POINTER, c_void_p(driver.pointer(bias)))
                self._call("Matmul", self._handle(product.device), *factors, at, layout_d, at, layout_d, *how)
        except _Failure as failure:
            m, n, k = product.sizes
            raise DeviceError.event("matmul", str(failure), a=(n, k), b=(k, m), dtype=product.dtype) from None

    def _workspace(self, device: int, stream: int) -> DeviceArray:
        """Memory for a stream's products, which run one after the other."""
        found = self._workspaces.get((device, stream))
        if found is None:  # where two threads come first, that of one is kept: the other's would be freed in use
            found = self._workspaces.setdefault((device, stream), driver.empty((WORKSPACE,), np.uint8))
        return found

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
            raise _Failure(f"cublasLt{name} returned {_STATUS.get(status, status)}")


@cache
def warn_once(line: str) -> None:
    """Log a warning, once."""
    logging.getLogger("xpnet").warning(line)
