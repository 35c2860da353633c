"""Kernels compiled for the host: a .cu family after the shim, and an entry a kernel that takes CUDA's argument list."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from xpnet.kernels.cuda import driver

SHIM = Path(__file__).with_name("shim.h")
KERNEL = re.compile(r'extern "C" __global__ void(?:\s+__launch_bounds__\([^)]*\))?\s+(\w+)\(([^)]*)\)\s*\{')
BARRIER = re.compile(r"__sync|__shfl|block_sum|block_max")  # what threads of a block do together


class Kernel(NamedTuple):
    """A kernel's name, the types of its parameters, and whether its threads wait for each other."""

    name: str
    parameters: tuple[str, ...]
    cooperative: bool


@cache
def kernels(family: str) -> dict[str, Kernel]:
    """List the kernels of a family, by their text."""
    text = (Path(driver.__file__).parent / f"{family}.cu").read_text()
    found = {}
    starts = list(KERNEL.finditer(text))
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        body = text[start.end() : following.start() if following else len(text)]
        types = tuple(" ".join(p.split()[:-1]).replace("__restrict__", "").strip() for p in start[2].split(","))
        found[start[1]] = Kernel(start[1], types, bool(BARRIER.search(body)))
    return found


def available() -> bool:
    """Whether there is a compiler."""
    return shutil.which("g++") is not None


@cache
def library(family: str, flags: tuple[str, ...]) -> ctypes.CDLL:
    """Compile a family with some macros, once for all processes, and load it."""
    text = "\n".join(
        [
            f'#include "{SHIM}"',
            driver.source(family),
            '#line 1 "entries"',
            *(_entry(kernel) for kernel in kernels(family).values()),
        ]
    )
    digest = hashlib.sha256("\n".join((text, SHIM.read_text(), *flags)).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"xpnet-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{family}-{digest}.so"
    if not file.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            source, built = Path(work) / f"{family}.cpp", Path(work) / "built.so"
            source.write_text(text)
            command = ["g++", "-std=c++20", "-O1", "-fPIC", "-shared", "-Wall", "-Werror", "-Wno-unknown-pragmas"]
            command += ["-Wno-unused-variable", "-Wno-unused-function", "-DXPNET_HOST", *(f"-D{f}" for f in flags)]
            done = subprocess.run([*command, str(source), "-o", str(built)], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{family}.cu does not compile for the host:\n{done.stderr[:4000]}")
            os.replace(built, file)
    return ctypes.CDLL(str(file))


def _entry(kernel: Kernel) -> str:
    values = ", ".join(f"*({kind}*)arguments[{i}]" for i, kind in enumerate(kernel.parameters))
    cooperative = str(kernel.cooperative).lower()
    return (
        f'extern "C" void host_{kernel.name}(unsigned blocks, unsigned threads, bool descending, void** arguments) {{\n'
        f"  host::launch(blocks, threads, {cooperative}, descending, [&] {{ {kernel.name}({values}); }});\n"
        "}"
    )
