"""Decode a folder of photos by xpnet or by Pillow alone, or train on it until the first step is done.

{"do": "measure", "task": "xpnet" or "pillow", "folder", "threads", "seconds"} -> {"rate"}     images a second
{"do": "measure", "task": "start", "folder", "run"} -> {}                                      after the first step
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from serve import Done

SIDE = 128


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request."""
    if request["task"] == "start":
        return start(request["folder"], request["run"])
    make = {"xpnet": by_xpnet, "pillow": by_pillow}[request["task"]]
    count, decode = make(request["folder"], request["threads"])
    decode()
    began, done = perf_counter(), 0
    while perf_counter() - began < request["seconds"]:
        decode()
        done += count
    return {"rate": done / (perf_counter() - began)}


def by_xpnet(folder: str, threads: int) -> tuple[int, Callable[[], Any]]:
    """The examples of a training set, none of which are kept."""
    from xpnet import data

    options = data.LoadOptions(image_size=SIDE, cache_images=1, workers=threads)
    x: Any = data.splits(folder, validation=0, options=options).train.x
    out = np.empty(x.shape, np.uint8)
    return len(x), lambda: x.read(np.arange(len(x)), out)


def by_pillow(folder: str, threads: int) -> tuple[int, Callable[[], Any]]:
    """What torchvision's ImageFolder, Resize and CenterCrop do."""
    from PIL import Image

    def decode(path: Path) -> np.ndarray:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        scale = SIDE / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
        return np.asarray(image.crop((left, top, left + SIDE, top + SIDE)))

    files, pool = sorted(Path(folder).glob("*/*")), ThreadPoolExecutor(threads)
    return len(files), lambda: list(pool.map(decode, files))


def start(folder: str, run: str) -> dict[str, Any]:
    """Train until a step is done."""
    from xpnet.train import Callback, RunConfig, train_run

    class Stop(Callback):
        def on_step(self, trainer: Any) -> None:
            raise Done

    try:
        train_run(RunConfig(model="cnn", data=folder, epochs=1), run, callbacks=[Stop()])
    except Done:
        return {}
    raise ValueError("training ended without a step")
