"""Worker processes: how they take turns, and how what goes wrong in one is reported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


class Clock:
    """Answers with a given time a step, and keeps what it was asked."""

    def __init__(self, name: str, ms: float, asked: list) -> None:
        self.name, self.ms, self.asked = name, ms, asked

    def ask(self, **request: Any) -> dict[str, Any]:
        self.asked.append((self.name, request["seconds"]))
        return {"ms": self.ms}


def test_workers_warm_up_first_and_then_take_short_turns_and_long_ones(bench: Any) -> None:
    asked: list = []
    turns = bench("turns").take_turns({name: Clock(name, ms, asked) for name, ms in (("a", 1.0), ("b", 5.0))}, 1.5)
    assert asked[:4] == [("a", 0.1), ("a", 0.4), ("b", 0.1), ("b", 0.4)]
    assert asked[4:44] == [("a", 0.075), ("b", 0.075)] * 20
    assert asked[44:] == [("a", 1.0), ("b", 1.0)] * 2
    assert turns == {"a": {"short": [1.0] * 20, "long": [1.0] * 2}, "b": {"short": [5.0] * 20, "long": [5.0] * 2}}


@pytest.mark.parametrize(("ms", "count"), [(400.0, 20), (1000.0, 10), (40_000.0, 3)])
def test_slow_steps_take_fewer_turns_but_never_too_few(bench: Any, ms: float, count: int) -> None:
    assert len(bench("turns").take_turns({"a": Clock("a", ms, [])}, 1.5)["a"]["short"]) == count


@pytest.mark.parametrize(
    ("used", "pauses"),
    [([0.0] * 50, 3), ([0.01] * 6 + [0.0] * 50, 9), ([0.01, 0.0, 0.0, 0.004] + [0.0] * 50, 7), ([0.01] * 99, 50)],
    ids=["idle", "spinning", "spinning-but-kept-waiting", "never-idle"],
)
def test_a_turn_ends_when_the_threads_have_been_idle_for_three_pauses(bench: Any, used: list, pauses: int) -> None:
    taken: list[float] = []
    bench("serve").wait_until_idle(cpu_seconds=lambda: sum(used[: len(taken)]), pause=taken.append)
    assert len(taken) == pauses


@pytest.fixture
def started(bench: Any, tmp_path: Path) -> Any:
    """Start a worker of a module with the given source."""

    def start(source: str, processes: int = 1) -> Any:
        (tmp_path / "made_up.py").write_text(source)
        env = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return bench("turns").Worker("made_up", env, processes=processes)

    return start


def test_what_a_library_prints_does_not_mix_with_the_answers(started: Any) -> None:
    step = "def step(): print('chatter', flush=True)\n"
    build = "def build(request): return serve.repeated(7, step, lambda result: 0.5)\n"
    with started("import serve\n" + step + build) as worker:
        assert worker.ask(do="open") == {"parameters": 7, "loss": 0.5}
        said = worker.ask(do="burst", seconds=0.001)
        assert said["loss"] == 0.5
        assert said["ms"] > 0
        assert worker.ask(do="memory")["peak_mb"] > 1


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("def measure(request): raise ValueError(f'batch {request[\"batch\"]}\\nis odd')", "ValueError: batch 3"),
        ("import sys; sys.exit(3)", "ended with code 3"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def measure(request): return {'loss': float('nan')}", "expected a finite loss, got nan"),
    ],
    ids=["fails", "ends", "imports", "diverges"],
)
def test_what_goes_wrong_in_a_worker_is_one_line(bench: Any, started: Any, source: str, line: str) -> None:
    with started(source) as worker, pytest.raises(bench("turns").WorkerError) as caught:
        worker.ask(do="measure", batch=3)
    assert str(caught.value) == f"made_up: {line}"


def test_a_worker_that_does_not_answer_is_not_waited_for_for_ever(bench: Any, started: Any) -> None:
    with started("import time\ndef measure(request): time.sleep(60)") as worker:
        worker.patience = 0.05
        with pytest.raises(bench("turns").WorkerError, match="made_up: no answer in 0 s"):
            worker.ask(do="measure")


def test_a_workers_threads_are_bounded_where_that_is_asked(bench: Any, tmp_path: Path) -> None:
    bound, free = bench("turns").environment("cpu", 3, tmp_path), bench("turns").environment("cpu")
    assert [bound[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL")] == ["3"] * 3
    assert free.get("OMP_NUM_THREADS") == os.environ.get("OMP_NUM_THREADS")
    assert bound["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)


def test_the_processes_of_a_worker_run_as_many_steps_each(started: Any, tmp_path: Path) -> None:
    """Process 1 is slower, so that it would choose fewer steps, and hang for the others."""
    pytest.importorskip("mpi4py")
    source = """
import ranks, serve, time
world = ranks.WORLD
def step():
    time.sleep(0.001 + 0.003 * world.rank)
    world.Barrier()
def build(request):
    return serve.repeated(7 + world.rank, step, lambda result: 0.5)
"""
    with started(source, 2) as worker:
        worker.patience = 60.0
        assert worker.ask(do="open") == {"parameters": 7, "loss": 0.5}
        for _ in range(2):
            assert 4 < worker.ask(do="burst", seconds=0.05)["ms"] < 1000
        assert worker.ask(do="memory")["peak_mb"] > 1


def test_an_error_in_one_process_of_a_worker_ends_them_all(bench: Any, started: Any) -> None:
    pytest.importorskip("mpi4py")
    source = "import ranks\ndef measure(request):\n    if ranks.WORLD.rank: raise ValueError\n    ranks.WORLD.Barrier()"
    with started(source, 2) as worker, pytest.raises(bench("turns").WorkerError, match="made_up: ended with code"):
        worker.ask(do="measure")
