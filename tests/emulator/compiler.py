"""Kernels compiled for the host: a .cu family after the shim, and an entry a kernel that takes CUDA's argument list.

A test may add another .cu file, which is then a family like the package's.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

from xpnet.kernels.cuda import driver
from xpnet.writing import FileLock

SHIM = tuple(Path(__file__).with_name(name) for name in ("shim.h", "device_functions.h"))
KERNEL = re.compile(r'extern "C" __global__ void(?:\s+__launch_bounds__\([^)]*\))?\s+(\w+)\(([^)]*)\)\s*\{')
BARRIER = re.compile(r"\b__(sync|shfl|ballot|any_sync|all_sync)")  # what threads of a block do together
DEFINED = re.compile(
    r"^(?:[ \t]*#[ \t]*define[ \t]+(\w+)|(?:template\s*<[^>]*>\s*)?(?:static\s+)?__device__[^;{}()]*?\b(\w+)\()",
    re.MULTILINE,
)  # macros and functions of the device

_added: dict[str, Path] = {}


class Kernel(NamedTuple):
    """A kernel's name, the types of its parameters, and whether its threads wait for each other."""

    name: str
    parameters: tuple[str, ...]
    cooperative: bool


class Failure(AssertionError):
    """What threads did together that a device would answer with nonsense, or not at all."""


def add(file: Path) -> str:
    """Make a .cu file outside the package a family, and return its name."""
    _added[file.stem] = file
    return file.stem


def _whole(family: str) -> str:
    """The text that is compiled: what all families share, then the family's own."""
    if family not in _added:
        return driver.source(family)
    shared = Path(driver.__file__).with_name("common.cuh").read_text()
    return f'{shared}\n#line 1 "{family}.cu"\n{_added[family].read_text()}'


@cache
def kernels(family: str) -> dict[str, Kernel]:
    """List the kernels of a family, by their text."""
    text = _whole(family)
    starts = list(KERNEL.finditer(text))
    stops = sorted([*(m.start() for m in starts), *(m.start() for m in DEFINED.finditer(text)), len(text)])
    waiting = _waiting(text, stops)
    found = {}
    for start in starts:
        types = tuple(" ".join(p.split()[:-1]).replace("__restrict__", "").strip() for p in start[2].split(","))
        body = text[start.end() : next(stop for stop in stops if stop >= start.end())]
        found[start[1]] = Kernel(start[1], types, bool(waiting.search(body)))
    return found


def _waiting(text: str, stops: list[int]) -> re.Pattern[str]:
    """A pattern of all by which threads wait for each other: barriers, and what a text defines that uses them."""
    bodies = [
        (start[1] or start[2], text[start.end() : next(stop for stop in stops if stop >= start.end())])
        for start in DEFINED.finditer(text)
    ]
    names: set[str] = set()
    while True:
        found = re.compile("|".join([BARRIER.pattern, *(rf"\b{name}\b" for name in sorted(names))]))
        more = {name for name, body in bodies if found.search(body)}
        if more == names:
            return found
        names = more


def available() -> bool:
    """Whether there is a compiler."""
    return shutil.which("g++") is not None


@cache
def library(family: str, flags: tuple[str, ...]) -> ctypes.PyDLL:
    """Compile a family with some macros, once for all processes, and load it."""
    text = "\n".join(
        [
            f'#include "{SHIM[0]}"',
            "namespace {  // what is static stays so in templates too, and shared memory in one place",
            _whole(family),
            '#line 1 "entries"',
            "}",
            *(_entry(kernel) for kernel in kernels(family).values()),
        ]
    )
    digest = hashlib.sha256("\n".join((text, *(file.read_text() for file in SHIM), *flags)).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"xpnet-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{family}-{digest}.so"
    lock = FileLock(file)
    while not lock.try_acquire():  # another process compiles it
        time.sleep(0.02)
    with lock, tempfile.TemporaryDirectory(dir=folder) as work:
        if not file.exists():
            source, built = Path(work) / f"{family}.cpp", Path(work) / "built.so"
            source.write_text(text)
            command = ["g++", "-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Werror", "-Wno-unknown-pragmas"]
            command += ["-Wno-unused-variable", "-Wno-unused-function", "-DXPNET_HOST", *(f"-D{f}" for f in flags)]
            done = subprocess.run([*command, str(source), "-o", str(built)], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{family}.cu does not compile for the host:\n{done.stderr[:4000]}")
            os.replace(built, file)
    loaded = ctypes.PyDLL(str(file))  # which keeps other threads of Python out: there is one device
    for name in kernels(family):
        entry = getattr(loaded, f"host_{name}")
        entry.restype, entry.errcheck = ctypes.c_char_p, _raise_failure
    return loaded


def _raise_failure(message: bytes | None, entry: object, arguments: tuple[object, ...]) -> None:
    if message:
        raise Failure(f"{entry.__name__.removeprefix('host_')}: {message.decode()}")


def _entry(kernel: Kernel) -> str:
    values = ", ".join(f"*({kind}*)arguments[{i}]" for i, kind in enumerate(kernel.parameters))
    cooperative = str(kernel.cooperative).lower()
    return (
        f'extern "C" const char* host_{kernel.name}(unsigned blocks, unsigned threads, bool descending,\n'
        "    void** arguments) {\n"
        f"  return host::launch(blocks, threads, {cooperative}, descending, [&] {{ {kernel.name}({values}); }});\n"
        "}"
    )
