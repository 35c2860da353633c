"""The workers: every library computes the same model, and is told the same."""

from __future__ import annotations

import importlib
import math
import sys
from typing import Any

import numpy as np
import pytest

from xpnet import models, nn
from xpnet.autograd import Tensor


def request(bench: Any, name: str = "lenet5", **more: Any) -> dict[str, Any]:
    workload = bench("workloads").WORKLOADS[name]._asdict()
    known = {"batch": 5, "task": "training", "device": "cpu", "precision": "fp32", "lr": 0.1, "momentum": 0.9}
    return {**workload, **known, **more}


def losses(job: Any, count: int) -> list[float]:
    """Run so many steps one by one, and read the loss after each."""
    found: list[float] = []

    def counts() -> Any:
        for _ in range(count):
            yield 1
            found.append(job.wait())

    job.run(counts())
    return found


@pytest.mark.parametrize("name", ["softmax", "mlp", "mlp-1024", "lenet5", "cnn", "alexnet", "resnet18"])
def test_peers_build_the_network_that_xpnet_builds(bench: Any, name: str) -> None:
    pytest.importorskip("torch")
    ours = bench("xpnet_steps").network(request(bench, name))
    theirs = bench("torch_steps").network(bench("workloads").WORKLOADS[name].layers)
    assert [math.prod(p.shape) for p in ours.parameters()] == [p.numel() for p in theirs.parameters()]
    assert [isinstance(layer, nn.Dropout) for _, layer in ours.children()].count(True) == 2 * (name == "alexnet")


@pytest.mark.parametrize("name", ["alexnet", "resnet18"])
def test_every_library_computes_the_same(bench: Any, name: str) -> None:
    torch, jax_steps = pytest.importorskip("torch"), pytest.importorskip("jax") and bench("jax_steps")
    if name == "alexnet":
        layers, ours, side = bench("workloads").alexnet(12, 5), models.alexnet((227, 227, 3), 5, 12), 227
    else:
        layers, ours, side = bench("workloads").resnet18(), models.resnet18((37, 37, 3)), 37
    values = [np.array(p.data) for p in ours.initialize(3).eval().parameters()]
    x = np.random.default_rng(0).random((2, side, side, 3), dtype=np.float32)
    wanted, theirs = np.array(ours(Tensor(x)).data), bench("torch_steps").network(layers).eval()
    with torch.no_grad():
        for value, parameter in zip(values, theirs.parameters(), strict=True):
            parameter.copy_(torch.from_numpy(value.transpose(0, 3, 1, 2) if value.ndim == 4 else value))
        if name == "alexnet":  # rows before fc6 are channels first in torch
            flat = next(layer for layer in theirs if isinstance(layer, torch.nn.Flatten))
            flat.forward = lambda y: y.permute(0, 2, 3, 1).flatten(1)
        scores = theirs(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(scores, wanted, rtol=2e-4, atol=2e-5)
    if name == "alexnet":
        last = [v.transpose(1, 2, 3, 0) if v.ndim == 4 else v.T for v in values]  # filters and neurons last
        assert [a.shape for pair in jax_steps.initial(layers) for a in pair] == [a.shape for a in last]
        scores = jax_steps.forward(layers, list(zip(last[::2], last[1::2], strict=True)), x)
        np.testing.assert_allclose(np.asarray(scores), wanted, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("module", ["torch_steps", "jax_steps"])
def test_response_normalization_multiplies_the_sum_by_alpha_in_every_library(bench: Any, module: str) -> None:
    package = pytest.importorskip(module.partition("_")[0])
    lrn = ("lrn", 3, 0.5, 0.75, 1.0)  # so strong that a wrong window or factor shows
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 7)).astype(np.float32)
    if module == "jax_steps":
        theirs = np.asarray(bench(module).forward([lrn], [], x))
    else:
        theirs = bench(module).network([lrn])(package.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    near = np.pad(x.astype(np.float64) ** 2, ((0, 0), (0, 0), (0, 0), (1, 1)))
    wanted = x / (1 + 0.5 * (near[..., :-2] + near[..., 1:-1] + near[..., 2:])) ** 0.75
    np.testing.assert_allclose(theirs, wanted, rtol=1e-5, atol=1e-6)


def test_jax_drops_half_of_the_numbers_in_training_and_other_ones_each_time(bench: Any) -> None:
    jax = pytest.importorskip("jax")
    forward, x = bench("jax_steps").forward, np.ones((1, 10_000), np.float32)
    first, second = (np.asarray(forward([("dropout", 0.5)], [], x, jax.random.key(i))) for i in range(2))
    assert set(np.unique(first)) == {0.0, 2.0}
    assert 0.45 < (first == 0).mean() < 0.55
    assert 0.45 < (first == second).mean() < 0.55
    assert (np.asarray(forward([("dropout", 0.5)], [], x)) == 1).all()


@pytest.mark.parametrize("module", ["torch_steps", "jax_steps", "xpnet_steps", "sklearn_steps"])
def test_training_changes_the_loss_and_inference_repeats_its_scores(
    bench: Any, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(module.partition("_")[0])
    if module == "xpnet_steps":
        monkeypatch.setattr(bench(module).fitting, "Feed", bench(module).fitting.Feed)  # restored after the test
    job = bench(module).build(request(bench, "mlp"))
    assert job.parameters == 784 * 128 + 128 + 128 * 10 + 10
    found = losses(job, 12)
    assert found[-1] < found[0]
    assert len(set(found)) == 12
    if module != "sklearn_steps":
        assert len(set(losses(bench(module).build(request(bench, "lenet5", task="inference")), 5))) == 1


@pytest.mark.parametrize("capture", [True, False])
def test_xpnets_steps_on_a_device_gather_their_batch_there(bench: Any, capture: bool) -> None:
    emulator = pytest.importorskip("emulator")
    if not emulator.available():
        pytest.skip("the emulator compiles kernels with g++")
    asked = request(bench, "softmax", device="emulator", capture=capture)
    job = bench("xpnet_steps").build(asked)
    found = losses(job, 8)
    assert found[-1] < found[0]


def test_xpnet_does_without_numba_or_cudnn_where_it_is_told(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cudnn", type(sys)("cudnn"))
    bench("xpnet_steps").build(request(bench, "softmax", task="inference", cudnn=False))
    with pytest.raises(ImportError):
        importlib.import_module("cudnn")


def test_xpnet_of_another_checkout_is_refused(bench: Any, tmp_path: Any) -> None:
    with pytest.raises(ImportError, match="expected xpnet of "):
        bench("xpnet_steps").build(request(bench, "softmax", root=str(tmp_path)))


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True), ("fp16", True)])
def test_pytorch_is_told_its_precision_outright(
    bench: Any, monkeypatch: pytest.MonkeyPatch, precision: str, allowed: bool
) -> None:
    torch = pytest.importorskip("torch")
    flags = [torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [place.allow_tf32 for place in flags]
    try:
        job = bench("torch_steps").build(request(bench, "mlp", precision=precision, lr=0.01))
        assert [place.allow_tf32 for place in flags] == [allowed, allowed]
    finally:
        for place, value in zip(flags, before, strict=True):
            place.allow_tf32 = value
    found = losses(job, 6)
    assert found[-1] < found[0]


def test_the_numbers_of_a_layer_are_each_array_once(bench: Any) -> None:
    ops = bench("xpnet_ops").measure(request(bench, "lenet5", batch=6))["ops"]
    found = {(op["op"], op["task"]): op for op in ops}
    x, y, w = 6 * 28 * 28, 6 * 28 * 28 * 6, 6 * 25 + 6
    assert found["conv1", "forward"]["numbers"] == x + y + w
    assert found["conv1", "backward"]["numbers"] == y + x + w  # dy and x in, dw out; dx is not wanted
    assert found["conv1", "forward"]["flops"] == 2 * 6 * 28 * 28 * 6 * 25
    assert found["scores", "backward"]["numbers"] == 60 + 6 * 84 + 2 * 850 + 6 * 84  # dy, x and w in; dw and dx out
    assert found["loss", "forward"]["numbers"] == 60
    assert found["update", "forward"]["numbers"] == 5 * 61_706
    assert all(op["ms"] >= 0 for op in ops)


def test_ops_are_timed_by_recordings_where_there_are_any(bench: Any) -> None:
    emulator = pytest.importorskip("emulator")
    if not emulator.available():
        pytest.skip("the emulator compiles kernels with g++")
    asked = request(bench, "cnn", batch=2, device="emulator", precision="fp16", without=())
    ops = bench("xpnet_ops").measure(asked)["ops"]
    names = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "hidden", "relu3", "drop", "scores"]
    assert [op["op"] for op in ops if op["task"] == "forward"] == [*names, "loss", "update"]
    assert all(math.isfinite(op["ms"]) for op in ops)
    assert not emulator.TAPE.open


def test_equal_layers_are_timed_once(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench("xpnet_ops"), "_ms", lambda backend, work: 1.0)
    asked = request(bench, "mlp-1024", batch=2, options={"hidden": (64, 64, 64)})
    ops = [op for op in bench("xpnet_ops").measure(asked)["ops"] if op["task"] == "forward"]
    assert [(op["op"], op["count"]) for op in ops][1:3] == [("relu1", 3), ("hidden2", 2)]
