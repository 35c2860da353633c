"""Virtual shards in one process: the same bits on any number of threads, and the plain step to rounding."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.harness import raises
from tests.train.fitting import some_digits, trainer
from tests.train.shardable import Pairs, Silent, batch, net
from xpnet import kernels, models, nn, random
from xpnet.autograd import Tensor
from xpnet.backend import Backend, use_backend, use_cores
from xpnet.data.part import Part
from xpnet.errors import ConfigError, ShapeError
from xpnet.optim import Adam
from xpnet.train import Step
from xpnet.train.virtual import VirtualShards


class Two(nn.Module):
    """A model of two inputs, one of which passes a layer twice."""

    across_batch = False

    def __init__(self) -> None:
        self.first, self.mix, self.scores = nn.Linear(7, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.scores(self.mix(self.mix(self.first(x)) + z).relu())


def two_inputs(n: int, seed: int) -> tuple[Any, Any]:
    draw = np.random.default_rng([seed, n])
    x, z = draw.normal(size=(n, 7)).astype(np.float32), draw.normal(size=(n, 4)).astype(np.float32)
    return (x, z), draw.integers(0, 4, n)


def weighted(n: int, seed: int) -> tuple[Any, Any]:
    x, y = batch(n, seed)
    return x, (y, np.random.default_rng(seed).uniform(0, 3, n).astype(np.float32))


def train(
    make: Callable[[], nn.Module] = net,
    given: Callable[..., Any] = batch,
    loss: Any = nn.softmax_cross_entropy,
    sizes: tuple[int, ...] = (21, 21, 21, 21, 21, 3, 1),
    **how: Any,
) -> dict[str, np.ndarray]:
    """Seven steps: what the parameters and the optimizer's state became, and the losses."""
    model = make().train().initialize(5)
    step = Step(model, loss, Adam(model.parameters(), 0.01), **{"shards": 8, **how})
    losses = []
    for i, n in enumerate(sizes):
        with random.use(random.StepContext(7, 0, i)), np.errstate(all="ignore"):
            losses.append(float(step(*given(n, i))))
    return {**model.state_dict(), **step.optimizer.state_dict()[0], "losses": np.asarray(losses)}


def digest(arrays: dict[str, np.ndarray]) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(arrays[name].tobytes())
    return found.hexdigest()


def near(got: dict[str, np.ndarray], want: dict[str, np.ndarray], tolerance: float = 2e-4) -> None:
    for name, value in want.items():
        if name == "losses" or name in dict(net().states()):
            np.testing.assert_allclose(got[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


SUM = partial(nn.softmax_cross_entropy, reduction="sum")
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "a few threads more than shards": {"shards": 3},
    "accumulated": {"accumulate": 2},
    "weighted": {"given": weighted},
    "a sum": {"loss": SUM},
    "a weighted sum": {"loss": SUM, "given": weighted},
    "two inputs": {"make": Two, "given": two_inputs},
    "half precision": {"precision": "fp16"},
}
SPREAD = [{"threads": 1, "capture": False}, {"threads": 2}, {"threads": 4, "capture": False}, {"threads": 8}]


@pytest.mark.parametrize("numba", [True, False], ids=["numba", "numpy"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_threads_gives_the_same_bits_recorded_or_not(kind: str, numba: bool) -> None:
    how = KINDS[kind]
    with kernels.disable(*([] if numba else ["numba"])) if not numba else use_cores(3):
        want, *others = (train(**{**how, **spread}) for spread in SPREAD)
    for got in others:
        for name, value in want.items():
            np.testing.assert_array_equal(got[name], value, err_msg=name)


@pytest.mark.parametrize("kind", ["plain", "accumulated", "weighted", "a sum", "half precision"])
def test_it_is_the_plain_step_to_rounding(kind: str) -> None:
    how = KINDS[kind]
    got, want = train(threads=2, **how), train(**{**how, "shards": None, "capture": False})
    near(got, want, 2e-2 if kind == "half precision" else 2e-4)


def test_other_numbers_of_shards_give_other_bits_so_that_the_tests_above_see_a_difference() -> None:
    found = {digest(train(shards=shards, threads=1, capture=False)) for shards in (2, 3, 8)}
    assert len(found) == 3


def test_where_the_rows_lie_changes_no_bit() -> None:
    def shifted(n: int, seed: int) -> tuple[Any, Any]:
        x, y = batch(n, seed)
        block = np.empty(x.size + 9, x.dtype)
        moved = block[5 : 5 + x.size].reshape(x.shape)
        moved[...] = x
        return moved, np.repeat(y, 2)[::2]

    assert digest(train(given=shifted, capture=False)) == digest(train(capture=False))


def test_a_part_of_the_shards_is_a_node_of_the_tree_or_several() -> None:
    """Sums of powers of two are exact, so each node's loss tells which rows it has."""
    layer = nn.Linear(1, 1, bias=False).initialize(0)
    flat = Adam(layer.parameters(), 0.1).flat
    seen: list[int] = []

    def compute(x: Any, y: Any, share: float) -> Any:
        seen.append(len(x))
        return np.float32(x.sum()), {layer.weight: np.asarray([[x.sum() + share]], np.float32)}

    n, x = 16, 2.0 ** np.arange(16, dtype=np.float32)
    context = random.StepContext(0, 0, 0)
    for part, nodes in [((0, 8), [(0, 16)]), ((2, 5), [(4, 8), (8, 10)]), ((7, 8), [(14, 16)])]:
        start, stop = Part(8, *part).rows(n)
        for threads in (1, 2, 3):
            shards, rows = VirtualShards(flat, Part(8, *part), threads=threads), x[start:stop]
            found = shards(compute, rows, rows, n, context)
            assert [float(node.loss) for node in found] == [float(x[a:b].sum()) for a, b in nodes]
            assert [float(node.gradient[0]) for node in found] == [x[a:b].sum() + (b - a) / n for a, b in nodes]
    assert set(seen) == {2}
    assert VirtualShards(flat, Part(8, 0, 1))(compute, x[:0], x[:0], 3, context) == []  # of 3 examples it has none


def test_a_parameter_without_a_gradient_stays_as_it_is() -> None:
    class Aside(nn.Module):
        across_batch = False

        def __init__(self) -> None:
            self.used, self.unused = nn.Linear(60, 4), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x.flatten())

    def run(threads: int) -> Any:
        model = Aside().initialize(1)
        step = Step(model, nn.softmax_cross_entropy, Adam(model.parameters(), 0.1, weight_decay=0.5), shards=4,
                    threads=threads)  # fmt: skip
        before = model.state_dict()
        for i in range(3):
            step(*batch(6, i))
        return before, model.state_dict()

    for threads in (1, 3):
        before, after = run(threads)
        np.testing.assert_array_equal(after["unused.weight"], before["unused.weight"])
        assert not np.array_equal(after["used.weight"], before["used.weight"])


def test_a_trainer_gives_the_same_bits_and_the_plain_loss() -> None:
    def run(**options: Any) -> Any:
        fit = trainer(models.build("lenet5", (8, 8, 1), 10), optimizer="adam", lr=0.003, **options)
        history = fit.fit(some_digits(101), epochs=2, batch_size=32)
        return digest({**fit.model.state_dict(), **fit.optimizer.state_dict()[0]}), history[-1]["train_loss"]

    one, two, plain = run(shards=8, threads=1), run(shards=8, threads=2), run()
    assert one == two
    assert one[1] == pytest.approx(plain[1], rel=1e-4)
    assert one[0] != plain[0]


def test_gradients_are_shown_before_the_update(backend: Backend) -> None:
    """y = w x, loss the mean of (y - t)^2: dw = 2/5 * sum of (w x - t) x = 2/5 * (1*1 + 0*2 + 1*3 + 0*4 + 1*5)."""
    with use_backend(backend):
        layer = nn.Linear(1, 1, bias=False)
        layer.load_state_dict({"weight": np.asarray([[1.0]], np.float32)})
    seen: list[float] = []
    step = Step(layer, nn.mean_squared_error, Adam(layer.parameters(), 0.1), shards=3)
    step.gradient_hook = lambda g: seen.extend(float(v[0, 0]) for v in g.values())
    x = backend.from_numpy(np.asarray([[1.0], [2.0], [3.0], [4.0], [5.0]], np.float32))
    loss = step(x, backend.from_numpy(np.asarray([[0.0], [2.0], [2.0], [4.0], [4.0]], np.float32)))
    assert (float(loss), seen) == (pytest.approx(3 / 5), [pytest.approx(18 / 5)])


# Errors.


@pytest.mark.parametrize(
    ("layer", "loss", "reason"),
    [
        (Pairs, nn.softmax_cross_entropy, "again (Pairs) depends on other examples of the batch"),
        (Silent, nn.softmax_cross_entropy, "again (Silent) does not say across_batch = False"),
        (nn.ReLU, lambda scores, labels: scores.mean(), "the loss is not known to be an average over examples"),
    ],
    ids=["across the batch", "unknown", "loss"],
)
def test_what_cannot_be_computed_in_shards_is_one_error(layer: Any, loss: Any, reason: str) -> None:
    model = nn.Sequential(flatten=nn.Flatten(), scores=nn.Linear(60, 4), again=layer())
    with raises(ConfigError, "fit", "a step that virtual shards can compute", "use shards=1", reason):
        Step(model, loss, Adam(model.parameters(), 0.1), shards=2)


class Trip(nn.Module):
    across_batch = False

    def forward(self, x: Tensor) -> Tensor:
        if x.data.max() > 99:
            raise ShapeError("Trip", "no example of 100", x=100)
        return x


def test_an_error_in_a_shard_is_raised_and_changes_nothing() -> None:
    model = nn.Sequential(trip=Trip(), flatten=nn.Flatten(), scores=nn.Linear(60, 4)).initialize(1)
    step = Step(model, nn.softmax_cross_entropy, Adam(model.parameters(), 0.1), shards=4, threads=2)
    before = digest({**model.state_dict(), **step.optimizer.state_dict()[0]})
    x, y = batch(9, 0)
    x[8] = 100
    with raises(ShapeError, "trip (Trip)", "no example of 100"):
        step(x, y)
    assert digest({**model.state_dict(), **step.optimizer.state_dict()[0]}) == before
    assert step.optimizer.steps == 0
