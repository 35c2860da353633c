"""The runner: which processes it starts, what it keeps of them, and what it leaves out."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest


def runner(bench: Any, peers: str = "torch,jax", suite: str = "cpu", **more: Any) -> Any:
    known = bench("workloads").GPU_LIBRARIES if suite == "gpu" else bench("workloads").LIBRARIES
    options = Namespace(**{"seconds": 0.075, "json": None, "minutes": 60.0, "baseline": None, **more})
    return bench("runner").Runner(suite, bench("runner").choose_peers(peers, known), options)


def case(bench: Any, label: str = "lenet5-64") -> Any:
    cases = {case: case.names("cpu") for case in bench("workloads").CPU}
    [found] = bench("runner").choose(label, cases)
    return found


def test_the_best_of_three_processes_counts_and_the_file_has_the_turns_of_each(
    bench: Any, workers: Any, tmp_path: Path
) -> None:
    workers.ms["torch_steps"] = [5.8, 4.4, 5.0]
    run = runner(bench, json=tmp_path / "o.json")
    run.run([case(bench)], 3)
    rows = {row["library"]: row for row in json.loads((tmp_path / "o.json").read_text())["rows"]}
    assert set(rows) == {"xpnet", "xpnet-numpy", "torch", "torch-last", "jax"}
    assert rows["torch"]["value"] == 4.4
    assert rows["torch"]["spread"] == pytest.approx(5.8 / 4.4 - 1, abs=1e-4)
    assert [set(turns) for turns in rows["torch"]["turns"]] == [{5.8}, {4.4}, {5.0}]
    assert rows["torch"]["long"] == [[5.8], [4.4], [5.0]]
    assert (rows["xpnet"]["name"], rows["xpnet"]["batch"], rows["xpnet"]["mb"]) == ("lenet5", 64, 100.0)


def test_a_round_goes_through_all_cases_before_new_processes_begin(
    bench: Any, workers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    runner(bench, "").run([case(bench), case(bench, "mlp-1")], 2)
    labels = [line.split(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert labels == ["[1/2, 1/2] lenet5-64", "[1/2, 2/2] mlp-1", "[2/2, 1/2] lenet5-64", "[2/2, 2/2] mlp-1"]


def test_xpnet_starts_once_more_before_it_is_timed_so_that_its_loops_are_compiled(bench: Any, workers: Any) -> None:
    runner(bench, "").run([case(bench)], 2)
    asked = [len(worker.requests) for worker in workers.started]
    assert asked[0] == 1
    assert min(asked[1:]) > 3
    assert len(asked) == 1 + 2 * 2


def test_a_baseline_is_another_checkout_measured_in_turn(bench: Any, workers: Any, tmp_path: Path) -> None:
    run = runner(bench, "", baseline=tmp_path)
    run.run([case(bench)], 1)
    roots = [worker.environment["PYTHONPATH"].split(":")[0] for worker in workers.started]
    assert roots.count(str(tmp_path)) == 2
    assert {row["library"] for row in run.results.rows} == {"xpnet", "xpnet-numpy", "baseline"}


def test_only_libraries_that_can_run_a_case_are_started(bench: Any, workers: Any) -> None:
    can = {
        name: [library for library, known in bench("workloads").LIBRARIES.items() if known.runs(case(bench, name))]
        for name in ("mlp-1", "mlp-1-inference", "lenet5-1")
    }
    ours = ["xpnet", "xpnet-numpy", "baseline"]
    assert can == {
        "mlp-1": [*ours, "torch", "jax", "sklearn"],
        "mlp-1-inference": [*ours, "torch", "jax", "onnxruntime"],
        "lenet5-1": [*ours, "torch", "torch-last", "jax"],
    }


def test_a_peer_that_does_not_open_is_left_out(bench: Any, workers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    del workers.ms["jax_steps"]
    run = runner(bench)
    run.run([case(bench)], 1)
    assert "jax" not in {row["library"] for row in run.results.rows}
    assert "jax is left out; jax_steps: out of luck" in capsys.readouterr().err
    assert not run.results.failed


def test_a_case_that_xpnet_fails_is_reported_and_the_next_goes_on(
    bench: Any, workers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    del workers.ms["xpnet_steps-numpy"]
    run = runner(bench)
    run.run([case(bench), case(bench, "mlp-1")], 1)
    assert "lenet5-64: xpnet_steps: out of luck" in capsys.readouterr().err
    assert run.results.failed


def test_a_library_with_another_number_of_parameters_is_refused(bench: Any, workers: Any) -> None:
    workers.parameters["jax_steps"] = 8
    with pytest.raises(bench("turns").WorkerError, match=r"expected equal numbers of parameters, got \{'xpnet': 7"):
        runner(bench).once(case(bench))


def test_nothing_new_begins_when_the_time_is_up(bench: Any, workers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = runner(bench, minutes=0.0)
    run.run([case(bench)], 1)
    assert (workers.started, run.results.rows) == ([], [])
    assert "lenet5-64: left out, the time is up" in capsys.readouterr().err


def test_no_answer_is_waited_for_much_longer_than_there_is_time(bench: Any, workers: Any) -> None:
    runner(bench, "", minutes=1.0).once(case(bench))
    assert all(85 < worker.patience <= 90 for worker in workers.started)


def test_torch_compile_needs_time_that_is_left(bench: Any, workers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    workers.ms.update({"torch_stepschannels lastcaptured": [1.0], "torch_stepschannels lastcompiled": [1.0]})
    names = [
        {row["library"] for row in run.results.rows}
        for run in (runner(bench, "torch", "gpu", minutes=1.0), runner(bench, "torch", "gpu", minutes=60.0))
        if run.attempt(case(bench), "a case")
    ]
    assert [sorted(each & {"torch-captured", "torch-compiled"}) for each in names] == [
        ["torch-captured"],
        ["torch-captured", "torch-compiled"],
    ]
    assert "torch-compiled is left out, too little time is left to compile" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("only", "labels"),
    [
        ("mlp-64, softmax,mlp-64", ["mlp-64", "softmax-1", "softmax-64"]),
        ("alexnet", ["alexnet-16", "alexnet-1-inference", "alexnet-16-inference"]),
        ("mlp-1024", ["mlp-1024-64", "mlp-1024-512"]),
    ],
)
def test_names_choose_each_case_once(bench: Any, only: str, labels: list[str]) -> None:
    cases = {case: case.names("cpu") for case in bench("workloads").CPU}
    assert [case.names("cpu")[0] for case in bench("runner").choose(only, cases)] == labels
    assert bench("runner").choose("", cases) == list(cases)
    assert bench("runner").choose(bench("workloads").QUICK, cases)


def test_an_unknown_name_is_one_line_with_the_known_ones(bench: Any) -> None:
    with pytest.raises(SystemExit, match=r"^--only: expected some of a, b, got c$"):
        bench("runner").choose("a,c", {1: ["a"], 2: ["b"]})
    with pytest.raises(
        SystemExit, match=r"^--peers: expected some of xpnet, torch, jax, sklearn, onnxruntime, got troch$"
    ):
        bench("runner").choose_peers("troch", bench("workloads").LIBRARIES)


def test_a_peer_that_is_not_installed_is_left_out(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    library = bench("workloads").Library
    known = {"a": library("A", "json", "x"), "b": library("B", "no_such_package", "x"), "c": library("C", "csv", "x")}
    assert list(bench("runner").choose_peers("json,no_such_package", known)) == ["a"]
    assert capsys.readouterr().err == "no_such_package is not installed, left out\n"
