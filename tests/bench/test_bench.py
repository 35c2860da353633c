"""The benchmark: how it takes turns, what it computes from them, what it writes, and how it answers bad options."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest

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
    assert worker.ask(do="open") == {"version": "1.0", "parameters": 7, "loss": 0.5}
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


@pytest.mark.parametrize(
    ("ratio", "ours", "theirs", "said"),
    [
        (0.4, 300.0, 300.0, "0.4x met, memory met"),
        (0.39, 301.0, 300.0, "0.4x MISSED, memory MISSED"),
        (0.5, None, None, "0.4x met"),
    ],
)
def test_targets_are_met_at_their_edge_and_missed_below_it(
    bench: Any, ratio: float, ours: float | None, theirs: float | None, said: str
) -> None:
    report = bench("report")
    row = report.Row("lenet5", 128, 1.0, "torch", "channels last", ratio, ratio, 0.0, ours, theirs, [], [])
    assert report.verdict(row) == said


def test_a_peer_with_another_number_of_parameters_is_refused(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bench("run")

    class Miscounting:
        def __init__(self, script: Path, environment: dict[str, str]) -> None:
            self.count = 7850 if script.stem == "xpnet_steps" else 7840

        def ask(self, **request: Any) -> dict[str, Any]:
            return {"version": "0", "parameters": self.count, "loss": 2.3}

        def close(self) -> None: ...

    monkeypatch.setattr(run, "Worker", Miscounting)
    workload, batch = run.choose("softmax-1")[0]
    with pytest.raises(run.WorkerError, match="all have 7850 parameters, got jax 7840"):
        list(run.run_workload(workload, batch, {"jax": run.PEERS["jax"]}, "cpu", 0.1, False, {}))


def test_names_with_and_without_a_batch_choose_each_workload_once(bench: Any) -> None:
    chosen = bench("run").choose("mlp-64, softmax,mlp-64")
    assert [(w.name, batch) for w, batch in chosen] == [("mlp", 64), ("softmax", 1), ("softmax", 64), ("softmax", 512)]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--only", "lenet6"], "--only: no such workload, got only 'lenet6'; did you mean 'lenet5'?"),
        (["--only", "mlp-46"], "--only: no such workload, got only 'mlp-46'; did you mean 'mlp-64'"),
        (["--peers", "troch"], "--peers: no such peer, got peers 'troch'; did you mean 'torch'?"),
        (["--seconds", "0"], "--seconds: a number of seconds above 0, got seconds 0.0"),
        (["--json", "no/such/folder/o.json"], "--json: a file in a folder that can be written to, got json no/such"),
    ],
)
def test_a_bad_option_is_one_line_and_exit_code_2(bench: Any, options: list[str], line: str) -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(bench("run").app, ["cpu", *options])
    assert result.exit_code == 2
    assert result.output.startswith(line)
    assert result.output.count("\n") == 1


def test_a_peer_that_is_not_installed_is_left_out_and_said_so(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = bench("run")
    monkeypatch.setitem(run.PEERS, "jax", run.PEERS["jax"]._replace(package="no_such_package"))
    monkeypatch.setitem(run.PEERS, "torch", run.PEERS["torch"]._replace(package="json"))
    assert list(run.choose_peers("torch,jax")) == ["torch"]
    assert capsys.readouterr().err == "jax is not installed, left out; pip install jax\n"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """One small real run: xpnet and scikit-learn."""
    pytest.importorskip("sklearn")
    path = tmp_path_factory.mktemp("bench") / "o.json"
    result = run_bench(
        "cpu", "--only", "softmax-1", "--peers", "sklearn", "--seconds", "0.1", "--memory", "--json", str(path)
    )
    assert result.returncode == 0, result.stderr
    return result, json.loads(path.read_text())


def test_the_file_holds_the_promised_fields(measured: tuple[Any, dict[str, Any]]) -> None:
    facts = measured[1]
    assert {"machine", "versions", "precision", "cores", "results"} <= set(facts)
    assert {"python", "xpnet", "sklearn"} <= set(facts["versions"])
    assert (facts["precision"], facts["cores"] >= 1) == ("float32", True)
    [row] = facts["results"]
    figures = ["ratio", "spread", "xpnet_peak_mb", "peer_peak_mb"]
    assert list(row) == ["name", "batch", "xpnet_ms", "peer", "peer_ms", *figures]
    assert (row["name"], row["batch"], row["peer"]) == ("softmax", 1, "sklearn")
    assert min(row["xpnet_ms"], row["peer_ms"], row["ratio"], row["xpnet_peak_mb"], row["peer_peak_mb"]) > 0


def test_the_files_ratio_and_medians_follow_from_its_bursts(measured: tuple[Any, dict[str, Any]]) -> None:
    [row], [turns] = measured[1]["results"], measured[1]["turns"]
    ours, theirs = turns["xpnet_bursts_ms"], turns["peer_bursts_ms"]
    assert len(ours) == len(theirs) >= 20
    assert row["ratio"] == pytest.approx(median([t / o for o, t in zip(ours, theirs, strict=True)]))
    assert (row["xpnet_ms"], row["peer_ms"]) == pytest.approx((median(ours), median(theirs)))


def test_the_table_shows_the_row_and_the_versions(measured: tuple[Any, dict[str, Any]]) -> None:
    result, facts = measured
    [line] = [line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["softmax"]]
    row = facts["results"][0]
    assert line[:6] == [
        "softmax",
        "1",
        "sklearn",
        f"{row['xpnet_ms']:.3f}",
        f"{row['peer_ms']:.3f}",
        f"{row['ratio']:.2f}",
    ]
    assert f"sklearn {facts['versions']['sklearn']}" in result.stdout


def test_an_unknown_name_ends_the_script_with_code_2_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    result = run_bench("cpu", "--only", "sofmax", "--json", str(path))
    assert (result.returncode, result.stdout, path.exists()) == (2, "", False)
    assert result.stderr == "--only: no such workload, got only 'sofmax'; did you mean 'softmax'?\n"


def test_the_readmes_table_is_that_of_the_results(bench: Any) -> None:
    facts = json.loads((BENCH / "results" / "cpu.json").read_text())
    assert bench("report").markdown(facts) in (BENCH.parents[1] / "README.md").read_text()
