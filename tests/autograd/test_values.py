"""How a tensor is read: as a number, a truth value, text and an array; comparisons; NumPy's scalars beside it."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from tests.harness import put, raises, sample
from xpnet import nn
from xpnet.autograd import Tensor, backward
from xpnet.backend import Program, Unsupported
from xpnet.errors import ConfigError, DeviceError, DTypeError, ShapeError

A, B = np.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32), np.asarray([1.0, 5.0, 3.0], np.float32)


def tensor(*numbers, **options):
    return Tensor(np.asarray(numbers, np.float32), **options)


def test_a_tensor_of_one_number_is_that_number(backend):
    loss = Tensor(put(backend, np.asarray([1.5]), np.float32), requires_grad=True)
    assert (float(loss), int(loss), round(loss), round(loss * 1.5, 1), bool(loss), bool(loss * 0)) == (
        1.5, 1, 2, 2.2, True, False)  # fmt: skip
    assert (f"{loss:.3f}", f"{loss:8.2e}") == ("1.500", "1.50e+00")
    assert [7, 8, 9][Tensor(put(backend, np.asarray(1)))] == 8


READERS = {"float": float, "int": int, "bool": bool, "round": round, "index": operator.index, "item": Tensor.item}


@pytest.mark.parametrize("name", [*READERS, "format"])
def test_several_numbers_are_not_read_as_one(name):
    read = READERS.get(name, "{:.2f}".format)
    with raises(ShapeError, name, "one number", "(3,)"):
        read(tensor(1, 2, 3))


def test_a_fraction_is_no_index():
    with raises(DTypeError, "index", "float32"):
        range(tensor(2.0))


@pytest.mark.parametrize("compare", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
def test_comparisons_are_elementwise_and_need_no_gradient(backend, compare):
    a, b = (Tensor(put(backend, x, np.float32), requires_grad=True) for x in (A, B))
    found = compare(a, b)
    assert type(found) is Tensor
    assert not found.requires_grad
    assert np.array_equal(found.numpy(), compare(A, B))
    assert np.array_equal(compare(a, 3.0).numpy(), compare(A, 3.0))
    assert np.array_equal(compare(a, np.float64(3)).numpy(), compare(A, 3.0))
    assert np.array_equal(compare(np.asarray(3), a).numpy(), compare(3.0, A))
    assert np.array_equal(compare(a, b.data).numpy(), compare(A, B))


def test_any_all_and_argmax_read_a_comparison(backend):
    a = Tensor(put(backend, A, np.float32))
    assert ((a > 5).any().item(), (a > 5).all().item(), (a > 0).all().item()) == (True, False, True)
    assert (a.argmax().item(), a.argmax(-1).numpy().tolist()) == (5, [2, 2])
    with raises(ShapeError, "argmax", "3"):
        a.argmax(3)


def test_what_is_no_number_and_no_array_equals_no_tensor():
    t = tensor(1, 2)
    assert [t == other for other in (None, "x", [1, 2])] == [False] * 3
    assert [t != other for other in (None, "x")] == [True] * 2
    with pytest.raises(TypeError):
        _ = t < None


def test_tensors_of_two_libraries_or_shapes_do_not_compare():
    torch = pytest.importorskip("torch")
    with raises(DeviceError, "compare", "torch"):
        _ = tensor(1, 2) == torch.ones(2)
    with raises(ShapeError, "compare", "(2,)", "(3,)"):
        _ = tensor(1, 2) < tensor(1, 2, 3)


def test_a_dictionary_finds_tensors_by_identity():
    a, b = tensor(1, 2, requires_grad=True), tensor(1, 2, requires_grad=True)
    gradients = backward((a * 2 + b * 3).sum())
    assert {t: g.tolist() for t, g in gradients.items()} == {a: [2, 2], b: [3, 3]}
    assert a in gradients
    assert tensor(1, 2) not in gradients
    weight = nn.Linear(3, 2).weight
    assert {weight: 1}[weight] == 1


def test_in_asks_whether_an_element_is_equal():
    assert 5.0 in Tensor(A)
    assert 7 not in Tensor(A)
    assert "x" not in Tensor(A)


def test_numpy_scalars_take_the_dtype_and_library_of_the_tensor(backend):
    t = Tensor(put(backend, A, np.float32), requires_grad=True)
    results = [np.float64(2) * t, t * np.array(2), np.array(2.0) * t, np.int64(2) * t, 2 / (1 / t) + np.float16(0)]
    for y in results:
        assert type(y) is Tensor
        assert (y.dtype, y.backend) == (t.dtype, backend)
        assert np.allclose(y.numpy(), 2 * A)
    assert np.allclose((t ** np.float64(2)).numpy(), A**2)
    assert backend.to_numpy(backward((np.float64(3) - t).sum())[t]).tolist() == [[-1.0] * 3] * 2


def test_numpy_reads_the_array_of_a_tensor_that_needs_no_gradient():
    t = Tensor(A)
    assert np.asarray(t) is A
    assert np.array(t) is not A
    assert np.asarray(t, np.float64).dtype == np.float64
    assert np.array_equal(np.stack([t[0], t[1]]), A)
    with raises(DTypeError, "np.asarray", "t.detach()"):
        np.asarray(Tensor(A, requires_grad=True) * 2)


def test_numpy_copies_nothing_from_a_device():
    strict = pytest.importorskip("array_api_strict")
    t = Tensor(strict.asarray([1.0, 2.0], device=strict.Device("device1")))
    with raises(DTypeError, "np.asarray", "device1", "t.numpy()"):
        np.asarray(t)


def test_a_replay_compares_anew_and_reads_no_value():
    x = np.asarray([1.0, 2.0, 3.0], np.float32)
    program = Program()
    with program.recording():
        mask = Tensor(x) > 1.5
    x[...] = [2.0, 1.0, 2.0]
    program()
    assert mask.numpy().tolist() == [True, False, True]
    with Program().recording(), pytest.raises(Unsupported):
        bool(mask.any())
    with Program().recording(), pytest.raises(Unsupported):
        np.asarray(mask)


def test_activations_are_methods(backend):
    x = sample(2, 3, low=-1.0, high=1.0)
    t = Tensor(put(backend, x, np.float32), requires_grad=True)
    e = np.exp(x)
    wanted = {"relu": np.where(x > 0, x, 0), "sigmoid": 1 / (1 + 1 / e), "tanh": np.tanh(x),
              "softmax": e / e.sum(-1, keepdims=True), "log_softmax": x - np.log(e.sum(-1, keepdims=True)),
              "leaky_relu": np.where(x > 0, x, 0.01 * x)}  # fmt: skip
    for name, want in wanted.items():
        y = getattr(t, name)()
        assert y.requires_grad
        assert np.allclose(y.numpy(), want, atol=1e-5), name
    assert np.allclose(t.gelu().numpy(), x * 0.5 * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3))), atol=1e-5)


def test_a_repr_shows_values_dtype_and_place(backend):
    text = repr(Tensor(put(backend, A, np.float32), requires_grad=True))
    assert text.startswith("Tensor([[1., 2., 3.],")
    assert text.endswith("float32, requires_grad=True)" if backend.on_host else f"{backend.spec}, requires_grad=True)")
    assert "shape=(64, 64)" in repr(Tensor(np.zeros((64, 64))))


def test_a_function_of_numpy_says_what_to_write_for_a_tensor():
    t = Tensor(A, requires_grad=True)
    with raises(DTypeError, "np.exp", "t.exp()"):
        np.exp(t)
    with raises(DTypeError, "np.sin", "t.numpy()"):
        np.sin(t)
    total = A.copy()
    with raises(DTypeError, "np.add", "a = a + t"):
        total += t
    with raises(DTypeError, "np.add"):
        np.add.reduce(t)
    assert t.__array_ufunc__ is None  # by which CuPy leaves operators to the tensor
    assert backward((A + t).sum())[t].tolist() == np.ones_like(A).tolist()


def test_sizes_may_be_given_one_by_one_or_as_one_tuple():
    t = Tensor(A)
    assert t.reshape((3, 2)).shape == t.reshape(3, 2).shape == t.reshape([-1, 2]).shape == (3, 2)
    assert t.permute((1, 0)).shape == t.permute(1, 0).shape == (3, 2)


def test_functions_of_numpy_read_tensors_that_need_no_gradient():
    t, learned = tensor(1.0, 2.0, 4.0), tensor(1.0, 2.0, 4.0, requires_grad=True)
    assert np.sum(t) == 7
    assert np.mean(t, axis=0) == np.float32(7 / 3)
    assert np.concatenate([t, t]).tolist() == [1, 2, 4, 1, 2, 4]
    assert np.shape(learned) == (3,)
    assert np.ndim(learned) == 1
    with raises(DTypeError, "np.sum", "t.sum()"):
        np.sum(learned)
    with raises(DTypeError, "np.asarray", "t.numpy()"):
        np.median(learned)


def test_powers_work_from_both_sides():
    t = tensor(1.0, 3.0, requires_grad=True)
    for y in (2**t, np.float32(2) ** t, np.power(2, t)):
        assert isinstance(y, Tensor)
        assert y.requires_grad
        assert y.numpy().tolist() == [2, 8]
    assert np.power(t, 2).numpy().tolist() == [1, 9]
    with raises(ConfigError, "power", "above 0"):
        (-1) ** t
