"""softmax_cross_entropy on CUDA: sizes that one thread, one block or one launch does not hold, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.roundings import DOUBLE, FLOAT, close, drawn, dtypes, launched
from xpnet import ops

SCORES = {  # (N, K): the kernels of the forward pass
    (1, 2): ["narrow"],
    (5, 32): ["narrow"],
    (4096, 3): ["narrow"],
    (4097, 3): ["narrow", "mean"],
    (5, 33): ["wide", "mean"],
    (70, 1000): ["wide", "mean"],
    (2, 10_000): ["wide", "mean"],
}
scores = pytest.mark.parametrize("shape", SCORES, ids=lambda shape: f"{shape[0]}x{shape[1]}")


def _cross_entropy(z: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    z, rows = z.astype(DOUBLE), np.arange(len(z))
    log_total = np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1)
    gradient = np.exp(z - log_total[:, None])
    gradient[rows, labels] -= 1.0
    return float(np.mean(log_total - z[rows, labels])), gradient / len(z)


@dtypes
@scores
def test_cross_entropy_of_any_number_of_rows_and_classes_is_numpys(emulated, shape, dtype):
    z, labels = (4.0 * drawn(*shape)).astype(dtype), np.random.default_rng(1).integers(0, shape[1], shape[0])
    (loss, vjp), names = launched(
        lambda: ops.softmax_cross_entropy(emulated.from_numpy(z), emulated.from_numpy(labels))
    )
    assert names == [f"loss.cross_entropy_{kernel}" for kernel in SCORES[shape]]
    want, gradient = _cross_entropy(z, labels)
    close(loss, np.array(want), dtype, "loss")
    dy = float(dtype(8 * shape[0]))  # so that float16 has digits for it
    ((dz, _), names) = launched(lambda: vjp(emulated.from_numpy(np.array(dy, dtype)), (True, False)))
    close(dz, gradient * dy, dtype, "gradient")
    assert names == ["loss.cross_entropy_back"]


@pytest.mark.parametrize("label", [-1, 4, 2**40])
@pytest.mark.parametrize("classes", [4, 64])
def test_a_label_that_is_no_class_makes_the_loss_and_its_row_of_the_gradient_not_a_number(emulated, classes, label):
    label = classes if label == 4 else label
    z, labels = drawn(3, classes).astype(FLOAT), np.array([1, label, 0])
    loss, vjp = ops.softmax_cross_entropy(emulated.from_numpy(z), emulated.from_numpy(labels))
    assert np.isnan(loss.get())
    dz, _ = vjp(emulated.from_numpy(np.array(1.0, FLOAT)), (True, False))
    assert np.isnan(dz.get()).any(1).tolist() == [False, True, False]
    assert np.isnan(dz.get()[1]).all()


@pytest.mark.parametrize("classes", [4, 64])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_number_makes_the_loss_none(emulated, classes, bad):
    z = drawn(3, classes).astype(FLOAT)
    z[1, 2] = bad
    loss, vjp = ops.softmax_cross_entropy(emulated.from_numpy(z), emulated.from_numpy(np.array([1, 0, 0])))
    assert np.isnan(loss.get())
    dz, _ = vjp(emulated.from_numpy(np.array(1.0, FLOAT)), (True, False))
    assert np.isnan(dz.get()).any(1).tolist() == [False, True, False]
