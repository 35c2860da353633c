"""Every op on the host, recorded and replayed on other numbers, against a fresh call of it: the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.harness import booleans, integers, sample
from tests.kernels.test_host_pool import WINDOWS
from tests.ops.test_conv import CASES as CONVOLUTIONS
from tests.optim.parameters import gradients, hosts, parameters
from xpnet import kernels, ops, random
from xpnet.autograd import Tensor, apply, backward
from xpnet.backend import Program, get_backend, use_cores
from xpnet.kernels.numpy import conv
from xpnet.optim import OPTIMIZERS, make_optimizer

by_each_folder = pytest.mark.usefixtures("folder")
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


class Case(NamedTuple):
    op: Callable[..., Any]
    shapes: tuple[Any, ...]  # of inputs drawn anew each time; or what draws one from a seed; or None
    options: dict[str, Any] = {}  # noqa: RUF012


def labels(n: int, classes: int, kind: Any = np.int64) -> Callable[[int], np.ndarray]:
    return lambda seed: integers(n, high=classes, seed=seed).astype(kind)


def positive(*shape: int) -> Callable[[int], np.ndarray]:
    return lambda seed: sample(*shape, seed=seed, low=0.3, high=3.0)


def shares(n: int, classes: int) -> Callable[[int], np.ndarray]:
    def draw(seed: int) -> np.ndarray:
        t = sample(n, classes, seed=seed, low=0.1, high=1.0)
        return t / t.sum(1, keepdims=True)

    return draw


def mask(*shape: int) -> Callable[[int], np.ndarray]:
    return lambda seed: booleans(*shape, seed=seed)


def given(op: Callable[..., Any], *settings: Any) -> Callable[..., Any]:
    """An op of one array, whose settings are given."""

    @wraps(op)  # autograd records functions of xpnet.ops
    def of_one(x: np.ndarray) -> tuple[Any, Any]:
        y, vjp = op(x, *settings)
        return y, lambda dy, needs: vjp(dy, (*needs, False))[:1]

    return of_one


@wraps(ops.cast)
def cast_to_the_same(x: np.ndarray) -> tuple[Any, Any]:
    return given(ops.cast, x.dtype.name)(x)


def convolution(name: str, n: int, **more: Any) -> Case:
    shape, options = CONVOLUTIONS[name]
    channels = shape[3] * options.get("groups", 1)
    return Case(ops.conv2d, ((n, 5, 7, channels), shape, (shape[0],)), {**options, **more})


ALL = tuple(ops.ACTIVATIONS)
WITH_KERNELS: dict[str, Case] = {
    **{f"{name} alone": Case(getattr(ops, name), ((5, 7),)) for name in ALL},
    **{f"linear and {a}": Case(ops.linear, ((5, 3), (4, 3), (4,)), {"activation": a}) for a in (None, *ALL)},
    **{f"linear and {a}, N=1": Case(ops.linear, ((1, 3), (4, 3), (4,)), {"activation": a}) for a in (None, "relu")},
    "linear without a bias": Case(ops.linear, ((5, 3), (4, 3), None)),
    "linear without a bias, N=1": Case(ops.linear, ((1, 3), (4, 3), None)),
    "linear of rank 3": Case(ops.linear, ((2, 5, 3), (4, 3), (4,)), {"activation": "relu"}),
    "linear of rank 1": Case(ops.linear, ((3,), (4, 3), (4,))),
    "linear of many rows": Case(ops.linear, ((97, 5), (3, 5), (3,)), {"activation": "relu"}),
    **{f"conv2d {name}": convolution(name, 2, activation="relu") for name in CONVOLUTIONS},
    **{f"conv2d and {a}": convolution("same", 3, activation=a) for a in (None, *ALL)},
    "conv2d, N=1": convolution("flipped, strided", 1),
    "conv2d of one channel": Case(ops.conv2d, ((2, 6, 7, 1), (4, 3, 3, 1), (4,)), {"padding": 1}),
    "conv2d without a bias": Case(ops.conv2d, ((2, 6, 7, 3), (4, 3, 3, 3), None), {"activation": "relu"}),
    **{
        f"max_pool2d {name}, {c}": Case(ops.max_pool2d, ((2, 6, 9, c),), o)
        for name, o in WINDOWS.items()
        for c in (3, 6)
    },
    **{f"avg_pool2d {name}": Case(ops.avg_pool2d, ((2, 6, 9, 3),), o) for name, o in WINDOWS.items()},
    **{
        f"local_response_norm {region}, {beta}": Case(
            ops.local_response_norm, ((2, 4, 5, 7),), {"alpha": 0.9, "k": 1.1, "region": region, "beta": beta}
        )
        for region in ("across", "within")
        for beta in (0.75, 0.5)
    },
    "local_response_norm, averaged": Case(ops.local_response_norm, ((1, 4, 5, 7),), {"alpha": 0.9, "average": True}),
    **{
        f"batch_norm, training {t}": Case(
            ops.batch_norm, ((3, 4, 5, 6), (6,), (6,), (6,), positive(6)), {"training": t, "eps": 0.1}
        )
        for t in (True, False)
    },
    **{
        f"softmax_cross_entropy, {np.dtype(kind).name} labels": Case(
            ops.softmax_cross_entropy, ((5, 4), labels(5, 4, kind))
        )
        for kind in (np.int32, np.int64, np.uint8)
    },
    "softmax_cross_entropy, N=1": Case(ops.softmax_cross_entropy, ((1, 4), labels(1, 4))),
}
ELSE: dict[str, Case] = {
    "softmax_cross_entropy, soft": Case(ops.softmax_cross_entropy, ((5, 4), shares(5, 4))),
    "softmax_cross_entropy, smoothed": Case(
        ops.softmax_cross_entropy, ((5, 4), labels(5, 4)), {"label_smoothing": 0.2}
    ),
    "softmax_cross_entropy, of each": Case(ops.softmax_cross_entropy, ((5, 4), labels(5, 4)), {"reduction": "none"}),
    "softmax_cross_entropy, summed": Case(ops.softmax_cross_entropy, ((5, 4), labels(5, 4)), {"reduction": "sum"}),
    "binary_cross_entropy": Case(ops.binary_cross_entropy, ((5, 3), shares(5, 3))),
    "mean_squared_error": Case(ops.mean_squared_error, ((5, 3), (5, 3))),
    "hinge_loss": Case(ops.hinge_loss, ((5, 4), labels(5, 4))),
    "perceptron_loss": Case(ops.perceptron_loss, ((5, 4), labels(5, 4))),
    "layer_norm": Case(ops.layer_norm, ((5, 7), (7,), (7,))),
    "global_avg_pool2d": Case(ops.global_avg_pool2d, ((2, 4, 5, 3),)),
    "threshold": Case(ops.threshold, ((5, 7),)),
    **{
        name: Case(getattr(ops, name), ((5, 7),))
        for name in ("softmax", "log_softmax", "negative", "exp", "square", "abs")
    },
    **{name: Case(getattr(ops, name), (positive(5, 7),)) for name in ("log", "sqrt")},
    **{
        f"{name} of {b}": Case(getattr(ops, name), ((5, 7), b))
        for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum")
        for b in ((5, 7), (7,), (1, 1))
    },
    "where": Case(ops.where, (mask(5, 7), (5, 7), (5, 7))),
    "clip": Case(given(ops.clip, -1.0, 1.0), ((5, 7),)),
    "power": Case(given(ops.power, 2.0), ((5, 7),)),
    "cast to the same": Case(cast_to_the_same, ((5, 7),)),
    "dropout": Case(ops.dropout, ((5, 7), mask(5, 7)), {"rate": 0.3}),
    "matmul": Case(ops.matmul, ((5, 3), (3, 4))),
    **{f"{name} of rows": Case(getattr(ops, name), ((5, 7),), {"axis": 1}) for name in ("sum", "mean", "max", "min")},
    **{f"{name} of all": Case(getattr(ops, name), ((5, 7),)) for name in ("sum", "mean", "max", "min")},
    "reshape": Case(given(ops.reshape, (7, -1)), ((5, 7),)),
    "flatten": Case(ops.flatten, ((2, 3, 4),)),
    "permute_dims": Case(given(ops.permute_dims, (2, 0, 1)), ((2, 3, 4),)),
    "broadcast_to": Case(given(ops.broadcast_to, (4, 5, 7)), ((5, 1),)),
    "concat": Case(ops.concat, ((5, 3), (5, 4)), {"axis": 1}),
    "getitem": Case(given(ops.getitem, (slice(1, 4), 2)), ((5, 7),)),
}
CASES = WITH_KERNELS | ELSE


# The arrays of an op: each made with a way to write other numbers to where it lies.


def plain(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a = a.copy()
    return a, a


def read_only(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    base = a.copy()
    seen = base[...]
    seen.flags.writeable = False
    return seen, base


def strided(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    view = np.repeat(a, 2, axis=-1)[..., ::2]
    return view, view


def backwards(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    view = a[..., ::-1].copy()[..., ::-1]
    return view, view


def misaligned(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    view = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view, view


Lay = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def draw(case: Case, seed: int, dtype: Any) -> list[np.ndarray | None]:
    """The inputs of a case; other numbers for another seed."""
    made: list[np.ndarray | None] = []
    for i, given in enumerate(case.shapes):
        a = given(seed) if callable(given) else None if given is None else sample(*given, seed=10 * seed + i)
        made.append(a.astype(dtype) if a is not None and a.dtype.kind == "f" else a)
    return made


def laid(arrays: Sequence[np.ndarray | None], lay: Lay) -> tuple[list[Any], list[Any]]:
    """Arrays, and what is written to in order to change them; those without an axis stay plain."""
    pairs = [(None, None) if a is None else (lay if a.ndim else plain)(a) for a in arrays]
    return [seen for seen, _ in pairs], [base for _, base in pairs]


def floating(arrays: Sequence[Any]) -> tuple[bool, ...]:
    return tuple(a is not None and a.dtype.kind == "f" for a in arrays)


def fresh(case: Case, seed: int, dtype: Any, lay: Lay, needs: Sequence[bool]) -> list[Any]:
    """y and the gradients by a call of the op itself."""
    arrays, _ = laid(draw(case, seed, dtype), lay)
    y, vjp = case.op(*arrays, **case.options)
    y = np.asarray(y)
    dy = laid([gradient(y, seed)], lay)[0][0]
    wanted = tuple(need and isinstance(a, np.ndarray) for need, a in zip(needs, arrays, strict=True))
    return [y.copy(), *vjp(dy, wanted)[: len(arrays)]]


def gradient(y: np.ndarray, seed: int) -> np.ndarray:
    return sample(*y.shape, seed=100 + seed).astype(y.dtype)


def assert_replays(case: Case, dtype: Any = np.float32, lay: Lay = plain, needs: Sequence[bool] | None = None) -> None:
    """Record the case on the numbers of seed 0, and replay it on those of 1, 2 and 0."""
    first = draw(case, 0, dtype)
    needs = floating(first) if needs is None else needs
    like = fresh(case, 0, dtype, lay, needs)
    arrays, bases = laid(first, lay)
    (dy,), (dy_base,) = laid([gradient(like[0], 0)], lay)
    leaves = [Tensor(a, need) if isinstance(a, np.ndarray) else a for a, need in zip(arrays, needs, strict=True)]
    program = Program()
    with program.recording():
        y = apply(case.op, *leaves, **case.options)
        found = backward(y, dy) if any(needs) else {}
    got = [y.data, *(found.get(leaf) if isinstance(leaf, Tensor) else None for leaf in leaves)]
    for seed in (None, 1, 2, 0):
        if seed is not None:
            for base, a in zip([*bases, dy_base], [*draw(case, seed, dtype), gradient(like[0], seed)], strict=True):
                if base is not None:
                    base[...] = a
            program()
        want = fresh(case, seed or 0, dtype, lay, needs)
        for i, (a, b) in enumerate(zip(got, want, strict=True)):
            assert_same_bits(a, b, f"{'gradient ' + str(i - 1) if i else 'y'}, numbers {seed}")


def assert_same_bits(got: Any, want: Any, what: str) -> None:
    assert (got is None) == (want is None), what
    if want is not None:
        got, want = np.asarray(got), np.asarray(want)
        assert (got.dtype, got.shape) == (want.dtype, want.shape), what
        np.testing.assert_array_equal(got, want, err_msg=what)
        assert got.tobytes() == want.tobytes(), f"{what}: signs of zero"


# The table.


LAYOUTS = pytest.mark.parametrize("lay", [read_only, strided, backwards, misaligned], ids=lambda lay: lay.__name__)


@by_each_folder
@DTYPES
@pytest.mark.parametrize("name", WITH_KERNELS)
def test_a_kernel_replayed_gives_the_bits_of_a_fresh_call(name: str, dtype: Any) -> None:
    assert_replays(WITH_KERNELS[name], dtype)


@pytest.mark.parametrize("name", CASES)
def test_a_reference_replayed_gives_the_bits_of_a_fresh_call(name: str) -> None:
    with kernels.disable():
        assert_replays(CASES[name])


@by_each_folder
@LAYOUTS
@pytest.mark.parametrize("name", WITH_KERNELS)
def test_a_kernel_follows_arrays_that_lie_oddly_and_are_rewritten_where_they_lie(name: str, lay: Lay) -> None:
    assert_replays(WITH_KERNELS[name], lay=lay)


@LAYOUTS
@pytest.mark.parametrize(
    "name", ["reshape", "flatten", "permute_dims", "broadcast_to", "concat", "getitem", "threshold"]
)
def test_an_op_that_may_return_a_view_follows_such_arrays_too(name: str, lay: Lay) -> None:
    assert_replays(ELSE[name], lay=lay)


@by_each_folder
@pytest.mark.parametrize("name", [name for name in CASES if sum(map(bool, CASES[name].shapes)) > 1])
def test_each_gradient_may_be_the_only_one_that_is_needed(name: str) -> None:
    kinds = floating(draw(CASES[name], 0, np.float32))
    most = 3 if "norm" in name else 1 if "entropy" in name else len(kinds)  # averages and targets have none
    for wanted in [i for i, kind in enumerate(kinds) if kind][:most]:
        assert_replays(CASES[name], needs=[i == wanted for i in range(len(kinds))])


@by_each_folder
def test_every_kernel_of_an_op_has_a_case(folder: str) -> None:
    named = {case.op.__name__ for case in CASES.values() if hasattr(case.op, "__name__")}
    served = {name for name, row in kernels.table(np.ndarray).items() if folder in [k.folder for k in row]}
    others = {"masked", "moments", "reshape", "getitem"} | ({"update"} if folder == "numba" else set())
    assert served - named <= others


# Sizes that are split over cores, tiles of convolutions, and blocks.

LARGE = {
    "relu": Case(ops.relu, ((601, 1013),)),
    "leaky_relu": Case(ops.leaky_relu, ((601, 1013),)),
    "linear": Case(ops.linear, ((5003, 3), (131, 3), (131,)), {"activation": "relu"}),
    "linear without a gradient of its input": Case(ops.linear, ((5003, 3), (131, 3), (131,))),
    "max_pool2d": Case(ops.max_pool2d, ((5, 60, 61, 20),), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "max_pool2d in pairs": Case(ops.max_pool2d, ((9, 80, 82, 6),), {"kernel_size": 2}),
    "local_response_norm": Case(ops.local_response_norm, ((4, 13, 27, 30),), {"alpha": 0.9}),
    "batch_norm": Case(ops.batch_norm, ((90001, 7), (7,), (7,), (7,), positive(7)), {"training": True}),
}


@pytest.fixture(params=[1, 3], ids=["one core", "three cores"])
def several(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(conv, "_APART", 1)
    with use_cores(request.param):
        yield


@by_each_folder
@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("name", LARGE)
def test_an_op_of_so_many_numbers_that_cores_share_them_replays(name: str) -> None:
    assert_replays(LARGE[name])


@by_each_folder
@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("name", ["same", "depthwise", "flipped, strided", "dilated, strided, padded"])
def test_a_convolution_whose_images_cores_share_replays(name: str) -> None:
    assert_replays(convolution(name, 5, activation="relu"))


@by_each_folder
@pytest.mark.parametrize("name", ["same", "depthwise", "flipped, strided"])
def test_a_convolution_of_many_tiles_replays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv, "_PIXELS", 20)
    monkeypatch.setattr(conv, "_cache", lambda: 1)
    assert_replays(convolution(name, 5, activation="relu"))


@by_each_folder
@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("batch_norm")])
def test_batch_norm_by_the_kernel_for_many_numbers_replays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpnet.kernels.numpy.normalization._FEW", 1)
    assert_replays(CASES[name])


# Several ops, and what is not an op.


@by_each_folder
def test_gradients_that_meet_are_added_in_a_replay() -> None:
    x = Tensor(sample(3, 4).astype(np.float32), requires_grad=True)
    program = Program()

    def loss(x: Tensor) -> Tensor:
        return (x * x + x.exp() * x + abs(x)).sum()

    with program.recording():
        y = loss(x)
        dx = backward(y)[x]
    for seed in (1, 2):
        x.data[...] = sample(3, 4, seed=seed)
        program()
        other = Tensor(x.data.copy(), requires_grad=True)
        want = loss(other)
        assert_same_bits(y.data, want.data, "y")
        assert_same_bits(dx, backward(want)[other], "dx")


@by_each_folder
@DTYPES
def test_running_averages_are_updated_in_place_in_a_replay(dtype: Any) -> None:
    renew = partial(ops.running_moments, count=30, momentum=0.25)
    x, mean, var = sample(30, 4).astype(dtype), np.zeros(4, dtype), np.ones(4, dtype)
    want = mean.copy(), var.copy()
    program = Program()
    with program.recording():
        kept = renew(mean, var, *ops.moments(x))
    want = renew(*want, *ops.moments(x))
    for seed in (1, 2):
        x[...] = sample(30, 4, seed=seed)
        program()
        want = renew(*want, *ops.moments(x))
        for got, other in zip(kept, want, strict=True):
            assert_same_bits(got, other, "averages")
    assert kept[0] is mean
    assert kept[1] is var


def test_dropout_draws_the_mask_of_the_step_that_its_arrays_name() -> None:
    x, step = sample(9, 11).astype(np.float32), np.zeros((), np.int64)
    leaf, program = Tensor(x, requires_grad=True), Program()
    options = {"rate": 0.4, "start": 3}
    with program.recording():
        y = apply(ops.random_dropout, leaf, key=random.Key(7, "drop", 2, step), **options)  # type: ignore[arg-type]
        (dx,) = backward(y, x).values()
    seen = set()
    for now in range(3):
        step[...] = now
        program()
        want, vjp = ops.random_dropout(x, key=random.Key(7, "drop", 2, now), **options)
        assert_same_bits(y.data, want, "y")
        assert_same_bits(dx, vjp(x, (True,))[0], "dx")
        seen.add(want.tobytes())
    assert len(seen) == 3


@by_each_folder
def test_a_label_that_is_no_class_makes_its_row_nan_in_a_replay_and_only_in_that() -> None:
    z, known = sample(5, 4).astype(np.float32), integers(5, high=4)
    program = Program()
    with program.recording():
        loss = apply(ops.softmax_cross_entropy, Tensor(z, True), known)
        (dz,) = backward(loss).values()
    right, known[3] = known[3], 9
    program()
    assert np.isnan(loss.data)
    assert np.isnan(dz).any(1).tolist() == [False, False, False, True, False]
    known[3] = right
    program()
    assert np.isfinite(loss.data)
    assert np.isfinite(dz).all()


@by_each_folder
@DTYPES
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.3, "clip_value": 0.4}, {"clip_norm": 0.5}], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_is_made_again_at_the_rate_and_the_number_of_now(name: str, options: Any, dtype: Any) -> None:
    host, absent = get_backend("numpy"), "scale"
    made, other = parameters(host, dtype), parameters(host, dtype)
    ours, theirs = (make_optimizer(name, ps, lr=0.5, **options) for ps in (made, other))
    for step in range(2):  # some updates are made before one is recorded
        ours.step(gradients(made, step, absent))
        theirs.step(gradients(other, step, absent))
    rate, t, program = np.asarray(0.5), np.asarray(3), Program()
    given = {p: strided(g)[0] if g.ndim else g for p, g in gradients(made, 2, absent).items()}
    with program.recording():
        ours.update(given, rate, t)
    for step in range(2, 6):
        if step > 2:
            for p, g in gradients(made, step, absent).items():
                given[p][...] = g
            ours.lr = theirs.lr = 0.5 / step
            rate[...], t[...] = ours.current_lr, step + 1
            program()
        ours.steps += 1
        theirs.step(gradients(other, step, absent))
        for path, x in hosts(other).items():
            assert_same_bits(hosts(made)[path], x, f"{path}, update {step}")
    for path, x in theirs.state_dict()[0].items():
        assert_same_bits(ours.state_dict()[0][path], x, path)
