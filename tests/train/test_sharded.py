"""Steps computed in parts, a thread each: the same result as whole ones, faults that leave all as it was, and when."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.harness import few_on_jax, raises
from tests.train.fitting import InterruptAt, assert_same_state, noisy_net, some_digits, trainer
from xpnet import models, nn, random
from xpnet.autograd import Tensor
from xpnet.backend import Backend, can_limit_blas, shut_down_workers, use_backend, use_cores
from xpnet.errors import ConfigError, ShapeError
from xpnet.optim import SGD, LossScale
from xpnet.train import Callback, EagerStep, RunConfig, Trainer, sharded, train_run
from xpnet.train.planned import PlannedStep
from xpnet.train.run import resumed_config
from xpnet.train.sharded import Division, ShardedStep, choose_step, divide

ONE = (6, 5, 2)  # an image


def net(rate: float = 0.3) -> nn.Sequential:
    """A network whose body has two convolutions and whose dense tail draws masks."""
    return nn.Sequential(
        conv1=nn.Conv2d(2, 4, 3, padding=1),
        relu1=nn.ReLU(),
        drop1=nn.Dropout(rate),
        conv2=nn.Conv2d(4, 3, 3, stride=2),
        pool2=nn.MaxPool2d(2, stride=1),
        flatten=nn.Flatten(),
        hidden=nn.Linear(3, 5),
        relu3=nn.ReLU(),
        drop=nn.Dropout(rate),
        scores=nn.Linear(5, 4),
    )


def batch(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(n, *ONE)), draw.integers(0, 4, n)


def train(kind: type[EagerStep], backend: Backend, dtype: str, n: int, loss: Any = None, **options: Any) -> Any:
    """Three steps; returns losses, gradients of the first step and what the parameters became, on the host."""
    with use_backend(backend):
        model = net().to(dtype=dtype).train()
    model.initialize(5)
    shown: list[dict[str, np.ndarray]] = []

    def look(gradients: dict[Tensor, Any]) -> None:
        shown.append({p.path: backend.to_numpy(g) for p, g in gradients.items()})  # type: ignore[attr-defined]

    step = kind(
        model, loss or nn.softmax_cross_entropy, SGD(model.parameters(), 0.1, momentum=0.9), look=look, **options
    )
    losses = []
    for i in range(3):
        x, y = batch(n, seed=i)
        with random.use(random.StepContext(7, 0, i)):
            given = backend.from_numpy(x.astype(dtype)), backend.from_numpy(y)
            losses.append(float(backend.to_numpy(step(*given))))
    return np.asarray(losses), shown[0], model.state_dict()


@pytest.fixture(params=["all of it", "a body"])
def split_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether all of the model is computed in parts, or the body alone."""
    if request.param == "a body":
        monkeypatch.setattr(sharded, "LARGE", 1)
    assert divide(net(), (7, *ONE), 3) == Division(3, 6 - 1 if request.param == "a body" else None)  # relu1 is fused
    return request.param


def near(got: np.ndarray, want: np.ndarray, dtype: str, what: str) -> None:
    """Equal but for the rounding of sums of some hundred terms of size 1."""
    np.testing.assert_allclose(got, want, rtol=0, atol=300 * np.finfo(dtype).eps, err_msg=what)


@pytest.mark.parametrize("n", [7, 2, 1])
def test_a_step_in_three_parts_is_the_whole_step_to_rounding(backend: Backend, split_at: str, n: int) -> None:
    few_on_jax(backend, chosen=n == 7 and split_at == "a body")
    dtype = "float64" if hasattr(backend.xp, "float64") and "no_float64" not in backend.spec else "float32"
    whole = train(EagerStep, backend, dtype, n)
    parts = train(ShardedStep, backend, dtype, n, threads=3)
    near(parts[0], whole[0], dtype, "losses")
    for kind in (1, 2):
        assert parts[kind].keys() == whole[kind].keys()
        for name, want in whole[kind].items():
            near(parts[kind][name], want, dtype, name)


def test_in_float32_it_is_so_too(split_at: str) -> None:
    from xpnet.backend import get_backend

    backend = get_backend("numpy")
    whole, parts = train(EagerStep, backend, "float32", 7), train(ShardedStep, backend, "float32", 7, threads=3)
    for name, want in whole[1].items():
        near(parts[1][name], want, "float32", name)
    assert parts[1][name].dtype == np.float32


def test_a_run_in_parts_repeats_bit_for_bit(split_at: str) -> None:
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
    step = ShardedStep(
        layer,
        nn.mean_squared_error,
        SGD(layer.parameters(), 1.0),
        look=lambda g: seen.extend(float(v[0, 0]) for v in g.values()),
        threads=2,
    )
    x = np.asarray([[1.0], [2.0], [3.0], [4.0], [5.0]], np.float32)
    loss = step(x, np.asarray([[0.0], [2.0], [2.0], [4.0], [4.0]], np.float32))
    assert (float(loss), seen) == (pytest.approx(3 / 5), [pytest.approx(18 / 5)])
    assert float(layer.weight.data[0, 0]) == pytest.approx(1 - 18 / 5)


def test_each_part_draws_the_rows_of_the_batchs_mask() -> None:
    seen: dict[int, np.ndarray] = {}

    class Note(nn.Module):
        across_batch = False

        def forward(self, x: Tensor) -> Tensor:
            seen[len(x.data)] = x.data.copy()
            return x

    model = nn.Sequential(nn.Linear(4, 30, bias=False), nn.Dropout(0.5), Note(), nn.Linear(30, 2)).train()
    step = ShardedStep(model, nn.softmax_cross_entropy, SGD(model.parameters(), 0.0), threads=2)
    ones, labels = np.ones((5, 4), np.float32), np.zeros(5, np.int64)
    with random.use(random.StepContext(3, 1, 4)):
        step(ones, labels)
        EagerStep(model, nn.softmax_cross_entropy, SGD(model.parameters(), 0.0))(ones, labels)
    assert np.unique(seen[5] == 0).size == 2
    np.testing.assert_array_equal(np.concatenate([seen[2], seen[3]]) == 0, seen[5] == 0)


def test_outside_of_a_trainer_masks_are_those_of_whole_steps() -> None:
    def run(kind: Any, **options: Any) -> np.ndarray:
        model = nn.Sequential(nn.Linear(4, 30), nn.Dropout(0.5), nn.Linear(30, 2)).initialize(1).train()
        step = kind(model, nn.softmax_cross_entropy, SGD(model.parameters(), 0.1), **options)
        return np.asarray([float(step(np.ones((5, 4), np.float32), np.arange(5) % 2)) for _ in range(4)])

    near(run(ShardedStep, threads=2), run(EagerStep), "float32", "losses")


def test_a_parameter_of_body_and_head_gets_both_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(kind: Any, **options: Any) -> np.ndarray:
        shared = nn.Linear(6, 6)
        layers: dict[str, nn.Module] = {"conv": nn.Conv2d(2, 6, 3), "mix": shared, "conv2": nn.Conv2d(6, 2, (4, 1))}
        model = nn.Sequential(**layers, flatten=nn.Flatten(), again=shared).initialize(2)
        step = kind(model, nn.softmax_cross_entropy, SGD(model.parameters(), 0.1), **options)
        x, y = batch(7)
        step(x.astype(np.float32), y)
        return model.state_dict()["mix.weight"]

    monkeypatch.setattr(sharded, "LARGE", 1)
    near(run(ShardedStep, threads=2), run(EagerStep), "float32", "mix.weight")


def test_a_body_without_anything_to_learn_is_passed_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded, "LARGE", 1)
    model = net(0.0)
    model[0].weight.requires_grad = model[0].bias.requires_grad = False  # type: ignore[attr-defined]
    model[3].weight.requires_grad = model[3].bias.requires_grad = False  # type: ignore[attr-defined]
    whole = net(0.0)
    x, y = batch(6)
    losses = []
    for kind, m, options in ((ShardedStep, model, {"threads": 2}), (EagerStep, whole, {})):
        trained = [p for p in m.parameters() if p.path.startswith(("hidden", "scores"))]
        step = kind(m, nn.softmax_cross_entropy, SGD(trained, 0.5), **options)
        losses.append([float(step(x.astype(np.float32), y)) for _ in range(3)])
    near(np.asarray(losses[0]), np.asarray(losses[1]), "float32", "losses")


def test_a_run_in_parts_interrupted_and_resumed_is_the_run_that_was_not() -> None:
    def run(*callbacks: Callback, epochs: int = 3, t: Any = None) -> Trainer:
        t = t or trainer(net_of_digits(), callbacks=callbacks, threads=2)
        t.fit(some_digits(100), epochs=epochs, batch_size=32)  # the last of 4 batches has 4 examples
        return t

    stopped = run(InterruptAt(1, 2))
    assert stopped.interrupted
    resumed = trainer(net_of_digits(), threads=2)
    resumed.resume(stopped.checkpoint())
    assert_same_state(run(t=resumed).checkpoint(), run().checkpoint())


# Faults.


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
    raise ShapeError("Trip", "nobody stumbles", height=3)


def interrupt() -> None:
    raise KeyboardInterrupt


def interrupt_the_main_thread() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    time.sleep(0.1)


@pytest.mark.parametrize(
    ("do", "error", "row"),
    [
        pytest.param(fail, ShapeError, 6, id="an error in the last part"),
        pytest.param(fail, ShapeError, 0, id="an error in the first part"),
        pytest.param(interrupt, KeyboardInterrupt, 6, id="an interrupt in the last part"),
        pytest.param(interrupt_the_main_thread, KeyboardInterrupt, 6, id="Ctrl-C from outside"),
    ],
)
def test_a_fault_leaves_model_and_optimizer_as_they_were_and_no_thread(
    do: Any, error: type[BaseException], row: int, split_at: str
) -> None:
    shut_down_workers()
    threads = threading.active_count()
    model = stumbling(do)
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    step = ShardedStep(model, nn.softmax_cross_entropy, optimizer, threads=3)
    x, y = batch(7)
    x = x.astype(np.float32)
    step(x, y)
    before = model.state_dict(), optimizer.state_dict()
    x[row] = 100
    with pytest.raises(error) as caught:
        step(x, y)
    if error is ShapeError:
        assert str(caught.value) == "trip (Trip): nobody stumbles, got height 3"
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
        Trainer(model, threads=3).fit((x.astype(np.float32), y), epochs=1, batch_size=40)
    assert threading.active_count() == before


def test_too_few_scores_are_an_error_of_a_step_in_parts_too(split_at: str) -> None:
    model = net()
    step = ShardedStep(model, nn.softmax_cross_entropy, SGD(model.parameters(), 0.1), 9, threads=2)
    x, y = batch(6)
    with raises(ShapeError, "fit", "K 9"):
        step(x.astype(np.float32), y)


# When.


def chosen(model: nn.Module, loss: Any = nn.softmax_cross_entropy, threads: int | None = None, count: int = 2) -> Any:
    with use_cores(count):
        return choose_step(model, loss, SGD(model.parameters(), 0.1), threads=threads)


def why(caplog: pytest.LogCaptureFixture, model: nn.Module, loss: Any = nn.softmax_cross_entropy, **how: Any) -> str:
    """Why a step is whole, as the log says and, where threads are asked for, the error."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "xpnet"):
        assert type(chosen(model, loss, **how)) is PlannedStep
    said = caplog.messages[-1].removeprefix("steps are computed whole: ")
    if not how:
        with raises(ConfigError, "fit", said):
            chosen(model, loss, threads=2)
    return said


def test_batch_norm_keeps_a_step_whole(caplog: pytest.LogCaptureFixture) -> None:
    assert why(caplog, noisy_net()) == "norm (BatchNorm) looks across the batch"


def test_a_softmax_over_another_axis_than_the_last_does_too(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softmax(0))
    assert why(caplog, model) == "1 (Softmax) looks across the batch"
    assert type(chosen(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softmax()), threads=2)) is ShardedStep


class Own(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(axis=0, keepdims=True)


class Declared(Own):
    across_batch = False


class OnlyRenamed(nn.Linear):
    pass


def test_a_module_of_ones_own_has_to_say_that_it_treats_each_example_alone(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(a=nn.Linear(2, 2), own=Own())
    assert why(caplog, model) == "own (Own) does not say across_batch = False"
    assert type(chosen(nn.Sequential(a=nn.Linear(2, 2), own=Declared()), threads=2)) is ShardedStep
    assert type(chosen(nn.Sequential(a=OnlyRenamed(2, 2)), threads=2)) is ShardedStep


def weighted() -> Any:
    return partial(nn.softmax_cross_entropy, class_weights=np.ones(4, np.float32))


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(lambda scores, labels: nn.softmax_cross_entropy(scores, labels), id="of one's own"),
        pytest.param(weighted(), id="class weights"),
        pytest.param(partial(weighted(), label_smoothing=0.1), id="class weights further in"),
        pytest.param(partial(nn.softmax_cross_entropy, reduction="sum"), id="a sum"),
        pytest.param(partial(nn.hinge_loss, 3), id="an argument without a name"),
    ],
)
def test_a_loss_that_is_not_known_to_be_an_average_keeps_a_step_whole(
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
def test_an_average_over_examples_does_not(loss: Any) -> None:
    assert type(chosen(net(), loss, threads=2)) is ShardedStep


@pytest.mark.parametrize("loss", [nn.softmax_cross_entropy, nn.hinge_loss, nn.perceptron_loss, nn.mean_squared_error,
                                  nn.binary_cross_entropy], ids=lambda loss: loss.__name__)  # fmt: skip
def test_every_marked_loss_is_the_average_of_its_parts(loss: Any) -> None:
    draw = np.random.default_rng(3)
    scores = draw.normal(size=(7, 4))
    labels = draw.integers(0, 4, 7) if "softmax" in loss.__name__ or loss in (nn.hinge_loss, nn.perceptron_loss) else (
        draw.uniform(size=(7, 4)))  # fmt: skip
    assert nn.is_average(loss)
    parts = [(loss(Tensor(scores[a:b]), labels[a:b]).item(), b - a) for a, b in ((0, 2), (2, 7))]
    assert sum(value * n for value, n in parts) / 7 == pytest.approx(loss(Tensor(scores), labels).item(), rel=1e-12)


def test_a_backend_that_shares_out_work_itself_keeps_a_step_whole(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("torch")
    model = net().to("torch")
    with use_cores(2), caplog.at_level(logging.INFO, "xpnet"):
        assert type(chosen(model)) is EagerStep
        assert not caplog.messages  # it is no news there
        with pytest.raises(ConfigError, match="torch:cpu shares out work in its own way"):
            chosen(model, threads=2)


def test_one_core_or_a_blas_of_its_own_mind_does_too_unless_threads_are_asked_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert why(caplog, net(), count=1) == "one thread computes here"
    monkeypatch.setattr(sharded, "can_limit_blas", lambda: False)
    assert "cannot be held to one thread" in why(caplog, net(), count=2)
    assert type(chosen(net(), threads=2, count=1)) is ShardedStep
    assert type(chosen(net(), threads=1)) is PlannedStep


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_threads_are_a_whole_number_above_zero(threads: Any) -> None:
    with raises(ConfigError, "threads", f"threads {threads}"):
        Trainer(net(), threads=threads)


def division(name: str, shape: tuple[int, ...], n: int, classes: int = 10, threads: int | None = None) -> Division:
    with use_cores(2):
        return divide(models.build(name, shape, classes), (n, *shape), threads)


def test_a_batch_with_too_little_work_stays_whole_unless_threads_are_asked_for() -> None:
    assert division("lenet5", (28, 28, 1), 1) == Division(1)
    assert division("lenet5", (28, 28, 1), 1, threads=2) == Division(1)  # one example has no parts
    assert division("lenet5", (28, 28, 1), 2) == Division(1)
    assert division("lenet5", (28, 28, 1), 2, threads=2) == Division(2)
    assert division("lenet5", (28, 28, 1), 64) == Division(2)


@pytest.mark.parametrize("n", [1, 64, 512])
@pytest.mark.parametrize("name", ["softmax", "mlp"])
def test_dense_networks_stay_whole(name: str, n: int) -> None:
    assert division(name, (28, 28, 1), n).parts == 1
    assert divide(models.mlp(hidden=(1024, 1024)), (n, 28, 28, 1)).parts == 1


def test_a_large_dense_tail_is_a_head() -> None:
    parts, body = division("alexnet", (227, 227, 3), 16, 1000)
    calls = models.alexnet().calls()
    assert parts == 2
    assert body is not None
    assert [layer.path for layer, _ in calls[body - 1 : body + 1]] == ["flatten", "fc6"]


def test_a_model_of_ones_own_is_divided_by_its_cost_and_whole_where_that_is_not_known() -> None:
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
    model = net()
    step = ShardedStep(model, nn.softmax_cross_entropy, SGD(model.parameters(), 0.1), threads=2)
    with raises(ShapeError, "conv1 (conv2d)", "(6, 6, 5, 3)"):
        step(np.zeros((6, 6, 5, 3), np.float32), np.zeros(6, np.int64))


def test_a_watch_sees_whole_batches() -> None:
    model = net().train()
    step = ShardedStep(model, nn.softmax_cross_entropy, SGD(model.parameters(), 0.1), threads=3)
    x, y = batch(7)
    with nn.watch() as seen:
        step(x.astype(np.float32), y)
    assert {len(each.data) for each in seen.values()} == {7}


def test_a_trainer_says_once_how_each_size_of_batch_is_computed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_limit_blas():
        pytest.skip("no BLAS that can be held")
    monkeypatch.setattr(sharded, "WORTH", 100_000)
    monkeypatch.setattr(sharded, "LARGE", 1)
    with caplog.at_level(logging.INFO, "xpnet"), use_cores(2):
        trainer(net_of_digits()).fit(some_digits(100), epochs=2, batch_size=96)
    assert [m for m in caplog.messages if m.startswith("steps")] == [
        "steps of 96 examples are computed in 2 parts, a thread each, whole from scores on",
        "steps of 4 examples are computed whole",
    ]


def test_half_precision_in_parts_is_half_precision_whole_to_its_rounding(
    split_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LossScale, "FIRST", 64.0)  # none overflows, so that the first update is made

    def run(kind: Any, **options: Any) -> tuple[float, dict[str, np.ndarray]]:
        model = net().initialize(5).train()
        step = kind(model, nn.softmax_cross_entropy, SGD(model.parameters(), 1.0), precision="fp16", **options)
        x, y = batch(7)
        with random.use(random.StepContext(7, 0, 0)), np.errstate(all="ignore"):
            loss = step(x.astype(np.float32), y)
        return float(loss), model.state_dict()

    parts, whole, first = run(ShardedStep, threads=3), run(EagerStep), net().initialize(5).state_dict()
    assert parts[0] == pytest.approx(whole[0], abs=2e-3)
    assert max(np.abs(whole[1][name] - first[name]).max() for name in first) > 0.1
    for name, want in whole[1].items():
        np.testing.assert_allclose(parts[1][name], want, rtol=0, atol=2e-3, err_msg=name)


def test_a_run_keeps_its_threads_in_its_configuration_and_may_be_resumed_with_others(tmp_path: Path) -> None:
    config = RunConfig(model="lenet5", epochs=0, threads=2)
    with raises(ConfigError, "train", "threads 0"):
        RunConfig(threads=0)
    train_run(config, tmp_path / "run")
    assert resumed_config(tmp_path / "run", {}).threads == 2
    assert resumed_config(tmp_path / "run", {"threads": 1}).threads == 1


def test_the_command_line_takes_a_number_of_threads(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "xpnet", "train", "lenet5", "--epochs", "1", "--threads", "2", "--json"]
    done = subprocess.run([*line, "--out", str(tmp_path / "run")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["threads"] == 2
    refused = subprocess.run(
        [sys.executable, "-m", "xpnet", "train", "--threads", "0"], capture_output=True, text=True, timeout=60
    )
    assert (refused.returncode, refused.stderr) == (2, "xpnet: train: threads >= 1, got threads 0\n")
