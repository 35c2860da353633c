"""Steps of several processes, which are threads here: every backend, layers that see the whole batch, errors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.conftest import problem
from tests.distributed.threaded import Threaded, run
from tests.harness import few_on_jax, raises
from tests.train.shardable import Pairs, Silent
from tests.train.test_processes import Pretended
from xpnet import nn, random
from xpnet.autograd import Tensor, backward
from xpnet.backend import Backend
from xpnet.data.part import Part
from xpnet.distributed import single
from xpnet.errors import ConfigError, ShapeError
from xpnet.optim import SGD
from xpnet.train import Step, Trainer

N = 11


def net() -> nn.Sequential:
    return nn.Sequential(
        first=nn.Linear(6, 5), drop=nn.Dropout(0.3), norm=nn.BatchNorm(5), act=nn.Tanh(), scores=nn.Linear(5, 3)
    )


def batch(i: int, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng([i, n])
    return draw.normal(size=(n, 6)).astype(np.float32), draw.integers(0, 3, n)


def trained(
    communicator: Any, backend: Backend | str, make: Callable[[], nn.Module] = net, sizes: Any = (N, N, 5), **how: Any
) -> dict[str, np.ndarray]:
    """Some steps of this process's rows: weights, averages and losses."""
    model = make().to(backend).initialize(1).train()
    step = Step(model, nn.softmax_cross_entropy, SGD(model.parameters(), 0.1), communicator=communicator, **how)
    losses, where = [], model.backend
    for i, n in enumerate(sizes):
        x, y = (where.from_numpy(a[slice(*step.processes.part.rows(n))]) for a in batch(i, n))
        with random.use(random.StepContext(4, 0, i)):
            losses.append(float(step(x, y, n)))
    return {**model.state_dict(), "losses": np.asarray(losses)}


def near(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("shards", [1, 4])
def test_two_processes_train_as_one_on_every_backend(backend: Backend, shards: int) -> None:
    few_on_jax(backend, shards == 4)
    want = trained(single(), backend, shards=shards)
    for direct in (False, True) if not backend.name.startswith("jax") else (False,):
        one, two = run(2, lambda each: trained(each, backend, shards=shards), direct)
        for name, value in one.items():
            np.testing.assert_array_equal(two[name], value, err_msg=name)
        near(one, want)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("n", [N, 2])
def test_pieces_of_processes_without_shards_see_each_other(size: int, n: int) -> None:
    """Piece k of all processes is one batch of batch norm; some processes have fewer rows than pieces, or none."""
    pieces, (x, y) = 3, batch(0, n)
    bounds = [Part(size, r, r + 1).rows(n) for r in range(size)]
    most = min(pieces, max(b - a for a, b in bounds))

    def make() -> Any:
        return nn.Sequential(first=nn.Linear(6, 5), norm=nn.BatchNorm(5), scores=nn.Linear(5, 3)).initialize(1).train()

    def work(communicator: Threaded) -> Any:
        model, seen = make(), {}
        step = Step(
            model, nn.softmax_cross_entropy, SGD(model.parameters(), 0.0), communicator=communicator, shards=1,
            accumulate=pieces,
        )  # fmt: skip
        step.gradient_hook = lambda gradients: seen.update({id(p): np.array(g) for p, g in gradients.items()})
        a, b = bounds[communicator.rank]
        loss = float(step(x[a:b], y[a:b], n))
        return loss, [seen[id(p)] for p in model.parameters()], model.state_dict()

    whole = make()
    total: Any = 0.0
    for k in range(most):
        rows = [r for a, b in bounds for r in range(a + k * (b - a) // most, a + (k + 1) * (b - a) // most)]
        total = total + nn.softmax_cross_entropy(whole(Tensor(x[rows])), y[rows]) * (len(rows) / n)
    found = backward(total)
    want = [found[p] for p in whole.parameters()]
    for loss, seen, state in run(size, work):
        assert loss == pytest.approx(float(total.data), rel=1e-5)
        for got, gradient in zip(seen, want, strict=True):
            np.testing.assert_allclose(got, gradient, rtol=1e-4, atol=1e-6)
        for name, value in whole.state_dict().items():
            np.testing.assert_allclose(state[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("shards", "do"), [(1, "use one process"), (4, "use one process, and shards=1")])
@pytest.mark.parametrize(
    ("layer", "loss", "reason"),
    [
        (Pairs, nn.softmax_cross_entropy, "again (Pairs) depends on other examples of the batch"),
        (Silent, nn.softmax_cross_entropy, "again (Silent) does not say across_batch = False"),
        (nn.ReLU, lambda scores, labels: scores.mean(), "the loss is not known to be an average over examples"),
    ],
    ids=["across the batch", "unknown", "loss"],
)
def test_what_processes_would_compute_otherwise_is_one_error(
    layer: Any, loss: Any, reason: str, shards: int, do: str
) -> None:
    model = nn.Sequential(scores=nn.Linear(6, 3), again=layer())
    kind = "virtual shards" if shards > 1 else "several processes"
    with raises(ConfigError, "fit", f"a step that {kind} can compute", f"{reason}", do):
        Step(model, loss, SGD(model.parameters(), 0.1), communicator=Pretended(0, 2), shards=shards)


def test_a_step_of_which_the_host_sums_what_a_device_computed_is_not_captured_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    if text := problem("emulator"):
        pytest.skip(text)
    with caplog.at_level(logging.INFO, "xpnet"):
        run(2, lambda each: trained(each, "emulator", sizes=(N,), shards=1), direct=False)
    line = "fit runs eagerly: the processes sum on the host what emulator:emulated:0 computes"
    assert caplog.messages.count(line) == 2

    class OfHost(Pretended):
        def takes(self, backend: Backend) -> bool:
            return backend.on_host

    with raises(ConfigError, "fit", "code that capture=True can record", line.partition(": ")[2]):
        trained(OfHost(0, 2), "emulator", sizes=(N,), shards=1, capture=True)


def test_the_log_says_once_how_processes_compute(caplog: pytest.LogCaptureFixture) -> None:
    def said(rank: int, make: Callable[[], nn.Module] = net, **how: Any) -> list[str]:
        caplog.clear()
        model = make()
        with caplog.at_level(logging.INFO, "xpnet"):
            Step(
                model, nn.softmax_cross_entropy, SGD(model.parameters(), 0.1), communicator=Pretended(rank, 2), **how
            )  # fmt: skip
        return [text for text in caplog.messages if "processes" in text]

    whole = "steps are computed by 2 processes, 8 virtual shards, batch normalization over the whole batch"
    local = "steps are computed by 2 processes, no virtual shards, batch normalization over the part of each process"
    assert said(0) == [whole]
    assert said(1) == []
    assert said(0, shards=1, batch_norm="local") == [local]
    assert said(0, lambda: nn.Linear(6, 3)) == ["steps are computed by 2 processes, 8 virtual shards"]


class Trips(nn.Module):
    """Passes examples on, but for one of 100."""

    across_batch = False

    def forward(self, x: Tensor) -> Tensor:
        if len(x.data) and x.data.max() > 99:
            raise ShapeError("Trips", "no example of 100", x=100)
        return x


@pytest.mark.parametrize("row", [0, 4, 10])
@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_shard_that_others_wait_for_is_raised_once_and_the_next_step_trains(
    row: int, threads: int
) -> None:
    """With one thread at a time the others have not come to the layer yet, or wait in it."""
    norm = nn.BatchNorm(6)
    model = nn.Sequential(norm=norm, trips=Trips(), scores=nn.Linear(6, 3), last=nn.BatchNorm(3))
    step = Step(model.initialize(1), nn.softmax_cross_entropy, SGD(model.parameters(), 0.1), shards=4, threads=threads)
    before, running = model.state_dict(), threading.active_count()
    (x, y), wrong = batch(0), batch(0)[0]
    wrong[row] = 1e9
    norm.gamma.data[...] = 1e4  # so that the row is above 99 after the first layer, which all shards meet in
    before = model.state_dict()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            step(wrong, y)
        except ShapeError as error:
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "the shards wait for ever"
    assert len(raised) == 1
    assert str(raised[0]).startswith("trips (Trips)")
    assert threading.active_count() == running
    for name in ("scores.weight", "norm.gamma", "last.mean"):
        np.testing.assert_array_equal(model.state_dict()[name], before[name], err_msg=name)
    assert step.optimizer.steps == 0
    norm.gamma.data[...] = 1
    assert np.isfinite(float(step(x, y)))


def resumed(checkpoint: Any, **how: Any) -> Trainer:
    model = net().initialize(2)
    trainer = Trainer(model, SGD(model.parameters(), 0.1), seed=5, **how)
    if checkpoint is not None:
        trainer.resume(checkpoint)
    return trainer


def test_a_resume_takes_the_shards_of_the_checkpoint_or_says_that_others_give_other_bits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = batch(0, 50)
    first, whole = resumed(None, shards=4), resumed(None, shards=4)
    first.fit(data, epochs=1, batch_size=16)
    saved = first.checkpoint()
    whole.fit(data, epochs=3, batch_size=16)
    want = whole.model.state_dict()

    same, other = resumed(saved), resumed(saved, shards=3)
    line = "resume: the checkpoint is of a run with shards=4; with shards=3 it continues with other bits"
    assert [text for text in caplog.messages if text.startswith("resume")] == [line]
    for each, shards in ((same, 4), (other, 3)):
        each.fit(data, epochs=3, batch_size=16)
        assert each.processes.shards == shards
    for name, value in want.items():
        np.testing.assert_array_equal(same.model.state_dict()[name], value, err_msg=name)
    near(other.model.state_dict(), want)
    assert any((other.model.state_dict()[name] != value).any() for name, value in want.items())


@pytest.mark.parametrize("shards", [1, 4])
def test_a_trainer_on_a_device_with_processes_trains_as_on_the_host(shards: int) -> None:
    """One process captures its steps, if its shards do not wait for each other; two sum on the device, or the host."""
    if text := problem("emulator"):
        pytest.skip(text)
    data, test = batch(0, 50), batch(1, 20)

    def fitted(communicator: Any, where: str) -> dict[str, np.ndarray]:
        model = net().to(where).initialize(2)
        trainer = Trainer(model, SGD(model.parameters(), 0.1), seed=5, shards=shards, communicator=communicator)
        trainer.fit(data, test, epochs=2, batch_size=16)
        figures = [record[name] for record in trainer.history for name in ("train_loss", "test_loss")]
        return {**model.state_dict(), "losses": np.asarray(figures)}

    want = fitted(single(), "cpu")
    near(fitted(single(), "emulator"), want)
    for direct in (True, False):
        one, two = run(2, lambda each: fitted(each, "emulator"), direct)
        for name, value in one.items():
            np.testing.assert_array_equal(two[name], value, err_msg=name)
        near(one, want)


@pytest.mark.parametrize("shards", [1, 4])
def test_a_parameter_without_a_gradient_in_any_process_stays_as_it_is(shards: int) -> None:
    """With weight decay a gradient of zeros would change it."""

    class Aside(nn.Module):
        across_batch = False

        def __init__(self) -> None:
            self.used, self.unused = nn.Linear(6, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    def work(communicator: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        model = Aside().initialize(1)
        optimizer = SGD(model.parameters(), 0.1, weight_decay=0.5)
        step = Step(model, nn.softmax_cross_entropy, optimizer, communicator=communicator, shards=shards)
        before, (x, y) = model.state_dict(), batch(0)
        rows = slice(*step.processes.part.rows(N))
        step(x[rows], y[rows], N)
        return before, model.state_dict()

    for before, after in run(2, work):
        np.testing.assert_array_equal(after["unused.weight"], before["unused.weight"])
        assert not np.array_equal(after["used.weight"], before["used.weight"])


def test_averages_of_shards_by_themselves_are_the_weighted_mean_in_each_process() -> None:
    """Layers see 4 shards of 2, 3, 3 and 3 rows; each renews the averages from where they were."""
    x, y = batch(0)
    want = 0.0
    for a, b in [Part(4, i, i + 1).rows(N) for i in range(4)]:
        want = want + (b - a) / N * 0.1 * x[a:b].astype(np.float64).mean(axis=0)

    def work(communicator: Any) -> np.ndarray:
        own = nn.Sequential(norm=nn.BatchNorm(6), scores=nn.Linear(6, 3)).initialize(1).train()
        how: Any = {"communicator": communicator, "shards": 4, "batch_norm": "local"}
        step = Step(own, nn.softmax_cross_entropy, SGD(own.parameters(), 0.1), **how)
        rows = slice(*step.processes.part.rows(N))
        step(x[rows], y[rows], N)
        return own.state_dict()["norm.mean"]

    for size in (1, 2, 3):
        for got in run(size, work):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def without_norm() -> nn.Sequential:
    return nn.Sequential(first=nn.Linear(6, 5), drop=nn.Dropout(0.3), act=nn.Tanh(), scores=nn.Linear(5, 3))


@pytest.mark.parametrize("make", [net, without_norm], ids=["batch norm", "no batch norm"])
@pytest.mark.parametrize("shards", [1, 4])
def test_processes_and_shards_weigh_and_draw_as_a_plain_step_does(make: Any, shards: int) -> None:
    want = trained(single(), "cpu", make)
    near(trained(single(), "cpu", make, shards=shards), want)
    for each in run(3, lambda communicator: trained(communicator, "cpu", make, shards=shards)):
        near(each, want)


def test_three_processes_merge_the_statistics_of_eight_shards_in_the_order_of_one() -> None:
    want = trained(single(), "cpu", shards=8, sizes=(40, 40))
    for got in run(3, lambda communicator: trained(communicator, "cpu", shards=8, sizes=(40, 40))):
        for name, value in want.items():
            np.testing.assert_array_equal(got[name], value, err_msg=name)
