"""What each suite measures, on small made-up data and models; the command line."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpnet.data import from_arrays
from xpnet.errors import DataError

BENCH = Path(__file__).resolve().parents[2] / "ci" / "bench"


def command(bench: Any, *words: str) -> int:
    return bench("run").main(list(words))


def test_a_small_real_run_prints_the_table_of_the_file_that_it_writes(
    bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "o.json"
    options = ["--only", "softmax-1", "--peers", "xpnet", "--seconds", "0.05", "--processes", "1", "--json", str(path)]
    assert command(bench, "cpu", *options) == 0
    printed = capsys.readouterr().out
    rows = json.loads(path.read_text())["rows"]
    assert {row["library"] for row in rows} >= {"xpnet", "xpnet-numpy"}
    assert all(row["value"] > 0 and row["mb"] > 0 and len(row["turns"]) == len(row["long"]) == 1 for row in rows)
    assert command(bench, "table", str(path)) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["cpu", "--only", "lenet6"], "--only: expected some of softmax-1, softmax,"),
        (["cpu", "--peers", "troch"], "--peers: expected some of xpnet, torch,"),
        (["cpu", "--seconds", "0"], "argument --seconds: invalid positive value: '0'"),
        (["cpu", "--processes", "-1"], "argument --processes: invalid count value: '-1'"),
        (["cpu", "--json", "no/such/o.json"], "--json: expected a file in a folder that exists, got no/such"),
        (["cpu", "--baseline", "no/such"], "--baseline: expected a checkout of xpnet, got no/such"),
        (["process", "--data-dir", "no/such"], "--data-dir: expected a folder with MNIST's four files, got no/such"),
        (["estimators", "--data-dir", "no/such"], "--data-dir: expected a folder with MNIST's four files, got no/such"),
        (["estimators", "--only", "iris"], "--only: expected some of digits, mnist, got iris"),
        (["growth", "--only", "vgg16"], "--only: expected some of lenet5, alexnet, got vgg16"),
        (["feed", "--only", "mlp"], "--only: expected some of alexnet, lenet5, got mlp"),
        (["mnist", "--only", "lenet"], "--only: expected some of softmax, mlp-300-100,"),
        (["gpu", "--only", "alexnet-128-tf23"], "--only: expected some of mlp-64-fp32,"),
        (["table", "no/such.json"], "expected a file that --json wrote, got no/such.json"),
        (["sofmax"], "argument suite: invalid choice: 'sofmax'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_option_is_reported_in_one_line(
    bench: Any, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        command(bench, *words)
    said = str(caught.value) if isinstance(caught.value.code, str) else capsys.readouterr().err.splitlines()[-1]
    assert line in said


def test_measuring_again_renews_the_tables_of_the_page_beside_the_file(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, values = bench("rows"), iter([3.0, 2.0])

    def suite(options: Namespace) -> Any:
        results = rows.Results(options.json)
        results.add(rows.of_runs("feed", "training", "made up", "xpnet", "ms", [next(values)]))
        return results

    monkeypatch.setattr(bench("suites"), "cpu", suite)
    path, page = tmp_path / "o.json", tmp_path / "TABLES.md"
    page.write_text("# Measured\n")
    assert command(bench, "cpu", "--json", str(path)) == 0
    assert page.read_text() == "# Measured\n"
    page.write_text(f"# Measured\n\n{capsys.readouterr().out}\n## More\n")
    assert "| made up | 3 ms |" in page.read_text()
    assert command(bench, "cpu", "--json", str(path)) == 0
    assert page.read_text() == f"# Measured\n\n{capsys.readouterr().out}\n## More\n"
    assert "| made up | 2 ms |" in page.read_text()


@pytest.mark.parametrize("text", ["[1]", "{", '{"rows": [{"name": "mlp"}]}'])
def test_a_file_that_holds_no_results_is_refused(bench: Any, tmp_path: Path, text: str) -> None:
    path = tmp_path / "o.json"
    path.write_text(text)
    with pytest.raises(SystemExit) as caught:
        command(bench, "table", str(path))
    assert caught.value.code == 2


# Growth


@pytest.fixture
def growth(bench: Any, workers: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the suite with stand-ins for workers, on two cores and enough memory; its results."""
    suites = bench("suites")

    class Ceilings(workers):
        def ask(self, **request: Any) -> dict[str, Any]:
            return {"gemm_tflop_s": {"fp32": 0.1}}

    monkeypatch.setattr(suites, "Worker", Ceilings)
    monkeypatch.setattr(suites, "cores", lambda: 2)
    monkeypatch.setattr(suites, "available_mb", lambda: 1e6)

    def run(most: int, limit: float = 1e3) -> Any:
        path = tmp_path / "growth.json"
        options = Namespace(only="lenet5", most=most, seconds=0.15, limit=limit, json=path, processes=2)
        options.minutes, options.baseline = 60.0, None
        results = suites.growth(options)
        assert not results.failed
        assert path.with_suffix(".svg").exists()
        return results

    return run


def test_points_are_measured_by_doubling_the_batch_on_each_number_of_cores(bench: Any, growth: Any) -> None:
    pytest.importorskip("matplotlib")
    rows = growth(most=5).rows
    assert [(r["cores"], r["batch"]) for r in rows if r["library"] == "xpnet"] == [
        (n, b) for n in (1, 2) for b in (1, 2, 4)
    ]
    floor = next(row for row in rows if row["library"] == "floor" and row["batch"] == 4)
    assert floor["value"] == pytest.approx(4 * bench("suites").flops("lenet5") / 0.1e12 * 1e3)


@pytest.mark.parametrize(("limit", "memory"), [(0.01, 1e6), (1e3, 100.0)], ids=["time", "memory"])
def test_a_series_ends_before_a_point_that_takes_too_long_or_too_much_memory(
    bench: Any, growth: Any, monkeypatch: pytest.MonkeyPatch, limit: float, memory: float
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(bench("suites"), "available_mb", lambda: memory)
    results = growth(most=64, limit=limit)
    assert {row["batch"] for row in results.rows} == {1}
    assert results.facts["notes"][1] == "lenet5, 1 cores: ends at batch 1, by time or memory"


def test_the_floor_counts_each_product_forward_and_twice_back_but_not_to_the_image(bench: Any) -> None:
    first, second = 28 * 28 * 6 * 25, 10 * 10 * 16 * 150
    dense = 400 * 120 + 120 * 84 + 84 * 10
    assert bench("suites").flops("lenet5") == 2 * (2 * first + 3 * second + 3 * dense)
    assert bench("suites").flops("alexnet") == 2 * (3 * 724_406_816 - 105_415_200)


# Several processes


def test_reductions_and_steps_of_two_processes_are_measured(bench: Any, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("mpi4py")
    suites, case = bench("suites"), bench("workloads").Case
    monkeypatch.setattr(suites, "REDUCED", (1000,))
    monkeypatch.setattr(suites, "SHARED", [case("mlp", 16)])
    monkeypatch.setattr(suites, "ALONE", [case("softmax", 1)])
    for way in ("thread-shards", "threads-shards", "processes-plain"):
        monkeypatch.delitem(suites.DISTRIBUTED, way)
    options = Namespace(only="", processes=1, seconds=0.05, json=tmp_path / "o.json", minutes=60.0, baseline=None)
    results = suites.distributed(options)
    assert not results.failed
    assert [(r["task"], r["name"], r["library"]) for r in results.rows] == [
        *[("reduction", "1,000 numbers", way) for way in ("tree", "allreduce", "bound")],
        *[("training", "mlp", way) for way in ("thread", "threads", "processes")],
        ("training", "softmax", "threads"),
    ]
    assert min(r["value"] for r in results.rows) > 0


# Feeding


def test_decoding_and_training_are_measured_alone_and_at_once(bench: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    options = Namespace(only="lenet5", seconds=0.05, json=tmp_path / "o.json")
    results = bench("suites").feed(options, images=20)
    assert not results.failed
    rates = {(row["task"], row["library"]): row["value"] for row in results.rows}
    assert set(rates) == {(task, how) for task in ("decode", "train") for how in ("xpnet", "beside")}
    assert min(rates.values()) > 0
    assert [item.name for item in tmp_path.iterdir()] == ["o.json"]
    fed = "is fed" if rates["decode", "beside"] >= rates["train", "beside"] else "is NOT fed"
    assert results.facts["notes"][0].startswith(f"The step {fed}: 20 files of ")


def test_frames_and_steps_of_the_playground_are_counted(bench: Any, tmp_path: Path) -> None:
    options = Namespace(
        json=tmp_path / "found.json", only="2-16-16-2 at 200,2-16-16-2 unlimited", seconds=0.3, processes=2
    )
    results = bench("playground").playground(options)
    assert [len(row["turns"]) for row in results.rows] == [2, 2]
    assert all(row["value"] > 0 and row["remarks"].endswith(" steps/s") for row in results.rows)


def test_photos_are_decoded_trained_on_and_begun_with(bench: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    options = Namespace(processes=1, seconds=0.05, json=tmp_path / "o.json")
    results = bench("photos").photos(options, many=24, names=24, size=(80, 60))
    assert not results.failed
    assert [(row["task"], row["library"]) for row in results.rows] == [
        ("decode", "xpnet"),
        ("decode", "pillow"),
        ("memory of training", "xpnet"),
        ("first step", "xpnet"),
    ]
    assert min(row["value"] for row in results.rows) > 0
    assert [item.name for item in tmp_path.iterdir()] == ["o.json"]


# The whole process


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files as MNIST's are, of pictures with a bright block whose place is the label."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 2000), ("t10k", 500)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 4)
            image[row * 9 : row * 9 + 8, column * 7 : column * 7 + 6] = 250
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
            (tmp_path / f"{part}-{name}-ubyte").write_bytes(head + array.tobytes())
    return tmp_path


@pytest.mark.parametrize("module", ["xpnet_process", "torch_process"])
def test_a_script_ends_when_the_accuracy_is_reached(bench: Any, folder: Path, module: str) -> None:
    pytest.importorskip("torch")
    asked = {**bench("suites").GOAL, "folder": str(folder), "batch": 50, "every": 20, "steps": 1000, "seed": 1}
    asked |= {"layers": bench("workloads").LENET5, "fast": False}
    turns = bench("turns")

    def ask(**more: Any) -> dict[str, Any]:
        with turns.Worker(module, turns.environment("cpu", 1)) as worker:
            return worker.ask(do="measure", **{**asked, **more})

    said = ask()
    assert said["accuracy"] >= 0.98
    assert said["steps"] in range(20, 401, 20)
    assert said["mb"] > 10
    assert ask(steps=20, every=10, lr=1e-9)["steps"] == 20


def test_pytorchs_network_begins_as_xpnets_does(bench: Any) -> None:
    pytest.importorskip("torch")
    from xpnet import models

    theirs = list(bench("torch_process").lenet5(bench("workloads").LENET5).parameters())
    ours = models.build("lenet5").initialize(0).parameters()
    assert [p.numel() for p in theirs] == [p.data.size for p in ours]
    for p, q in zip(ours, theirs, strict=True):
        assert float(q.detach().std()) == pytest.approx(float(np.std(p.data)), rel=0.25)  # 150 numbers: 6 % off
        assert (float(q.detach().abs().max()) == 0) == (float(np.abs(p.data).max()) == 0)


def test_scripts_take_turns_and_the_first_run_of_each_does_not_count(
    bench: Any, workers: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suites, order = bench("suites"), []

    class Script(workers):
        def ask(self, **request: Any) -> dict[str, Any]:
            order.append((self.module, request.get("fast", True), request["seed"]))
            return {"steps": 7, "accuracy": 0.97, "mb": 1.0}

    monkeypatch.setattr(suites, "Worker", Script)
    results = suites.process(Namespace(data_dir=str(folder), processes=2, json=None))
    names = [("xpnet_process", True), ("xpnet_process", False), ("torch_process", True)]
    assert order == [(*name, seed) for each, seed in ((names, 0), (names[::-1], 0), (names, 1)) for name in each]
    assert [len(row["turns"]) for row in results.rows] == [2, 2, 2]
    assert results.failed, "98 % were not reached"


# MNIST


@pytest.fixture
def small(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module on a made-up MNIST: 120 images to train with and 50 to test with; class k has a bright row k."""

    def digits(count: int, seed: int) -> Any:
        rng, y = np.random.default_rng(seed), np.arange(count) % 10
        x = rng.integers(0, 60, (count, 28, 28, 1), dtype=np.uint8)
        x[np.arange(count), 2 * y + 4] += 180
        return from_arrays(x, y, name="made-up mnist")

    mnist = bench("mnist")
    monkeypatch.setattr(mnist.data, "load", lambda name, data_dir=None: (digits(120, 0), digits(50, 1)))
    for name, recipe in mnist.RECIPES.items():
        monkeypatch.setitem(mnist.RECIPES, name, {**recipe, "epochs": 2, "batch": 20})
    return mnist


def options(**more: Any) -> Namespace:
    return Namespace(**{"only": "softmax", "json": None, "held_out": False, "data_dir": None, "seeds": 1, **more})


def test_every_network_learns_with_each_seed_and_its_mean_error_is_kept(small: Any, tmp_path: Path) -> None:
    results = small.mnist(options(only="", seeds=2, json=tmp_path / "o.json"))
    assert not results.failed
    rows = [row for row in results.rows if row["library"] == "xpnet"]
    assert [row["name"] for row in rows] == list(small.RECIPES)
    for row in rows:
        assert [run["error"] for run in row["runs"]] == [2 * run["wrong"] for run in row["runs"]]  # of 50, in percent
        assert row["value"] == pytest.approx(sum(run["wrong"] for run in row["runs"]))
        assert row["runs"][0]["train_loss"] != row["runs"][1]["train_loss"]
    counts = {row["name"]: row["runs"][0]["parameters"] for row in rows}
    assert counts == {"softmax": 7850, "mlp-300-100": 266_610, "lenet5": 61_706, "lenet5-augmented": 61_706}


def test_seeds_that_the_file_holds_are_not_repeated_unless_the_recipe_changed(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "o.json"
    small.mnist(options(json=path))
    marked = json.loads(path.read_text())
    marked["rows"][0]["runs"][0]["train_loss"] = 123.0
    path.write_text(json.dumps(marked))
    runs = small.mnist(options(json=path, seeds=2)).rows[0]["runs"]
    assert [(run["seed"], run["train_loss"] == 123.0) for run in runs] == [(0, True), (1, False)]
    monkeypatch.setitem(small.RECIPES, "softmax", {**small.RECIPES["softmax"], "peak": 0.3})
    runs = small.mnist(options(json=path)).rows[0]["runs"]
    assert [(run["seed"], run["train_loss"] == 123.0) for run in runs] == [(0, False)]


def test_held_out_digits_come_from_the_training_set_and_nothing_is_kept(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, whole = [], {image.tobytes() for image in small.data.load("mnist")[0].x}
    monkeypatch.setattr(small, "train_once", lambda recipe, seed, *sets: seen.extend(sets))
    small.mnist(options(held_out=True, json=tmp_path / "o.json"))
    assert [len(each) for each in seen] == [100, 20]
    assert {image.tobytes() for each in seen for image in each.x} == whole
    assert not list(tmp_path.iterdir())


def test_dropout_follows_the_layer_that_a_recipe_names(bench: Any) -> None:
    recipe = {"model": "mlp", "hidden": [5], "dropout": {"relu1": 0.25}}
    layers = dict(bench("mnist").build(recipe, (4, 4, 1), 3).children())
    assert list(layers) == ["flatten", "hidden1", "relu1", "relu1_drop", "scores"]
    assert layers["relu1_drop"].rate == 0.25


def test_the_kept_results_are_of_the_present_recipes_and_reach_their_goals(bench: Any) -> None:
    mnist, rows = bench("mnist"), json.loads((BENCH / "results" / "mnist.json").read_text())["rows"]
    ours = [row for row in rows if row["library"] == "xpnet"]
    assert [row["name"] for row in ours] == list(mnist.RECIPES)
    assert all(mnist.same(row, row["name"]) and len(row["runs"]) == 3 and row["value"] <= row["goal"] for row in ours)


# A GPU's suite, on the processor


def test_the_gpus_suite_runs_on_a_cpu(
    bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")

    def absent(*_: object) -> None:
        raise DataError("load", "MNIST", digits=0)  # and would be downloaded

    monkeypatch.setattr(bench("mnist").data, "load", absent)
    path = tmp_path / "cpu.json"
    words = ["--device", "cpu", "--only", "mlp-64", "--seconds", "0.05", "--processes", "1", "--json", str(path)]
    assert command(bench, "gpu", *words, "--data-dir", str(tmp_path), "--peers", "torch") == 0
    said = capsys.readouterr()
    assert (
        "torch-captured is left out; torch_steps: ValueError: a captured step needs a GPU, got device cpu" in said.err
    )
    assert "LeNet-5 on MNIST is left out; DataError: load: expected MNIST, got digits 0" in said.err
    facts = json.loads(path.read_text())
    steps = {row["library"] for row in facts["rows"] if row["suite"] == "gpu"}
    assert steps == {"xpnet", "xpnet-eager", "torch"}
    names = {row["name"] for row in facts["rows"] if row["suite"] == "ops" and row["library"] == "floor"}
    assert {"mlp, hidden1 forward", "mlp, loss backward", "mlp, update forward"} <= names
    assert facts["ceilings"]["copy_gb_s"] > 0
    assert "| MLP, batch 64, fp32 |" in said.out


@pytest.mark.parametrize(
    ("flops", "numbers", "precision", "op", "ms"),
    [
        (1e9, 1e6, "fp32", "conv1", 0.02),  # 1e9 / 50e12 s against 4e6 / 2e12 s
        (1e9, 1e8, "fp32", "conv1", 0.2),
        (1e9, 1e8, "fp16", "conv1", 0.1),
        (1e9, 1e8, "fp16", "update", 0.2),  # masters are float32
        (8e12, 1e6, "tf32", "conv1", 20.0),
        (0, 0, "fp32", "conv1", 0.0),
    ],
    ids=["products", "bytes", "half-bytes", "update", "tf32", "nothing"],
)
def test_a_floor_is_the_longer_of_arithmetic_and_movement(
    bench: Any, workers: Any, monkeypatch: Any, flops: float, numbers: float, precision: str, op: str, ms: float
) -> None:
    found = {"op": op, "kind": "conv", "count": 2, "task": "forward", "flops": flops, "numbers": numbers, "ms": 3.0}

    class Ops(workers):
        def ask(self, **request: Any) -> dict[str, Any]:
            return {"ops": [found]}

    gpu = bench("gpu")
    monkeypatch.setattr(gpu, "Worker", Ops)
    case = bench("workloads").Case("alexnet", 128, precision=precision)
    ceilings = {"copy_gb_s": 2000.0, "gemm_tflop_s": {"fp32": 50.0, "tf32": 400.0, "fp16": 800.0}}
    ours, floor = gpu.time_ops(bench("runner").Runner("gpu", {}, Namespace(minutes=60.0, json=None)), case, ceilings)
    assert (ours["value"], ours["remarks"]) == (3.0, "2 x conv")
    assert floor["value"] == pytest.approx(ms)


def test_a_gpu_that_cannot_be_measured_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH / "run.py"), "gpu", "--device", "cuda:97"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("gpu: cuda:97 cannot be measured; ceilings: ")
