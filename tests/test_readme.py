"""The README: its Python blocks run in order in one process, its figures are those measured, its files exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xpnet
from xpnet import kernels, nn, optim
from xpnet.train import Callback, Trainer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = ["README.md", "examples/README.md", ".github/CONTRIBUTING.md", "ci/bench/results/TABLES.md"]


def write_photos_and_tables(folder: Path) -> None:
    """Make what the README's jobs are done on: photos of three classes, flats with prices, and new flats."""
    rng = np.random.default_rng(0)
    for name, colour in (("apple", (200, 40, 40)), ("lime", (60, 180, 50)), ("plum", (90, 40, 120))):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(12):
            photo = np.clip(colour + rng.integers(-30, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(photo).save(folder / "photos" / name / f"{i}.jpg")
    rows = [
        (int(rooms), 20.5 * rooms + rng.normal(), ("centre", "north")[rooms % 2]) for rooms in rng.integers(1, 6, 60)
    ]
    lines = [
        f"{rooms},{'' if i % 9 == 0 else round(area, 1)},{place},{2000 * area}"
        for i, (rooms, area, place) in enumerate(rows)
    ]
    (folder / "flats.csv").write_text("\n".join(["rooms,area,quarter,price", *lines, ""]))
    (folder / "new.csv").write_text("rooms,area,quarter\n3,61,centre\n2,40,north\n")


def test_the_readmes_python_runs_as_printed(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 10
    pytest.importorskip("torch")
    write_photos_and_tables(tmp_path)
    program = [sys.executable, "-c", "\n".join(blocks)]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(program, cwd=tmp_path, env=paths, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "validation accuracy" in done.stdout


def test_the_readmes_times_are_those_of_the_results():
    rows = re.findall(r"^\| (.*), (?:training|inference) \| (.*) \|$", README, re.MULTILINE)
    assert len(rows) >= 5
    results = (ROOT / "ci/bench/results/TABLES.md").read_text().splitlines()
    for label, cells in rows:
        measured = [line for line in results if line.startswith(f"| {label} |")]
        assert any(all(f" {cell} ms" in line for cell in cells.split(" | ")) for line in measured), label


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r'(?:\]\(|src=")([^)"]+)', text) if "://" not in link]
    assert page == ".github/CONTRIBUTING.md" or links
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_reading_path_names_files():
    table = README.partition("| what it teaches |")[2].partition("\n\n")[0]
    files = re.findall(r"`([a-z_/]+\.py)`", table)
    assert len(files) >= 12
    assert [file for file in files if not (ROOT / "xpnet" / file).exists()] == []


def test_every_file_that_a_batch_passes_is_named_in_the_order_to_read():
    """Of the second step of an epoch, eager and without kernels, from one call of on_step to the next."""
    passed = set()

    def note(frame, event, argument):
        if event == "call":
            passed.add(frame.f_code.co_filename)

    class Look(Callback):
        def on_step(self, trainer):
            sys.setprofile(note if trainer.step == 1 else None)

    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 10))
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    images = np.random.default_rng(0).integers(0, 256, (12, 14, 14, 1), dtype=np.uint8)
    before = sys.getprofile()
    try:
        with kernels.disable():
            trainer = Trainer(model, optimizer, capture=False, threads=1, callbacks=[Look()])
            trainer.fit(images, np.arange(12) % 10, epochs=1, batch_size=4)
    finally:
        sys.setprofile(before)
    package = Path(xpnet.__file__).parent
    files = {Path(name).relative_to(package).as_posix() for name in passed if Path(name).is_relative_to(package)}
    named = re.findall(r"[\w/]+\.py", README.partition("## How it is built")[2].partition("\n## ")[0])
    assert "ops/conv.py" in files
    assert sorted(files - set(named)) == []
