"""The photos suite: JPEGs of 4032x3024 decoded a second, the memory of training on them, and seconds until it begins.

Few photos are drawn for the run; folders of many hold links to them. Decoding makes 128x128 pixels, the shorter side
resized and the centre cropped, by a thread a core: by xpnet.data, and by Pillow as torchvision's loaders do it (open,
convert, resize, crop). Each is a process of its own, in turn.
"""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from rows import Results, Row, cores, of_runs
from runner import say
from turns import ROOT, Worker, environment

DECODERS = ("xpnet", "pillow")
GOALS = {"decode": "at least 1.5x Pillow", "memory of training": "below 1024 MB", "first step": "10 s"}
SIZE = (4032, 3024)


def photos(options: Namespace, many: int = 2000, names: int = 100_000, size: tuple[int, int] = SIZE) -> Results:
    """Measure decoding, then a training of so many photos, then the start of one of so many names."""
    results, rates = Results(options.json), {name: [] for name in DECODERS}
    with TemporaryDirectory(prefix="xpnet-photos-") as folder:
        few = link(Path(folder) / "few", draw(Path(folder), 8, size), 16)
        for _ in range(options.processes):
            for name in DECODERS:
                with Worker("photos", environment()) as worker:
                    asked = {"folder": str(few), "threads": cores(), "seconds": options.seconds}
                    rates[name].append(worker.ask(do="measure", task=name, **asked)["rate"])
                say(f"decode, {name}: {rates[name][-1]:.1f} images/s")
        for name, found in rates.items():
            results.add(row("decode", f"{size[0]}x{size[1]}", name, "images/s", found))
        place = link(Path(folder) / "many", sorted(few.glob("*/*")), many)
        words = ["train", "cnn", "--epochs", "1", "--json", "--out", f"{folder}/run", "--data", str(place)]
        command, env = [sys.executable, "-m", "xpnet", *words], {**environment(), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode:
            raise OSError(done.stderr.strip().splitlines()[-1])
        result = json.loads(done.stdout)
        mb = result["peak_memory_bytes"] / 2**20
        say(f"memory: {mb:.0f} MB, {result['seconds']:.0f} s")
        results.add(row("memory of training", f"{many:,} photos", "xpnet", "MB", [mb]))
        place, began = link(Path(folder) / "names", sorted(few.glob("*/*")), names), perf_counter()
        with Worker("photos", environment()) as worker:
            worker.ask(do="measure", task="start", folder=str(place), run=f"{folder}/started")
            results.add(row("first step", f"{names:,} files", "xpnet", "s", [perf_counter() - began]))
    return results


def row(task: str, name: str, library: str, unit: str, values: list[float]) -> Row:
    """Make a row of this suite."""
    return of_runs("photos", task, name, library, unit, values, max, remarks=f"goal: {GOALS[task]}")


def draw(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Draw photos: smooth colours with the fine noise of a sensor."""
    from PIL import Image

    rng, drawn = np.random.default_rng(0), []
    for i in range(count):
        colours = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(size)
        noise = Image.effect_noise(size, 12).convert("RGB")
        Image.blend(colours, noise, 0.1).save(folder / f"{i}.jpg", quality=90)
        drawn.append(folder / f"{i}.jpg")
    return drawn


def link(folder: Path, files: list[Path], count: int, classes: int = 4) -> Path:
    """Make a folder of so many links to files, sub-folder by class."""
    for k in range(classes):
        (folder / f"class{k}").mkdir(parents=True)
    for i in range(count):
        os.link(files[i % len(files)], folder / f"class{i % classes}" / f"{i:06d}.jpg")
    return folder
