"""xpnet runs and xpnet compare: runs side by side."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture
def two(xpnet, trained, here):
    """Two runs in the folder "runs": a of one epoch, b of two."""
    trained(epochs=2, json=True)
    (here / "runs").mkdir()
    shutil.move(here / "run", here / "runs" / "b")
    xpnet("train", "softmax", epochs=1, lr=1e-4, name="a")
    return here / "runs"


def test_runs_are_listed_with_the_figures_that_they_ended_with(xpnet, two):
    found = xpnet("runs", json=True)
    assert found.code == 0
    assert {r["name"]: r["epochs"] for r in found.json} == {"a": 1, "b": 2}
    for run in found.json:
        result = json.loads((two / run["name"] / "result.json").read_text())
        for key in ("train_loss", "validation_loss", "validation_accuracy", "test_accuracy", "parameters"):
            assert run[key] == result[key]
        assert run["command"].startswith("xpnet train softmax")
    text = xpnet("runs").out
    assert f"accuracy {found.json[0]['test_accuracy']:.2%}" in text


def test_runs_are_sorted_best_first(xpnet, two):
    assert [r["name"] for r in xpnet("runs", sort="test_accuracy", json=True).json] == ["b", "a"]
    assert [r["name"] for r in xpnet("runs", sort="train_loss", json=True).json] == ["b", "a"]
    assert [r["name"] for r in xpnet("runs", sort="name", json=True).json] == ["a", "b"]


def test_a_damaged_run_is_named_among_the_others(xpnet, two):
    (two / "a" / "config.json").write_text("{")
    (two / "b" / "result.json").write_text("[]")
    found = {r["name"]: r for r in xpnet("runs", json=True).json}
    assert "config.json" in found["a"]["problem"]
    assert "result.json" in found["b"]["problem"]
    assert xpnet("runs").code == 0


def test_a_run_that_has_gone_on_since_shows_no_old_test_figure(xpnet, two):
    path = two / "b" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"epochs": 1}))
    assert "test_accuracy" not in xpnet("runs", "runs/b", json=True).json[0]


def test_what_cannot_be_listed_is_refused(refused, two, here, monkeypatch):
    none = "folder 'runs': no such folder here; nothing was trained in this folder; for the runs in another: xpnet runs"
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir(two)
        refused(["runs"], none)
    refused(["runs", "nowhere"], "folder 'nowhere': no such folder here; name the folder", "xpnet runs FOLDER")
    (here / "empty").mkdir()
    refused(["runs", "empty"], "empty", "no runs")
    refused(["runs", "--sort", "test_acuracy"], "--sort 'test_acuracy'", "'test_accuracy'")
    refused(["compare", "runs/a", "nowhere"], "nowhere/metrics.jsonl", "no such file")
    refused(["compare", "runs/a", "-o", "a.xyz"], "--out", "png")
    refused(["train", "softmax", "--name", "a"], "--name", "no run has", "--resume runs/a")


def test_the_curves_of_runs_are_drawn_in_one_picture(xpnet, two, here):
    pytest.importorskip("matplotlib")
    found = xpnet("compare", "runs/a", "runs/b", out="both.png", json=True)
    assert found.code == 0, found.err
    assert (here / "both.png").read_bytes().startswith(b"\x89PNG")
    assert {name: len(history) for name, history in found.json["runs"].items()} == {"a": 1, "b": 2}
