"""Arrays exchanged with other libraries by DLPack, in both directions: values, and memory where it can be shared."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from xpnet import Tensor, from_dlpack, get_backend, nn
from xpnet.errors import DTypeError

LIBRARIES = ("numpy", "torch", "jax", "array-api-strict")
A = np.arange(12, dtype=np.float32).reshape(3, 4)


def opened(name):
    pytest.importorskip(name.partition(":")[0].replace("-", "_"))
    return get_backend(name)


@pytest.mark.parametrize("source", LIBRARIES)
@pytest.mark.parametrize("target", LIBRARIES)
def test_each_library_reads_each_other(source, target):
    one, other = opened(source), opened(target)
    for dtype in (np.float32, np.float64, np.int64):
        with one.active():
            x = one.from_numpy(A.astype(dtype))
            t = from_dlpack(x, other)
            assert t.backend == other
            assert np.array_equal(t.numpy(), A)
            assert t.numpy().dtype == dtype
            back = from_dlpack(t, one)
            assert back.backend == one
            assert np.array_equal(back.numpy(), A)


@pytest.mark.parametrize("source", ["numpy", "torch", "array-api-strict"])
@pytest.mark.parametrize("target", ["numpy", "torch", "array-api-strict"])  # arrays of jax are not written
def test_memory_is_shared_where_arrays_can_be_written(source, target):
    one, other = opened(source), opened(target)
    x = one.from_numpy(A)
    t = from_dlpack(x, other, copy=False)
    x[1, 2] = 100.0
    assert t.numpy()[1, 2] == 100
    t.data[0, 0] = 50.0
    assert float(x[0, 0]) == 50
    copied = from_dlpack(x, other, copy=True)
    x[1, 2] = 7.0
    assert copied.numpy()[1, 2] == 100


VIEWS = {
    "reversed rows": A[::-1],
    "reversed columns": A[:, ::-1],
    "every second": A[:, ::2],
    "transposed": A.T,
    "broadcast": np.broadcast_to(A[:1], (3, 4)),
    "rank 0": np.asarray(A[1, 1]),
    "empty": A[:0],
    "bool": A > 3,
    "complex": A.astype(np.complex64),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("target", LIBRARIES)
def test_views_and_read_only_arrays_are_read(target, view):
    backend = opened(target)
    x = VIEWS[view].view()
    for writeable in (True, False):
        x.flags.writeable = writeable and x.flags.writeable
        t = from_dlpack(x, backend)
        assert np.array_equal(t.numpy(), VIEWS[view])
        assert t.shape == VIEWS[view].shape


def test_another_library_does_not_get_memory_that_may_not_be_written():
    torch = pytest.importorskip("torch")
    x = A.copy()
    x.flags.writeable = False
    from_dlpack(x, "torch").data[0, 0] = 9.0
    assert x[0, 0] == 0
    with raises(DTypeError, "from_dlpack", "copy=False", "torch:cpu"):
        from_dlpack(x, "torch", copy=False)
    assert np.shares_memory(from_dlpack(x).data, x)
    signs = torch._neg_view(torch.ones(2))  # DLPack would leave the sign out
    assert from_dlpack(signs).numpy().tolist() == [-1, -1]


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_library_reads_a_tensor(library):
    backend = opened(library)
    t = Tensor(A.copy())
    found = backend.xp.from_dlpack(t)
    assert np.array_equal(backend.to_numpy(found), A)
    if library != "jax":
        t.data[0, 1] = 33.0
        assert float(found[0, 1]) == 33


def test_parameters_are_read_once_they_are_detached():
    layer = nn.Linear(3, 2)
    with raises(DTypeError, "__dlpack__", "t.detach()"):
        np.from_dlpack(layer.weight)
    with raises(DTypeError, "__dlpack__", "t.detach()"):
        from_dlpack(layer.weight)
    assert np.shares_memory(np.from_dlpack(layer.weight.detach()), layer.weight.data)
    layer.weight = from_dlpack(np.ones((2, 3), np.float32))
    assert layer.weight.numpy().sum() == 6


def test_a_model_predicts_for_an_array_of_another_library():
    torch = pytest.importorskip("torch")
    model = nn.Sequential(nn.Linear(4, 2))
    x = torch.from_numpy(A)
    assert np.array_equal(model.predict(from_dlpack(x)), model.predict(A))
    found = model.predict(x)  # of the host, so as an array of NumPy
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, model.predict(A))
    model.to("torch")
    assert isinstance(model.predict(x), torch.Tensor)
    with raises(DTypeError, "from_dlpack", "x.detach()"):
        nn.Linear(4, 2).predict(x.clone().requires_grad_())


def bad_values():
    yield "None", None, "x None"
    yield "list", [1.0], "DLPack"
    yield "text", np.asarray(["a"]), "numbers"
    yield "objects", np.asarray([None]), "numbers"
    yield "byte order", A.astype(">f4"), "byte order"
    yield "type", np.ndarray, "DLPack"
    yield "mask", np.ma.masked_greater(A, A.min()), "filled"


@pytest.mark.parametrize("target", ["numpy", "torch"])
@pytest.mark.parametrize(("x", "words"), [v[1:] for v in bad_values()], ids=[v[0] for v in bad_values()])
def test_what_is_no_array_of_numbers_is_an_error_of_one_line(target, x, words):
    opened(target)
    with raises(DTypeError, "from_dlpack", words):
        from_dlpack(x, target)


@pytest.mark.parametrize("target", ["numpy", "torch", "jax"])
def test_tensors_of_torch_without_plain_numbers_are_errors_of_one_line(target):
    torch = pytest.importorskip("torch")
    opened(target)
    for x in (torch.eye(2).to_sparse(), torch.empty(2, device="meta"), torch.ones(2, requires_grad=True)):
        with raises(DTypeError, "from_dlpack"):
            from_dlpack(x, target)
    if target != "torch":
        with raises(DTypeError, "from_dlpack", "bfloat16"):
            from_dlpack(torch.ones(2, dtype=torch.bfloat16), target)


def test_a_tensor_is_no_array_of_the_standard_but_its_array_is():
    t = Tensor(A)
    assert not hasattr(t, "__array_namespace__")
    assert t.data.__array_namespace__() is np


class Producer:
    """An array of a library that xpnet does not know, which has DLPack and nothing else."""

    def __init__(self, array):
        self._array = array

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)


def test_a_library_that_is_not_known_needs_no_more_than_dlpack():
    x = A.copy()
    assert np.shares_memory(from_dlpack(Producer(x)).data, x)
    with raises(DTypeError, "from_dlpack", "Producer"):
        from_dlpack(Producer(np.asarray(["a"])))


def test_another_device_gets_a_copy():
    device1 = opened("array-api-strict:device1")
    t = from_dlpack(A, device1)
    assert t.backend == device1
    assert np.array_equal(t.numpy(), A)
    with raises(DTypeError, "from_dlpack", "device1"):
        from_dlpack(A, device1, copy=False)
