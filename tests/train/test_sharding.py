"""Sharded steps: the same result as unsharded ones, errors that leave all as it was, and when steps are sharded."""

from __future__ import annotations

import logging
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.harness import few_on_jax, raises
from tests.train.fitting import InterruptAt, assert_same_state, noisy_net, some_digits, trainer
from tests.train.shardable import ONE, batch, net
from xpnet import models, nn, random
from xpnet.autograd import Tensor
from xpnet.backend import Backend, can_limit_blas, shut_down_workers, use_backend, use_cores
from xpnet.data import Normalize
from xpnet.errors import ConfigError, ShapeError
from xpnet.optim import SGD, LossScale
from xpnet.train import Callback, RunConfig, Step, Trainer, sharding, train_run
from xpnet.train.runs.config import resumed_config
from xpnet.train.sharding import Division, divide


def step_of(
    model: nn.Module, loss: Any = nn.softmax_cross_entropy, lr: float = 0.1, threads: int = 1, **how: Any
) -> Step:
    """An eager step that is sharded over threads, on any backend; unsharded by default."""
    step = Step(model, loss, SGD(model.parameters(), lr, momentum=0.9), threads=1, capture=False, **how)
    step.threads = threads
    return step


def train(backend: Backend, dtype: str, n: int, threads: int = 1) -> Any:
    """Three steps; returns losses, gradients of the first step and what the parameters became, on the host."""
    with use_backend(backend):
        model = net().to(dtype=dtype).train()
    model.initialize(5)
    shown: list[dict[str, np.ndarray]] = []

    def hook(gradients: dict[Tensor, Any]) -> None:
        shown.append({p.path: backend.to_numpy(g) for p, g in gradients.items()})  # type: ignore[attr-defined]

    step, losses = step_of(model, threads=threads), []
    step.gradient_hook = hook
    for i in range(3):
        x, y = batch(n, seed=i)
        with random.use(random.StepContext(7, 0, i)):
            given = backend.from_numpy(x.astype(dtype)), backend.from_numpy(y)
            losses.append(float(backend.to_numpy(step(*given))))
    return np.asarray(losses), shown[0], model.state_dict()


@pytest.fixture(params=["all of it", "a body"])
def split_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether all of the model is sharded, or the body alone."""
    if request.param == "a body":
        monkeypatch.setattr(sharding, "LARGE", 1)
    assert divide(net(), (7, *ONE), 3) == Division(3, 6 - 1 if request.param == "a body" else None)  # relu1 is fused
    return request.param


def near(got: np.ndarray, want: np.ndarray, dtype: str, what: str) -> None:
    """Equal but for the rounding of sums of some hundred terms of size 1."""
    np.testing.assert_allclose(got, want, rtol=0, atol=300 * np.finfo(dtype).eps, err_msg=what)


@pytest.mark.parametrize("n", [7, 2, 1])
def test_a_step_in_three_shards_is_the_unsharded_step_to_rounding(backend: Backend, split_at: str, n: int) -> None:
    few_on_jax(backend, chosen=n == 2 and split_at == "a body")
    wide = hasattr(backend.xp, "float64") and "no_float64" not in backend.spec and backend.name != "jax"
    dtype = "float64" if wide else "float32"  # jax's switch to float64 holds for one thread alone
    unsharded, sharded = train(backend, dtype, n), train(backend, dtype, n, threads=3)
    near(sharded[0], unsharded[0], dtype, "losses")
    for kind in (1, 2):
        assert sharded[kind].keys() == unsharded[kind].keys()
        for name, want in unsharded[kind].items():
            near(sharded[kind][name], want, dtype, name)
            assert sharded[kind][name].dtype == np.dtype(dtype)


def test_a_sharded_run_repeats_bit_for_bit(split_at: str) -> None:
    def run() -> dict[str, np.ndarray]:
        t = trainer(net_of_digits(), threads=3)
        t.fit(some_digits(100), epochs=2, batch_size=32)
        return t.model.state_dict()

    first, second = run(), run()
    for name, want in first.items():
        np.testing.assert_array_equal(second[name], want, err_msg=name)


def net_of_digits() -> nn.Sequential:
    return nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, padding=1),
        relu=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        drop=nn.Dropout(0.3),
        scores=nn.Linear(64, 10),
    )


def test_gradients_are_what_is_worked_out_by_hand() -> None:
    """y = w x, loss the mean of (y - t)^2: dw = 2/5 * sum of (w x - t) x = 2/5 * (1*1 + 0*2 + 1*3 + 0*4 + 1*5)."""
    layer = nn.Linear(1, 1, bias=False)
    layer.load_state_dict({"weight": np.asarray([[1.0]], np.float32)})
    seen: list[float] = []
    step = step_of(layer, nn.mean_squared_error, 1.0, threads=2)
    step.gradient_hook = lambda g: seen.extend(float(v[0, 0]) for v in g.values())
    x = np.asarray([[1.0], [2.0], [3.0], [4.0], [5.0]], np.float32)
    loss = step(x, np.asarray([[0.0], [2.0], [2.0], [4.0], [4.0]], np.float32))
    assert (float(loss), seen) == (pytest.approx(3 / 5), [pytest.approx(18 / 5)])
    assert float(layer.weight.data[0, 0]) == pytest.approx(1 - 18 / 5)


def test_each_shard_draws_the_rows_of_the_batchs_mask() -> None:
    seen: dict[int, np.ndarray] = {}

    class Keep(nn.Module):
        across_batch = False

        def forward(self, x: Tensor) -> Tensor:
            seen[len(x.data)] = x.data.copy()
            return x

    model = nn.Sequential(nn.Linear(4, 30, bias=False), nn.Dropout(0.5), Keep(), nn.Linear(30, 2)).train()
    ones, labels = np.ones((5, 4), np.float32), np.zeros(5, np.int64)
    with random.use(random.StepContext(3, 1, 4)):
        step_of(model, lr=0.0, threads=2)(ones, labels)
        step_of(model, lr=0.0)(ones, labels)
    assert np.unique(seen[5] == 0).size == 2
    np.testing.assert_array_equal(np.concatenate([seen[2], seen[3]]) == 0, seen[5] == 0)


def test_outside_of_a_trainer_masks_are_those_of_unsharded_steps() -> None:
    def run(threads: int) -> np.ndarray:
        model = nn.Sequential(nn.Linear(4, 30), nn.Dropout(0.5), nn.Linear(30, 2)).initialize(1).train()
        step = step_of(model, threads=threads)
        return np.asarray([float(step(np.ones((5, 4), np.float32), np.arange(5) % 2)) for _ in range(4)])

    near(run(2), run(1), "float32", "losses")


def drops_twice(**how: Any) -> list[float]:
    """The losses of steps with a network that has one Dropout at two places."""
    model = net(0.5)
    model.drop = model.drop1
    step = step_of(model.initialize(5).train())
    step.captured.capture = how.get("capture", False)
    step.threads, losses = how.get("threads", 1), []
    for i in range(6):
        x, y = batch(12, seed=i)
        with random.use(random.StepContext(7, 0, i)):
            losses.append(float(step(x.astype(np.float32), y)))
    return losses


@pytest.mark.parametrize("how", [{"threads": 3}, {"capture": True}, {"threads": 3, "capture": True}], ids=str)
def test_a_dropout_at_two_places_draws_the_same_masks_in_shards_and_in_replays(split_at: str, how: Any) -> None:
    np.testing.assert_allclose(drops_twice(**how), drops_twice(), rtol=1e-5)


def test_a_parameter_of_body_and_head_gets_both_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(threads: int) -> np.ndarray:
        shared = nn.Linear(6, 6)
        layers: dict[str, nn.Module] = {"conv": nn.Conv2d(2, 6, 3), "mix": shared, "conv2": nn.Conv2d(6, 2, (4, 1))}
        model = nn.Sequential(**layers, flatten=nn.Flatten(), again=shared).initialize(2)
        x, y = batch(7)
        step_of(model, threads=threads)(x.astype(np.float32), y)
        return model.state_dict()["mix.weight"]

    monkeypatch.setattr(sharding, "LARGE", 1)
    near(run(2), run(1), "float32", "mix.weight")


def test_a_body_without_anything_to_learn_is_passed_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "LARGE", 1)
    model = net(0.0)
    model[0].weight.requires_grad = model[0].bias.requires_grad = False  # type: ignore[attr-defined]
    model[3].weight.requires_grad = model[3].bias.requires_grad = False  # type: ignore[attr-defined]
    whole = net(0.0)
    x, y = batch(6)
    losses = []
    for m, threads in ((model, 2), (whole, 1)):
        trained = [p for p in m.parameters() if p.path.startswith(("hidden", "scores"))]
        step = Step(m, nn.softmax_cross_entropy, SGD(trained, 0.5), threads=threads, capture=False)
        losses.append([float(step(x.astype(np.float32), y)) for _ in range(3)])
    near(np.asarray(losses[0]), np.asarray(losses[1]), "float32", "losses")


def test_a_sharded_run_interrupted_and_resumed_is_the_run_that_was_not() -> None:
    def run(*callbacks: Callback, epochs: int = 3, t: Any = None) -> Trainer:
        t = t or trainer(net_of_digits(), callbacks=callbacks, threads=2)
        t.fit(some_digits(100), epochs=epochs, batch_size=32)  # the last of 4 batches has 4 examples
        return t

    stopped = run(InterruptAt(1, 2))
    assert stopped.interrupted
    resumed = trainer(net_of_digits(), threads=2)
    resumed.resume(stopped.checkpoint())
    assert_same_state(run(t=resumed).checkpoint(), run().checkpoint())


# Errors.


class Trip(nn.Module):
    """Passes on what comes, until it meets the marked example: then it does something else."""

    across_batch = False

    def __init__(self, do: Any) -> None:
        self.do = do

    def forward(self, x: Tensor) -> Tensor:
        if x.data.max() > 99:
            self.do()
        return x


def stumbling(do: Any) -> nn.Sequential:
    return nn.Sequential(
        conv=nn.Conv2d(2, 4, 3), trip=Trip(do), flatten=nn.Flatten(), scores=nn.Linear(48, 4)
    ).initialize(1)


def fail() -> None:
    raise ShapeError("Trip", "no example of 100", x=100)


def interrupt() -> None:
    raise KeyboardInterrupt


def interrupt_the_main_thread() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    time.sleep(0.1)


@pytest.mark.parametrize(
    ("do", "error", "row"),
    [
        pytest.param(fail, ShapeError, 6, id="an error in the last shard"),
        pytest.param(fail, ShapeError, 0, id="an error in the first shard"),
        pytest.param(interrupt, KeyboardInterrupt, 6, id="an interrupt in the last shard"),
        pytest.param(interrupt_the_main_thread, KeyboardInterrupt, 6, id="Ctrl-C from outside"),
    ],
)
def test_an_error_leaves_model_and_optimizer_as_they_were_and_no_thread(
    do: Any, error: type[BaseException], row: int, split_at: str
) -> None:
    shut_down_workers()
    threads = threading.active_count()
    model = stumbling(do)
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    step = Step(model, nn.softmax_cross_entropy, optimizer, threads=3, capture=False)
    x, y = batch(7)
    x = x.astype(np.float32)
    step(x, y)
    before = model.state_dict(), optimizer.state_dict()
    x[row] = 100
    with pytest.raises(error) as caught:
        step(x, y)
    if error is ShapeError:
        assert str(caught.value) == "trip (Trip): expected no example of 100, got x 100"
    after = model.state_dict(), optimizer.state_dict()
    for name, want in before[0].items():
        np.testing.assert_array_equal(after[0][name], want, err_msg=name)
    for name, want in before[1][0].items():
        np.testing.assert_array_equal(after[1][0][name], want, err_msg=name)
    assert after[1][1] == before[1][1]
    shut_down_workers()
    assert threading.active_count() == threads


def test_a_fit_leaves_no_thread_behind_whether_it_ends_or_fails() -> None:
    before = threading.active_count()
    trainer(net_of_digits(), threads=3).fit(some_digits(100), epochs=1)
    assert threading.active_count() == before
    x, y = batch(40)
    x[33] = 100
    model = stumbling(fail)
    with pytest.raises(ShapeError, match="trip"):
        Trainer(model, threads=3, normalize=Normalize((0.0,), (1.0,), 1.0)).fit(
            (x.astype(np.float32), y), epochs=1, batch_size=40
        )
    assert threading.active_count() == before


def test_too_few_scores_are_an_error_of_a_sharded_step_too(split_at: str) -> None:
    step = step_of(net(), threads=2, classes=9)
    x, y = batch(6)
    with raises(ShapeError, "fit", "K 9"):
        step(x.astype(np.float32), y)


# When.


def made(model: nn.Module, loss: Any = nn.softmax_cross_entropy, threads: int | None = None, cores: int = 2) -> Step:
    with use_cores(cores):
        return Step(model, loss, SGD(model.parameters(), 0.1), threads=threads)


def why(caplog: pytest.LogCaptureFixture, model: nn.Module, loss: Any = nn.softmax_cross_entropy, **how: Any) -> str:
    """Why a step is unsharded, as the log says and, where threads are asked for, the error."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "xpnet"):
        assert made(model, loss, **how).threads == 1
    reason = caplog.messages[-1].removeprefix("steps are computed unsharded: ")
    if not how:
        with raises(ConfigError, "fit", "a step that threads=2 can shard", reason):
            made(model, loss, threads=2)
    return reason


def test_steps_with_batch_norm_are_not_sharded(caplog: pytest.LogCaptureFixture) -> None:
    assert why(caplog, noisy_net()) == "norm (BatchNorm) depends on other examples of the batch"


def test_steps_with_a_softmax_over_another_axis_than_the_last_are_not_sharded(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softmax(0))
    assert why(caplog, model) == "1 (Softmax) depends on other examples of the batch"
    assert made(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softmax()), threads=2).threads == 2


class Own(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(axis=0, keepdims=True)


class Declared(Own):
    across_batch = False


class OnlyRenamed(nn.Linear):
    pass


def test_a_custom_module_has_to_declare_that_it_treats_each_example_alone(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(a=nn.Linear(2, 2), own=Own())
    assert why(caplog, model) == "own (Own) does not say across_batch = False"
    assert made(nn.Sequential(a=nn.Linear(2, 2), own=Declared()), threads=2).threads == 2
    assert made(nn.Sequential(a=OnlyRenamed(2, 2)), threads=2).threads == 2


def weighted() -> Any:
    return partial(nn.softmax_cross_entropy, class_weights=np.ones(4, np.float32))


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(lambda scores, labels: nn.softmax_cross_entropy(scores, labels), id="custom"),
        pytest.param(weighted(), id="class weights"),
        pytest.param(partial(weighted(), label_smoothing=0.1), id="class weights further in"),
        pytest.param(partial(nn.softmax_cross_entropy, reduction="sum"), id="a sum"),
        pytest.param(partial(nn.hinge_loss, 3), id="an argument without a name"),
    ],
)
def test_steps_with_a_loss_that_is_not_known_to_be_an_average_are_not_sharded(
    loss: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert why(caplog, net(), loss).startswith("the loss is not known to be an average over examples")


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(nn.hinge_loss, id="as it is"),
        pytest.param(partial(nn.softmax_cross_entropy, label_smoothing=0.1), id="smoothed"),
        pytest.param(partial(partial(nn.hinge_loss, reduction="sum"), reduction="mean"), id="a mean after all"),
        pytest.param(nn.averages_examples(lambda a, b: nn.hinge_loss(a, b)), id="marked"),
        pytest.param(nn.averages_examples(partial(lambda n, a, b: nn.hinge_loss(a, b), 1)), id="a marked partial"),
    ],
)
def test_steps_with_an_average_over_examples_are_sharded(loss: Any) -> None:
    assert made(net(), loss, threads=2).threads == 2


@pytest.mark.parametrize("loss", [nn.softmax_cross_entropy, nn.hinge_loss, nn.perceptron_loss, nn.mean_squared_error,
                                  nn.binary_cross_entropy], ids=lambda loss: loss.__name__)  # fmt: skip
def test_every_marked_loss_is_the_average_of_its_shards(loss: Any) -> None:
    draw = np.random.default_rng(3)
    scores = draw.normal(size=(7, 4))
    labels = draw.integers(0, 4, 7) if "softmax" in loss.__name__ or loss in (nn.hinge_loss, nn.perceptron_loss) else (
        draw.uniform(size=(7, 4)))  # fmt: skip
    assert nn.is_average(loss)
    parts = [(loss(Tensor(scores[a:b]), labels[a:b]).item(), b - a) for a, b in ((0, 2), (2, 7))]
    assert sum(value * n for value, n in parts) / 7 == pytest.approx(loss(Tensor(scores), labels).item(), rel=1e-12)


def test_steps_on_a_backend_with_threads_of_its_own_are_not_sharded(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("torch")
    model = net().to("torch")
    with use_cores(2), caplog.at_level(logging.INFO, "xpnet"):
        assert made(model).threads == 1
        assert not caplog.messages
        with raises(ConfigError, "fit", "torch:cpu divides work among threads itself"):
            made(model, threads=2)


def test_steps_on_one_core_or_with_a_blas_that_cannot_be_limited_are_sharded_only_where_threads_are_given(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert why(caplog, net(), cores=1) == "one thread computes here"
    monkeypatch.setattr(sharding, "can_limit_blas", lambda: False)
    assert "cannot be limited to one thread" in why(caplog, net(), cores=2)
    assert made(net(), threads=2, cores=1).threads == 2


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_threads_are_a_whole_number_above_zero(threads: Any) -> None:
    with raises(ConfigError, "threads", f"threads {threads}"):
        Trainer(net(), threads=threads)


def division(name: str, shape: tuple[int, ...], n: int, classes: int = 10, threads: int | None = None) -> Division:
    with use_cores(2):
        return divide(models.build(name, shape, classes), (n, *shape), threads)


def test_a_batch_with_too_little_work_is_sharded_only_where_threads_are_given() -> None:
    assert division("lenet5", (28, 28, 1), 1) == Division(1)
    assert division("lenet5", (28, 28, 1), 1, threads=2) == Division(1)  # one example cannot be divided
    assert division("lenet5", (28, 28, 1), 2) == Division(1)
    assert division("lenet5", (28, 28, 1), 2, threads=2) == Division(2)
    assert division("lenet5", (28, 28, 1), 64) == Division(2)


@pytest.mark.parametrize("n", [1, 64, 512])
@pytest.mark.parametrize("name", ["softmax", "mlp"])
def test_dense_networks_are_not_sharded(name: str, n: int) -> None:
    assert division(name, (28, 28, 1), n).shards == 1
    assert divide(models.mlp(hidden=(1024, 1024)), (n, 28, 28, 1)).shards == 1


def test_a_large_dense_tail_is_a_head() -> None:
    shards, body = division("alexnet", (227, 227, 3), 16, 1000)
    calls = models.alexnet().calls()
    assert shards == 2
    assert body is not None
    assert [layer.path for layer, _ in calls[body - 1 : body + 1]] == ["flatten", "fc6"]


def test_a_custom_model_is_divided_by_its_cost_and_unsharded_where_that_is_not_known() -> None:
    class Wrapped(nn.Module):
        across_batch = False

        def __init__(self) -> None:
            self.inner = models.lenet5()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    class Costed(Wrapped):
        def cost(self, shape: tuple[int, ...]) -> nn.Cost:
            return self.inner.cost(shape)

    with use_cores(2):
        assert divide(Wrapped(), (64, 28, 28, 1)) == Division(1)
        assert divide(Wrapped(), (64, 28, 28, 1), 2) == Division(2)
        assert divide(Costed(), (64, 28, 28, 1)) == Division(2)


def test_an_input_that_does_not_fit_is_the_layers_own_error() -> None:
    step = step_of(net(), threads=2)
    with raises(ShapeError, "conv1 (conv2d)", "(6, 6, 5, 3)"):
        step(np.zeros((6, 6, 5, 3), np.float32), np.zeros(6, np.int64))


def test_a_watch_sees_unsharded_batches() -> None:
    step = step_of(net(), threads=3)
    x, y = batch(7)
    with nn.watch() as seen:
        step(x.astype(np.float32), y)
    assert {len(each.data) for each in seen.values()} == {7}


def test_the_log_says_once_how_each_size_of_batch_is_computed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_limit_blas():
        pytest.skip("no BLAS that can be limited")
    monkeypatch.setattr(sharding, "WORTH", 100_000)
    monkeypatch.setattr(sharding, "LARGE", 1)
    with caplog.at_level(logging.INFO, "xpnet"), use_cores(2):
        trainer(net_of_digits()).fit(some_digits(100), epochs=2, batch_size=96)
    assert [m for m in caplog.messages if m.startswith("steps")] == [
        "steps of 96 examples are computed in 2 shards, a thread each, unsharded from scores on",
        "steps of 4 examples are computed unsharded",
    ]


def test_sharded_half_precision_is_unsharded_half_precision_to_its_rounding(
    split_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LossScale, "FIRST", 64.0)  # none overflows, so that the first update is made

    def run(threads: int) -> tuple[float, dict[str, np.ndarray]]:
        model = net().initialize(5).train()
        step = step_of(model, lr=1.0, threads=threads, precision="fp16")
        x, y = batch(7)
        with random.use(random.StepContext(7, 0, 0)), np.errstate(all="ignore"):
            loss = step(x.astype(np.float32), y)
        return float(loss), model.state_dict()

    sharded, unsharded, first = run(3), run(1), net().initialize(5).state_dict()
    assert sharded[0] == pytest.approx(unsharded[0], abs=2e-3)
    assert max(np.abs(unsharded[1][name] - first[name]).max() for name in first) > 0.1
    for name, want in unsharded[1].items():
        np.testing.assert_allclose(sharded[1][name], want, rtol=0, atol=2e-3, err_msg=name)


def test_a_run_keeps_its_threads_in_its_configuration_and_may_be_resumed_with_others(tmp_path: Path) -> None:
    config = RunConfig(model="lenet5", epochs=0, threads=2)
    with raises(ConfigError, "threads", "threads 0"):
        RunConfig(threads=0)
    train_run(config, tmp_path / "run")
    assert resumed_config(tmp_path / "run", {}).threads == 2
    assert resumed_config(tmp_path / "run", {"threads": 1}).threads == 1
