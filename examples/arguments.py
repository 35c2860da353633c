"""What every example takes on its command line, and where its picture goes. Not an example itself.

options = parse(__doc__)
model.to(options.backend)       # "cpu", "torch", "jax", "cuda", "array-api-strict:device1", ...
options.save(figure)            # runs/examples/<name of the example>.png, and a line that says where
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
from xpnet.train.run import resolve_backend

__all__ = ["Options", "parse"]

_DPI, _COLOURS = 100, 256


@dataclass(frozen=True)
class Options:
    """What was asked for.

    Args:
        backend: where to compute, as get_backend, use_backend and Module.to take it.
        quick: do with a few seconds: fewer epochs, smaller data.
        path: the file of the picture.
    """

    backend: str
    quick: bool
    path: Path

    def save(self, figure: Any) -> None:
        """Write the example's picture and print where it is.

        Args:
            figure: a matplotlib Figure, or a function that makes one; it is not called where matplotlib is not
                installed, which one line then says instead.
        """
        if importlib.util.find_spec("matplotlib") is None:
            print("no picture without matplotlib: pip install 'xpnet[viz]'")
            return
        made: Any = figure() if callable(figure) else figure
        drawn = io.BytesIO()
        made.savefig(drawn, format="png", dpi=_DPI)
        with Image.open(drawn) as image:  # a palette makes the file a third as large, and is not seen
            small = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            small.save(self.path, optimize=True)
        except OSError as error:
            _stop(f"--out {self.path.parent}: {error.strerror or error}")
        print(f"picture: {self.path}")

    def needs(self, package: str, install: str) -> None:
        """Where a package is not installed, print the one line that says how to install it and exit with code 2."""
        if importlib.util.find_spec(package) is None:
            _stop(f"this example needs {package}, which is not installed; {install}")


def parse(doc: str | None, backend: str = "cpu") -> Options:
    """Read the command line of an example; on bad input print one line and exit with code 2.

    Args:
        doc: the example's docstring, which --help prints.
        backend: where the example computes when --backend and --device are not given.
    """
    name = Path(sys.argv[0]).name
    parser = _OneLine(
        prog=name, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--backend", metavar="NAME", help=f"numpy, cupy, torch, jax or array-api-strict; by default {backend}"
    )
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:N, or what the backend has")
    parser.add_argument("--quick", action="store_true", help="a few seconds: fewer epochs, smaller data")
    parser.add_argument(
        "--out", metavar="FOLDER", default="runs/examples", help="of the picture; by default %(default)s"
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
    """A parser whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        _stop(message)


def _stop(message: str) -> NoReturn:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(2)


class _Strict(Backend):
    """array-api-strict: the standard to the letter. Example 18 shows how a library is brought in."""

    def to_numpy(self, array: Any) -> np.ndarray:
        return np.array(self.xp.asarray(array, device=self.xp.Device("CPU_DEVICE")))


def _open_strict(device: str | None) -> Backend:
    import array_api_strict as xp

    try:
        return _Strict("array-api-strict", xp, xp.Device(device or "CPU_DEVICE"))
    except ValueError:
        raise DeviceError("get_backend", "array-api-strict has no such device", device=device) from None
