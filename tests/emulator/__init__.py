"""A CUDA device without CUDA: the kernels' own .cu text on a host, behind arrays that behave as CuPy's.

It is a driver of xpnet.kernels.cuda.driver and a row of the test matrix, so that every test of the ops,
the layers and the training runs the kernels' arithmetic, their launch geometry, and the capture of a step. It says
nothing of speed, and nothing of races but those that show when threads run in another order.
"""

from __future__ import annotations

from emulator.array import NAMESPACE, Array
from emulator.compiler import available
from emulator.device import EmulatedDriver, open_emulator
from emulator.tape import TAPE, CaptureError

__all__ = ["NAMESPACE", "TAPE", "Array", "CaptureError", "EmulatedDriver", "available", "open_emulator"]
