"""The benchmark on a GPU, without one: its models, its arithmetic, what it asks of workers, what it writes.

Stand-ins answer for the workers; those of xpnet and of PyTorch are themselves run on a CPU, and on the emulated device.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import math
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpnet import models, nn, optim
from xpnet.autograd import Tensor
from xpnet.backend import get_backend
from xpnet.errors import DeviceError
from xpnet.train.step import EagerStep

BENCH = Path(__file__).resolve().parents[2] / "ci" / "bench"
CEILINGS = {
    "device": "Some GPU 80 GB",
    "capability": "9.0",
    "library": "torch 2",
    "copy_gb_s": 2000.0,
    "gemm_tflop_s": {"fp32": 50.0, "tf32": 400.0, "fp16": 800.0},
}
SMALL = {"precision": "fp32", "lr": 0.1, "momentum": 0.9}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of ci/bench, or one of its workers, by name."""
    monkeypatch.syspath_prepend(str(BENCH))
    monkeypatch.syspath_prepend(str(BENCH / "workers"))
    return importlib.import_module


def command(bench: Any, *options: str) -> Any:
    from typer.testing import CliRunner

    return CliRunner().invoke(bench("run").app, list(options))


# The models


@pytest.mark.parametrize(
    ("name", "parameters", "macs"), [("alexnet", 60_965_224, 724_406_816), ("resnet18", 11_689_512, 1_814_073_344)]
)
def test_the_large_models_are_those_of_the_package(bench: Any, name: str, parameters: int, macs: int) -> None:
    workload = bench("gpu_workloads").GPU_WORKLOADS[name]
    model = bench("xpnet_steps").network(workload.layers)
    same = models.build(name)
    assert (model.parameter_count, model.cost(workload.sample).macs) == (parameters, macs)
    assert [p.shape for p in model.parameters()] == [p.shape for p in same.parameters()]
    assert model.cost(workload.sample) == same.cost(workload.sample)


@pytest.mark.parametrize(("name", "side", "batch"), [("alexnet", 227, 1), ("resnet18", 37, 3)])
def test_both_workers_build_the_same_network(bench: Any, name: str, side: int, batch: int) -> None:
    torch = pytest.importorskip("torch")
    made = bench("workloads").alexnet(12, 5) if name == "alexnet" else bench("gpu_workloads").resnet18(4, 5)
    theirs = torch.nn.Sequential(*[bench("torch_steps")._module(*layer) for layer in made]).eval()
    ours = bench("xpnet_steps").network(made).initialize(3).eval()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        values = torch.from_numpy(np.array(p.data))
        with torch.no_grad():
            q.copy_(values.permute(0, 3, 1, 2) if values.ndim == 4 else values)
    x = np.random.default_rng(0).random((batch, side, side, 3), dtype=np.float32)
    if name == "alexnet":  # whose rows before fc6 are channels first in torch
        flat = next(m for m in theirs if isinstance(m, torch.nn.Flatten))
        flat.forward = lambda y: y.permute(0, 2, 3, 1).flatten(1)
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(np.array(ours(Tensor(x)).data), wanted, rtol=2e-4, atol=2e-5)


def test_the_timings_are_those_of_the_targets(bench: Any) -> None:
    found = bench("gpu_workloads")
    assert [t.label for t in found.GPU_TIMINGS] == [
        *["mlp-64-fp32", "mlp-512-fp32", "lenet5-128-fp32", "lenet5-1024-fp32", "cnn-128-fp32"],
        *["alexnet-128-tf32", "alexnet-128-fp16", "resnet18-64-tf32", "resnet18-64-fp16", "alexnet-128-tf32-im2col"],
    ]
    assert {(t.name, t.cudnn) for t in found.GPU_TIMINGS} == set(found.GPU_TARGETS)
    assert {t.name for t in found.GPU_TIMINGS} <= set(found.GPU_WORKLOADS)


# Floors


@pytest.mark.parametrize(
    ("flops", "numbers", "precision", "ms"),
    [
        (1e9, 1e6, "fp32", 0.02),  # 1e9 / 50e12 s against 4e6 / 2e12 s
        (1e9, 1e8, "fp32", 0.2),
        (1e9, 1e8, "fp16", 0.1),
        (8e12, 1e6, "fp16", 10.0),
        (8e12, 1e6, "tf32", 20.0),
        (0, 0, "fp32", 0.0),
    ],
    ids=["products", "bytes", "half-bytes", "half-products", "tf32", "nothing"],
)
def test_a_floor_is_the_longer_of_arithmetic_and_movement(
    bench: Any, flops: float, numbers: float, precision: str, ms: float
) -> None:
    assert bench("floors").floor_ms(flops, numbers, precision, CEILINGS) == pytest.approx(ms)


def test_an_op_is_set_beside_its_floors(bench: Any) -> None:
    ops = [
        {"name": "conv1", "kind": "conv", "count": 2, "flops": [1e9, 2e9], "numbers": [1e6, 1e6], "ms": [0.03, 0.05]},
        {"name": "update", "kind": "momentum", "count": 1, "flops": [0], "numbers": [1e8], "ms": [0.3]},
        {"name": "view", "kind": "nothing", "count": 1, "flops": [0, 0], "numbers": [0, 0], "ms": [0.1, 0.0]},
    ]
    conv, update, view = bench("floors").with_floors(ops, "fp16", CEILINGS)
    assert conv["floor_ms"] == pytest.approx([1e9 / 800e12 * 1e3, 2e9 / 800e12 * 1e3])
    assert conv["over"] == pytest.approx([24.0, 20.0])
    assert update["over"] == pytest.approx([1.5])  # 4 bytes a number: masters and momenta are float32
    assert view["over"] == [None, None]
    lines = bench("floors").lines([conv, update, view])
    assert lines[1].split() == ["conv1", "conv", "2", "0.0300", "0.0013", "24.00x", "0.0500", "0.0025", "20.00x"]
    assert lines[2].split() == ["update", "momentum", "1", "0.3000", "0.2000", "1.50x"]


def test_the_numbers_of_a_layer_are_each_array_once(bench: Any) -> None:
    request = {
        "layers": [("conv", 2, 3, 3, 0), ("norm", 3), ("relu",), ("flatten",), ("linear", 27, 4)],
        "sample": (5, 5, 2),
        "classes": 4,
        "batch": 6,
        **SMALL,
        "device": "numpy",
    }
    conv, norm, relu, linear, loss, update = bench("xpnet_ops").measure(request)["ops"]
    x, y, w = 6 * 50, 6 * 27, 3 * 18 + 3
    assert conv["numbers"] == [x + y + w, y + x + w]  # back: dy and x in, dw out; nobody wants dx
    assert conv["flops"] == [2 * 6 * 9 * 3 * 18] * 2
    assert norm["numbers"] == [2 * y + 6, 3 * y + 2 * 6]  # back: dy, x, gamma and beta in; dx and their gradients out
    assert relu["numbers"] == [2 * y, 3 * y]
    scores, w = 6 * 4, 27 * 4 + 4
    assert linear["numbers"] == [y + scores + w, scores + y + 2 * w + y]
    assert linear["flops"] == [2 * 6 * 27 * 4, 4 * 6 * 27 * 4]
    assert (loss["numbers"], update["numbers"]) == ([24, 48], [5 * (57 + 6 + 112)])
    assert all(ms >= 0 for op in (conv, norm, relu, linear, loss, update) for ms in op["ms"])


# Results


def row(bench: Any, name: str = "alexnet", cudnn: bool = True, **ms: float) -> dict[str, Any]:
    timing = bench("gpu_workloads").Timing(name, 128, "tf32", cudnn)
    bursts = {"xpnet": [10.0] * 20, **{peer.replace("_", "-"): [value] * 20 for peer, value in ms.items()}}
    return bench("gpu_report").result(timing, bursts, dict.fromkeys(bursts, 512.0))


def test_the_faster_of_captured_and_compiled_counts(bench: Any) -> None:
    verdicts = bench("gpu_report").verdicts
    met = row(bench, torch=11.0, torch_captured=12.0, torch_compiled=10.0)
    assert verdicts(met) == [
        "1.10x of eager, at least 1.1x met",
        "1.00x of captured or compiled, at least 1x met",
    ]
    missed = row(bench, torch=10.9, torch_captured=9.9, torch_compiled=30.0)
    assert [line.endswith("MISSED") for line in verdicts(missed)] == [True, True]
    assert verdicts(row(bench, cudnn=False, torch=6.0, torch_captured=1.0)) == ["0.60x of eager, at least 0.6x met"]
    assert verdicts(row(bench, xpnet_eager=20.0)) == []


def test_the_table_prints_the_precision_and_the_device(bench: Any) -> None:
    facts = {
        "machine": {"system": "Linux x86_64"},
        "versions": {"python": "3.12", "torch": "2.11"},
        "ceilings": CEILINGS,
        "results": [row(bench, torch=11.0, torch_captured=12.5, xpnet_eager=20.0), row(bench, cudnn=False, torch=6.0)],
        "mnist": {
            "precision": "fp32",
            "recipe": {"epochs": 4},
            "runs": [{"accuracy": a, "seconds": s} for a, s in ((99.2, 1.5), (98.9, 1.0), (99.0, 2.5))],
        },
    }
    lines = bench("gpu_report").markdown(facts).splitlines()
    assert lines[0].startswith(
        "| training step | precision | xpnet | PyTorch eager | PyTorch captured | PyTorch compiled |"
    )
    cells = ["alexnet, batch 128", "tf32", "10.000 ms", "11.000 ms, 1.10x", "12.500 ms, 1.25x", "", "20.000 ms, 2.00x"]
    assert lines[2] == "| " + " | ".join([*cells, "512 / 512 MB"]) + " |"
    assert lines[3].startswith(
        "| alexnet, batch 128, im2col + GEMM alone | tf32 | 10.000 ms | 6.000 ms, 0.60x |  |  |  |"
    )
    assert lines[5].startswith(
        "Some GPU 80 GB: copies 2000 GB/s read and written, products fp32 50, tf32 400, fp16 800 TFLOP/s"
    )
    assert "by autocast and GradScaler" in lines[5]
    assert lines[7].endswith("median 99.00 % in 1.50 s of training, 99 % in under 2 s met.")
    slow = bench("gpu_report").learned({**facts["mnist"], "runs": [{"accuracy": 99.5, "seconds": 2.0}]})
    assert slow.endswith("MISSED")


# The run, with stand-ins


class StandIn:
    """Answers as the worker scripts do. ms: milliseconds a step by mode, None: cannot be opened."""

    ms: dict[str, float | None] = {"captured": 1.0, "eager": 6.0, "compiled": 2.0}  # noqa: RUF012
    asked: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012

    def __init__(self, script: Path, environment: dict[str, str], patience: float) -> None:
        self.script, self.mode, self.patience = script.stem, "", patience

    def ask(self, **request: Any) -> dict[str, Any]:
        self.asked.append((self.script, request))
        if self.script == "ceilings":
            return CEILINGS
        if self.script == "xpnet_ops":
            op = {"name": "conv1", "kind": "conv", "count": 1, "flops": [1e9, 2e9], "numbers": [1, 1], "ms": [1.0, 2.0]}
            return {"ops": [op]}
        if self.script == "xpnet_mnist":
            raise importlib.import_module("turns").WorkerError("xpnet_mnist: no files")
        if request["do"] == "open":
            self.mode = request["mode"]
            if self.ms[self.mode] is None:
                raise importlib.import_module("turns").WorkerError(f"{self.script}: cannot be {self.mode}")
            return {"version": "9", "parameters": 7, "loss": 2.3}
        if request["do"] == "memory":
            return {"peak_mb": 100.0}
        return {"ms": self.ms[self.mode], "loss": 2.3}

    def close(self) -> None: ...


@pytest.fixture
def stand_in(bench: Any, monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    gpu = bench("gpu")
    monkeypatch.setattr(gpu, "Worker", StandIn)
    monkeypatch.setattr(gpu, "missing", lambda device: "")
    monkeypatch.setattr(StandIn, "asked", [])
    return StandIn


def test_a_run_asks_for_the_precision_and_writes_what_it_found(bench: Any, stand_in: Any, tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    done = command(bench, "gpu", "--only", "alexnet-128-tf32,alexnet-128-tf32-im2col", "--json", str(path))
    assert done.exit_code == 0, done.output
    facts = json.loads(path.read_text())
    assert facts["ceilings"] == CEILINGS
    assert [(r["precision"], r["cudnn"]) for r in facts["results"]] == [("tf32", True), ("tf32", False)]
    peers = facts["results"][0]["peers"]
    assert {name: peer["ratio"] for name, peer in peers.items()} == {
        "torch": 6.0,
        "torch-captured": 1.0,
        "torch-compiled": 2.0,
        "xpnet-eager": 6.0,
    }
    assert all(len(bursts) >= 20 for bursts in facts["turns"][0]["bursts_ms"].values())
    assert facts["ops"][0]["ops"][0]["over"] == pytest.approx([400.0, 400.0])
    assert (facts["mnist"], "LeNet-5 on MNIST is left out; xpnet_mnist: no files" in done.stderr) == (None, True)
    opened = [request for _, request in stand_in.asked if request["do"] == "open"]
    assert {request["precision"] for request in opened} == {"tf32"}
    assert {request["layout"] for request in opened} == {"", "channels last"}
    assert "6.00x of eager, at least 1.1x met; 1.00x of captured or compiled, at least 1x met" in done.stdout
    table = command(bench, "table", str(path))
    assert table.stdout == bench("gpu_report").markdown(facts) + "\n"
    assert table.stdout in done.stdout


def test_a_peer_that_does_not_open_is_left_out_and_said_so(
    bench: Any, stand_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(StandIn.ms, "compiled", None)
    path = tmp_path / "gpu.json"
    done = command(bench, "gpu", "--only", "mlp-64", "--no-ops", "--no-mnist", "--json", str(path))
    assert done.exit_code == 0
    assert "mlp-64-fp32: torch-compiled is left out; torch_steps: cannot be compiled" in done.stderr
    assert set(json.loads(path.read_text())["results"][0]["peers"]) == {"torch", "torch-captured", "xpnet-eager"}


def test_a_workload_that_xpnet_fails_is_said_and_the_next_goes_on(
    bench: Any, stand_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(StandIn.ms, "captured", None)
    done = command(bench, "gpu", "--only", "mlp", "--no-ops", "--no-mnist", "--json", str(tmp_path / "gpu.json"))
    assert done.exit_code == 1
    assert "mlp-64-fp32: xpnet_steps: cannot be captured" in done.stderr
    assert "mlp-512-fp32: xpnet_steps: cannot be captured" in done.stderr


@pytest.mark.parametrize("error", ["WorkerError", "KeyError"])
def test_a_part_that_fails_in_any_way_is_said_and_the_next_goes_on(
    bench: Any, stand_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    kind = {"WorkerError": bench("turns").WorkerError, "KeyError": KeyError}[error]

    def broken(*given: Any) -> Any:
        raise kind("fp32")

    monkeypatch.setattr(bench("gpu").floors, "with_floors", broken)
    path = tmp_path / "gpu.json"
    done = command(bench, "gpu", "--only", "mlp", "--no-mnist", "--json", str(path))
    assert done.exit_code == 1
    assert [f"mlp-{n}-fp32, op by op: " in done.stderr for n in (64, 512)] == [True, True]
    assert len(json.loads(path.read_text())["results"]) == 2


def test_a_device_that_cannot_be_measured_is_one_line(
    bench: Any, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **request: Any) -> Any:
        raise bench("turns").WorkerError("ceilings: CUDA error: no kernel image")

    monkeypatch.setattr(StandIn, "ask", refuse)
    done = command(bench, "gpu")
    assert (done.exit_code, done.output) == (1, "what the device can do: ceilings: CUDA error: no kernel image\n")


def test_no_answer_is_waited_for_much_longer_than_there_is_time(bench: Any, stand_in: Any) -> None:
    def patience(minutes: float) -> float:
        return bench("gpu").Bench("cuda", [], 1.5, minutes, None, None)._worker("x.py").patience

    assert patience(60) == bench("turns").REPLY_SECONDS
    assert 85 < patience(1) <= 90
    assert patience(0) == 30


def test_what_the_time_does_not_allow_is_left_out_and_said_so(bench: Any, stand_in: Any, tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    late = command(bench, "gpu", "--only", "mlp-64", "--minutes", "0", "--json", str(path))
    assert "mlp-64-fp32: left out, the time is up" in late.stderr
    short = command(bench, "gpu", "--only", "mlp-64", "--minutes", "1", "--no-ops", "--json", str(path))
    assert "torch-compiled is left out, too little time is left to compile" in short.stderr
    assert "torch-compiled" not in json.loads(path.read_text())["results"][0]["peers"]


def test_results_are_kept_by_the_devices_name(bench: Any) -> None:
    assert bench("gpu").results_file("NVIDIA H100 80GB HBM3").name == "gpu-nvidia-h100-80gb-hbm3.json"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["--only", "alexnet-128-tf23"],
            "--only: no such workload, got only 'alexnet-128-tf23'; did you mean 'alexnet-",
        ),
        (
            ["--peers", "torch-captures"],
            "--peers: no such peer, got peers 'torch-captures'; did you mean 'torch-captured'",
        ),
        (["--seconds", "0"], "--seconds: a number of seconds above 0, got seconds 0.0"),
    ],
    ids=["only", "peers", "seconds"],
)
def test_a_bad_option_is_one_line_and_exit_code_2(bench: Any, options: list[str], line: str) -> None:
    done = command(bench, "gpu", *options)
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert done.output.startswith(line)


def test_without_a_package_it_says_which_in_one_line(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = bench("gpu")
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    done = command(bench, "gpu")
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert done.output.startswith(
        "gpu: needs cupy-cuda13x and torch and array-api-compat, not installed here; pip install "
    )


def test_without_a_gpu_it_says_so_in_one_line(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = bench("gpu")

    def refuse(device: str) -> Any:
        raise DeviceError("get_backend", "cupy needs a CUDA GPU and its driver, and finds none", device=device)

    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(gpu, "get_backend", refuse)
    done = command(bench, "gpu")
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert done.output.startswith(
        "gpu: get_backend: cupy needs a CUDA GPU and its driver, and finds none, got device cuda"
    )


# The workers, where there is no GPU


def test_the_workers_run_on_a_cpu(bench: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "cpu.json"
    options = ["--device", "cpu", "--only", "mlp-64", "--seconds", "0.05", "--no-mnist", "--json", str(path)]
    done = command(bench, "gpu", "--peers", "torch,torch-captured", *options)
    assert done.exit_code == 0, done.output
    assert (
        "torch-captured is left out; torch_steps: ValueError: a captured step needs a GPU, got device cpu"
        in done.stderr
    )
    facts = json.loads(path.read_text())
    assert set(facts["results"][0]["peers"]) == {"torch"}
    assert {op["name"] for op in facts["ops"][0]["ops"]} == {"0", "1", "2", "loss", "update"}
    assert facts["ceilings"]["copy_gb_s"] > 0


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True), ("fp16", True)])
def test_pytorch_is_told_its_precision_outright(bench: Any, precision: str, allowed: bool) -> None:
    torch = pytest.importorskip("torch")
    flags = [(torch.backends.cuda.matmul, "allow_tf32"), (torch.backends.cudnn, "allow_tf32")]
    before = [getattr(place, name) for place, name in flags]
    layers = [("linear", 8, 6), ("relu",), ("linear", 6, 3)]
    request = {"layers": layers, "sample": (8,), "classes": 3, "batch": 5, "device": "cpu", "layout": ""}
    try:
        job = bench("torch_steps").build({**request, "lr": 0.1, "momentum": 0.9, "precision": precision})
        assert [getattr(place, name) for place, name in flags] == [allowed, allowed]
        losses = [job.loss(job.step()) for _ in range(6)]
    finally:
        for (place, name), value in zip(flags, before, strict=True):
            setattr(place, name, value)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_captured_step_of_pytorch_keeps_what_its_graph_reads(
    bench: Any, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    torch = pytest.importorskip("torch")
    replays = []

    class Stream:
        def wait_stream(self, other: Any) -> None: ...

    class Graph:
        def replay(self) -> None:
            replays.append(self)

    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Stream)
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda given: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    x, y = torch.rand(5, 8), torch.arange(5) % 3
    alive = [weakref.ref(a) for a in (x, y, *model.parameters())]
    step = bench("torch_steps")._step(model, x, y, 0.1, 0.9, "captured", precision)
    del model, x, y
    gc.collect()
    assert all(a() is not None for a in alive)
    assert step() is step()
    assert len(replays) == 2


def test_a_captured_step_of_xpnet_trains_as_the_eager_one_does(bench: Any) -> None:
    emulator = pytest.importorskip("emulator")
    if not emulator.available():
        pytest.skip("the emulator compiles kernels with g++")
    backend, losses = get_backend("emulator"), []
    rng = np.random.default_rng(0)
    batch = rng.random((6, 8), dtype=np.float32), rng.integers(0, 3, 6)
    for captured in (False, True):
        model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).to(backend).initialize(1)
        eager = EagerStep(model, nn.softmax_cross_entropy, optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
        x, y = (backend.from_numpy(a) for a in batch)
        step = bench("xpnet_steps").recorded(backend, eager, x, y) if captured else lambda e=eager, x=x, y=y: e(x, y)
        before = 0 if captured else bench("xpnet_steps").WARM
        losses.append([float(step()) for _ in range(before + 4)][before:])
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]


def test_a_captured_step_of_xpnet_keeps_what_its_recording_reads(bench: Any) -> None:
    emulator = pytest.importorskip("emulator")
    if not emulator.available():
        pytest.skip("the emulator compiles kernels with g++")
    backend = get_backend("emulator")
    model = nn.Sequential(nn.Linear(8, 3)).to(backend).initialize(1)
    eager = EagerStep(model, nn.softmax_cross_entropy, optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    x, y = backend.from_numpy(np.ones((6, 8), np.float32)), backend.from_numpy(np.arange(6) % 3)
    step, alive = bench("xpnet_steps").recorded(backend, eager, x, y), weakref.ref(eager)
    del model, eager, x, y
    gc.collect()
    assert alive() is not None
    assert math.isfinite(float(step()))


def test_each_replay_draws_its_own_mask(bench: Any) -> None:
    emulator = pytest.importorskip("emulator")
    if not emulator.available():
        pytest.skip("the emulator compiles kernels with g++")
    backend = get_backend("emulator")
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(40, 3)).to(backend).initialize(1).train()
    eager = EagerStep(model, nn.softmax_cross_entropy, optim.SGD(model.parameters(), lr=1e-9))
    x, y = backend.from_numpy(np.ones((6, 40), np.float32)), backend.from_numpy(np.arange(6) % 3)
    step = bench("xpnet_steps").recorded(backend, eager, x, y)
    assert len({float(step()) for _ in range(5)}) == 5


def test_ops_are_timed_by_recordings_where_there_are_any(bench: Any) -> None:
    emulator = pytest.importorskip("emulator")
    if not emulator.available():
        pytest.skip("the emulator compiles kernels with g++")
    request = {
        "layers": [("conv", 1, 2, 3, 1), ("relu",), ("pool", 2), ("flatten",), ("linear", 18, 3)],
        "sample": (6, 6, 1),
        "classes": 3,
        "batch": 2,
        **SMALL,
        "device": "emulator",
    }
    ops = bench("xpnet_ops").measure(request)["ops"]
    assert [op["name"] for op in ops] == ["0", "1", "2", "4", "loss", "update"]
    assert all(math.isfinite(ms) for op in ops for ms in op["ms"])
    assert not emulator.TAPE.open


def test_mnist_is_learned_with_each_seed_and_looked_at_once(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = bench("xpnet_mnist")
    labels = np.arange(60) % 2 * 7
    images = np.zeros((60, 28, 28, 1), np.uint8)
    images[np.arange(60), labels * 2 + 3] = 255  # a bright row for each digit
    whole, looks = worker.Dataset(images, labels, tuple("0123456789"), "mnist"), []
    monkeypatch.setattr(worker.data, "load", lambda name, folder: (whole, whole))
    evaluate = worker.Trainer.evaluate
    monkeypatch.setattr(worker.Trainer, "evaluate", lambda t, data: looks.append(t.seed) or evaluate(t, data))
    monkeypatch.setitem(worker.RECIPE, "batch_size", 10)
    monkeypatch.setitem(worker.RECIPE, "peak_rate", 0.02)
    found = worker.learn({"device": "numpy", "data_dir": None, "seeds": 2, "precision": "fp32"})
    assert [run["seed"] for run in found["runs"]] == looks == [0, 1]
    assert [run["accuracy"] for run in found["runs"]] == [100, 100]
    assert found["recipe"]["epochs"] == 4


def test_without_cudnn_its_frontend_cannot_be_imported(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cudnn", type(sys)("cudnn"))
    request = {"layers": [("linear", 4, 2)], "sample": (4,), "classes": 2, "batch": 3, "device": "numpy"}
    bench("xpnet_steps").build({**request, "lr": 0.1, "momentum": 0.9, "cudnn": False})
    with pytest.raises(ImportError):
        importlib.import_module("cudnn")
