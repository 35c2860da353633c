"""The benchmark of growth: its floor, where its series end, its table and its picture."""

from __future__ import annotations

import importlib
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

BENCH = Path(__file__).resolve().parents[2] / "ci" / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of ci/bench by name, as run.py does."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


class StandIn:
    """Answers as the workers do: so many milliseconds an image, so many MB."""

    ms: dict[str, float] = {"": 2.0, "channels first": 4.0, "channels last": 3.0}  # noqa: RUF012
    mb = 100.0
    asked: list[tuple[str, int, str]] = []  # noqa: RUF012

    def __init__(self, script: Path, environment: dict[str, str]) -> None:
        self.script, self.threads = script.stem, int(environment["OMP_NUM_THREADS"])

    def ask(self, **request: Any) -> dict[str, Any]:
        if self.script == "gemm":
            return {"gflop_s": 100.0 * self.threads}
        if request["do"] == "open":
            self.batch, self.layout = request["batch"], request["layout"]
            self.asked.append((self.script, self.threads, request["mode"]))
            return {"version": "9", "parameters": 7, "how": "", "loss": 2.3}
        if request["do"] == "memory":
            return {"peak_mb": self.mb * self.batch}
        return {"ms": self.ms[self.layout] * self.batch / self.threads, "loss": 2.3}

    def close(self) -> None: ...


@pytest.fixture
def growth(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with stand-ins for workers, on two cores and enough memory."""
    found = bench("growth")
    monkeypatch.setattr(found, "Worker", StandIn)
    monkeypatch.setattr(found, "cores", lambda: 2)
    monkeypatch.setattr(found, "available_mb", lambda: 1e6)
    monkeypatch.setattr(StandIn, "asked", [])
    return found


def test_the_floor_counts_each_product_forward_and_twice_back_but_not_to_the_image(bench: Any) -> None:
    first, second = 28 * 28 * 6 * 25, 10 * 10 * 16 * 150
    dense = 400 * 120 + 120 * 84 + 84 * 10
    assert bench("growth").flops("lenet5") == 2 * (2 * first + 3 * second + 3 * dense)
    alexnet, conv1 = 724_406_816, 105_415_200
    assert bench("growth").flops("alexnet") == 2 * (3 * alexnet - conv1)


def test_points_are_measured_by_doubling_on_each_number_of_cores(growth: Any, tmp_path: Path) -> None:
    run = growth.Growth(["lenet5"], most=5, seconds=0.1, limit=100.0, json=tmp_path / "growth.json")
    assert run.run()
    facts = json.loads((tmp_path / "growth.json").read_text())
    assert [(row["cores"], row["batch"]) for row in facts["growth"]] == [(n, b) for n in (1, 2) for b in (1, 2, 4)]
    last = facts["growth"][-1]
    assert (last["xpnet_ms"], last["peer_ms"], last["peer_layout"], last["ratio"]) == (4.0, 6.0, "channels last", 1.5)
    assert last["floor_ms"] == pytest.approx(4 * growth.flops("lenet5") / 200e9 * 1e3)
    assert facts["gemm_gflop_s"] == {"1": 100.0, "2": 200.0}
    assert facts["ended"] == []
    assert set(StandIn.asked) == {("xpnet_steps", n, "chosen") for n in (1, 2)} | {
        ("torch_steps", n, "eager") for n in (1, 2)
    }


def test_a_series_ends_before_a_point_that_would_take_too_long(growth: Any) -> None:
    # a step of all three takes 9 ms at batch 1 on one core, and a point 10 of them
    run = growth.Growth(["alexnet"], most=64, seconds=0.1, limit=0.5, json=None)
    assert run.run()
    assert [(row["cores"], row["batch"]) for row in run.facts["growth"]] == [(1, 1), (1, 2), (1, 4)] + [
        (2, b) for b in (1, 2, 4, 8)
    ]
    assert run.facts["ended"] == [
        "alexnet, 1 core: ends before batch 8, for it would take about 1 s",
        "alexnet, 2 cores: ends before batch 16, for it would take about 1 s",
    ]


def test_a_series_ends_before_a_point_that_memory_may_not_hold(growth: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "available_mb", lambda: 1000.0)  # three processes of 100 MB an image
    run = growth.Growth(["lenet5"], most=8, seconds=0.1, limit=100.0, json=None)
    run.run()
    assert [row["batch"] for row in run.facts["growth"]] == [1, 2] * 2
    assert run.facts["ended"][0] == "lenet5, 1 core: ends before batch 4, for it may need 1200 MB, and 1000 are free"


def facts() -> dict[str, Any]:
    known = {"ratio": 1.5, "spread": 0.1, "peer": "torch", "peer_layout": ""}
    rows = []
    for name, most in (("alexnet", 2), ("lenet5", 3)):
        for n, i in [(1, i) for i in range(most)] + [(2, i) for i in range(most + 1)]:
            times = {"xpnet_ms": 2.0**i / n, "peer_ms": 1.5 * 2**i / n, "floor_ms": 0.25}
            rows.append({"name": name, "batch": 2**i, "cores": n, **times, **known})
    return {
        "growth": rows,
        "gemm_gflop_s": {"1": 100.4, "2": 199.6},
        "ended": ["alexnet, 1 core: ends before batch 4, for it would take about 200 s"],
        "machine": {"cpu": "Some CPU", "system": "Linux", "load_before": 0.0},
        "versions": {"python": "3.11"},
        "precision": "float32",
        "cores": 2,
        "threads": "default",
    }


def test_the_table_has_a_line_a_batch_and_says_where_series_end(bench: Any) -> None:
    lines = bench("growth_report").markdown(facts()).splitlines()
    assert lines[0].startswith(
        "| training step | xpnet, 1 core | PyTorch, 1 core | GEMM floor, 1 core | xpnet, 2 cores |"
    )
    assert [line.split(" |")[0] for line in lines[2:9]] == [
        *[f"| LeNet-5, batch {n}" for n in (1, 2, 4, 8)],
        *[f"| AlexNet, batch {n}" for n in (1, 2, 4)],
    ]
    assert lines[3] == ("| LeNet-5, batch 2 | 2 ms | 3 ms, 1.50x | 0.25 ms | 1 ms | 1.5 ms, 1.50x | 0.25 ms |")
    assert lines[8] == "| AlexNet, batch 4 |  |  |  | 2 ms | 3 ms, 1.50x | 0.25 ms |"
    assert lines[-1].startswith(
        "alexnet, 1 core: ends before batch 4, for it would take about 200 s. GFLOP/s of a large"
    )
    assert "by cores: 1: 100, 2: 200. Some CPU, 2 cores" in lines[-1]


def test_the_picture_is_transparent_and_comes_out_the_same_again(bench: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    texts = []
    for name in ("a.svg", "b.svg"):
        bench("growth_report").draw(facts(), tmp_path / name)
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]
    assert ElementTree.fromstring(texts[0]).tag.endswith("svg")
    fills = set(re.findall(r"fill: (#[0-9a-f]{6})", texts[0]))
    assert fills <= {"#808080", "#0d86c8", "#d55e00"}, "no background, and no black or white that a page could swallow"


def test_names_at_the_ends_of_lines_do_not_lie_upon_one_another(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    report, ax = bench("growth_report"), figure.subplots()
    report._lines(ax, [{"batch": n, "xpnet_ms": n, "peer_ms": 1.01 * n, "floor_ms": 0.99 * n} for n in (1, 2)])
    figure.draw_without_rendering()
    report._names(ax)
    places = {
        text.get_text(): ax.transData.transform(text.xy)[1] * 72 / figure.dpi + text.xyann[1] for text in ax.texts
    }
    assert list(places) == ["GEMM floor", "xpnet", "PyTorch"]
    heights = list(places.values())
    assert all(later - earlier >= 11.99 for earlier, later in pairwise(heights))
