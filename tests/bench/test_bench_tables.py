"""Rows and the tables made of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "ci" / "bench" / "results"


def row(library: str, value: float, suite: str = "cpu", **more: Any) -> dict[str, Any]:
    known = {"suite": suite, "name": "lenet5", "batch": 64, "task": "training", "precision": "fp32", "cores": 0}
    known |= {"cudnn": True, "library": library, "unit": "ms", "value": value, "spread": 0.1, "mb": 300.0}
    return {**known, "turns": [[value]], "long": [[value]], **more}


def lines(bench: Any, *rows: dict[str, Any], notes: tuple[str, ...] = ()) -> list[str]:
    facts = {"machine": "Some CPU, 2 cores", "versions": {"xpnet": "9"}, "notes": list(notes), "rows": list(rows)}
    return bench("tables").markdown(facts).splitlines()


def test_the_value_is_the_median_of_the_best_process_and_the_spread_that_of_processes(bench: Any) -> None:
    rows = bench("rows")
    turns = [[5.0, 6.0, 7.0], [3.0, 4.0, 90.0]]
    assert rows.best(turns) == 4.0
    assert rows.spread(turns) == pytest.approx(6.0 / 4.0 - 1)
    assert rows.spread([[1.0, 2.0, 3.0]]) == pytest.approx(0.75)  # of one process: quartiles 1.25, 2.75


def test_a_file_has_a_row_a_line_with_rounded_numbers(bench: Any, tmp_path: Path) -> None:
    facts = {"machine": "m", "versions": {}, "notes": [], "rows": [{"value": 1.23456789, "turns": [[1e-9]]}, {"a": 1}]}
    bench("rows").write(tmp_path / "o.json", facts)
    text = (tmp_path / "o.json").read_text()
    assert '{"value": 1.2346, "turns": [[1e-09]]},\n{"a": 1}\n' in text
    assert json.loads(text)["rows"][1] == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["o.json"]


def test_a_new_row_takes_the_place_of_the_old_one_of_its_case_and_library(bench: Any, tmp_path: Path) -> None:
    results = bench("rows").Results(tmp_path / "o.json")
    results.add(row("xpnet", 1.0), row("torch", 2.0), row("xpnet", 3.0, batch=1))
    results.add(row("xpnet", 4.0))
    found = json.loads((tmp_path / "o.json").read_text())["rows"]
    assert [(r["library"], r["batch"], r["value"]) for r in found] == [
        ("xpnet", 64, 4),
        ("torch", 64, 2),
        ("xpnet", 1, 3),
    ]


def test_several_processes_have_their_own_targets(bench: Any) -> None:
    def of(*values: float, task: str = "training", ways: tuple[str, ...]) -> list[str]:
        rows = [row(way, value, "distributed", task=task, long=[]) for way, value in zip(ways, values, strict=True)]
        return lines(bench, *rows)[2].split(" | ")

    reduced = of(50.0, 41.0, 20.0, task="reduction", ways=("tree", "allreduce", "bound"))
    assert "tree sum 0.40x of 0.4x np.add in place, met; allreduce 0.49x" in reduced[4]
    ways = ("thread", "thread-shards", "processes-plain", "processes")
    slow = of(10.0, 11.1, 5.8, 6.0, ways=ways)
    assert slow[1:4] == ["10 ms", "11.1 ms, 1.11x", "5.8 ms, 0.58x"]
    assert "1 thread, V = 8 0.90x of 0.909x 1 thread, **missed**" in slow[5]
    assert (
        "2 processes, plain 1.72x of 1.7x 1 thread, met; 2 processes, V = 8 1.67x of 1.7x 1 thread, **missed**"
        in slow[5]
    )
    assert "2 processes" not in of(4.0, 4.1, 3.0, 3.1, ways=ways)[5], "steps below 5 ms have no target"


def test_a_case_is_a_line_and_a_library_a_column_where_the_faster_layout_counts(bench: Any) -> None:
    found = lines(
        bench,
        *[row("xpnet", 2.0, mb=301.0), row("torch", 4.0), row("torch-last", 3.0, long=[[2.0]]), row("jax", 1.8)],
        *[row("xpnet", 0.5, task="inference"), row("jax", 1.0, task="inference")],
        notes=("a note",),
    )
    heads = ["cpu training", "xpnet", "PyTorch", "JAX jit", "to reach", "spread, xpnet / best peer"]
    assert found[0] == "| " + " | ".join([*heads, "peak memory, xpnet / PyTorch"]) + " |"
    cells = ["LeNet-5, batch 64", "2 ms", "3 ms, 1.50x (long 1.00x)", "1.8 ms, 0.90x (long 0.90x)"]
    cells += ["0.90x of 1x JAX jit, **missed**", "10% / 10%", "301 / 300 MB, **missed**"]
    assert found[2] == "| " + " | ".join(cells) + " |"
    assert found[4].startswith("| cpu inference | xpnet | JAX jit |")
    assert found[-1] == "a note. Some CPU, 2 cores; xpnet 9."


@pytest.mark.parametrize(
    ("name", "ours", "library", "theirs", "said"),
    [
        ("xpnet", 1.0, "torch", 1.0, "1.00x of 1x PyTorch, met"),
        ("xpnet", 1.0, "onnxruntime", 0.99, "0.99x of 1x ONNX Runtime, **missed**"),
        ("xpnet", 1.0, "sklearn", 0.5, ""),
        ("xpnet-numpy", 1.0, "torch", 0.7, "NumPy alone 0.70x of 0.7x PyTorch, met"),
        ("xpnet", 1.0, "baseline", 0.97, "0.97x (turn by turn 0.97x) of 0.97x before, met"),
        ("xpnet", 1.0, "baseline", 0.96, "0.96x (turn by turn 0.96x) of 0.97x before, **missed**"),
    ],
)
def test_targets_are_met_at_their_edge_and_missed_below_it(
    bench: Any, name: str, ours: float, library: str, theirs: float, said: str
) -> None:
    assert bench("tables").targets({name: row(name, ours), library: row(library, theirs)}) == said


def test_turn_by_turn_pairs_the_turns_of_both_checkouts(bench: Any) -> None:
    old, new = row("baseline", 1.0, turns=[[2.0, 4.0], [9.0]]), row("xpnet", 1.0, turns=[[1.0, 4.0], [3.0]])
    assert bench("tables").turn_by_turn(old, new) == 2.0


def test_other_suites_have_their_own_targets_and_labels(bench: Any) -> None:
    captured = [row("torch", 6.5, "gpu"), row("torch-captured", 1.2, "gpu"), row("torch-compiled", 0.9, "gpu")]
    gpu = lines(bench, row("xpnet", 1.0, "gpu", cudnn=True), *captured)[2]
    assert gpu.startswith("| LeNet-5, batch 64, fp32 | 1 ms |")
    assert "6.50x of 5x PyTorch, met; 0.90x of 1x PyTorch compiled, **missed**" in gpu
    plain = {"name": "alexnet", "cudnn": False}
    im2col = lines(bench, row("xpnet", 1.0, "gpu", **plain), row("torch", 0.7, "gpu", **plain))
    assert im2col[2].startswith("| AlexNet, batch 64, fp32, without cuDNN | 1 ms |")
    grown = lines(bench, row("xpnet", 2.0, "growth", cores=2), row("floor", 0.5, "growth", cores=2, long=[]))
    assert grown[2].startswith("| LeNet-5, batch 64, 2 cores | 2 ms | 0.5 ms, 0.25x |")
    process = [row(n, v, "process", unit="s", batch=0, long=[]) for n, v in (("xpnet", 4.0), ("torch", 8.0))]
    assert "| 4 s | 8 s, 2.00x | 2.00x of 2x PyTorch, met |" in lines(bench, *process)[2]
    runs = {"unit": "%", "turns": [[0.8], [1.0]], "goal": 0.9, "remarks": "7 parameters"}
    learned = lines(
        bench, row("xpnet", 0.9, "mnist", **runs), row("published", 0.95, "mnist", unit="%", turns=[[0.95]])
    )
    assert "| 0.80, 1.00 %; mean 0.90 % | 0.95 % | at most 0.90 %: met |" in learned[2]
    assert learned[2].endswith("| 7 parameters |")


@pytest.mark.parametrize(
    "name", ["cpu", "distributed", "estimators", "growth", "mnist", "photos", "serve", "small_tables"]
)
def test_the_tables_are_those_of_the_results(bench: Any, name: str) -> None:
    facts = json.loads((RESULTS / f"{name}.json").read_text())
    assert bench("tables").markdown(facts) in (RESULTS / "TABLES.md").read_text()


def test_the_picture_is_transparent_and_comes_out_the_same_again(bench: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    facts, texts = json.loads((RESULTS / "growth.json").read_text()), []
    for name in ("a.svg", "b.svg"):
        bench("picture").draw_growth(facts["rows"], tmp_path / name)
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]
    assert ElementTree.fromstring(texts[0]).tag.endswith("svg")
    fills = set(re.findall(r"fill: (#[0-9a-f]{6})", texts[0]))
    assert fills <= {"#808080", "#0d86c8", "#d55e00"}, "no background, and no black or white that a page could swallow"


def test_a_figure_that_is_to_be_reached_from_above_is_met_at_it(bench: Any) -> None:
    rows = [row("xpnet", 97.0, "small_tables", unit="%", least=least, name=str(least)) for least in (97.0, 97.5)]
    found = lines(bench, *rows, row("sklearn", 97.0, "small_tables", unit="%", name="97.0"))
    assert "at least 97.00 %: met" in found[2]
    assert "at least 97.50 %: **missed**" in found[3]
    assert "scikit-learn" in found[0]


def test_a_small_table_is_written_in_the_order_of_its_seed(bench: Any, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    small = bench("small_tables")
    first, other = (small.save("iris", seed, tmp_path / f"{seed}.csv").read_text().splitlines() for seed in (0, 1))
    assert first[0] == other[0] == "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm),target"
    assert len(first) == 151
    assert sorted(first) == sorted(other)
    assert first != other


def test_of_a_small_table_the_remarks_give_the_difference_on_the_same_test_sets(bench: Any) -> None:
    small, theirs = bench("small_tables"), [90.0, 92.0, 94.0, 90.0, 91.0, 97.0]
    found = small.rows_of("xpnet train mlp", "iris", [91.0, 93.0, 97.0, 91.0, 92.0, 96.0], theirs)
    assert found[0]["remarks"] == "difference +1.00, standard error 0.52; of 5 seeds 92.80, 91.40"
    assert (found[0]["value"], found[0]["least"]) == (pytest.approx(93.33, abs=0.01), pytest.approx(92.33, abs=0.01))
    assert "remarks" not in small.rows_of("xpnet train mlp", "iris", [91.0], [90.0])[0]
    many = [row("xpnet", 93.0, "small_tables", unit="%", turns=[[93.0]] * 11)]
    assert "| mean 93.00 % |" in lines(bench, *many)[2]
