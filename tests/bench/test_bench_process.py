"""The benchmark of whole processes: whose turn it is, what it computes, and both scripts on digits that are easy."""

from __future__ import annotations

import importlib
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "ci" / "bench"


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, imported as run.py does."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("whole_process")


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


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
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def run_script(name: str, folder: Path, environment: dict[str, str], **more: Any) -> dict[str, Any]:
    request = {"folder": str(folder), "seed": 1, "batch": 50, "lr": 0.02, "momentum": 0.9, "every": 20, **more}
    script = [sys.executable, str(BENCH / "workers" / name), json.dumps({"accuracy": 0.98, "steps": 1000, **request})]
    done = subprocess.run(script, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("name", "package"), [("xpnet_process.py", "numpy"), ("torch_process.py", "torch")])
def test_a_script_ends_at_the_first_look_that_is_good_enough(whole: Any, folder: Path, name: str, package: str) -> None:
    pytest.importorskip(package)
    environment = importlib.import_module("turns").worker_environment(BENCH.parents[1], "cpu", 1)
    said = run_script(name, folder, environment, fast=False)
    assert said["accuracy"] >= 0.98
    assert said["steps"] % 20 == 0
    assert 20 <= said["steps"] <= 400
    assert said["peak_mb"] > 10
    short = run_script(name, folder, environment, fast=False, steps=20, every=10, lr=1e-9)
    assert (short["steps"], short["accuracy"] < 0.98) == (20, True)


def test_pytorchs_network_begins_as_xpnets_does(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from xpnet import models

    monkeypatch.syspath_prepend(str(BENCH / "workers"))
    theirs = list(importlib.import_module("torch_process").lenet5().parameters())
    ours = models.build("lenet5").initialize(0).parameters()
    assert [p.numel() for p in theirs] == [p.data.size for p in ours]
    for p, q in zip(ours, theirs, strict=True):
        assert float(q.detach().std()) == pytest.approx(float(np.std(p.data)), rel=0.25)  # 150 numbers: 6 % off
        assert (float(q.detach().abs().max()) == 0) == (float(np.abs(p.data).max()) == 0)


def test_scripts_take_turns_and_the_first_run_of_each_does_not_count(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, int]] = []

    def run(name: str, folder: Path, seed: int, environment: dict[str, str]) -> dict[str, Any]:
        order.append((name, seed))
        return {"seconds": {"xpnet": 1.0, "torch": 3.0}[name], "steps": 7, "accuracy": 0.98, "peak_mb": 1.0}

    monkeypatch.setattr(whole, "_run", run)
    lines: list[str] = []
    found = whole.measure(tmp_path, ["xpnet", "torch"], 2, {}, lines.append)
    assert order == [("xpnet", 0), ("torch", 0), ("torch", 0), ("xpnet", 0), ("xpnet", 1), ("torch", 1)]
    assert [(run["name"], run["seed"]) for run in found["runs"]] == order[2:]
    assert whole.ratio(found, "xpnet") == 3.0
    assert (lines[0], lines[2]) == ("xpnet: 1.00 s, 7 steps, 98.00%, not counted", "torch: 3.00 s, 7 steps, 98.00%")


def runs(**seconds: list[float]) -> dict[str, Any]:
    known = {"steps": 700, "accuracy": 0.98}
    peaks = {"xpnet": 150.0, "xpnet-numpy": 500.0, "torch": 400.0}
    names = {name.replace("_", "-"): times for name, times in seconds.items()}
    every = [{"name": n, "seconds": t, "peak_mb": peaks[n], **known} for n, times in names.items() for t in times]
    return {"recipe": {"accuracy": 0.98}, "runs": every}


def test_the_ratio_is_the_median_of_the_ratios_of_each_turn(whole: Any) -> None:
    assert whole.ratio(runs(xpnet=[1.0, 2.0, 4.0], torch=[2.0, 2.0, 16.0]), "xpnet") == 2.0
    assert whole.ratio(runs(xpnet=[1.0]), "xpnet") is None


def test_the_table_has_a_line_a_script_and_says_what_is_missed(whole: Any) -> None:
    lines = whole.markdown(runs(xpnet=[4.0] * 3, xpnet_numpy=[6.0] * 3, torch=[8.0] * 3)).splitlines()
    assert lines[0].startswith("| from `python` to LeNet-5 at 98% on MNIST | seconds | steps |")
    assert lines[2:] == [
        "| xpnet | 4.00 | 700 | 2.00x | 2x, met | 150 MB |",
        "| xpnet, NumPy alone | 6.00 | 700 | 1.33x | 1.4x, **missed** | 500 MB, **missed** |",
        "| PyTorch | 8.00 | 700 |  |  | 400 MB |",
    ]
    assert whole.markdown(runs(xpnet_numpy=[6.0])).splitlines()[2:] == [
        "| xpnet, NumPy alone | 6.00 | 700 |  |  | 500 MB |"
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "import sys; print('first', file=sys.stderr); sys.exit('out of luck')",
            "xpnet: ended with code 1, out of luck",
        ),
        ('print(\'{"steps": 5000, "accuracy": 0.5}\')', "xpnet: 98% is not reached in 5000 steps"),
    ],
    ids=["fails", "does-not-learn"],
)
def test_a_script_that_does_not_get_there_is_one_line(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(body)
    monkeypatch.setitem(whole.SCRIPTS, "xpnet", (script, {}))
    with pytest.raises(importlib.import_module("turns").WorkerError, match=f"^{said}"):
        whole.measure(tmp_path, ["xpnet"], 1, {}, print)


def test_mnists_folder_is_found_where_all_four_files_are(whole: Any, folder: Path, tmp_path: Path) -> None:
    assert whole.mnist_folder(str(folder)) == folder
    inner = tmp_path / "data" / "mnist"
    inner.mkdir(parents=True)
    for path in folder.glob("*ubyte"):
        path.rename(inner / f"{path.name}.gz")
    assert whole.mnist_folder(str(tmp_path / "data")) == inner
    (inner / "t10k-labels-idx1-ubyte.gz").unlink()
    assert whole.mnist_folder(str(tmp_path / "data")) is None
    assert whole.mnist_folder(None) is None
