"""Reshaping, permuting, broadcasting, joining and slicing."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import check_op, few_on_jax, put, raises, sample
from xpnet import ops
from xpnet.errors import ConfigError, DTypeError, ShapeError

X = sample(2, 5, 7, 3)


@pytest.mark.parametrize("shape", [(5, 42), (2, 3, 5, 7), (-1, 6), (210,), (2, 5, 7, 3)], ids=str)
def test_reshape_keeps_the_numbers_in_row_major_order(backend, shape):
    check_op(
        ops.reshape,
        [X],
        {"shape": shape},
        backend,
        oracle=lambda x, shape: x.reshape(shape),
        torch_oracle=lambda x, shape: x.reshape(shape),
        linear=[0],
        length=2,
    )


def test_reshape_of_no_images_keeps_the_other_sizes(backend):
    y, vjp = ops.reshape(put(backend, X[:0], np.float32), (0, 105))
    assert y.shape == (0, 105)
    dx, *_ = vjp(y, (True, False))
    assert dx.shape == (0, 5, 7, 3)


@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (5, 3), (5,)], ids=str)
def test_flatten_makes_one_row_of_each_sample(backend, shape):
    check_op(
        ops.flatten,
        [sample(*shape)],
        {},
        backend,
        oracle=lambda x: x.reshape(x.shape[0], int(np.prod(x.shape[1:]))),
        linear=[0],
        batch=[0],
        length=2,
    )


@pytest.mark.parametrize("axes", [(0, 3, 1, 2), (3, 2, 1, 0), (1, 2, 3, 0)], ids=str)
def test_permute_dims_moves_the_gradient_back(backend, axes):
    check_op(
        ops.permute_dims,
        [X],
        {"axes": axes},
        backend,
        oracle=lambda x, axes: np.transpose(x, axes),
        torch_oracle=lambda x, axes: x.permute(axes),
        linear=[0],
        length=2,
    )


SPREAD = [((7,), (5, 7)), ((5, 1), (5, 7)), ((), (2, 3)), ((2, 1, 3), (4, 2, 5, 3)), ((5, 7), (5, 7))]


@pytest.mark.parametrize(("shape", "to"), SPREAD, ids=str)
def test_broadcast_to_sums_the_gradient_of_the_copies(backend, shape, to):
    check_op(
        ops.broadcast_to,
        [sample(*shape)],
        {"shape": to},
        backend,
        oracle=lambda x, shape: np.broadcast_to(x, shape),
        torch_oracle=lambda x, shape: x.broadcast_to(shape),
        linear=[0],
        length=40,
    )


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat_splits_the_gradient_again(backend, axis):
    def part(size, seed):
        shape = [2, 5, 3]
        shape[axis] = size
        return sample(*shape, seed=seed)

    def torch_concat(*arrays, axis=0):
        import torch

        return torch.cat(arrays, axis)

    check_op(
        ops.concat,
        [part(1, 1), part(4, 2), part(2, 3)],
        {"axis": axis},
        backend,
        oracle=lambda *arrays, axis=0: np.concatenate(arrays, axis),
        torch_oracle=torch_concat,
        linear=[0, 1, 2],
        length=2,
    )


def test_concat_of_one_array_is_that_array(backend):
    check_op(ops.concat, [X], {}, backend, oracle=lambda x: x, linear=[0], length=2)


INDICES = {
    "an integer": 1,
    "a negative integer": -2,
    "integers": (1, 2, 3, 0),
    "a slice": slice(1, 2),
    "a step": (slice(None), slice(0, 5, 2)),
    "a step with a remainder": (slice(None), slice(1, None, 3), slice(None, 6, 2)),
    "negative bounds": (slice(None), slice(-4, -1), slice(-6, None, 4)),
    "past the end": (slice(None), slice(2, 100), slice(-100, 3)),
    "nothing": (slice(None), slice(3, 3)),
    "an ellipsis": (..., 1),
    "an ellipsis in between": (0, ..., slice(0, 2)),
    "an ellipsis alone": ...,
    "an ellipsis for no axes": (0, 1, ..., 2, 2),
    "mixed": (slice(None), 3, slice(0, 7, 3)),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_getitem_puts_the_gradient_back_where_it_came_from(backend, index):
    few_on_jax(backend, index in (INDICES["an ellipsis"], INDICES["mixed"]))
    check_op(
        ops.getitem,
        [X],
        {"index": index},
        backend,
        oracle=lambda x, index: x[index],
        torch_oracle=lambda x, index: x[index],
        linear=[0],
        length=2,
    )


def test_reshape_to_another_number_of_elements_is_an_error():
    with raises(ShapeError, "reshape", (2, 5, 7, 3), (2, 5)):
        ops.reshape(X, (2, 5))


def test_permuting_axes_that_are_not_a_permutation_is_an_error():
    with raises(ShapeError, "permute_dims", (0, 1, 1, 2), (2, 5, 7, 3)):
        ops.permute_dims(X, (0, 1, 1, 2))


def test_broadcasting_to_a_shape_that_does_not_fit_is_an_error():
    with raises(ShapeError, "broadcast_to", (2, 5, 7, 3), (2, 5, 7, 4)):
        ops.broadcast_to(X, (2, 5, 7, 4))


def test_joining_arrays_whose_other_axes_differ_is_an_error():
    with raises(ShapeError, "concat", (2, 5, 7, 3), (2, 5, 6, 3)):
        ops.concat(X, sample(2, 5, 6, 3), axis=0)


def test_joining_along_an_axis_that_is_not_there_is_an_error():
    with raises(ShapeError, "concat", 4, (2, 5, 7, 3)):
        ops.concat(X, X, axis=4)


def test_joining_two_precisions_is_an_error():
    with raises(DTypeError, "concat", "float32", "float64"):
        ops.concat(X, X.astype(np.float32))


def test_joining_nothing_is_an_error():
    with raises(ShapeError, "concat", 0):
        ops.concat()


@pytest.mark.parametrize("index", [2, -3, (0, 5), (0, 0, 0, 0, 0)], ids=str)
def test_an_index_that_is_not_there_is_an_error(index):
    with raises(ShapeError, "getitem", index, (2, 5, 7, 3)):
        ops.getitem(X, index)


@pytest.mark.parametrize("index", [slice(None, None, -1), (0, slice(3, 0, -2)), None, [0, 1], 1.0], ids=str)
def test_an_index_that_is_not_of_integers_slices_and_an_ellipsis_is_an_error(index):
    with raises(ShapeError, "getitem", (2, 5, 7, 3)):
        ops.getitem(X, index)


@pytest.mark.parametrize("index", [True, (0, False), np.True_, 1.0, "1", [1], None], ids=repr)
def test_what_only_looks_like_an_integer_is_no_index(index):
    with raises(ShapeError, "getitem"):
        ops.getitem(sample(3, 4), index)


def test_numpys_integers_are_integers():
    x, two = sample(3, 4), np.int64(2)
    assert np.array_equal(ops.getitem(x, two)[0], x[2])
    assert np.array_equal(ops.getitem(x, (slice(None), two))[0], x[:, 2])
    assert ops.reshape(x, (two, np.int32(6)))[0].shape == (2, 6)
    assert ops.permute_dims(x, (np.int64(1), np.int64(0)))[0].shape == (4, 3)
    assert ops.broadcast_to(x, (two, np.int64(3), 4))[0].shape == (2, 3, 4)
    assert ops.concat(x, x, axis=np.int64(1))[0].shape == (3, 8)


@pytest.mark.parametrize("op", [ops.reshape, ops.broadcast_to, ops.permute_dims], ids=lambda op: op.__name__)
@pytest.mark.parametrize("sizes", [(True, 12), (1.5, 8), ("a", 1), 12, None, np.zeros(2)], ids=repr)
def test_sizes_that_are_no_integers_are_an_error(op, sizes):
    with raises(ConfigError, op.__name__):
        op(sample(3, 4), sizes)


def test_flattening_a_single_number_is_an_error():
    with raises(ShapeError, "flatten", ()):
        ops.flatten(np.array(1.0))
