"""Products by cuBLASLt, on a stand-in that reads the descriptors as the library's documentation says."""

from __future__ import annotations

import logging
import threading

import emulator
import numpy as np
import pytest
from emulator.tape import TAPE

from tests.harness import put, raises, sample
from xpnet import ops
from xpnet.backend import use_precision
from xpnet.errors import DeviceError
from xpnet.kernels.cuda import cublaslt, driver, gemm

PLAIN, BIAS, BIAS_AND_RELU = 1, 4, 6
EPS = {np.float16: 5e-4, np.float32: 6e-8, np.float64: 2e-16}
dtypes = pytest.mark.parametrize("dtype", EPS, ids=["half", "float", "double"])


@pytest.fixture
def counted(emulated):
    """A driver of this test's own, which counts what it makes and copies."""

    class Counting(emulator.EmulatedDriver):
        def __init__(self):
            super().__init__()
            self.copies, self.made = 0, []

        def contiguous(self, x):
            copy = super().contiguous(x)
            self.copies += copy is not x
            return copy

        def empty(self, shape, dtype):
            array = super().empty(shape, dtype)
            self.made.append(array.nbytes)
            return array

    with driver.use_driver(Counting()) as counting:
        yield counting


@pytest.fixture
def blas(counted):
    """The stand-in for cuBLASLt. What it refused is an error of the test, unless the test takes it away."""
    found = counted.libraries["cublasLt"]
    yield found
    assert not found.complaints


@pytest.fixture
def log(caplog):
    """The lines that xpnet logs."""
    caplog.set_level(logging.INFO, "xpnet")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "xpnet"]


def placed(x):
    """An array in memory that is aligned as a device's is, so that plans do not differ by chance."""
    array = driver.empty(x.shape, x.dtype)
    array.set(x)
    return array


def near(emulated, got, want, dtype, length):
    assert got.dtype == np.dtype(dtype)
    scale = EPS[dtype] * np.sqrt(length) * 8 * max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(np.asarray(emulated.to_numpy(got), np.float64), want, rtol=0, atol=scale)


LAYOUTS = {
    "plain": lambda x: placed(x),
    "transposed": lambda x: placed(x.T.copy()).T,
    "rows apart": lambda x: placed(np.pad(x, ((0, 0), (2, 5)), constant_values=9))[:, 2:-5],
    "columns apart": lambda x: placed(np.pad(x.T, ((0, 0), (3, 1)), constant_values=9))[:, 3:-1].T,
}
GAPS = {
    "reversed": lambda x, xp: xp.asarray(x[::-1].copy())[::-1, :],
    "every second column": lambda x, xp: xp.asarray(np.repeat(x, 2, axis=1))[:, ::2],
    "one row, repeated": lambda x, xp: xp.broadcast_to(xp.asarray(x[:1].copy()), x.shape),
}


@dtypes
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
def test_operands_are_multiplied_where_they_lie(emulated, counted, blas, left, right, dtype):
    a, b = sample(5, 7).astype(dtype), sample(7, 3, seed=1).astype(dtype)
    y = gemm.matmul(LAYOUTS[left](a), LAYOUTS[right](b))
    near(emulated, y, a.astype(float) @ b.astype(float), dtype, 7)
    assert counted.copies == 0
    assert len(blas.products) == 1
    assert blas.products[0].sizes == (3, 5, 7)


@pytest.mark.parametrize("view", GAPS)
def test_an_operand_that_no_layout_describes_is_copied(emulated, counted, blas, view):
    a, b = sample(5, 7).astype(np.float32), sample(7, 3, seed=1).astype(np.float32)
    seen = GAPS[view](a, emulated.xp)
    y = gemm.matmul(seen, emulated.xp.asarray(b))
    near(emulated, y, emulated.to_numpy(seen).astype(float) @ b, np.float32, 7)
    assert counted.copies == 1


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 3), (5, 1, 3), (5, 7, 1), (1, 7, 1)], ids=str)
def test_vectors_and_numbers_are_matrices_too(emulated, blas, shape):
    n, k, m = shape
    a, b = sample(n, k).astype(np.float32), sample(k, m, seed=1).astype(np.float32)
    for left in LAYOUTS.values():
        for right in LAYOUTS.values():
            y = gemm.matmul(left(a), right(b))
            near(emulated, y, a.astype(float) @ b, np.float32, k)


def test_a_product_is_written_between_other_columns_and_leaves_them(emulated, blas):
    a, b = put(emulated, sample(5, 7), np.float32), put(emulated, sample(7, 3, seed=1), np.float32)
    whole = emulated.xp.asarray(np.full((5, 9), 4.0, np.float32))
    gemm.matmul(a, b, whole[:, 2:5])
    seen = emulated.to_numpy(whole)
    assert np.all(seen[:, [0, 1, 5, 6, 7, 8]] == 4.0)
    near(emulated, whole[:, 2:5], sample(5, 7) @ sample(7, 3, seed=1), np.float32, 7)
    assert blas.products[0].leading == (3, 7, 9, 9)


@dtypes
def test_add_sums_products_in_place(emulated, blas, dtype):
    a, b = sample(5, 7).astype(dtype), sample(7, 3, seed=1).astype(dtype)
    y = emulated.xp.zeros((5, 3), dtype=dtype)
    for _ in range(3):
        assert gemm.matmul(emulated.xp.asarray(a), emulated.xp.asarray(b), y, add=True) is y
    near(emulated, y, 3 * (a.astype(float) @ b), dtype, 21)
    assert [p.beta for p in blas.products] == [1, 1, 1]
    assert blas.searches == 1


# Epilogs.


@dtypes
@pytest.mark.parametrize(("activation", "epilogue"), [(None, BIAS), ("relu", BIAS_AND_RELU)], ids=["bias", "relu"])
def test_bias_and_relu_are_done_within_the_product(emulated, blas, activation, epilogue, dtype):
    a, b, bias = (sample(*shape, seed=i).astype(dtype) for i, shape in enumerate([(5, 7), (7, 4), (4,)]))
    y = gemm.matmul(*map(emulated.xp.asarray, (a, b)), bias=emulated.xp.asarray(bias), activation=activation)
    want = a.astype(float) @ b + bias
    near(emulated, y, np.maximum(want, 0) if activation else want, dtype, 8)
    assert {p.epilogue for p in blas.products} == {epilogue}
    assert not TAPE.launches


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "leaky_relu"])
def test_another_activation_is_one_pass_with_the_bias(emulated, blas, activation):
    a, b, bias = (put(emulated, sample(*s, seed=i), np.float32) for i, s in enumerate([(5, 7), (7, 4), (4,)]))
    y = gemm.matmul(a, b, bias=bias, activation=activation)
    z = sample(5, 7) @ sample(7, 4, seed=1) + sample(4, seed=2)
    want = {"sigmoid": 1 / (1 + np.exp(-z)), "tanh": np.tanh(z), "leaky_relu": np.where(z > 0, z, 0.01 * z)}
    near(emulated, y, want[activation], np.float32, 8)
    assert [p.epilogue for p in blas.products] == [PLAIN]
    assert TAPE.launches == ["activation.activate"]


def test_relu_in_the_library_is_tried_with_nan_once_and_used_after(emulated, blas):
    a, b, bias = (placed(sample(*s, seed=i).astype("f4")) for i, s in enumerate([(5, 7), (7, 4), (4,)]))
    for _ in range(3):
        gemm.matmul(a, b, bias=bias, activation="relu")
    assert [p.epilogue for p in blas.products] == [BIAS_AND_RELU] * 4  # one of them the trial


@dtypes
def test_a_library_whose_relu_hides_nan_does_not_hide_it_here(emulated, blas, log, dtype):
    blas.hides_nan = True
    a, b, bias = (sample(*s, seed=i).astype(dtype) for i, s in enumerate([(5, 7), (7, 4), (4,)]))
    a[2, 3] = np.nan
    for _ in range(3):
        y = gemm.matmul(placed(a), placed(b), bias=placed(bias), activation="relu")
        near(emulated, y, np.maximum(a.astype(float) @ b + bias, 0), dtype, 8)
    assert np.isnan(emulated.to_numpy(y)).sum() == 4
    assert [p.epilogue for p in blas.products] == [BIAS_AND_RELU, PLAIN, PLAIN, PLAIN]
    assert [line for line in log() if "NaN" in line] == log()
    assert len(log()) == 1


def test_relu_in_the_library_is_not_tried_while_a_graph_is_captured(emulated, blas):
    a, b, bias = (put(emulated, sample(*s, seed=i), np.float32) for i, s in enumerate([(5, 7), (7, 4), (4,)]))
    emulated.recorder().record(lambda: gemm.matmul(a, b, bias=bias, activation="relu"))
    assert {p.epilogue for p in blas.products} == {PLAIN}
    gemm.matmul(a, b, bias=bias, activation="relu")
    assert blas.products[-1].epilogue == BIAS_AND_RELU


def test_a_bias_that_is_not_aligned_is_added_after(emulated, blas):
    a, b = put(emulated, sample(5, 7), np.float32), put(emulated, sample(7, 4, seed=1), np.float32)
    bias = put(emulated, sample(9, seed=2), np.float32)[1:5]
    near(
        emulated,
        gemm.matmul(a, b, bias=bias),
        sample(5, 7) @ sample(7, 4, seed=1) + sample(9, seed=2)[1:5],
        np.float32,
        8,
    )
    assert [p.epilogue for p in blas.products] == [PLAIN]


def test_where_only_the_plain_product_is_found_the_rest_is_done_after(emulated, blas, log):
    blas.finds = lambda desc: desc["epilogue"] == PLAIN
    a, b, bias = (put(emulated, sample(*s, seed=i), np.float32) for i, s in enumerate([(5, 7), (7, 4), (4,)]))
    y = gemm.matmul(a, b, bias=bias, activation="relu")
    near(emulated, y, np.maximum(sample(5, 7) @ sample(7, 4, seed=1) + sample(4, seed=2), 0), np.float32, 8)
    assert TAPE.launches == ["activation.activate"]
    assert log() == []


# Precision.


def _rounded(x, bits):
    """x to so many bits of fraction, by frexp: no masks, unlike the stand-in."""
    fraction, power = np.frexp(x.astype(float))
    return np.ldexp(np.round(fraction * 2.0 ** (bits + 1)) / 2.0 ** (bits + 1), power)


def test_float32_is_never_rounded_to_tf32_unless_that_is_asked_for(emulated, blas):
    a, b = sample(5, 64).astype(np.float32), sample(64, 3, seed=1).astype(np.float32)
    exact, coarse = a.astype(float) @ b, _rounded(a, 10) @ _rounded(b, 10)
    assert np.abs(exact - coarse).max() > 1e-3  # so that the next lines tell them apart
    for precision, computed, want in (("fp32", "fp32", exact), ("tf32", "tf32", coarse), ("fp16", "fp32", exact)):
        with use_precision(precision):
            y = gemm.matmul(emulated.xp.asarray(a), emulated.xp.asarray(b))
        near(emulated, y, want, np.float32, 64)
        assert blas.products[-1].computed == computed
    near(emulated, gemm.matmul(emulated.xp.asarray(a), emulated.xp.asarray(b)), exact, np.float32, 64)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_float64_and_float16_are_computed_alike_in_every_precision(emulated, blas, precision):
    with use_precision(precision):
        gemm.matmul(*(put(emulated, sample(4, 4, seed=i), np.float64) for i in (0, 1)))
        gemm.matmul(*(put(emulated, sample(4, 4, seed=i), np.float16) for i in (0, 1)))
    assert [p.computed for p in blas.products] == ["fp64", "fp32"]


def test_float16_is_summed_in_float32(emulated, blas):
    ones = emulated.xp.ones((1, 4096), dtype=np.float16)
    y = gemm.matmul(ones, ones.T)
    assert emulated.to_numpy(y).tolist() == [[4096]]  # float16 itself stops at 2048
    assert blas.products[-1].reductions == 2  # nor are parts of a split sum rounded to float16


def test_float16_is_added_up_in_float32_where_out_is(emulated, blas):
    a, b = sample(5, 7).astype(np.float16), sample(7, 3, seed=1).astype(np.float16)
    y = emulated.xp.zeros((5, 3), dtype=np.float32)
    for _ in range(2):
        gemm.matmul(emulated.xp.asarray(a), emulated.xp.asarray(b), y, add=True)
    near(emulated, y, 2 * (a.astype(float) @ b), np.float32, 14)


# Plans, workspace, fallbacks.


def test_a_plan_is_searched_once_for_each_kind_of_product(emulated, counted, blas):
    bias = placed(np.zeros(4, np.float32))

    def product(n=5, k=8, m=4, dtype=np.float32, left="plain", right="plain", **options):
        a, b = LAYOUTS[left](np.ones((n, k), dtype)), LAYOUTS[right](np.ones((k, m), dtype))
        gemm.matmul(a, b, **options)

    wide, tall = placed(np.zeros((5, 7), np.float32)), placed(np.zeros(30, np.float32))
    kinds = [
        product,
        lambda: product(n=6),
        lambda: product(k=9),
        lambda: product(m=5),
        lambda: product(dtype=np.float64),
        lambda: product(dtype=np.float16),
        lambda: product(left="transposed"),
        lambda: product(right="transposed"),
        lambda: product(left="rows apart"),
        lambda: product(right="rows apart"),
        lambda: product(out=wide[:, :4]),
        lambda: product(out=emulated.xp.reshape(tall[1:21], (5, 4))),  # aligned otherwise
        lambda: product(bias=bias),
        lambda: product(bias=bias, activation="relu"),
    ]
    for kind in kinds:
        before = blas.searches
        kind()
        assert blas.searches == before + 1
        kind()
        assert blas.searches == before + 1
    with use_precision("tf32"):
        before = blas.searches
        product()
        assert blas.searches == before + 1


def test_of_two_threads_that_make_memory_for_the_library_both_use_that_of_one(emulated, blas):
    """The other's would be freed while the product writes it."""
    both = threading.Barrier(2)

    class Waiting(emulator.EmulatedDriver):
        def empty(self, shape, dtype):
            both.wait(60)
            return super().empty(shape, dtype)

    found, library = [], cublaslt.Library(blas)
    with driver.use_driver(Waiting()):
        threads = [threading.Thread(target=lambda: found.append(library._workspace(0, 0))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found[0] is found[1]


def test_memory_for_the_library_is_made_once_for_a_stream(emulated, counted, blas, monkeypatch):
    a = put(emulated, sample(8, 8), np.float32)
    for _ in range(3):
        gemm.matmul(a, a)
    assert counted.made.count(32 << 20) == 1
    monkeypatch.setattr(counted, "stream", lambda: 7)
    gemm.matmul(a, a)
    gemm.matmul(a, a)
    assert counted.made.count(32 << 20) == 2


def test_without_the_library_products_are_the_namespaces_own_with_one_line(emulated, counted, log):
    counted.libraries.clear()
    a, b, bias = (sample(*s, seed=i).astype(np.float32) for i, s in enumerate([(5, 7), (7, 4), (4,)]))
    left, right, of = map(emulated.xp.asarray, (a, b, bias))
    near(emulated, gemm.matmul(left, right, bias=of, activation="relu"), np.maximum(a @ b + bias, 0), np.float32, 8)
    y = gemm.matmul(left, right)
    near(emulated, gemm.matmul(left, right, y, add=True), 2.0 * (a @ b), np.float32, 14)
    half = gemm.matmul(
        *(emulated.xp.asarray(x.astype(np.float16)) for x in (a, b)), emulated.xp.zeros((5, 4), dtype="f4")
    )
    near(emulated, half, a.astype(np.float16).astype(float) @ b.astype(np.float16), np.float32, 8)
    assert len(log()) == 1
    assert "cuBLASLt cannot be loaded" in log()[0]


def test_a_product_without_an_algorithm_is_the_namespaces_own_with_one_line(emulated, blas, log):
    blas.finds = lambda desc: False
    a, b = sample(5, 7).astype(np.float32), sample(7, 4, seed=1).astype(np.float32)
    for _ in range(3):
        near(emulated, gemm.matmul(*map(emulated.xp.asarray, (a, b))), a.astype(float) @ b, np.float32, 7)
    assert blas.searches == 1
    assert len(log()) == 1
    assert "finds no algorithm for a product of 5x7 and 7x4 in float32" in log()[0]


def test_a_product_that_fails_after_all_says_so(emulated, blas):
    blas.fails = 13
    a = put(emulated, sample(5, 7), np.float32)
    with raises(DeviceError, "matmul", "EXECUTION_FAILED", (5, 7), (7, 5), "float32"):
        gemm.matmul(a, a.T)
    blas.complaints.clear()


def test_products_without_numbers_and_sums_of_none(emulated, blas):
    xp = emulated.xp
    assert gemm.matmul(xp.zeros((0, 3)), xp.zeros((3, 2))).shape == (0, 2)
    y = gemm.matmul(xp.zeros((2, 0)), xp.zeros((0, 3)), bias=xp.asarray(np.array([1.0, -2.0, 3.0])), activation="relu")
    assert emulated.to_numpy(y).tolist() == [[1, 0, 3]] * 2
    assert not blas.products


@dtypes
def test_linear_with_relu_is_one_launch_forward_and_three_backward(emulated, blas, dtype):
    arrays = [sample(*s, seed=i).astype(dtype) for i, s in enumerate(((20, 24), (16, 24), (16,)))]
    x, w, b = map(placed, arrays)
    ops.linear(x, w, b, activation="relu")  # finds its plans
    blas.products.clear()
    y, vjp = ops.linear(x, w, b, activation="relu")
    assert (len(blas.products), TAPE.launches) == (1, [])
    dy = sample(20, 16, seed=3).astype(dtype)
    grads = vjp(placed(dy), (True, True, True))
    assert (len(blas.products), TAPE.launches) == (3, ["activation.activate_back_sum"])
    exact_x, exact_w, exact_b = (a.astype(float) for a in arrays)
    z = exact_x @ exact_w.T + exact_b
    dz = dy * (z > 0)
    near(emulated, y, np.maximum(z, 0), dtype, 25)
    for got, want in zip(grads, (dz @ exact_w, dz.T @ exact_x, dz.sum(axis=0)), strict=True):
        near(emulated, got, want, dtype, 25)
