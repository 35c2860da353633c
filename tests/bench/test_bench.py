"""The benchmark: how it takes turns, what it computes from them, what it writes, and how it answers bad options."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from xpnet.autograd import Tensor

BENCH = Path(__file__).resolve().parents[2] / "ci" / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of ci/bench by name, as run.py does."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


class Clock:
    """Stands in for a worker: answers with a given time a step, and notes what it was asked."""

    def __init__(self, name: str, ms: float, asked: list, loss: float = 2.3) -> None:
        self.name, self.ms, self.asked, self.loss = name, ms, asked, loss

    def ask(self, **request: Any) -> dict[str, Any]:
        self.asked.append((self.name, request["do"], request.get("steps")))
        return {"ms": self.ms, "loss": self.loss}


def run_bench(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH / "run.py"), *options], capture_output=True, text=True, timeout=300
    )


def test_ratio_is_the_median_of_the_ratios_of_each_turn(bench: Any) -> None:
    found = bench("report").compare([1.0, 2.0, 4.0], [2.0, 2.0, 16.0])  # the ratio of the medians would be 1
    assert found == {"xpnet_ms": 2.0, "peer_ms": 2.0, "ratio": 2.0, "spread": (3.0 - 1.5) / 2.0}


def test_workers_warm_up_first_and_then_take_turns(bench: Any) -> None:
    turns, asked = bench("turns"), []
    workers = {name: Clock(name, ms, asked) for name, ms in (("a", 1.0), ("b", 5.0))}
    times = turns.take_turns(workers, seconds=1.5)
    assert [(name, do) for name, do, _ in asked] == [("a", "warm"), ("b", "warm")] + [
        ("a", "burst"),
        ("b", "burst"),
    ] * 20
    assert times == {"a": [1.0] * 20, "b": [5.0] * 20}


def test_bursts_last_equally_long_whatever_a_step_costs(bench: Any) -> None:
    asked: list = []
    workers = {name: Clock(name, ms, asked) for name, ms in (("fast", 0.1), ("slow", 10.0), ("slowest", 400.0))}
    bench("turns").take_turns(workers, seconds=1.5)
    assert {(name, steps) for name, do, steps in asked if do == "burst"} == {("fast", 750), ("slow", 8), ("slowest", 1)}


def test_more_seconds_give_more_turns_not_longer_ones(bench: Any) -> None:
    asked: list = []
    bench("turns").take_turns({"a": Clock("a", 1.0, asked)}, seconds=3.0)
    assert [steps for _, do, steps in asked if do == "burst"] == [75] * 40


@pytest.mark.parametrize(
    ("used", "pauses"),
    [
        ([0.0] * 50, 3),
        ([0.01] * 6 + [0.0] * 50, 9),
        ([0.01, 0.0, 0.0, 0.004] + [0.0] * 50, 7),  # a spinning thread that another process kept waiting
        ([0.01] * 99, 50),
    ],
)
def test_a_turn_ends_when_the_threads_have_been_idle_for_three_pauses(
    bench: Any, monkeypatch: pytest.MonkeyPatch, used: list[float], pauses: int
) -> None:
    monkeypatch.syspath_prepend(str(BENCH / "workers"))
    taken: list[float] = []
    bench("serve").wait_until_idle(cpu_seconds=lambda: sum(used[: len(taken)]), pause=taken.append)
    assert len(taken) == pauses


@pytest.mark.parametrize(("ms", "rounds"), [(900.0, 20), (3000.0, 7), (40_000.0, 3)], ids=["1-s", "3-s", "40-s"])
def test_slow_steps_take_fewer_turns_but_never_too_few(bench: Any, ms: float, rounds: int) -> None:
    asked: list = []
    bench("turns").take_turns({"a": Clock("a", ms, asked)}, seconds=1.5, fewest=3, within=45.0)  # a turn is two steps
    assert [steps for _, do, steps in asked if do == "burst"] == [1] * rounds


def test_a_loss_that_is_not_finite_stops_the_comparison(bench: Any) -> None:
    turns = bench("turns")
    with pytest.raises(turns.WorkerError, match="broken: the loss is finite, got loss nan"):
        turns.take_turns({"broken": Clock("broken", 1.0, [], loss=float("nan"))}, seconds=0.1)


def test_a_worker_that_dies_is_reported_with_its_code_and_last_line(bench: Any, tmp_path: Path) -> None:
    turns, script = bench("turns"), tmp_path / "frail_steps.py"
    script.write_text("import sys\nprint('first', file=sys.stderr)\nsys.exit('out of luck')\n")
    worker = turns.Worker(script, {})
    with pytest.raises(turns.WorkerError, match=r"^frail_steps: ended with code 1, out of luck$"):
        worker.ask(do="open")
    worker.close()


def test_what_a_library_prints_does_not_mix_with_the_answers(bench: Any, tmp_path: Path) -> None:
    turns, script = bench("turns"), tmp_path / "chatty_steps.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(BENCH / 'workers')!r})\n"
        "from serve import Job, serve\n"
        "def step(): print('chatter', flush=True)\n"
        "serve(lambda request: Job('1.0', 7, step, lambda result: 0.5))\n"
    )
    worker = turns.Worker(script, {})
    assert worker.ask(do="open") == {"version": "1.0", "parameters": 7, "how": "", "loss": 0.5}
    assert worker.ask(do="burst", steps=3)["loss"] == 0.5
    assert worker.ask(do="memory")["peak_mb"] > 1
    worker.close()


def test_a_failed_request_is_answered_in_one_line(bench: Any, tmp_path: Path) -> None:
    turns, script = bench("turns"), tmp_path / "failing_steps.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(BENCH / 'workers')!r})\n"
        "from serve import serve\n"
        "def build(request): raise ValueError('batch ' + str(request['batch']) + ' is odd\\nsecond line')\n"
        "serve(build)\n"
    )
    worker = turns.Worker(script, {})
    with pytest.raises(turns.WorkerError, match=r"^failing_steps: ValueError: batch 3 is odd$"):
        worker.ask(do="open", batch=3)
    worker.close()


# What is measured


def test_every_case_has_its_target(bench: Any) -> None:
    found = bench("workloads")
    assert {case.key for case in found.CASES} == set(found.RATIO_TARGETS)


@pytest.mark.parametrize(
    ("only", "labels", "process"),
    [
        ("mlp-64, softmax,mlp-64", ["mlp-64", "softmax-1", "softmax-64"], False),
        ("alexnet", ["alexnet-16", "alexnet-1-inference", "alexnet-16-inference"], False),
        ("lenet5-64", ["lenet5-64"], False),
        ("lenet5-64-inference,process", ["lenet5-64-inference"], True),
        ("mlp-1024", ["mlp-1024-64", "mlp-1024-512"], False),
        (
            "inference",
            ["lenet5-1-inference", "lenet5-64-inference", "alexnet-1-inference", "alexnet-16-inference"],
            False,
        ),
    ],
    ids=["twice", "model", "batch", "process", "dash", "task"],
)
def test_names_choose_each_case_once(bench: Any, only: str, labels: list[str], process: bool) -> None:
    cases, whole = bench("comparing").choose(only)
    assert ([case.label for case in cases], whole) == (labels, process)


def test_without_names_all_is_chosen_the_whole_process_too(bench: Any) -> None:
    assert bench("comparing").choose("") == (bench("workloads").CASES, True)


def test_scikit_learn_is_asked_only_for_what_it_can_do(bench: Any) -> None:
    found = bench("workloads")
    can = [case.label for case in found.CASES if found.PEERS["sklearn"].runs(case)]
    assert can == ["softmax-1", "softmax-64", "mlp-1", "mlp-64", "mlp-512", "mlp-1024-64", "mlp-1024-512"]
    assert all(found.PEERS["torch"].runs(case) for case in found.CASES)


class StandIn:
    """Answers as a worker script does: milliseconds a step by script, layout and whether loops are compiled."""

    ms: dict[tuple[str, str, bool], float] = {  # noqa: RUF012
        ("xpnet_steps", "", True): 2.0,
        ("xpnet_steps", "", False): 4.0,
        ("torch_steps", "channels first", True): 3.0,
        ("torch_steps", "channels last", True): 2.5,
        ("jax_steps", "", True): 8.0,
    }
    parameters: dict[str, int] = {}  # noqa: RUF012
    opened: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012
    broken: tuple[str, ...] = ()

    def __init__(self, script: Path, environment: dict[str, str]) -> None:
        self.script = script.stem

    def ask(self, **request: Any) -> dict[str, Any]:
        if request["do"] == "open":
            if self.script in self.broken:
                raise importlib.import_module("turns").WorkerError(f"{self.script}: out of luck")
            self.opened.append((self.script, request))
            self.key = (self.script, request["layout"], request.get("fast", True))
            count = self.parameters.get(self.script, 7)
            return {"version": "9", "parameters": count, "how": "somehow", "loss": 2.3}
        if request["do"] == "memory":
            return {"peak_mb": 100.0 if self.script == "xpnet_steps" else 300.0}
        return {"ms": self.ms[self.key], "loss": 2.3}

    def close(self) -> None: ...


@pytest.fixture
def stand_in(bench: Any, monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    comparing = bench("comparing")
    monkeypatch.setattr(comparing, "Worker", StandIn)
    monkeypatch.setattr(comparing, "ours", lambda: {"xpnet": True, "xpnet-numpy": False})
    for name, empty in (("opened", []), ("parameters", {}), ("broken", ())):
        monkeypatch.setattr(StandIn, name, empty)
    return StandIn


def compared(bench: Any, label: str = "lenet5-64", *peers: str) -> list[Any]:
    comparing = bench("comparing")
    [case] = comparing.choose(label)[0]
    found = {name: comparing.PEERS[name] for name in peers or ("torch", "jax")}
    return list(comparing.Bench(found, 0.1, None, None, 1).compare(case))


def test_xpnet_is_timed_with_numba_and_without_against_the_same_turns_of_peers(bench: Any, stand_in: Any) -> None:
    rows = compared(bench)
    assert [(row.fast, row.peer, row.peer_layout, row.ratio) for row in rows] == [
        (True, "torch", "channels last", 1.25),
        (True, "jax", "", 4.0),
        (False, "torch", "channels last", 0.625),
        (False, "jax", "", 2.0),
    ]
    assert rows[0].peer_bursts_ms is rows[2].peer_bursts_ms
    assert (rows[0].xpnet_peak_mb, rows[0].peer_peak_mb, rows[0].xpnet_how) == (100.0, 300.0, "somehow")


def test_workers_are_asked_for_the_task_and_xpnets_also_to_choose_its_step(bench: Any, stand_in: Any) -> None:
    compared(bench, "lenet5-64-inference")
    scripts = [(script, request.get("fast"), request["mode"]) for script, request in stand_in.opened]
    assert scripts == [
        ("xpnet_steps", None, "chosen"),  # compiles loops, and is not timed
        ("xpnet_steps", True, "chosen"),
        ("xpnet_steps", False, "chosen"),
        *[("torch_steps", None, "eager")] * 2,
        ("jax_steps", None, "eager"),
    ]
    assert {request["task"] for _, request in stand_in.opened} == {"inference"}


def test_a_peer_with_another_number_of_parameters_is_refused(bench: Any, stand_in: Any) -> None:
    stand_in.parameters = {"jax_steps": 8}
    with pytest.raises(bench("turns").WorkerError, match="all have 7 parameters, got jax 8"):
        compared(bench)


def test_a_peer_that_does_not_open_is_left_out_and_said_so_once(
    bench: Any, stand_in: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.broken = ("torch_steps",)
    assert {row.peer for row in compared(bench)} == {"jax"}
    assert capsys.readouterr().err == "lenet5-64: torch is left out; torch_steps: out of luck\n"


def test_a_case_that_xpnet_fails_is_said_and_the_next_goes_on(
    bench: Any, stand_in: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparing, path = bench("comparing"), tmp_path / "o.json"
    run = comparing.Bench({"jax": comparing.PEERS["jax"]}, 0.1, path, None, 1)
    cases, _ = comparing.choose("lenet5-1,lenet5-64")
    real = run.compare
    run.compare = lambda case: (_ for _ in ()).throw(comparing.WorkerError("broke")) if case.batch == 1 else real(case)
    assert not run.run(cases, process=False)
    assert "lenet5-1: broke\n[2/2] lenet5-64" in capsys.readouterr().err
    assert {row["batch"] for row in json.loads(path.read_text())["results"]} == {64}


def test_without_numba_there_is_numpy_alone(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    comparing = bench("comparing")
    monkeypatch.setattr(comparing.importlib.util, "find_spec", lambda name: None)
    assert comparing.ours() == {"xpnet-numpy": False}


# What is said of it


def row(**changes: Any) -> dict[str, Any]:
    known = {"name": "lenet5", "batch": 128, "task": "training", "fast": True, "xpnet_how": "in 2 parts, numba 1"}
    known |= {"xpnet_ms": 2.0, "peer": "torch", "peer_layout": "", "peer_ms": 2.0, "ratio": 1.0, "spread": 0.03}
    return {**known, "xpnet_peak_mb": 300.0, "peer_peak_mb": 300.0, **changes}


FACTS = {
    "machine": {"cpu": "Some CPU", "system": "Linux x86_64", "load_before": 0.1},
    "versions": {"python": "3.11", "xpnet": "9"},
    "precision": "float32",
    "cores": 2,
    "threads": "default",
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "at least 1x met; memory 300 / 300 MB, met"),
        ({"ratio": 0.99, "xpnet_peak_mb": 301.0}, "at least 1x MISSED; memory 301 / 300 MB, MISSED"),
        ({"ratio": 0.7, "fast": False}, "at least 0.7x met; memory 300 / 300 MB, met"),
        ({"ratio": 0.69, "fast": False}, "at least 0.7x MISSED; memory 300 / 300 MB, met"),
        ({"name": "alexnet", "batch": 16, "ratio": 1.1}, "at least 1.1x met; memory 300 / 300 MB, met"),
        ({"xpnet_peak_mb": None}, "at least 1x met"),
    ],
    ids=["edge", "below", "numpy-edge", "numpy-below", "other-target", "no-memory"],
)
def test_targets_are_met_at_their_edge_and_missed_below_it(bench: Any, changes: dict[str, Any], said: str) -> None:
    assert bench("cpu_report").said([row(**changes)]).endswith("x; " + said)


def test_the_faster_of_pytorch_and_jax_is_the_one_to_reach(bench: Any) -> None:
    report = bench("cpu_report")
    rows = [row(ratio=1.5, peer_ms=3.0), row(peer="jax", ratio=0.9, peer_ms=1.8), row(peer="sklearn", peer_ms=0.1)]
    assert report.best(rows)["peer"] == "jax"
    assert "at least 1x MISSED" in report.said(rows)
    assert report.best(rows[2:]) is None
    assert "at least" not in report.said(rows[2:])


def test_the_tables_mark_what_is_missed_and_memory_is_beside_pytorchs(bench: Any) -> None:
    jax = row(peer="jax", ratio=0.9, peer_ms=1.8, spread=0.125, peer_peak_mb=200.0)
    rows = [row(ratio=1.5, peer_ms=3.0, xpnet_peak_mb=301.0), jax, row(task="inference", batch=64)]
    rows += [row(fast=False, xpnet_ms=123.4, peer_ms=98.7, ratio=0.8), row(fast=False, task="inference", batch=64)]
    lines = bench("cpu_report").markdown({**FACTS, "results": rows, "process": None}).splitlines()
    heads = "| xpnet | best peer | ratio (spread) | to reach | other peers | peak memory, xpnet / PyTorch |"
    assert lines == [
        f"| training step {heads}",
        "|---|---|---|---|---|---|---|",
        "| lenet5, batch 128 | 2.00 ms | JAX jit 1.80 ms | 0.90x (12%) | 1x, **missed** | PyTorch 3.00 ms "
        "| 301 / 300 MB, **missed** |",
        "",
        f"| inference step {heads}",
        "|---|---|---|---|---|---|---|",
        "| lenet5, batch 64 | 2.00 ms | PyTorch 2.00 ms | 1.00x (3%) | 1x, met |  | 300 / 300 MB |",
        "",
        "| NumPy alone, without numba | xpnet | best peer | ratio (spread) | to reach | peak memory, xpnet / PyTorch |",
        "|---|---|---|---|---|---|",
        "| lenet5, batch 128 | 123 ms | PyTorch 98.7 ms | 0.80x (3%) | 0.7x, met | 300 / 300 MB |",
        "| lenet5, batch 64, inference | 2.00 ms | PyTorch 2.00 ms | 1.00x (3%) | 0.7x, met | 300 / 300 MB |",
        "",
        "Some CPU, 2 cores, Linux x86_64, float32; python 3.11, xpnet 9.",
    ]


@pytest.mark.parametrize(
    ("command", "options", "line"),
    [
        ("cpu", ["--only", "lenet6"], "--only: no such workload, got only 'lenet6'; did you mean 'lenet5'"),
        ("cpu", ["--only", "mlp-46"], "--only: no such workload, got only 'mlp-46'; did you mean 'mlp-64'"),
        ("cpu", ["--only", "proces"], "--only: no such workload, got only 'proces'; did you mean 'process'"),
        ("cpu", ["--peers", "troch"], "--peers: no such peer, got peers 'troch'; did you mean 'torch'?"),
        ("cpu", ["--seconds", "0"], "--seconds: a number of seconds above 0, got seconds 0.0"),
        ("cpu", ["--repeats", "0"], "--repeats: at least 1, got repeats 0"),
        ("cpu", ["--json", "no/such/folder/o.json"], "--json: a file in a folder that can be written to, got json no/"),
        (
            "process",
            ["--data-dir", "no/such"],
            "process: a folder holds MNIST's four files, got folder no/such; name",
        ),
        ("process", ["--repeats", "-1"], "--repeats: at least 1, got repeats -1"),
        ("growth", ["--only", "alexnett"], "--only: no such model, got only 'alexnett'; did you mean 'alexnet'"),
        ("growth", ["--most", "0"], "--most: at least 1, got most 0"),
        ("growth", ["--limit", "nan"], "--limit: a number of seconds above 0, got limit nan"),
        ("feed", ["--model", "lenet"], "--model: no such model, got model 'lenet'; did you mean 'lenet5'"),
        ("feed", ["--images", "3"], "--images: at least 20, got images 3"),
        ("feed", ["--batch", "0"], "--batch: at least 1, got batch 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_option_is_one_line_and_exit_code_2(bench: Any, command: str, options: list[str], line: str) -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(bench("run").app, [command, *options])
    assert result.exit_code == 2
    assert result.output.startswith(line)
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("text", ["{}", "[1]", "{", '{"results": [{"name": "mlp"}]}', '{"growth": 3}'])
def test_a_file_that_holds_no_results_is_one_line_and_exit_code_2(bench: Any, tmp_path: Path, text: str) -> None:
    from typer.testing import CliRunner

    path = tmp_path / "o.json"
    path.write_text(text)
    result = CliRunner().invoke(bench("run").app, ["table", str(path)])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert result.output.startswith(f"table: the file is one that --json wrote, got {path} (")


def test_a_peer_that_is_not_installed_is_left_out_and_said_so(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = bench("comparing")
    monkeypatch.setitem(run.PEERS, "jax", run.PEERS["jax"]._replace(package="no_such_package"))
    monkeypatch.setitem(run.PEERS, "torch", run.PEERS["torch"]._replace(package="json"))
    assert list(run.choose_peers("torch,jax")) == ["torch"]
    assert capsys.readouterr().err == "jax is not installed, left out; pip install jax\n"


# The workers


@pytest.fixture
def workers(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a worker's module by name."""
    monkeypatch.syspath_prepend(str(BENCH / "workers"))
    return bench


def asked(layers: list[Any], sample: tuple[int, ...], classes: int, batch: int, **more: Any) -> dict[str, Any]:
    known = {"layers": layers, "sample": sample, "classes": classes, "batch": batch, "device": "cpu", "layout": ""}
    return {**known, "lr": 0.1, "momentum": 0.9, **more}


def test_jax_computes_the_same_alexnet(workers: Any) -> None:
    jax_steps = pytest.importorskip("jax") and workers("jax_steps")
    layers = workers("workloads").alexnet(12, 5)
    ours = workers("xpnet_steps").network(layers).initialize(3).eval()
    values = [np.array(p.data) for p in ours.parameters()]
    turned = [v.transpose(1, 2, 3, 0) if v.ndim == 4 else v.T for v in values]  # filters and neurons last
    x = np.random.default_rng(0).random((2, 227, 227, 3), dtype=np.float32)
    scores = jax_steps._forward(layers, list(zip(turned[::2], turned[1::2], strict=True)), x)
    assert [a.shape for pair in jax_steps._initial(layers) for a in pair] == [a.shape for a in turned]
    np.testing.assert_allclose(np.asarray(scores), np.array(ours(Tensor(x)).data), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("script", ["torch_steps", "jax_steps"])
def test_response_normalization_is_the_same_in_every_library(workers: Any, script: str) -> None:
    package = pytest.importorskip(script.partition("_")[0])
    lrn = ("lrn", 3, 0.5, 0.75, 1.0)  # so strong that a wrong window or factor shows
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 7)).astype(np.float32)
    if script == "jax_steps":
        theirs = np.asarray(workers(script)._forward([lrn], [], x))
    else:
        theirs = workers(script)._module(*lrn)(package.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    near = np.pad(x.astype(np.float64) ** 2, ((0, 0), (0, 0), (0, 0), (1, 1)))
    wanted = x / (1 + 0.5 * (near[..., :-2] + near[..., 1:-1] + near[..., 2:])) ** 0.75
    np.testing.assert_allclose(theirs, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(workers("xpnet_steps").network([lrn])(Tensor(x)).data, wanted, rtol=1e-5, atol=1e-6)


def test_jax_drops_half_of_the_numbers_in_training_and_other_ones_each_time(workers: Any) -> None:
    jax = pytest.importorskip("jax")
    forward, x = workers("jax_steps")._forward, np.ones((1, 10_000), np.float32)
    first, second = (np.asarray(forward([("dropout", 0.5)], [], x, jax.random.key(i))) for i in range(2))
    assert set(np.unique(first)) == {0.0, 2.0}
    assert 0.45 < (first == 0).mean() < 0.55
    assert 0.45 < (first == second).mean() < 0.55
    assert (np.asarray(forward([("dropout", 0.5)], [], x)) == 1).all()


@pytest.mark.parametrize("script", ["torch_steps", "jax_steps", "xpnet_steps"])
def test_inference_gives_the_same_scores_again_and_training_does_not(workers: Any, script: str) -> None:
    pytest.importorskip(script.partition("_")[0])
    build = workers(script).build
    layers = [("conv", 1, 2, 3, 1), ("relu",), ("pool", 2), ("flatten",), ("linear", 8, 6), ("relu",)]
    layers += [("dropout", 0.5), ("linear", 6, 3)]
    forward = build(asked(layers, (4, 4, 1), 3, 5, task="inference", mode="chosen" if "xp" in script else "eager"))
    scores = forward.step()
    assert tuple(scores.shape) == (5, 3)
    assert forward.loss(scores) == forward.loss(forward.step()) == pytest.approx(float(np.asarray(scores).mean()))
    step = build(asked(layers, (4, 4, 1), 3, 5, mode="chosen" if "xp" in script else "eager"))
    losses = [step.loss(step.step()) for _ in range(30)]
    assert len(set(losses)) > 20
    assert forward.parameters == step.parameters == 2 * 9 + 2 + 8 * 6 + 6 + 6 * 3 + 3


def test_xpnets_worker_runs_the_step_that_the_trainer_chooses(workers: Any) -> None:
    from xpnet.backend import use_cores

    steps, workload = workers("xpnet_steps"), workers("workloads").WORKLOADS["cnn"]
    request = asked(workload.layers, workload.sample, 10, 64, mode="chosen")
    with use_cores(2):
        assert steps.build(request).how.startswith("in 2 parts, ")
        assert steps.build({**request, "batch": 1}).how.startswith("whole, ")


def test_xpnets_worker_can_do_without_numba(bench: Any) -> None:
    turns, run = bench("turns"), bench("comparing")
    worker = turns.Worker(BENCH / "workers" / "xpnet_steps.py", run.worker_environment(run.ROOT, "cpu", 1))
    said = worker.ask(do="open", **asked([("linear", 4, 3)], (4,), 3, 2, mode="chosen", fast=False))
    worker.close()
    assert said["how"] == "whole, NumPy alone"


def test_a_workers_threads_are_bounded_where_that_is_asked(bench: Any, tmp_path: Path) -> None:
    turns = bench("turns")
    bound = turns.worker_environment(tmp_path, "cpu", 3)
    assert [bound[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL")] == ["3"] * 3
    free = turns.worker_environment(tmp_path, "cpu")
    assert free.get("OMP_NUM_THREADS") == os.environ.get("OMP_NUM_THREADS")


# All of it


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """One small real run: xpnet, scikit-learn and PyTorch."""
    pytest.importorskip("sklearn")
    pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("bench") / "o.json"
    options = ["--only", "softmax-1", "--peers", "sklearn,torch", "--seconds", "0.1", "--json", str(path)]
    result = run_bench("cpu", *options)
    assert result.returncode == 0, result.stderr
    return result, json.loads(path.read_text())


def test_the_file_holds_the_promised_fields(measured: tuple[Any, dict[str, Any]]) -> None:
    facts = measured[1]
    assert {"machine", "versions", "precision", "cores", "threads", "results", "turns", "process"} == set(facts)
    assert {"python", "numpy", "xpnet", "sklearn", "torch"} == set(facts["versions"])
    assert (facts["precision"], facts["cores"] >= 1) == ("float32", True)
    assert {(r["name"], r["batch"], r["task"]) for r in facts["results"]} == {("softmax", 1, "training")}
    assert {(False, "sklearn"), (False, "torch")} <= {(r["fast"], r["peer"]) for r in facts["results"]}
    for found in facts["results"]:
        figures = ("xpnet_ms", "peer_ms", "ratio", "xpnet_peak_mb", "peer_peak_mb")
        assert min(found[figure] for figure in figures) > 0


def test_the_files_ratio_and_medians_follow_from_its_bursts(measured: tuple[Any, dict[str, Any]]) -> None:
    for found, turns in zip(measured[1]["results"], measured[1]["turns"], strict=True):
        ours, theirs = turns["xpnet_bursts_ms"], turns["peer_bursts_ms"]
        assert len(ours) == len(theirs) >= 20
        assert found["ratio"] == pytest.approx(median([t / o for o, t in zip(ours, theirs, strict=True)]))
        assert (found["xpnet_ms"], found["peer_ms"]) == pytest.approx((median(ours), median(theirs)))


def test_the_run_says_how_far_it_is_and_ends_with_the_table(
    bench: Any, measured: tuple[subprocess.CompletedProcess[str], dict[str, Any]]
) -> None:
    result, facts = measured
    assert result.stdout == bench("cpu_report").markdown(facts) + "\n"
    assert "[1/1] softmax-1 ..." in result.stderr
    assert " float32, load " in result.stderr.splitlines()[0]
    assert result.stderr.splitlines()[0].endswith(" minutes")


def test_an_unknown_name_ends_the_script_with_code_2_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    result = run_bench("cpu", "--only", "sofmax", "--json", str(path))
    assert (result.returncode, result.stdout, path.exists()) == (2, "", False)
    assert result.stderr == "--only: no such workload, got only 'sofmax'; did you mean 'softmax'?\n"


def test_the_readmes_table_is_that_of_the_results(bench: Any) -> None:
    facts = json.loads((BENCH / "results" / "cpu.json").read_text())
    assert bench("cpu_report").markdown(facts) in (BENCH.parents[1] / "README.md").read_text()
