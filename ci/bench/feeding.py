"""Whether decoding keeps a step fed: JPEG images of a folder decoded, with and without training beside.

The folder is drawn for the run: discs and bars over a slope of colour, with noise, so that a file is as large and as
slow to decode as a photograph's. It is removed afterwards.
"""

from __future__ import annotations

import math
import os
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import typer
from report import about, about_line, write_facts
from turns import Worker, worker_environment

HERE = Path(__file__).resolve().parent
MODELS = ("alexnet", "lenet5")
SIDE, QUALITY, CLASSES = 256, 85, 4


def run(images: int, model: str, batch: int, seconds: float, json: Path | None) -> None:
    """Draw the folder, measure, print and write.

    Raises:
        WorkerError: the worker fails.
    """
    facts: dict[str, Any] = about(os.getloadavg()[0])
    with TemporaryDirectory(prefix="xpnet-feed-") as folder:
        typer.echo(f"drawing {images} images of {SIDE} x {SIDE} ...", err=True)
        size = draw(Path(folder), images)
        typer.echo(f"decoding and training, about {3 * seconds + 10:.0f} s ...", err=True)
        with closing(Worker(HERE / "workers" / "xpnet_feed.py", worker_environment(HERE.parents[1], "cpu"))) as worker:
            found = worker.ask(do="measure", folder=folder, model=model, batch=batch, seconds=seconds)
    facts["feed"] = {**found, "model": model, "batch": batch, "kb_a_file": size / images / 1e3}
    if json is not None:
        write_facts(json, facts)
    typer.echo(markdown(facts))


def draw(folder: Path, images: int, side: int = SIDE) -> int:
    """Draw JPEG images, sub-folder by class; the bytes of all files."""
    from PIL import Image

    rng, size = np.random.default_rng(0), 0
    rows, columns = np.mgrid[:side, :side] / side
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir()
    for i in range(images):
        slope, shade = rng.uniform(-90, 90, (3, 2)), rng.uniform(60, 190, 3)
        pixels = shade + rows[..., None] * slope[:, 0] + columns[..., None] * slope[:, 1]  # (H, W, 3)
        for _ in range(6):
            y, x, r = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.03, 0.25)
            tilt = rng.uniform(0, math.pi)
            across = (rows - y) * math.cos(tilt) + (columns - x) * math.sin(tilt)
            disc = np.hypot(rows - y, columns - x) < r
            pixels[disc if rng.random() < 0.5 else np.abs(across) < r / 6] = rng.uniform(0, 255, 3)
        pixels += rng.normal(0, 9, pixels.shape)
        path = folder / f"class{i % CLASSES}" / f"{i:05d}.jpg"
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=QUALITY)
        size += path.stat().st_size
    return size


def markdown(facts: dict[str, Any]) -> str:
    """Make the README's table of it, and say whether the step is fed."""
    feed = facts["feed"]
    lines = ["| images a second | alone | one beside the other |", "|---|---|---|"]
    lines.append(f"| decoded from JPEG | {feed['decode_alone']:.0f} | {feed['decode_beside']:.0f} |")
    title = f"trained, {feed['model']}, batch {feed['batch']}"
    lines.append(f"| {title} | {feed['train_alone']:.0f} | {feed['train_beside']:.0f} |")
    fed = "is fed" if feed["decode_beside"] >= feed["train_beside"] else "is NOT fed"
    height, width, _ = feed["size"]
    files = f"{feed['images']} files of {width} x {height}, {feed['kb_a_file']:.0f} KB each, {feed['threads']} threads"
    return "\n".join([*lines, "", f"The step {fed}: {files}. {about_line(facts)}"])
