"""The benchmark of feeding: the folder it draws, what its worker counts, and what it says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "ci" / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of ci/bench, or one of its workers, by name."""
    monkeypatch.syspath_prepend(str(BENCH))
    monkeypatch.syspath_prepend(str(BENCH / "workers"))
    return importlib.import_module


def test_the_images_are_jpegs_of_several_classes_that_do_not_compress_to_nothing(bench: Any, tmp_path: Path) -> None:
    from xpnet import data

    size = bench("feeding").draw(tmp_path, 20, side=64)
    files = sorted(tmp_path.rglob("*.jpg"))
    assert (len(files), size) == (20, sum(path.stat().st_size for path in files))
    assert files[0].read_bytes()[:2] == b"\xff\xd8"
    assert 3.9 < 8 * size / 20 / 64**2 < 8.0  # bits a pixel: without the noise there are 3.4
    train, test = data.load(str(tmp_path))
    assert (train.shape, len(train) + len(test), len(train.classes)) == ((64, 64, 3), 20, 4)
    assert len({image.tobytes() for image in np.concatenate([train.x, test.x])}) == 20


def test_a_rate_counts_whole_works_and_at_least_one(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = bench("xpnet_feed")
    times = iter([10.0, 12.0, 14.0, 18.0])
    monkeypatch.setattr(feed, "perf_counter", lambda: next(times))
    assert feed._rate(lambda: 16, lambda since: since < 5.0) == 3 * 16 / 8.0
    times = iter([10.0, 14.0])
    assert feed._rate(lambda: 16, lambda since: False) == 4.0


@pytest.mark.parametrize(("decoded", "said"), [(100.0, "The step is fed: "), (99.0, "The step is NOT fed: ")])
def test_a_step_is_fed_where_decoding_beside_it_keeps_up(bench: Any, decoded: float, said: str) -> None:
    feed = {"images": 40, "size": [256, 250, 3], "threads": 2, "decode_alone": 900.4, "train_alone": 110.0}
    feed |= {"decode_beside": decoded, "train_beside": 100.0, "model": "alexnet", "batch": 16, "kb_a_file": 21.7}
    about = {"machine": {"cpu": "Some CPU", "system": "Linux"}, "cores": 2, "precision": "float32"}
    lines = bench("feeding").markdown({**about, "threads": "default", "versions": {}, "feed": feed}).splitlines()
    assert lines[2:4] == [
        f"| decoded from JPEG | 900 | {decoded:.0f} |",
        "| trained, alexnet, batch 16 | 110 | 100 |",
    ]
    assert lines[5].startswith(said + "40 files of 250 x 256, 22 KB each, 2 threads. Some CPU")


def test_a_small_run_decodes_and_trains_and_leaves_no_folder(bench: Any, tmp_path: Path, monkeypatch: Any) -> None:
    from typer.testing import CliRunner

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = tmp_path / "o.json"
    options = ["--images", "20", "--model", "lenet5", "--batch", "4", "--seconds", "0.05", "--json", str(path)]
    done = CliRunner().invoke(bench("run").app, ["feed", *options])
    assert done.exit_code == 0, done.output
    feed = json.loads(path.read_text())["feed"]
    assert (feed["images"], feed["size"]) == (20, [256, 256, 3])
    assert min(feed[f"{what}_{how}"] for what in ("decode", "train") for how in ("alone", "beside")) > 0
    assert [item.name for item in tmp_path.iterdir()] == ["o.json"]
    assert "drawing 20 images of 256 x 256 ..." in done.stderr
    table = CliRunner().invoke(bench("run").app, ["table", str(path)])
    assert table.stdout == done.stdout
