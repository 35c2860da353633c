"""One flat array for all parameters: its views, and what happens when a parameter gets another array."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from tests.optim.parameters import SHAPES, Parameter, gradients, hosts, parameters, values
from xpnet.backend import Backend, get_backend
from xpnet.errors import CheckpointError, ConfigError, DTypeError, ShapeError
from xpnet.optim import SGD, FlatBuffer

STARTS = {"fc1.weight": 0, "fc1.bias": 64, "scale": 128, "conv.weight": 192, "conv.bias": 256}
SIZE = 258


def laid(by_path: dict[str, np.ndarray]) -> np.ndarray:
    """The flat array: each parameter where it starts, zeros in between."""
    flat = np.zeros(SIZE)
    for path, x in by_path.items():
        flat[STARTS[path] : STARTS[path] + x.size] = x.reshape(-1)
    return flat


def test_packing_keeps_every_value_and_shape(backend: Backend) -> None:
    made = parameters(backend)
    flat = FlatBuffer(made)
    assert flat.size == SIZE
    assert tuple(flat.value.shape) == (SIZE,)
    assert np.array_equal(backend.to_numpy(flat.value), laid(values(0)))
    assert all(np.array_equal(x, values(0)[path]) for path, x in hosts(made).items())


@pytest.mark.parametrize("size", [1, 63, 64, 65, 128])
def test_each_parameter_starts_where_a_device_reads_well(backend: Backend, size: int) -> None:
    made = [Parameter(name, backend.from_numpy(np.full(size, 7, np.float32))) for name in "ab"]
    flat = FlatBuffer(made)
    start = 64 * -(-size // 64)
    assert flat.bounds == [(0, size), (start, start + size)]
    assert flat.size == start + size
    assert not np.any(backend.to_numpy(flat.value)[size:start])


def test_new_values_reach_every_parameter(backend: Backend) -> None:
    made = parameters(backend)
    flat = FlatBuffer(made)
    flat.assign(backend.from_numpy(laid(values(9)).astype(np.float32)))
    assert all(np.array_equal(x, values(9)[path]) for path, x in hosts(made).items())


def test_views_stay_bound_through_steps_where_arrays_can_be_written(backend: Backend) -> None:
    made = parameters(backend)
    optimizer = SGD(made, 0.1, momentum=0.9)
    value, data = optimizer.flat.value, [p.data for p in made]
    for step in range(3):
        optimizer.step(gradients(made, step))
    if backend.name != "jax":
        assert optimizer.flat.value is value
        assert all(p.data is x for p, x in zip(made, data, strict=True))
    assert np.array_equal(backend.to_numpy(optimizer.flat.value), laid(hosts(made)))


def test_data_assigned_from_outside_is_copied_in(backend: Backend) -> None:
    made = parameters(backend)
    flat = FlatBuffer(made)
    value, new = flat.value, np.full(SHAPES["fc1.bias"], 5, np.float32)
    made[1].data = backend.from_numpy(new)
    assert flat.sync() is False
    want = values(0) | {"fc1.bias": new}
    assert np.array_equal(backend.to_numpy(flat.value), laid(want))
    if backend.name != "jax":
        assert flat.value is value  # a captured graph still points at it
        made[1].data[...] = 6.0
        assert np.array_equal(backend.to_numpy(flat.value), laid(want | {"fc1.bias": new + 1}))


def test_parameters_may_swap_their_data() -> None:
    a, b = Parameter("a", np.asarray([1.0, 2.0])), Parameter("b", np.asarray([3.0, 4.0]))
    flat = FlatBuffer([a, b])
    a.data, b.data = b.data, a.data
    flat.sync()
    assert flat.value[:2].tolist() == a.data.tolist() == [3, 4]
    assert flat.value[64:].tolist() == b.data.tolist() == [1, 2]


def test_moving_the_model_moves_the_buffer(backend: Backend) -> None:
    made = parameters(get_backend("numpy"))
    flat = FlatBuffer(made)
    for p in made:
        p.data = backend.from_numpy(np.asarray(p.data))
    assert flat.sync() is (backend.name != "numpy")
    assert flat.backend == backend
    assert np.array_equal(backend.to_numpy(flat.value), laid(values(0)))


def test_a_parameter_that_comes_twice_is_kept_once() -> None:
    p, q = Parameter("p", np.ones(2)), Parameter("q", np.ones(3))
    assert FlatBuffer([p, q, p]).parameters == (p, q)


def test_a_parameter_of_no_elements_is_no_obstacle(backend: Backend) -> None:
    made = [Parameter("empty", backend.xp.zeros((0, 3), device=backend.device)), *parameters(backend)]
    made[0].data = backend.from_numpy(np.zeros((0, 3), np.float32))
    optimizer = SGD(made, 0.5, clip_norm=1e9)
    optimizer.step({made[0]: made[0].data} | gradients(made[1:], 0))
    want = {path: (x - 0.5 * values(1000)[path]) for path, x in values(0).items()}
    assert tuple(made[0].data.shape) == (0, 3)
    assert all(np.allclose(hosts(made[1:])[path], x, atol=1e-6) for path, x in want.items())


def test_named_arrays_come_back_as_they_went() -> None:
    flat = FlatBuffer(parameters(get_backend("numpy")))
    named = flat.split(np.arange(float(SIZE)))
    assert {path: x.shape for path, x in named.items()} == SHAPES
    assert np.array_equal(flat.join(named), laid(named))


def test_parameters_that_cannot_share_a_buffer_are_refused() -> None:
    pytest.importorskip("torch")
    numpy, torch = get_backend("numpy"), get_backend("torch")
    single, double = Parameter("a", np.ones(2, np.float32)), Parameter("b", np.ones(2))
    with raises(ConfigError, "FlatBuffer", "parameters 0"):
        FlatBuffer([])
    with raises(ConfigError, "FlatBuffer", "a float32", "b float64"):
        FlatBuffer([single, double])
    with raises(ConfigError, "FlatBuffer", f"a {numpy.spec}", f"c {torch.spec}"):
        FlatBuffer([single, Parameter("c", torch.from_numpy(np.ones(2, np.float32)))])
    with raises(DTypeError, "labels", "int64"):
        FlatBuffer([Parameter("labels", np.ones(2, np.int64))])


def test_a_parameter_that_changes_its_shape_is_refused() -> None:
    made = parameters(get_backend("numpy"))
    flat = FlatBuffer(made)
    made[0].data = np.zeros((4, 3), np.float32)
    with raises(ShapeError, "fc1.weight", "(4, 3)", "(3, 4)"):
        flat.sync()


def test_two_parameters_of_one_path_cannot_be_named() -> None:
    flat = FlatBuffer([Parameter("w", np.ones(2)), Parameter("w", np.ones(2))])
    with raises(ConfigError, "FlatBuffer", "'w'", "times 2"):
        flat.split(np.zeros(4))


def test_joining_an_array_of_another_shape_is_refused() -> None:
    flat = FlatBuffer([Parameter("w", np.ones((2, 3)))])
    with pytest.raises(CheckpointError, match=r"w: .*\(2, 3\).*\(3, 2\)"):
        flat.join({"w": np.zeros((3, 2))})
