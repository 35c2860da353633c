"""Kernels on a real device: all of them load, products keep to their precision, cuDNN agrees with unrolled columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from emulator import compiler

from xpnet import kernels, ops
from xpnet.backend import Backend, use_precision
from xpnet.kernels.cuda import driver

FAMILIES = sorted(file.stem for file in Path(driver.__file__).parent.glob("*.cu"))

# what a sum of K products of numbers in 0..1 may be off by, relative: float32's rounding, TF32's 10 bits, float16's
LIMITS = {"fp32": 3e-6, "tf32": 3e-3, "fp16": 3e-3}


def made(backend: Backend, *shape: int, seed: int = 0, dtype: str = "float32") -> tuple[np.ndarray, object]:
    values = np.random.default_rng([seed, *shape]).random(shape).astype(dtype)
    return values.astype(np.float64), backend.from_numpy(values)


@pytest.mark.parametrize("wide", [False, True], ids=["int", "long-long"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_kernel_of_a_family_loads(device: Backend, family: str, dtype: str, wide: bool) -> None:
    for name in compiler.kernels(family):
        assert driver.current().function(family, name, driver.flags(dtype, wide)) is not None


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_a_product_keeps_to_its_precision(device: Backend, precision: str) -> None:
    if precision not in device.precisions:
        pytest.skip(f"this device computes in {' and '.join(device.precisions)}")
    dtype = "float16" if precision == "fp16" else "float32"
    (x, on_x), (w, on_w) = made(device, 256, 512, dtype=dtype), made(device, 384, 512, seed=1, dtype=dtype)
    with use_precision(precision):
        y, _ = ops.linear(on_x, on_w)
    error = np.max(np.abs(device.to_numpy(y).astype(np.float64) / (x @ w.T) - 1))
    assert error < LIMITS[precision]
    if precision == "tf32":
        assert error > LIMITS["fp32"], "tensor cores were not used"


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
@pytest.mark.parametrize(
    ("image", "filters", "options"),
    [
        ((4, 27, 27, 96), (256, 5, 5, 48), {"padding": 2, "groups": 2}),
        ((4, 56, 56, 64), (64, 3, 3, 64), {"padding": 1}),
        ((4, 56, 56, 64), (128, 1, 1, 64), {"stride": 2}),
        ((8, 28, 28, 1), (6, 5, 5, 1), {"padding": 2}),
    ],
    ids=["groups", "3x3", "1x1-stride-2", "one-channel"],
)
def test_a_convolution_and_its_gradients_are_those_of_the_op(
    device: Backend, precision: str, image: tuple[int, ...], filters: tuple[int, ...], options: dict[str, int]
) -> None:
    if precision not in device.precisions:
        pytest.skip(f"this device computes in {' and '.join(device.precisions)}")
    dtype = "float16" if precision == "fp16" else "float32"
    x, w, b = (made(device, *shape, seed=i, dtype=dtype)[1] for i, shape in enumerate((image, filters, filters[:1])))
    with use_precision(precision):
        y, vjp = ops.conv2d(x, w, b, activation="relu", **options)
        again = ops.conv2d(x, w, b, activation="relu", **options)[0]
        dy = made(device, *y.shape, seed=9, dtype=dtype)[1]
        found = [y, *vjp(dy, (True, True, True))]
    wide = [device.xp.astype(a, device.xp.float32) for a in (x, w, b, dy)]
    with kernels.disable():
        y, vjp = ops.conv2d(*wide[:3], activation="relu", **options)
        wanted = [y, *vjp(wide[3], (True, True, True))]
    for got, want in zip(found, wanted, strict=True):
        got, want = (device.to_numpy(a).astype(np.float64) for a in (got, want))
        assert got.shape == want.shape
        assert np.max(np.abs(got - want)) <= 4 * LIMITS[precision] * np.max(np.abs(want))
    assert np.array_equal(device.to_numpy(again), device.to_numpy(found[0])), "the same twice is the same bit for bit"
