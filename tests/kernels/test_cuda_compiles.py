"""Each family of kernels becomes machine code for three generations of GPUs, and none of it spills registers.

A100 is sm_80, H100 sm_90, B200 sm_100. No GPU is needed, nor a driver: NVRTC compiles, and ptxas says what it used.
ci/test-long compiles every element type for every architecture.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from emulator import compiler

from tests.kernels import nvrtc
from xpnet.kernels.cuda import driver

FAMILIES = sorted(file.stem for file in Path(driver.__file__).parent.glob("*.cu"))
OPTIONS = ("-std=c++17", "--ptxas-options=-v")
MOST_REGISTERS = 128  # a multiprocessor has 65,536: blocks of 256 threads then run two at a time at least

# architecture, element type, counters of 64 bits: the types differ little from one architecture to the next
VARIANTS = [(90, "FLOAT", False), (90, "DOUBLE", False), (90, "HALF", False), (90, "HALF", True)]
VARIANTS += [(80, "HALF", False), (100, "FLOAT", False)]
if "XPNET_FUZZ" in os.environ:  # ci/test-long
    VARIANTS = [
        (arch, kind, w) for arch in (80, 90, 100) for kind in ("FLOAT", "DOUBLE", "HALF") for w in (False, True)
    ]

pytestmark = pytest.mark.skipif(bool(nvrtc.problem()), reason=nvrtc.problem() or "NVRTC is here")


def build(text: str, arch: int = 90, *macros: str) -> nvrtc.Compiled:
    if arch not in nvrtc.architectures():
        pytest.skip(f"this NVRTC does not know sm_{arch}")
    return nvrtc.compiled(text, *OPTIONS, f"-arch=sm_{arch}", *(f"-D{macro}" for macro in macros))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("arch", "kind", "wide"), VARIANTS, ids=[f"sm{a}-{k.lower()}{'-wide' * w}" for a, k, w in VARIANTS]
)
def test_a_family_compiles_without_a_warning_and_without_spills(family: str, arch: int, kind: str, wide: bool) -> None:
    found = build(driver.source(family), arch, f"XPNET_{kind}", *["XPNET_WIDE"] * wide)
    assert found.ok, found.log
    assert "warning" not in found.log.lower(), found.log
    assert found.size > 0
    kernels = nvrtc.usage(found.log)
    assert set(kernels) == set(compiler.kernels(family)), "the emulator and NVRTC see the same kernels"
    for name, used in kernels.items():
        assert (used.spill_stores, used.spill_loads) == (0, 0), f"{name} spills: {used}"
        assert used.stack == 0, f"{name} keeps numbers in local memory: {used}"
        assert used.registers <= MOST_REGISTERS, f"{name} takes too many registers: {used}"


def test_spills_warnings_and_errors_are_found() -> None:
    body = "float v[96]; for (int k = 0; k < 96; ++k) v[k] = x[k * 1024 + threadIdx.x];"
    body += "for (int r = 0; r < n; ++r) for (int k = 0; k < 96; ++k) v[k] = v[k] * v[(k + 1) % 96] + r;"
    body += "for (int k = 0; k < 96; ++k) x[k * 1024 + threadIdx.x] = v[k];"
    text = f'extern "C" __global__ void __launch_bounds__(1024, 2) greedy(float* x, int n) {{ {body} }}'
    found = build(text)
    assert found.ok, found.log
    used = nvrtc.usage(found.log)["greedy"]
    assert used.registers <= 32
    assert min(used.spill_stores, used.spill_loads, used.stack) > 0
    assert "warning" in build('extern "C" __global__ void idle(float* x) { int unused = 3; }').log.lower()
    assert not build('extern "C" __global__ void broken(float* x) { y = 3; }').ok
