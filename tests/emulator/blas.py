"""cuBLASLt without a GPU: the C functions that xpnet calls, behind C's own calling convention, on the host's memory.

Descriptors are read as the library's documentation says, column by column; addresses are read as addresses. What the
library would refuse, this one refuses: attributes of another size, matrices that do not fit together, pointers less
aligned than was promised, a plan used for another product than it was found for, too little workspace.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from ctypes import POINTER, c_int, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any, NamedTuple

import numpy as np

from emulator.tape import TAPE

__all__ = ["Blas", "Matmul"]

OK, INVALID, FAILED, INTERNAL, REFUSED = 0, 7, 13, 14, 15  # of cublasStatus_t
TYPES = {0: np.dtype(np.float32), 1: np.dtype(np.float64), 2: np.dtype(np.float16)}  # of cudaDataType_t
COMPUTED = {68: "fp32", 70: "fp64", 77: "tf32"}  # of cublasComputeType_t
PLAIN, RELU, BIAS = 1, 2, 4  # of cublasLtEpilogue_t
DESC = {3: ("transposed_a", c_int), 4: ("transposed_b", c_int), 7: ("epilogue", c_int), 8: ("bias", c_void_p)}
PREFERENCE = {1: ("workspace", c_size_t), 3: ("reductions", ctypes.c_uint32)}
PREFERENCE |= {5 + i: (f"align_{x}", ctypes.c_uint32) for i, x in enumerate("abcd")}
SCRATCH = 4096  # bytes of workspace that every algorithm needs here


class _Heuristic(ctypes.Structure):
    _fields_ = (
        ("algorithm", ctypes.c_ubyte * 64),
        ("workspace", c_size_t),
        ("state", c_int),
        ("waves", ctypes.c_float),
        ("reserved", c_int * 4),
    )


class Matmul(NamedTuple):
    """One product that was requested: its sizes, column-major, and how it was to be computed."""

    computed: str
    epilogue: int
    sizes: tuple[int, ...]
    leading: tuple[int, ...]
    beta: float
    reductions: int


class _Refused(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def _ask(condition: object, why: str, status: int = INVALID) -> None:
    if not condition:
        raise _Refused(status, why)


class Blas:
    """The library, as ctypes would load it.

    Attributes:
        hides_nan: RELU makes 0 of NaN.
        finds: given a descriptor, whether the heuristic finds an algorithm.
        fails: a status that every product ends with, or 0.
        products: what was requested, in order. searches: how often the heuristic was called.
        complaints: why something was refused.
    """

    def __init__(self) -> None:
        self.hides_nan = False
        self.finds: Callable[[dict[str, Any]], bool] = lambda desc: True
        self.fails = OK
        self.products: list[Matmul] = []
        self.searches = 0
        self.complaints: list[str] = []
        self._objects: dict[int, dict[str, Any]] = {}
        self._found: dict[bytes, tuple[bytes, list[int], int]] = {}
        out = POINTER(c_void_p)
        self._export("Create", self._create, out)
        self._export("MatmulDescCreate", self._desc, out, c_int, c_int)
        self._export("MatmulDescSetAttribute", self._set_desc, c_void_p, c_int, c_void_p, c_size_t)
        self._export("MatrixLayoutCreate", self._layout, out, c_int, c_uint64, c_uint64, c_int64)
        self._export("MatmulPreferenceCreate", self._preference, out)
        self._export("MatmulPreferenceSetAttribute", self._set_preference, c_void_p, c_int, c_void_p, c_size_t)
        self._export("MatmulPreferenceDestroy", self._destroy, c_void_p)
        self._export("MatmulAlgoGetHeuristic", self._search, *[c_void_p] * 7, c_int, c_void_p, POINTER(c_int))
        self._export("Matmul", self._matmul, *[c_void_p] * 14, c_size_t, c_void_p)

    def _export(self, name: str, function: Callable[..., None], *kinds: Any) -> None:
        """Put a function behind C's calling convention; what it raises becomes its status."""

        def called(*arguments: Any) -> int:
            try:
                function(*arguments)
            except _Refused as refused:
                self.complaints.append(f"cublasLt{name}: {refused}")
                return refused.status
            except Exception as error:
                self.complaints.append(f"cublasLt{name}: {error!r}")
                return INTERNAL
            return OK

        setattr(self, f"cublasLt{name}", ctypes.CFUNCTYPE(c_int, *kinds)(called))

    def _new(self, out: Any, kind: str, **fields: Any) -> None:
        number = 0x7F0000000000 + 64 * (len(self._objects) + 1)  # wider than an int, as addresses are
        self._objects[number] = {"kind": kind, **fields}
        out[0] = number

    def _get(self, number: int | None, kind: str) -> dict[str, Any]:
        _ask(number in self._objects and self._objects[number]["kind"] == kind, f"{number} is no {kind}")
        return self._objects[number]

    def _destroy(self, number: int | None) -> None:
        _ask(number in self._objects and self._objects[number]["kind"] != "gone", f"{number} is not there")
        self._objects[number] = {"kind": "gone"}

    def _create(self, out: Any) -> None:
        self._new(out, "handle")

    def _desc(self, out: Any, compute: int, scale: int) -> None:
        _ask(compute in COMPUTED and scale == (1 if compute == 70 else 0), f"compute {compute} in scale {scale}")
        self._new(out, "desc", compute=compute, transposed_a=0, transposed_b=0, epilogue=PLAIN, bias=None)

    def _layout(self, out: Any, kind: int, rows: int, cols: int, leading: int) -> None:
        _ask(
            kind in TYPES and rows > 0 and cols > 0 and leading >= rows,
            f"layout {kind} {rows} x {cols}, {leading} apart",
        )
        self._new(out, "layout", dtype=TYPES[kind], rows=rows, cols=cols, leading=leading)

    def _preference(self, out: Any) -> None:
        aligned = {f"align_{x}": 256 for x in "abcd"}
        self._new(out, "preference", workspace=0, reductions=7, **aligned)

    def _set(self, known: dict[int, tuple[str, Any]], into: dict[str, Any], attribute: int, at: int, size: int) -> None:
        _ask(attribute in known, f"attribute {attribute}")
        name, kind = known[attribute]
        _ask(size == ctypes.sizeof(kind), f"attribute {name} of {size} bytes")
        into[name] = kind.from_address(at).value

    def _set_desc(self, desc: int, attribute: int, at: int, size: int) -> None:
        self._set(DESC, self._get(desc, "desc"), attribute, at, size)

    def _set_preference(self, preference: int, attribute: int, at: int, size: int) -> None:
        self._set(PREFERENCE, self._get(preference, "preference"), attribute, at, size)

    def _fit(self, desc: dict[str, Any], a: Any, b: Any, c: Any, d: Any) -> tuple[int, int, int]:
        """Check that the matrices fit together, and return rows and columns of D and the length of the sums."""
        n, k = (a["cols"], a["rows"]) if desc["transposed_a"] else (a["rows"], a["cols"])
        k2, m = (b["cols"], b["rows"]) if desc["transposed_b"] else (b["rows"], b["cols"])
        _ask(k == k2 and (d["rows"], d["cols"]) == (n, m), f"{n}x{k} by {k2}x{m} into {d['rows']}x{d['cols']}")
        _ask(c == d, "C and D differ")
        _ask(a["dtype"] == b["dtype"], "A and B differ in type")
        kinds = (a["dtype"].itemsize, d["dtype"].itemsize)
        wanted = {70: [(8, 8)], 68: [(4, 4), (2, 2), (2, 4)], 77: [(4, 4)]}[desc["compute"]]
        _ask(kinds in wanted, f"types of {kinds} bytes with compute {desc['compute']}")
        _ask(desc["epilogue"] in (PLAIN, RELU, BIAS, RELU | BIAS), f"epilogue {desc['epilogue']}", REFUSED)
        return n, m, k

    def _mark(self, desc: dict[str, Any], *layouts: dict[str, Any]) -> bytes:
        """What an algorithm was found for."""
        wanted = {name: value for name, value in desc.items() if name != "bias"}
        return hashlib.sha512(repr((wanted, layouts)).encode()).digest()

    def _search(
        self, handle: int, desc: int, a: int, b: int, c: int, d: int, preference: int, n: int, out: int, found: Any
    ):
        self._get(handle, "handle")
        described, prefers = self._get(desc, "desc"), self._get(preference, "preference")
        layouts = [self._get(x, "layout") for x in (a, b, c, d)]
        self._fit(described, *layouts)
        self.searches += 1
        found[0] = 0
        _ask(n >= 1 and prefers["workspace"] >= SCRATCH, "no algorithm needs less workspace", REFUSED)
        if not self.finds(described):
            return
        result = _Heuristic.from_address(out)
        mark, aligned = self._mark(described, *layouts), [prefers[f"align_{x}"] for x in "abcd"]
        algorithm = hashlib.sha512(mark + repr(aligned).encode()).digest()
        self._found[algorithm] = mark, aligned, prefers["reductions"]
        ctypes.memmove(result.algorithm, algorithm, 64)
        result.workspace, result.state, found[0] = SCRATCH, OK, 1

    def _matmul(
        self, handle: int, desc: int, alpha: int, a: int, of_a: int, b: int, of_b: int, beta: int, c: int, of_c: int,
        d: int, of_d: int, algorithm: int, workspace: int, size: int, stream: int | None,
    ) -> None:  # fmt: skip
        self._get(handle, "handle")
        described = dict(self._get(desc, "desc"))
        layouts = [self._get(x, "layout") for x in (of_a, of_b, of_c, of_d)]
        n, m, k = self._fit(described, *layouts)
        mark, aligned, reductions = self._found.get(ctypes.string_at(algorithm, 64), (b"", [], 0))
        _ask(mark == self._mark(described, *layouts), "the algorithm is of another product")
        for at, wanted in zip((a, b, c, d), aligned, strict=True):
            _ask(at and at % wanted == 0, f"a pointer that is not aligned to {wanted}")
        _ask(workspace and size >= SCRATCH, "too little workspace")
        if described["epilogue"] & BIAS:
            _ask(described["bias"] and described["bias"] % 16 == 0, f"bias at {described['bias']}")
        number = ctypes.c_double if described["compute"] == 70 else ctypes.c_float
        by, kept = number.from_address(alpha).value, number.from_address(beta).value
        _ask(not self.fails, "a test makes it fail", self.fails)
        how = COMPUTED[described["compute"]], described["epilogue"]
        leading = tuple(x["leading"] for x in layouts)
        self.products.append(Matmul(*how, (n, m, k), leading, kept, reductions))

        def work() -> None:
            ctypes.memset(workspace, 0xA5, SCRATCH)
            self._compute(described, layouts, (a, b, c, d), by, kept)

        TAPE.do(work)

    def _compute(self, desc: dict[str, Any], layouts: list[Any], at: tuple[int, ...], by: float, kept: float) -> None:
        wide = np.float64 if desc["compute"] == 70 else np.float32
        a, b, c, d = map(_matrix, at, layouts)
        left, right = (
            (x.T if transposed else x).astype(wide)
            for x, transposed in ((a, desc["transposed_a"]), (b, desc["transposed_b"]))
        )
        if desc["compute"] == 77:
            left, right = _ten_bits(left), _ten_bits(right)
        with np.errstate(all="ignore"):
            sums = wide(by) * (left @ right)
            if kept:
                sums += wide(kept) * c.astype(wide)
            if desc["epilogue"] & BIAS:
                layout = {"dtype": d.dtype, "rows": len(d), "cols": 1, "leading": len(d)}
                sums += _matrix(desc["bias"], layout).astype(wide)  # a number a row, for all columns
            if desc["epilogue"] & RELU:
                sums = (np.fmax if self.hides_nan else np.maximum)(sums, wide(0))
            d[...] = sums


def _matrix(at: int, layout: dict[str, Any]) -> np.ndarray:
    """The memory at an address as a matrix, its columns one after the other."""
    size, rows, cols, leading = layout["dtype"].itemsize, layout["rows"], layout["cols"], layout["leading"]
    memory = (ctypes.c_char * (((cols - 1) * leading + rows) * size)).from_address(at)
    return np.ndarray((rows, cols), layout["dtype"], memory, strides=(size, leading * size))


def _ten_bits(x: np.ndarray) -> np.ndarray:
    """Numbers as TF32 holds them, rounded to the nearest with 10 bits of fraction; NaN and infinity stay."""
    bits = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0xFFF + (bits >> 13 & 1)) & 0xFFFFE000).astype(np.uint32).view(np.float32)
    return np.where(np.isfinite(x), rounded, x)
