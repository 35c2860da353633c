"""The backward pass: order, sums, which arrays are borrowed, threads, and gradcheck.

What the tape keeps alive is in test_tape_memory.py; the gradients of arithmetic are in test_tensor.py.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading

import numpy as np
import pytest

from tests.harness import HOST, agree, few_on_jax, float64_ok, float_types, kernel_sets, put, raises, sample
from xpnet import models, nn, ops
from xpnet.autograd import Tensor, apply, backward, gradcheck, no_grad
from xpnet.backend import backend_of, get_backend, namespace, registry
from xpnet.errors import ConfigError, DeviceError, DTypeError, ShapeError, XpnetError


def leaf(backend, array, dtype=np.float32):
    return Tensor(put(backend, array, dtype), requires_grad=True)


def host(backend, array):
    return np.asarray(backend.to_numpy(array), np.float64)


def backward_of(*gradients):
    """An op that returns its first input, and whose vjp returns these gradients, or dy: a tape without arithmetic."""

    def op(*arrays):
        return arrays[0], lambda dy, needs: gradients or (dy,)

    return op


def test_gradients_of_shared_parts_sum(backend):
    x = sample(3, seed=1)
    t = leaf(backend, x)
    h = t * t  # used three times below, and t itself once more
    g = backward((h * h + h.exp() - 3.0 * h + t).sum())[t]
    agree(host(backend, g), 2 * x * (2 * x**2 + np.exp(x**2) - 3.0) + 1.0, np.float32, 64, "diamond")


def test_a_ladder_of_diamonds_is_walked_once_a_node():
    visits = 0

    def double(x, y):
        def vjp(dy, needs):
            nonlocal visits
            visits += 1
            return dy, dy

        return x + y, vjp

    t = Tensor(np.ones(2), requires_grad=True)
    y = t
    for _ in range(50):
        y = apply(double, y, y)
    g = backward(y, np.ones(2))[t]
    assert visits == 50
    assert np.array_equal(g, np.full(2, 2.0**50))


def test_a_node_waits_for_all_that_was_made_of_it():
    t = Tensor(np.asarray(1.5), requires_grad=True)
    early = t * 2.0
    late = early
    for _ in range(5):
        late = late * 1.5
    assert float(backward(late * early)[t]) == 2 * 1.5**5 * (2 * 1.5) * 2  # d/dt of (2t)^2 * 1.5^5


def test_an_input_twice_in_one_op_gets_both_gradients(backend):
    t = leaf(backend, sample(4, seed=1))
    for y, want in ((t + t, 2.0), (t - t, 0.0), (t / t, 0.0)):
        agree(host(backend, backward(y.sum())[t]), np.full(4, want), np.float32, 4, "twice")


def test_nothing_given_to_the_walk_is_written_to(backend):
    x, dy, lent = (sample(2, 3, seed=i) for i in range(3))
    t, u = leaf(backend, x), leaf(backend, x)
    moved, borrowed = (put(backend, a, np.float32) for a in (dy, lent))
    if backend.name == "numpy":
        for a in (t.data, u.data, moved, borrowed):
            a.setflags(write=False)
    lend = backward_of(borrowed, borrowed)
    y = t + t + t + apply(lend, t, u) + apply(lend, u, t) + apply(lend, t, t) + u + (t + u)
    gradients = backward(y, moved)
    agree(host(backend, gradients[t]), 4 * dy + 4 * lent, np.float32, 8, "t")
    agree(host(backend, gradients[u]), 2 * dy + 2 * lent, np.float32, 8, "u")
    for a, before in ((t.data, x), (u.data, x), (moved, dy), (borrowed, lent)):
        assert np.array_equal(backend.to_numpy(a), before.astype(np.float32))


def test_two_leaves_given_one_array_do_not_share_what_is_added_later():
    t, u = (Tensor(np.zeros(2), requires_grad=True) for _ in range(2))
    gradients = backward((t + u) + t, np.ones(2))  # the first gradients of t and u are one array
    assert gradients[t].tolist() == [2.0, 2.0]
    assert gradients[u].tolist() == [1.0, 1.0]


def test_only_leaves_that_require_a_gradient_get_one(backend):
    t, fixed = leaf(backend, sample(3)), Tensor(put(backend, sample(3, seed=1), np.float32))
    y = (t * fixed + fixed).sum()
    assert set(backward(y)) == {t}
    assert not (fixed * fixed).requires_grad


def test_gradients_have_the_namespace_dtype_shape_and_device_of_their_leaves(backend):
    for dtype in float_types(backend)[-1 if backend.name == "jax" else 0 :]:  # jax compiles all anew for each
        leaves = [leaf(backend, sample(*shape, seed=1), dtype) for shape in ((2, 3), (4, 3), (4,), (1, 1), (2, 4, 1))]
        x, w, b, scale, stack = leaves
        y = (((x @ w.T + b) * scale).exp() / 2 + stack[:, :, 0]).reshape(-1)[1:].mean()
        for t, g in backward(y).items():
            assert namespace(g) is namespace(t.data)
            assert g.dtype == t.dtype == y.dtype
            assert tuple(g.shape) == tuple(t.shape)
            assert backend_of(g) == backend


def test_a_tape_is_freed_by_the_walk_unless_kept(backend):
    t = leaf(backend, sample(3))
    y = (t * t).sum()
    kept = backward(y, keep_tape=True)
    again = backward(y)
    assert np.array_equal(backend.to_numpy(kept[t]), backend.to_numpy(again[t]))
    with pytest.raises(
        ConfigError, match=r"^backward: the tape was freed by an earlier backward pass; pass keep_tape=True$"
    ):
        backward(y)


def test_a_part_freed_by_another_loss_says_so():
    h = Tensor(np.ones(2), requires_grad=True).exp()
    first, second = h.sum(), h.mean()
    backward(first)
    with pytest.raises(ConfigError, match="keep_tape=True"):
        backward(second)


def test_backward_adds_to_grad_and_leaves_other_tensors_without(backend):
    t = leaf(backend, sample(3, seed=1))
    middle = t * 3.0
    middle.sum().backward()
    first = host(backend, t.grad)
    (t * t).sum().backward()
    agree(first, np.full(3, 3.0), np.float32, 1, "first")
    agree(host(backend, t.grad), 3.0 + 2 * sample(3, seed=1), np.float32, 4, "sum")
    assert middle.grad is None


def test_backward_of_a_leaf_is_its_own_gradient(backend):
    t = leaf(backend, sample(1))
    assert host(backend, backward(t)[t]).tolist() == [1.0]


@pytest.mark.parametrize("loss", [2.0, -3.0, 0.0, np.inf, np.nan], ids=str)
@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
def test_the_walk_begins_with_one_whatever_the_loss_is(backend, loss, shape):
    t = leaf(backend, np.full(shape, loss))
    g = backward(apply(backward_of(), t))[t]
    assert host(backend, g).tolist() == np.ones(shape).tolist()
    assert (tuple(g.shape), g.dtype) == (shape, t.dtype)
    if not isinstance(g, np.generic):
        assert backend_of(g) == backend


def test_detach_keeps_the_array_and_drops_the_history(backend):
    t = leaf(backend, sample(3))
    d = (t * 2.0).detach()
    assert d.node is None
    assert not d.requires_grad
    assert set(backward((d * t).sum())) == {t}


def test_a_20000_node_chain_is_walked_without_recursion(backend):
    one = put(backend, np.ones(2), np.float32)
    t, step = Tensor(one, requires_grad=True), backward_of()
    y = t
    for _ in range(20_000):
        y = apply(step, y)
    assert sys.getrecursionlimit() < 20_000
    gradients = backward(y, one)
    assert gradients[t] is one


# no_grad, and threads.


def test_no_grad_leaves_nothing_on_the_tape(backend):
    t = leaf(backend, sample(3))
    with no_grad():
        y = (t * t).sum()
    assert y.node is None
    assert not y.requires_grad
    assert (t * t).requires_grad
    with pytest.raises(ConfigError, match=r"^backward: .*; see no_grad and requires_grad$"):
        backward(y)


def test_no_grad_ends_with_an_error_too():
    t = Tensor(np.ones(2), requires_grad=True)
    with pytest.raises(KeyError), no_grad(), no_grad():
        raise KeyError
    assert (t * 2.0).requires_grad


def test_no_grad_holds_in_its_own_thread_only():
    t = Tensor(np.ones(2), requires_grad=True)
    seen = []
    with no_grad():
        other = threading.Thread(target=lambda: seen.append((t * 2.0).requires_grad))
        other.start()
        other.join()
        assert not (t * 2.0).requires_grad
    assert seen == [True]


def test_no_grad_holds_in_its_own_task_only():
    t = Tensor(np.ones(2), requires_grad=True)

    async def infer(entered, recorded):
        with no_grad():
            entered.set()
            await recorded.wait()
            return (t * 2.0).requires_grad

    async def learn(entered, recorded):
        await entered.wait()
        made = t * 2.0
        recorded.set()
        return made.requires_grad

    async def both():
        events = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(infer(*events), learn(*events))

    assert asyncio.run(both()) == [False, True]


def test_two_threads_walk_back_over_one_model_as_each_would_alone():
    model = models.build("lenet5", (8, 8, 1), 10).train()
    model.scores.weight.initializer = nn.he_normal  # it begins at zero, and would stop the gradients
    shards = [(sample(6, 8, 8, 1, seed=s).astype(np.float32), np.arange(6) + s) for s in (1, 2)]

    def gradients(shard):
        x, labels = shard
        found = backward(nn.softmax_cross_entropy(model(Tensor(x)), labels))
        return [np.array(found[p]) for p in model.parameters()]

    alone = [gradients(s) for s in shards]
    start, results = threading.Barrier(2), [[], []]

    def work(i):
        for _ in range(10):
            start.wait(timeout=60)
            results[i].append(gradients(shards[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not np.array_equal(alone[0][0], alone[1][0])
    for i in range(2):
        assert len(results[i]) == 10
        for found in results[i]:
            assert all(np.array_equal(g, want) for g, want in zip(found, alone[i], strict=True))
    assert all(p.grad is None for p in model.parameters())


# gradcheck.


def cube(wrong=lambda dx: dx):
    def op(x):
        return x * x * x, lambda dy, needs: (wrong(3.0 * x * x * dy),)

    return op


def checkable(backend):
    if not float64_ok(backend):
        pytest.skip("the device has no float64")
    return put(backend, sample(2, 3, seed=1)), put(backend, sample(3, 2, seed=2))


def test_gradcheck_accepts_right_gradients(backend):
    a, b = checkable(backend)
    assert gradcheck(lambda x, w: ((x @ w).exp() * 0.1).sum() + apply(cube(), x).mean(), a, b) < 1e-7


WRONG = {
    "half": lambda dx: 0.5 * dx,
    "the other sign": lambda dx: -dx,
    "nearly right": lambda dx: 1.0001 * dx,
    "zero": lambda dx: 0.0 * dx,
    "another's place": lambda dx: namespace(dx).flip(dx, axis=1),
    "NaN": lambda dx: dx + float("nan"),
}


@pytest.mark.parametrize("name", WRONG)
def test_gradcheck_rejects_wrong_gradients(backend, name):
    a, _ = checkable(backend)
    with raises(XpnetError, "gradcheck", "gradient", "difference"):
        gradcheck(lambda x: apply(cube(WRONG[name]), x), a)


def test_gradcheck_rejects_a_gradient_that_never_comes():
    def forgets(x, w):
        return x @ w, lambda dy, needs: (dy @ w.T, None)

    with raises(XpnetError, "gradcheck", "difference"):
        gradcheck(lambda x, w: apply(forgets, x, w), sample(2, 3), sample(3, 2))


def test_gradcheck_names_both_slopes():
    with pytest.raises(XpnetError) as caught:
        gradcheck(lambda x: apply(cube(lambda dx: 2.0 * dx), x), sample(2, 3))
    got = caught.value.got
    assert got["gradient"] == pytest.approx(2.0 * got["difference"], rel=1e-5)
    assert str(got["gradient"]) in str(caught.value)


def test_gradcheck_asks_for_float64(backend):
    with raises(DTypeError, "gradcheck", "float32"):
        gradcheck(lambda x: x.sum(), put(backend, sample(3), np.float32))


# Inputs left out, and inputs that do not belong together.

LEFT_OUT = {  # the ops that have optional inputs: those required, those that are not
    "linear": ([sample(5, 3), sample(4, 3)], [sample(4)]),
    "conv2d": ([sample(2, 5, 4, 3), sample(6, 2, 2, 3)], [sample(6)]),
    "clip": ([sample(5, 3)], [-0.7131, 1.2117]),
}


def parameters_of(op, kinds, test):
    """The names of an op's parameters of some kinds that pass a test."""
    return [p.name for p in inspect.signature(op).parameters.values() if p.kind in kinds and test(p)]


def every_op():
    return {name: getattr(ops, name) for name in ops.__all__ if inspect.isfunction(getattr(ops, name))}


def test_the_ops_with_optional_inputs_are_those_tried_here():
    positional = (inspect.Parameter.POSITIONAL_OR_KEYWORD,)
    optional = {n: parameters_of(op, positional, lambda p: p.default is not p.empty) for n, op in every_op().items()}
    assert {n: len(names) for n, names in optional.items() if names} == {n: len(x) for n, (_, x) in LEFT_OUT.items()}


@pytest.mark.parametrize("activation", [None, "relu", "sigmoid", "gelu"])
@pytest.mark.parametrize("name", LEFT_OUT)
def test_an_input_left_out_is_none(backend, name, activation):
    op, (required, optional) = getattr(ops, name), LEFT_OUT[name]
    if name == "clip" and activation:
        pytest.skip("clip has no activation")
    few_on_jax(backend, name == "linear" and activation == "relu")
    options = {"activation": activation} if activation else {}
    for given in range(len(optional)):
        for kernel_set in kernel_sets(op, backend):
            with kernel_set:
                found = []
                for padding in ([], [None] * (len(optional) - given)):
                    leaves = [leaf(backend, a) for a in required]
                    y = apply(
                        op, *leaves, *(put(backend, a, np.float32) for a in optional[:given]), *padding, **options
                    )
                    gradients = backward(y, put(backend, sample(*y.shape, seed=5), np.float32))
                    found.append([host(backend, a) for a in (y.data, *(gradients[t] for t in leaves))])
                for short, full in zip(*found, strict=True):
                    agree(short, full, np.float32, 9, name)


def test_a_vjp_that_returns_too_few_gradients_is_an_error():
    y = apply(lambda a, b: (a * b, lambda dy, needs: (dy,)), *(Tensor(sample(3), requires_grad=True) for _ in "ab"))
    with raises(ShapeError, "backward", 2):
        backward(y.sum())


LABELS, VECTOR = np.array([0, 2, 1], np.int32), sample(3)
TOGETHER = {  # the ops of several arrays: the inputs, and those that are options
    **dict.fromkeys(("add", "subtract", "multiply", "divide", "maximum", "minimum"), ([sample(3, 3)] * 2, {})),
    **dict.fromkeys(("mean_squared_error", "binary_cross_entropy", "matmul"), ([sample(3, 3)] * 2, {})),
    **dict.fromkeys(("hinge_loss", "perceptron_loss"), ([sample(3, 3), LABELS], {})),
    "softmax_cross_entropy": ([sample(3, 3), LABELS], {"class_weights": VECTOR}),
    "where": ([sample(3, 3) > 0, sample(3, 3), sample(3, 3)], {}),
    "dropout": ([sample(3, 3), sample(3, 3) > 0], {"rate": 0.5}),
    "linear": ([sample(3, 3), sample(3, 3), VECTOR], {}),
    "conv2d": ([sample(2, 4, 4, 3), sample(3, 2, 2, 3), VECTOR], {}),
    "concat": ([sample(3, 3), sample(3, 3), sample(3, 3)], {}),
    "batch_norm": ([sample(3, 3), VECTOR, VECTOR, VECTOR, VECTOR**2], {}),
    "layer_norm": ([sample(3, 3), VECTOR, VECTOR], {}),
    "running_moments": ([VECTOR, VECTOR, VECTOR, VECTOR], {"count": 3, "momentum": 0.1}),
}


def test_the_ops_of_several_arrays_are_those_tried_here():
    kinds = set(inspect._ParameterKind)
    arrays = {
        n: parameters_of(op, kinds, lambda p: p.annotation.startswith(("Array", "Operand")))
        for n, op in every_op().items()
    }
    assert {n for n, names in arrays.items() if len(names) > 1 or names == ["arrays"]} == set(TOGETHER)


def strict(device):
    pytest.importorskip("array_api_strict")
    return get_backend(f"array-api-strict:{device}")


@pytest.mark.parametrize("elsewhere", ["array-api-strict:CPU_DEVICE", "array-api-strict:device2", "numpy"])
@pytest.mark.parametrize("name", TOGETHER)
def test_an_input_on_another_device_is_an_error_of_the_op(name, elsewhere):
    (inputs, options), here, other = TOGETHER[name], strict("device1"), get_backend(elsewhere)
    arrays = {**dict(enumerate(inputs)), **options}
    for away in (key for key, value in arrays.items() if isinstance(value, np.ndarray)):
        moved = {key: put(other if key == away else here, value, np.float32) for key, value in arrays.items()}
        with raises(DeviceError, name):
            getattr(ops, name)(*(moved[i] for i in range(len(inputs))), **{key: moved[key] for key in options})


def test_devices_are_compared_where_one_backend_of_the_library_is_open(monkeypatch):
    xp = pytest.importorskip("array_api_strict")
    for name in ("CHECKED", "_opened", "_libraries"):
        monkeypatch.setattr(registry, name, type(getattr(registry, name))())
    x, labels = xp.zeros((3, 4), dtype=xp.float32, device=xp.Device("device1")), xp.zeros(3, dtype=xp.int32)
    with raises(DeviceError, "softmax_cross_entropy", "device1", "CPU_DEVICE"):
        ops.softmax_cross_entropy(x, labels)


# Errors.


@pytest.mark.parametrize("elsewhere", ["array-api-strict:CPU_DEVICE", "numpy"])
def test_dy_on_another_device_than_y_is_an_error(elsewhere):
    here, other = strict("device1"), get_backend(elsewhere)
    with raises(DeviceError, "backward"):
        backward(leaf(here, sample(3)) * 2.0, put(other, sample(3), np.float32))


@pytest.mark.parametrize("dy", [[1.0, 1.0, 1.0], None, np.ones(3), np.ones(3, int), 1.0], ids=lambda dy: str(type(dy)))
def test_dy_is_an_array_of_the_dtype_of_y(dy):
    y = leaf(HOST, sample(3)) * 2.0
    with raises(ShapeError if dy is None else DTypeError, "backward"):
        backward(y, dy)


def test_backward_of_several_numbers_asks_for_dy(backend):
    with raises(ShapeError, "backward", "3"):
        backward(leaf(backend, sample(3)) * 2.0)


def test_dy_is_shaped_like_y(backend):
    with raises(ShapeError, "backward", "dy", "4", "y", "3"):
        backward(leaf(backend, sample(3)) * 2.0, put(backend, sample(4), np.float32))


def test_an_op_of_your_own_needs_no_registration(backend):
    def halve(x):
        return x / 2.0, lambda dy, needs: (dy / 2.0,)

    t = leaf(backend, sample(3))
    agree(host(backend, backward(apply(halve, t).sum())[t]), np.full(3, 0.5), np.float32, 1, "halve")
