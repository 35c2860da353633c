"""The command line that all examples share, and the file of their picture. This is not an example itself.

options = parse(__doc__)
model.to(options.backend)       # "cpu", "torch", "jax", "cuda", "array-api-strict:device1", ...
options.save(figure)            # runs/examples/<name of the example>.png, and a line that gives the path
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from xpnet import Backend, XpnetError, get_backend, register_backend
from xpnet.backend.registry import REGISTRY
from xpnet.errors import DeviceError
from xpnet.train.runs.config import resolve_backend

__all__ = ["Options", "parse"]

_WIDE, _DPI, _COLOURS = 900, (100, 160), 256  # pixels that a picture is wide, if that takes so many dots an inch


@dataclass(frozen=True)
class Options:
    """The options of an example.

    Args:
        backend: where to compute, for get_backend, use_backend and Module.to.
        quick: take only a few seconds, with fewer epochs and less data.
        path: the file of the picture.
    """

    backend: str
    quick: bool
    path: Path

    def save(self, figure: Any, part: str = "") -> None:
        """Write the example's picture and print its path.

        Args:
            figure: a matplotlib Figure, or a function that makes one. If matplotlib is not installed, the function is
                not called and one line says so.
            part: of an example with several pictures, what a further one shows; the end of its file's name.
        """
        if importlib.util.find_spec("matplotlib") is None:
            print("no picture without matplotlib: pip install 'xpnet[viz]'")
            return
        made: Any = figure() if callable(figure) else figure
        drawn, path = io.BytesIO(), self.path.with_stem("_".join(filter(None, (self.path.stem, part))))
        made.savefig(drawn, format="png", dpi=min(max(_WIDE / made.get_size_inches()[0], _DPI[0]), _DPI[1]))
        with Image.open(drawn) as image:  # a palette makes the file three times smaller without a visible difference
            small = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            small.save(path, optimize=True)
        except OSError as error:
            _stop(f"--out {self.path.parent}: {error.strerror or error}")
        print(f"picture: {path}")


def parse(doc: str | None, backend: str = "cpu") -> Options:
    """Read the command line of an example; on invalid input print one line and exit with code 2.

    Args:
        doc: the example's docstring, which --help prints.
        backend: the default of --backend and --device.
    """
    name = Path(sys.argv[0]).name
    parser = _OneLine(
        prog=name, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--backend", metavar="NAME", help=f"numpy, cupy, torch, jax or array-api-strict; by default {backend}"
    )
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:N, or another device of the backend")
    parser.add_argument("--quick", action="store_true", help="take only a few seconds: fewer epochs, less data")
    parser.add_argument(
        "--out", metavar="FOLDER", default="runs/examples", help="folder of the picture; by default %(default)s"
    )
    given = parser.parse_args()
    spec = resolve_backend(given.backend, given.device) if given.backend or given.device else backend
    if spec.partition(":")[0] == "array-api-strict" and "array-api-strict" not in REGISTRY:
        register_backend("array-api-strict", _open_strict, install="pip install array-api-strict")
    try:
        get_backend(spec)
    except XpnetError as error:
        _stop(str(error))
    return Options(spec, given.quick, Path(given.out) / Path(name).with_suffix(".png"))


class _OneLine(argparse.ArgumentParser):
    """A parser that reports errors in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        _stop(message)


def _stop(message: str) -> NoReturn:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(2)


class _Strict(Backend):
    """array-api-strict, which implements exactly the standard. Example 18 shows how to add a library."""

    def to_numpy(self, array: Any) -> np.ndarray:
        return np.array(self.xp.asarray(array, device=self.xp.Device("CPU_DEVICE")))


def _open_strict(device: str | None) -> Backend:
    import array_api_strict as xp

    try:
        return _Strict("array-api-strict", xp, xp.Device(device or "CPU_DEVICE"))
    except ValueError:
        raise DeviceError("get_backend", "array-api-strict has no such device", device=device) from None
