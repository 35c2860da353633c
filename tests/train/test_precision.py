"""Steps in half precision and with TF32: what they compute, what is kept, and where they cannot be had."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.harness import few_on_jax, raises
from tests.train.fitting import InterruptAt, Recorded, assert_same_state, digits, noisy_net, some_digits, trainer
from xpnet import nn
from xpnet.autograd import Tensor
from xpnet.backend import Backend, current_precision, get_backend, use_backend, use_precision
from xpnet.backend.cuda import CuPy
from xpnet.data import Normalize
from xpnet.errors import ConfigError, DeviceError, DivergedError
from xpnet.optim import SGD, LossScale
from xpnet.train import Callback, SaveCheckpoint, Trainer, read_checkpoint
from xpnet.train.precision import Precision, check_precision
from xpnet.train.step import Step

EPS = 2.0**-10  # of float16


@pytest.fixture
def half(backend: Backend) -> Backend:
    """Each backend of the matrix that has float16."""
    if "fp16" not in backend.precisions:
        pytest.skip(f"{backend.name} has no float16")
    return backend


@pytest.fixture
def half_but_jax(half: Backend) -> Backend:
    """The same without jax, which compiles for each shape: it does two of the tests."""
    few_on_jax(half, chosen=False)
    return half


def emulated() -> Backend:
    """The emulated device, which has every precision."""
    try:
        return get_backend("emulator")
    except DeviceError as error:
        pytest.skip(str(error))


def neuron(backend: Backend, weight: Any, bias: Any = None) -> nn.Linear:
    """A linear layer of given weights, (M, D), and no bias unless it is given."""
    weight = np.asarray(weight, np.float32)
    with use_backend(backend):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    arrays = {"weight": weight} | ({} if bias is None else {"bias": np.asarray(bias, np.float32)})
    layer.load_state_dict(arrays)
    return layer


def step_of(model: nn.Module, loss: Any, lr: float = 1.0, precision: str = "fp16", **options: Any) -> Step:
    return Step(model, loss, SGD(model.parameters(), lr), precision=precision, **options)


def train_on(step: Step, x: Any, y: Any) -> float:
    backend = step.model.backend
    with np.errstate(all="ignore"):  # as in Trainer.fit
        loss = step(backend.from_numpy(np.asarray(x, np.float32)), backend.from_numpy(np.asarray(y)))
    assert loss.dtype == backend.xp.float32
    return float(backend.to_numpy(loss))


def total(factor: float) -> Any:
    """A loss that is the sum of the scores times a factor: its gradient is that factor."""
    return lambda scores, labels: scores.sum() * factor


def test_a_step_is_what_is_worked_out_by_hand_with_a_rounding_after_each_product(half_but_jax: Backend) -> None:
    draw = np.random.default_rng(5)
    w, b, x = (draw.normal(size=s).astype(np.float32) for s in ((3, 4), (3,), (5, 4)))
    y = np.asarray([0, 2, 1, 1, 0])
    model = neuron(half_but_jax, w, b)
    loss = train_on(step_of(model, nn.softmax_cross_entropy, 0.5), x, y)

    low = [a.astype(np.float16).astype(np.float64) for a in (w, b, x)]
    scores = (low[2] @ low[0].T + low[1]).astype(np.float16).astype(np.float64)
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    want_loss = -np.mean(np.log(chances[np.arange(5), y]))
    slope = (2.0**16 * (chances - np.eye(3)[y]) / 5).astype(np.float16).astype(np.float64)
    dw, db = (slope.T @ low[2] / 2**16), slope.sum(axis=0) / 2**16

    assert math.isclose(loss, want_loss, rel_tol=8 * EPS)
    got = model.state_dict()
    assert got["weight"].dtype == got["bias"].dtype == np.float32
    np.testing.assert_allclose(got["weight"], w - 0.5 * dw, rtol=0, atol=4 * EPS)
    np.testing.assert_allclose(got["bias"], b - 0.5 * db, rtol=0, atol=4 * EPS)
    assert not np.array_equal(got["weight"], got["weight"].astype(np.float16))  # masters are not rounded


def test_an_update_too_small_for_half_precision_is_not_lost(half: Backend) -> None:
    model = neuron(half, [[1.0]])
    step = step_of(model, total(0.25), lr=2.0**-12)  # each takes off an eighth of the distance to the next float16
    for _ in range(8):
        train_on(step, [[1.0]], [0])
    assert model.state_dict()["weight"][0, 0] == 1 - 8 * 2.0**-14


def test_a_gradient_too_small_for_half_precision_does_not_vanish(half_but_jax: Backend) -> None:
    model = neuron(half_but_jax, [[1.0]])
    train_on(step_of(model, total(2.0**-30), lr=2.0**20), [[1.0]], [0])
    assert model.state_dict()["weight"][0, 0] == 1 - 2.0**-10


def test_an_overflow_leaves_the_update_out_and_halves_the_scale_until_it_fits(half: Backend) -> None:
    model = neuron(half, [[1.0]])
    step = step_of(model, total(4.0), lr=2.0**-10)  # the scale is 2^16, and float16 ends at 65504
    scales = []
    for _ in range(5):
        loss = train_on(step, [[1.0]], [0])
        scales.append(step.optimizer.scaling.state()["value"])  # type: ignore[union-attr]
        if len(scales) <= 3:
            assert model.state_dict()["weight"][0, 0] == 1
            assert loss == 4  # without the scale
    assert scales == [2.0**15, 2.0**14, 2.0**13, 2.0**13, 2.0**13]
    assert model.state_dict()["weight"][0, 0] == 1 - 2 * 4 * 2.0**-10


class Probe(nn.Module):
    """Passes on what comes, and notes its dtype, its parameter's dtype and the precision, on both ways."""

    def __init__(self) -> None:
        self.factor = nn.Parameter((), lambda key, shape: np.ones(shape))
        self.seen: list[tuple[str, str, str]] = []

    def forward(self, x: Tensor) -> Tensor:
        names = (str(a.dtype).rpartition(".")[2] for a in (x, self.factor))
        self.seen.append((*names, current_precision()))  # type: ignore[arg-type]
        return x * self.factor


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", "float32"), ("tf32", "float32"), ("fp16", "float16")], ids=lambda v: v
)
def test_the_steps_compute_in_the_precision_and_the_evaluation_in_fp32(precision: str, dtype: str) -> None:
    with use_backend(emulated()):
        probe = Probe()
        model = nn.Sequential(flatten=nn.Flatten(), probe=probe, scores=nn.Linear(64, 10)).initialize(1)
    fit = Trainer(model, SGD(model.parameters(), 0.1), precision=precision, capture=False)
    fit.fit(some_digits(64), some_digits(20), epochs=1, batch_size=32)
    assert probe.seen == [(dtype, dtype, precision)] * 2 + [("float32", "float32", "fp32")]
    assert all(a.dtype == np.float32 for a in fit.checkpoint().model.values())
    assert current_precision() == "fp32"


def test_steps_in_fp32_are_in_fp32_where_somebody_asked_for_another_precision() -> None:
    probe = Probe()
    model = nn.Sequential(probe=probe, scores=nn.Linear(4, 2))
    step = Step(model, nn.softmax_cross_entropy, SGD(model.parameters(), 0.1))
    with use_precision("tf32"):
        step(np.ones((1, 4), np.float32), np.zeros(1, np.int64))
        assert current_precision() == "tf32"
    assert [precision for *_, precision in probe.seen] == ["fp32"]


def test_parameters_that_are_not_trained_stand_in_too_and_stay(half_but_jax: Backend) -> None:
    with use_backend(half_but_jax):
        model = nn.Sequential(frozen=nn.Linear(4, 3), scores=nn.Linear(3, 2)).initialize(1)
    before = model.state_dict()
    optimizer = SGD(model.scores.parameters(), 0.1)  # type: ignore[union-attr]
    train_on(Step(model, nn.softmax_cross_entropy, optimizer, precision="fp16"), np.ones((2, 4)), [0, 1])
    after = model.state_dict()
    assert all(after[path].dtype == np.float32 for path in before)
    assert np.array_equal(after["frozen.weight"], before["frozen.weight"])
    assert not np.array_equal(after["scores.bias"], before["scores.bias"])


def test_a_model_that_fails_in_a_step_has_its_masters_back(half_but_jax: Backend) -> None:
    def loss(scores: Tensor, labels: Any) -> Tensor:
        raise ValueError("no such loss")

    model = neuron(half_but_jax, [[1.1]])
    with pytest.raises(ValueError, match="no such loss"):
        train_on(step_of(model, loss), [[1.0]], [0])
    assert model.weight.data.dtype == half_but_jax.xp.float32
    assert model.state_dict()["weight"][0, 0] == np.float32(1.1)


def test_whoever_looks_at_gradients_sees_those_of_the_loss_in_float32(half_but_jax: Backend) -> None:
    seen: list[dict[Any, Any]] = []
    model = neuron(half_but_jax, [[1.0, 1.0]])
    step = step_of(model, total(0.125))
    step.gradient_hook = seen.append
    train_on(step, [[1.0, 3.0]], [0])
    (gradient,) = seen[0].values()
    assert gradient.dtype == half_but_jax.xp.float32
    assert np.array_equal(half_but_jax.to_numpy(gradient), [[0.125, 0.375]])


def test_gradients_are_made_plain_only_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(Precision, "plain", lambda self, gradients: made.append(len(gradients)) or gradients)

    class Looks(Callback):
        def on_gradients(self, trainer: Trainer, gradients: Any) -> None:
            pass

    for callbacks, steps in (([Callback()], 0), ([Callback(), Looks()], 2)):
        made.clear()
        trainer("mlp", "numpy", callbacks=callbacks, precision="fp16").fit(some_digits(20), epochs=1, batch_size=10)
        assert len(made) == steps


def test_a_loss_that_is_not_finite_is_an_error_as_ever(half_but_jax: Backend) -> None:
    model = neuron(half_but_jax, np.full((2, 1), 300.0))
    fit = Trainer(model, SGD(model.parameters(), 0.1), precision="fp16", normalize=Normalize((0.0,), (1.0,), 1.0))
    x = np.full((4, 1), 300, np.float32)  # 90,000 is beyond float16
    with raises(DivergedError, "loss", "epoch 1", "step 1"):
        fit.fit((x, np.asarray([0, 1, 0, 1])), epochs=1, batch_size=4)


def test_the_mlp_learns_in_half_precision_what_it_learns_in_single(half_but_jax: Backend) -> None:
    test = digits()[1]
    found = {}
    for precision in ("fp32", "fp16"):
        fit = trainer("mlp", half_but_jax, precision=precision)
        fit.fit(some_digits(640), test, epochs=3, batch_size=32)
        found[precision] = fit.history[-1]
    single, other = found["fp32"], found["fp16"]
    assert single["test_accuracy"] > 0.85
    assert abs(other["test_accuracy"] - single["test_accuracy"]) < 0.01
    assert math.isclose(other["train_loss"], single["train_loss"], rel_tol=0.01)
    assert other["train_loss"] != single["train_loss"]


class ScaleAt(Callback):
    """Sets the scale of the loss, and the count of good updates, before a run in half precision begins."""

    def __init__(self, value: float, good: int = 0) -> None:
        self.state = {"value": value, "good": good, "skipped": 0}

    def on_start(self, trainer: Trainer) -> None:
        if trainer.optimizer.scaling and not trainer.optimizer.steps:
            trainer.optimizer.scaling.load(self.state)


def test_the_losses_of_lenet_are_those_of_single_precision_within_the_roundings() -> None:
    pytest.importorskip("torch")
    each = {}
    for precision in ("fp32", "fp16"):
        recorded = Recorded()
        fit = trainer("lenet5", "torch", lr=0.01, callbacks=[ScaleAt(2.0**10)], loss=recorded, precision=precision)
        fit.fit(some_digits(320), epochs=1, batch_size=32)
        each[precision] = recorded.numbers()
    assert each["fp32"].size == 10
    np.testing.assert_allclose(each["fp16"], each["fp32"], rtol=16 * EPS)
    assert not np.array_equal(each["fp16"], each["fp32"])


def test_batch_norm_keeps_its_averages_in_single_precision(half_but_jax: Backend) -> None:
    fit = trainer(noisy_net(), half_but_jax, precision="fp16")
    single = trainer(noisy_net(), half_but_jax)
    for t in (fit, single):
        t.fit(some_digits(96), epochs=1, batch_size=32)
    got, want = fit.model.state_dict(), single.model.state_dict()
    for path in ("norm.mean", "norm.var"):
        assert got[path].dtype == np.float32
        np.testing.assert_allclose(got[path], want[path], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("spec", ["numpy", "emulator"])
def test_a_resumed_run_in_half_precision_is_bit_identical(spec: str, tmp_path: Any) -> None:
    backend = emulated() if spec == "emulator" else get_backend(spec)

    def fresh(*callbacks: Callback) -> Trainer:
        return trainer("mlp", backend, "adam", 0.01, [ScaleAt(2.0**24, good=1990), *callbacks], precision="fp16")

    stopped = fresh(InterruptAt(0, 4), SaveCheckpoint(tmp_path))
    stopped.fit(some_digits(330), epochs=2, batch_size=32)
    assert stopped.interrupted
    resumed = fresh()
    resumed.resume(read_checkpoint(tmp_path / "checkpoint.safetensors"))
    straight = fresh()
    for fit in (resumed, straight):
        fit.fit(some_digits(330), epochs=2, batch_size=32)
    assert_same_state(resumed.checkpoint(), straight.checkpoint())
    scale = straight.checkpoint().meta["optimizer"]["loss_scale"]
    assert scale["skipped"] > 0
    assert scale["value"] < 2.0**24
    assert scale["good"] == 22 - scale["skipped"]


def test_a_run_goes_on_in_single_precision_where_one_in_half_ended() -> None:
    fit = trainer("mlp", precision="fp16")
    fit.fit(some_digits(64), epochs=1)
    assert "loss_scale" in fit.checkpoint().meta["optimizer"]
    fit.precision = "fp32"
    fit.fit(some_digits(64), epochs=2)
    assert "loss_scale" not in fit.checkpoint().meta["optimizer"]


# Where it cannot be had.


@pytest.mark.parametrize(
    ("precision", "spec", "values"),
    [
        ("tf32", "numpy", ("tf32", "numpy:cpu", "fp32 and fp16", "tensor cores", "use precision='fp32'")),
        ("fp16", "array-api-strict", ("fp16", "array-api-strict", "computes in fp32", "use precision='fp32'")),
    ],
)
def test_a_precision_that_the_backend_has_not_is_refused(precision: str, spec: str, values: tuple[str, ...]) -> None:
    if spec != "numpy":
        pytest.importorskip(spec.replace("-", "_"))
    fit = trainer("mlp", spec, precision=precision)
    with raises(ConfigError, "precision", *values):
        fit.fit(some_digits(64), epochs=1)
    assert not fit.history


def test_a_mistyped_precision_is_answered_with_the_nearest() -> None:
    with raises(ConfigError, "precision", "'fp61'", "did you mean 'fp16'"):
        check_precision("fp61")


@pytest.mark.parametrize(
    ("capability", "precisions"),
    [("61", ("fp32",)), ("70", ("fp32", "fp16")), ("75", ("fp32", "fp16")), ("80", ("fp32", "tf32", "fp16")),
     ("90", ("fp32", "tf32", "fp16")), ("100", ("fp32", "tf32", "fp16"))],
)  # fmt: skip
def test_a_gpu_computes_in_what_its_tensor_cores_take(capability: str, precisions: tuple[str, ...]) -> None:
    gpu = CuPy("cupy", SimpleNamespace(float16=np.float16), SimpleNamespace(id=0, compute_capability=capability))
    assert gpu.precisions == precisions
    if "tf32" not in precisions:
        with raises(ConfigError, "precision", "compute capability 8.0", "cupy:cuda:0"):
            check_precision("tf32", gpu)


def test_a_scale_follows_the_model_to_where_it_is_moved() -> None:
    pytest.importorskip("torch")
    fit = trainer("mlp", precision="fp16")
    fit.fit(some_digits(64), epochs=1, batch_size=32)
    fit.model.to("torch")
    fit.fit(some_digits(64), epochs=2, batch_size=32)
    scaling = fit.optimizer.scaling
    assert isinstance(scaling, LossScale)
    assert scaling.backend == get_backend("torch")
    assert scaling.state()["good"] == 4


@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_a_recorded_step_is_the_step_bit_for_bit_in_each_precision(precision: str, optimizer: str) -> None:
    backend, ran = emulated(), []
    for capture in (True, False):  # True is an error where the step cannot be recorded
        start = ScaleAt(2.0**22, good=1990)
        fit = trainer("mlp", backend, optimizer, 0.01, [start], precision=precision, capture=capture)
        fit.fit(some_digits(330), epochs=2, batch_size=32)
        ran.append(fit)
    captured, eager = ran
    assert_same_state(captured.checkpoint(), eager.checkpoint())
    if precision == "fp16":
        assert eager.checkpoint().meta["optimizer"]["loss_scale"]["skipped"] > 0
