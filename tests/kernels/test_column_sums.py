"""What kernels sum over many rows or many classes: sizes that one block does not hold, far from zero, in any order.

The ops' own tests hold these kernels to their oracles on small arrays; here the arrays are large enough for every way
that a kernel has of sharing the work out. Oracles are NumPy's and torch's in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import emulator
import numpy as np
import pytest
from emulator import TAPE

from xpnet import kernels, ops
from xpnet.backend import Backend, get_backend
from xpnet.kernels.cuda import driver

pytestmark = pytest.mark.skipif(not emulator.available(), reason="the emulator compiles kernels with g++")

FLOAT, DOUBLE, HALF = np.float32, np.float64, np.float16
dtypes = pytest.mark.parametrize("dtype", [FLOAT, DOUBLE, HALF], ids=["float", "double", "half"])
EPS = {FLOAT: 6e-8, DOUBLE: 2e-16, HALF: 5e-4}  # of a result that is rounded once


@pytest.fixture
def device() -> Iterator[Backend]:
    yield get_backend("emulator")
    TAPE.open = False
    TAPE.end()


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def wide(dtype: Any) -> Any:
    return DOUBLE if dtype is DOUBLE else FLOAT


def launched(work: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What work returns, and the kernels that it launched."""
    before = len(TAPE.launches)
    result = work()
    return result, TAPE.launches[before:]


def close(got: Any, want: np.ndarray, dtype: Any, what: str = "", terms: float = 16.0) -> None:
    """Agree to some roundings, relative to the largest number wanted, and to one in the dtype of the result."""
    allowed = terms * EPS[wide(dtype)] * max(1.0, float(np.abs(want).max())) + EPS[dtype] * np.abs(want)
    error = np.abs(np.asarray(got.get(), np.float64) - want)
    assert got.dtype == dtype, what
    assert np.all(error <= allowed), f"{what}: {float((error / allowed).max())} times what is allowed"


# Columns: batch norm and layer norm

TALL = {  # (R, C): what is particular about how blocks share it
    (1, 1): "one number",
    (9, 2048): "a block for every 32 channels",
    (300, 33): "channels beyond a block's",
    (3000, 1): "all threads on one channel",
    (5000, 3): "a lane without a channel",
    (32769, 40): "the last chunks have no rows",
}
tall = pytest.mark.parametrize("shape", TALL, ids=lambda shape: TALL[shape])


@dtypes
@tall
def test_moments_of_any_number_of_rows_and_channels_are_numpys(device, shape, dtype):
    x = (3.0 + drawn(*shape)).astype(dtype)
    (mean, var), names = launched(lambda: ops.moments(device.from_numpy(x)))
    exact = x.astype(np.longdouble)  # NumPy's own sums over rows would be off by more than what is allowed
    close(mean, exact.mean(0), wide(dtype), "mean")
    close(var, exact.var(0), wide(dtype), "var")
    in_one_block = shape in ((1, 1), (9, 2048))
    assert names == ["batch_norm.moments", *([] if in_one_block else ["batch_norm.moments_of_chunks"])]


def test_moments_are_right_far_from_zero_and_after_an_outlier(device):
    """E[x^2] - E[x]^2 would be off by units in the first case; those of x - x[0] by a tenth in the second."""
    x = (1e4 + drawn(9000, 2)).astype(FLOAT)
    _, var = ops.moments(device.from_numpy(x))
    np.testing.assert_allclose(var.get(), x.astype(DOUBLE).var(0), rtol=1e-6)
    x[0] = 2e4
    _, var = ops.moments(device.from_numpy(x))
    np.testing.assert_allclose(var.get(), x.astype(DOUBLE).var(0), rtol=1e-5)


def test_moments_of_no_rows_are_not_numbers(device):
    for found in ops.moments(device.from_numpy(np.zeros((0, 3), FLOAT))):
        assert np.isnan(found.get()).all()


def _normalized(kind: str, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    """y, dx, dgamma and dbeta by torch in float64."""
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(a.astype(DOUBLE)).requires_grad_() for a in (x, gamma, beta)]
    if kind == "batch_norm":
        y = torch.nn.functional.batch_norm(tensors[0], None, None, *tensors[1:], True, 0.0, 1e-3)
    else:
        y = torch.nn.functional.layer_norm(tensors[0], x.shape[1:], *tensors[1:], 1e-3)
    y.backward(torch.from_numpy(dy.astype(DOUBLE)))
    return [y.detach().numpy(), *(t.grad.numpy() for t in tensors)]


@dtypes
@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
@tall
def test_normalizing_any_number_of_rows_and_channels_is_torchs(device, shape, kind, dtype):
    arrays = [a.astype(dtype) for a in (2.0 + drawn(*shape), 1.0 + drawn(shape[1], seed=1), drawn(shape[1], seed=2))]
    if shape == (1, 1) or (shape[1] == 1 and kind == "layer_norm"):
        pytest.skip("a single number is not normalized")
    dy = drawn(*shape, seed=3).astype(dtype)
    x, gamma, beta = map(device.from_numpy, arrays)
    if kind == "batch_norm":
        y, vjp = ops.batch_norm(x, gamma, beta, *ops.moments(x), eps=1e-3, training=True)
    else:
        y, vjp = ops.layer_norm(x, gamma, beta, eps=1e-3)
    grads, names = launched(lambda: vjp(device.from_numpy(dy), (True,) * 3))
    assert names
    assert all(name.startswith(kind) for name in names)
    terms = 64.0 if shape[0] < 3000 else 256.0
    want = _normalized(kind, *arrays, dy)
    for got, exact, what in zip((y, *grads[:3]), want, ("y", "dx", "dgamma", "dbeta"), strict=True):
        close(got, exact, dtype, what, terms)


# Rows: softmax and cross-entropy

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
def test_cross_entropy_of_any_number_of_rows_and_classes_is_numpys(device, shape, dtype):
    z, labels = (4.0 * drawn(*shape)).astype(dtype), np.random.default_rng(1).integers(0, shape[1], shape[0])
    (loss, vjp), names = launched(lambda: ops.softmax_cross_entropy(device.from_numpy(z), device.from_numpy(labels)))
    assert names == [f"loss.cross_entropy_{kernel}" for kernel in SCORES[shape]]
    want, gradient = _cross_entropy(z, labels)
    close(loss, np.array(want), dtype, "loss")
    dy = float(dtype(8 * shape[0]))  # so that float16 has digits for it
    ((dz, _), names) = launched(lambda: vjp(device.from_numpy(np.array(dy, dtype)), (True, False)))
    close(dz, gradient * dy, dtype, "gradient")
    assert names == ["loss.cross_entropy_back"]


@pytest.mark.parametrize("label", [-1, 4, 2**40])
@pytest.mark.parametrize("classes", [4, 64])
def test_a_label_that_is_no_class_makes_the_loss_and_its_row_of_the_gradient_not_a_number(device, classes, label):
    label = classes if label == 4 else label
    z, labels = drawn(3, classes).astype(FLOAT), np.array([1, label, 0])
    loss, vjp = ops.softmax_cross_entropy(device.from_numpy(z), device.from_numpy(labels))
    assert np.isnan(loss.get())
    dz, _ = vjp(device.from_numpy(np.array(1.0, FLOAT)), (True, False))
    assert np.isnan(dz.get()).any(1).tolist() == [False, True, False]
    assert np.isnan(dz.get()[1]).all()


@pytest.mark.parametrize("classes", [4, 64])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_number_makes_the_loss_none(device, classes, bad):
    z = drawn(3, classes).astype(FLOAT)
    z[1, 2] = bad
    loss, vjp = ops.softmax_cross_entropy(device.from_numpy(z), device.from_numpy(np.array([1, 0, 0])))
    assert np.isnan(loss.get())
    dz, _ = vjp(device.from_numpy(np.array(1.0, FLOAT)), (True, False))
    assert np.isnan(dz.get()).any(1).tolist() == [False, True, False]


# All of them


def _everything(device: Backend, dtype: Any) -> list[Any]:
    """What each kernel of these families gives."""
    x, gamma, beta = ((1.0 + drawn(*shape)).astype(dtype) for shape in ((5000, 3), (3,), (3,)))
    images = drawn(2, 5, 7, 36).astype(dtype)
    moved, dy = device.from_numpy(x), device.from_numpy(drawn(5000, 3, seed=1).astype(dtype))
    found = list(ops.moments(moved))
    parameters = device.from_numpy(gamma), device.from_numpy(beta)
    for op, arrays in ((ops.batch_norm, (moved, *parameters, *found)), (ops.layer_norm, (moved, *parameters))):
        y, vjp = op(*arrays, **({"training": True} if op is ops.batch_norm else {}))
        found += [y, *vjp(dy, (True,) * 3)[:3]]
    moved = device.from_numpy(images)
    settings: dict[str, Any] = {"kernel_size": 3, "stride": 2}
    for op, options in (
        (ops.local_response_norm, {"alpha": 0.9, "k": 1.1}),
        (ops.local_response_norm, {"alpha": 0.9, "k": 1.1, "region": "within"}),
        (ops.max_pool2d, settings),
        (ops.avg_pool2d, settings),
        (ops.global_avg_pool2d, {}),
    ):
        for given in (moved, moved[..., :3]):  # by packs, and by numbers
            y, vjp = op(given, **options)
            found += [y, *vjp(y, (True,))]
    for shape in ((4097, 3), (70, 1000)):
        labels = device.from_numpy(np.random.default_rng(1).integers(0, shape[1], shape[0]))
        y, vjp = ops.softmax_cross_entropy(device.from_numpy(drawn(*shape).astype(dtype)), labels)
        found += [y, vjp(y, (True, False))[0]]
    return [a.get() for a in found]


@dtypes
def test_the_order_of_threads_changes_no_bit(device, dtype):
    found = []
    for descending in (False, True):
        with driver.use_driver(emulator.EmulatedDriver(descending=descending)):
            found.append(_everything(device, dtype))
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
    assert all(np.isfinite(a).all() for a in found[0])


def test_counting_in_64_bits_changes_no_bit(device, monkeypatch):
    narrow = _everything(device, FLOAT)
    monkeypatch.setattr(driver, "_WIDE", 1)
    found = _everything(device, FLOAT)
    assert all(np.array_equal(a, b) for a, b in zip(narrow, found, strict=True))


def test_nothing_waits_for_the_host(device):
    before = TAPE.reads
    z, labels = device.from_numpy(drawn(3, 4).astype(FLOAT)), device.from_numpy(np.array([1, 3, 0], np.int32))
    dy, average = device.from_numpy(np.array(0.5, FLOAT)), device.from_numpy(np.zeros(4, FLOAT))
    moved = TAPE.reads - before
    _, vjp = ops.softmax_cross_entropy(z, labels)
    vjp(dy, (True, False))
    ops.batch_norm(z, average, average, *ops.moments(z), training=True)[1](z, (True,) * 3)
    assert TAPE.reads - before == moved


def test_a_recorded_loss_follows_its_scores_its_labels_and_its_scale(device):
    recorder = device.recorder()
    assert recorder is not None
    z, labels = device.from_numpy(drawn(3, 4).astype(FLOAT)), device.from_numpy(np.array([1, 3, 0]))
    dy = device.from_numpy(np.array(1.0, FLOAT))

    def work() -> tuple[Any, Any]:
        loss, vjp = ops.softmax_cross_entropy(z, labels)
        return loss, vjp(dy, (True, False))[0]

    with recorder.warm():
        work()
    (loss, dz), replay = recorder.record(work)
    for seed in (5, 6):
        scores, right = drawn(3, 4, seed=seed).astype(FLOAT), np.roll(np.array([1, 3, 0]), seed)
        z.set(scores)
        labels.set(right)
        dy.set(np.array(seed, FLOAT))
        replay()
        want, gradient = _cross_entropy(scores, right)
        close(loss, np.array(want), FLOAT)
        close(dz, gradient * seed, FLOAT)


# Where neighbours lie in other blocks: response norm


@dtypes
@pytest.mark.parametrize(
    ("shape", "size"),
    [((1, 1, 1, 1025), 5), ((2, 3, 5, 96), 5), ((3, 5, 7, 11), 4), ((1, 1, 1, 2100), 32), ((1, 40, 40, 1), 2)],
    ids=str,
)
def test_response_norm_reaches_over_the_borders_of_its_tiles(device, shape, size, dtype):
    torch = pytest.importorskip("torch")
    x, dy = drawn(*shape).astype(dtype), drawn(*shape, seed=1).astype(dtype)
    (y, vjp), names = launched(lambda: ops.local_response_norm(device.from_numpy(x), size=size, alpha=0.9, k=1.1))
    ((dx,), back) = launched(lambda: vjp(device.from_numpy(dy), (True,)))
    assert (names, back) == (["response_norm.lrn_across"], ["response_norm.lrn_across_back"])
    t = torch.from_numpy(x.astype(DOUBLE)).permute(0, 3, 1, 2).requires_grad_()
    u = torch.nn.functional.local_response_norm(t, size, 0.9 * size, 0.75, 1.1)
    u.backward(torch.from_numpy(dy.astype(DOUBLE)).permute(0, 3, 1, 2))
    close(y, u.detach().permute(0, 2, 3, 1).numpy(), dtype, "y")
    close(dx, t.grad.permute(0, 2, 3, 1).numpy(), dtype, "dx", 64.0)


def test_response_norm_with_neighbours_too_far_for_a_tile_is_left_to_the_op(device):
    x = device.from_numpy(drawn(1, 2, 2, 50).astype(FLOAT))
    (y, _), names = launched(lambda: ops.local_response_norm(x, size=40, alpha=0.9, k=1.1))
    assert not names
    with kernels.disable():
        np.testing.assert_array_equal(y.get(), ops.local_response_norm(x, size=40, alpha=0.9, k=1.1)[0].get())
    few = device.from_numpy(drawn(1, 2, 2, 6).astype(FLOAT))
    assert launched(lambda: ops.local_response_norm(few, size=40))[1] == [
        "response_norm.lrn_across"
    ]  # none is farther than 5
