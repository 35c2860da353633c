"""NVRTC, CUDA's compiler as a library: it makes machine code for a GPU on a machine that has neither GPU nor driver."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import importlib.util
import json
import os
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Compiled(NamedTuple):
    """The result for a text: whether it compiled, the log, and how many bytes of machine code it gave."""

    ok: bool
    log: str
    size: int


class Usage(NamedTuple):
    """What one thread of a kernel takes: registers, and bytes of local memory, which lies in the device's slow one."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


def problem() -> str:
    """Why nothing can be compiled; empty where it can."""
    return "" if _library() else "NVRTC is not installed; pip install 'nvidia-cuda-nvrtc==13.0.*'"


@cache
def architectures() -> tuple[int, ...]:
    """The architectures that this NVRTC compiles for, such as 90 of sm_90."""
    count = ctypes.c_int()
    _checked("nvrtcGetNumSupportedArchs", ctypes.byref(count))
    found = (ctypes.c_int * count.value)()
    _checked("nvrtcGetSupportedArchs", found)
    return tuple(found)


def compiled(text: str, *options: str) -> Compiled:
    """Compile a text, once for all processes: the outcome is kept in a folder for temporary files."""
    key = json.dumps([text, options, _version()])
    folder = Path(tempfile.gettempdir()) / f"xpnet-nvrtc-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if file.exists():
        return Compiled(*json.loads(file.read_text()))
    found = _compile(text, options)
    part = file.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(found))
    os.replace(part, file)
    return found


def usage(log: str) -> dict[str, Usage]:
    """Read what --ptxas-options=-v says of each kernel."""
    found = {}
    for part in log.split("Compiling entry function '")[1:]:
        frame = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
        used = re.search(r"Used (\d+) registers", part)
        assert frame, f"ptxas says nothing of spills: {part}"
        assert used, f"ptxas says nothing of registers: {part}"
        found[part.partition("'")[0]] = Usage(int(used[1]), *map(int, frame.groups()))
    return found


def _compile(text: str, options: tuple[str, ...]) -> Compiled:
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    library = _library()
    assert library, problem()
    _checked("nvrtcCreateProgram", ctypes.byref(program), text.encode(), b"text.cu", 0, None, None)
    try:
        given = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
        ok = library.nvrtcCompileProgram(program, len(options), given) == 0
        _checked("nvrtcGetProgramLogSize", program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        _checked("nvrtcGetProgramLog", program, log)
        size.value = 0
        if ok:
            _checked("nvrtcGetCUBINSize", program, ctypes.byref(size))
        return Compiled(ok, log.value.decode(), size.value)
    finally:
        _checked("nvrtcDestroyProgram", ctypes.byref(program))


def _checked(name: str, *arguments: object) -> None:
    code = getattr(_library(), name)(*arguments)
    assert code == 0, f"{name} gave {code}"


@cache
def _version() -> tuple[int, int]:
    major, minor = ctypes.c_int(), ctypes.c_int()
    _checked("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


@cache
def _library() -> ctypes.CDLL | None:
    """The wheel's library, else the system's; None where there is neither."""
    spec = importlib.util.find_spec("nvidia")
    for place in (spec and spec.submodule_search_locations) or ():
        for file in sorted(Path(place).glob("*/lib/libnvrtc.so.*")):
            for part in file.parent.glob("libnvrtc-builtins.so.*"):  # which it would not find beside itself
                ctypes.CDLL(str(part), mode=ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(str(file))
    name = ctypes.util.find_library("nvrtc")
    return ctypes.CDLL(name) if name else None
