"""A run: one model trained on one data set, kept in a folder. What the command line does, as functions.

    RUN/checkpoint.safetensors   parameters, optimizer state, counters, history
    RUN/config.json              the configuration
    RUN/metrics.jsonl            a line an epoch
    RUN/curves.png               the same as a picture, if matplotlib is installed
    RUN/report.html              the run on one page, likewise; see viz.report

Everything is checked before the folder is made. A run's folder has one writer at a time, which holds a lock.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import arguments, kernels, models
from xpnet import data as datasets
from xpnet.backend import Backend, get_backend
from xpnet.data import Dataset, load_image
from xpnet.errors import CheckpointError, ConfigError, DataError, DeviceLostError
from xpnet.optim import inverse_decay, make_optimizer, warmup
from xpnet.output import to_json
from xpnet.train.callbacks import Callback, JsonLines, SaveCheckpoint
from xpnet.train.checkpoint import read_checkpoint
from xpnet.train.inputs import read_callbacks
from xpnet.train.precision import check_precision
from xpnet.train.run_config import RunConfig
from xpnet.train.run_data import as_trained, load_data, place, whole
from xpnet.train.run_folder import FILES, is_same_file, locked
from xpnet.train.schema import RUN, check
from xpnet.train.trainer import Trainer
from xpnet.writing import FileLock, remove_parts, write_atomically

__all__ = ["evaluate_run", "open_run", "predict_run", "train_run"]

Report = Callable[[int, int], None]

# The rate rises over _WARM steps, then falls, to half after _HALVED epochs: it depends on the step alone, not on the
# number of epochs, so that 5 epochs and then 5 more are the same as 10.
_WARM, _HALVED = 300, 4


def train_run(
    config: RunConfig,
    out: str | Path | None = None,
    *,
    resume: str | Path | None = None,
    callbacks: Iterable[Callback] = (),
    progress: Report | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train by a configuration, and keep the run in a folder.

    Args:
        config: the model, the data and how to train.
        out: the run's folder, created if it does not exist; by default a new one in ``runs``.
        resume: the folder of a run to continue; its configuration should be config's but for epochs, backend and data.
        callbacks: further callbacks of the trainer.
        progress: called as (done, total) while data is loaded.
        announce: called with each line to print.
    Returns:
        {model, data, backend, device, precision, epochs, seed, parameters, train_loss, test_accuracy, seconds,
        images_per_second, peak_memory_bytes (of the device, or of this process where the host computes), run,
        interrupted: the number of the signal that ended training early, or 0}.
    Raises:
        ConfigError, DataError, DeviceError, CheckpointError: before anything is written, except a loss that diverges,
        and a device that is lost or out of memory.
    """
    arguments.instance("train_run", "config", config, kind=RunConfig, rule="a RunConfig")
    path = arguments.optional(arguments.path)
    out, resume = path("train_run", "out", out), path("train_run", "resume", resume)
    callbacks, announce = read_callbacks(callbacks), arguments.function("train_run", "announce", announce)
    backend = get_backend(config.backend)
    check_precision(config.precision, backend)
    kernels.prepare(backend.xp.empty(0, device=backend.device))  # while the data is loaded
    kept = Path(resume) / "checkpoint.safetensors" if resume else None
    resumed, before = (read_checkpoint(kept), kept.stat()) if kept else (None, None)
    config = dataclasses.replace(config, data=place(config.data), data_dir=config.data_dir and place(config.data_dir))
    train, test = load_data(config.data, config.data_dir, resume, progress)
    if resumed:
        check(resumed.meta, RUN, str(kept), CheckpointError, others=True)
        began = {"model": resumed.meta["model_name"], "seed": resumed.meta.get("progress", {}).get("seed", config.seed)}
        for name, value in began.items():
            if value != (given := getattr(config, name)):
                raise ConfigError("resume", f"{name} {value!r}, as the checkpoint has it", **{name: repr(given)})
        train = as_trained(train, resumed.meta, "resume", every=True)
        test = as_trained(test, resumed.meta, "resume")
    config = config.completed(len(train))
    trainer, config = _trainer(config, backend, train)
    if resumed:
        trainer.resume(resumed)
        config = dataclasses.replace(config, epochs=max(trainer.epoch, config.epochs or 0))
    with locked(Path(resume) if resume else None, out, config) as (folder, lock):
        if kept and before and not is_same_file(before, kept.stat()):
            raise CheckpointError.event(str(kept), "another process has written it meanwhile", "resume once more")
        return _train_in(folder, lock, trainer, (train, test), config, callbacks, announce)


def _train_in(
    folder: Path,
    lock: FileLock,
    trainer: Trainer,
    sets: tuple[Dataset, Dataset],
    config: RunConfig,
    callbacks: Iterable[Callback],
    announce: Callable[[str], None],
) -> dict[str, Any]:
    """Train and keep the run in a folder whose lock is held; as train_run."""
    (train, test), backend = sets, trainer.model.backend
    meta = {
        "model_name": config.model,
        "shape": list(train.shape),
        "classes": list(train.classes),
        "white": train.white,
        "data": config.data,
        "data_dir": config.data_dir,
    }
    remove_parts(folder, FILES)
    write_atomically(folder / "config.json", (to_json(dataclasses.asdict(config), indent=2) + "\n").encode())
    save = SaveCheckpoint(folder, meta, lock)
    trainer.callbacks = [save, JsonLines(folder / "metrics.jsonl"), *callbacks]  # first saved, then printed
    size = "x".join(map(str, train.shape))
    announce(
        f"{config.model}, {trainer.model.parameter_count:,} parameters, on {train.name}: {len(train):,} training and "
        f"{len(test):,} test examples of {size}, {len(train.classes)} classes"
    )
    announce(
        f"{backend.spec}, {config.precision}, batches of {config.batch_size}, "
        f"{config.optimizer} with rate {config.lr}, seed {config.seed}"
    )
    seen, began = trainer.epoch, time.perf_counter()
    try:
        trainer.fit(train, test, epochs=config.epochs or 0, batch_size=config.batch_size or 1)
    except DeviceLostError as error:
        saved = (folder / "checkpoint.safetensors").exists()
        error.do = f"continue with: xpnet train --resume {folder}" if saved else "nothing was saved yet: start again"
        raise
    backend.synchronize()
    seconds = time.perf_counter() - began
    if not trainer.history and not trainer.interrupted:
        save.on_epoch(trainer, {})
    _draw(folder, trainer, (train, test), config, announce)
    last = trainer.history[-1] if trainer.history else {}
    images = (trainer.epoch - seen) * len(train)
    return {
        **_names(config.model, config.data, backend),
        "precision": config.precision,
        "epochs": trainer.epoch,
        "seed": config.seed,
        "parameters": trainer.model.parameter_count,
        "train_loss": last.get("train_loss"),
        "test_accuracy": last.get("test_accuracy"),
        "seconds": round(seconds, 3),
        "images_per_second": round(images / seconds, 1) if seconds else 0.0,
        "peak_memory_bytes": backend.memory().peak,
        "run": str(folder),
        "interrupted": trainer.interrupted,
    }


def _names(model: str, data: str, backend: Backend) -> dict[str, Any]:
    return {"model": model, "data": data, "backend": backend.name, "device": backend.device_name}


def _trainer(config: RunConfig, backend: Backend, train: Dataset) -> tuple[Trainer, RunConfig]:
    """Make the trainer, and write the rate into the configuration if it is the optimizer's default."""
    recipe = models.recipe(config.model)
    model = models.build(config.model, train.shape, len(train.classes)).to(backend).initialize(config.seed)
    optimizer = make_optimizer(
        config.optimizer or recipe.optimizer, model.parameters(), config.lr, weight_decay=recipe.weight_decay
    )
    rate, steps = optimizer.current_lr, -(-len(train) // (config.batch_size or 1))
    optimizer.lr = warmup(inverse_decay(rate, _HALVED * steps), _WARM)
    options = {"seed": config.seed, "precision": config.precision, "threads": config.threads}
    return Trainer(model, optimizer, recipe.loss, **options), dataclasses.replace(config, lr=rate)


def _draw(
    folder: Path, trainer: Trainer, sets: tuple[Dataset, Dataset], config: RunConfig, announce: Callable[[str], None]
) -> None:
    """Draw the curves and the report, also after an interruption; a failure is announced, not raised."""
    if not trainer.history:
        return
    if importlib.util.find_spec("matplotlib") is None:
        announce("no curves.png and no report.html without matplotlib: pip install 'xpnet[viz]'")
        return
    from xpnet import viz
    from xpnet.viz.curves import save_curves

    train, test = sets
    size = "x".join(map(str, train.shape)) + (" numbers" if len(train.shape) == 1 else "")
    note = f"{len(train):,} training and {len(test):,} test examples of {size} in {len(train.classes)} classes."
    if trainer.interrupted:
        note += f" Interrupted after {trainer.epoch} of {trainer.epochs} epochs: the figures are from then."
    asked = {name.replace("_", " "): value for name, value in dataclasses.asdict(config).items()}
    path = folder / "curves.png"
    try:
        save_curves(trainer.history, path)
        path = folder / "report.html"
        title = f"{config.model} on {train.name}"
        page = viz.report(trainer, test, title=title, note=note, configuration=asked)
        write_atomically(path, page.encode())
    except Exception as error:  # all else is saved: do not fail for a picture
        announce(f"no {path.name}: {type(error).__name__}: {error}".replace("\n", " "))
        return
    announce(f"report: {path}")


def open_run(run: str | Path, backend: str | Backend | None = None) -> tuple[Trainer, dict[str, Any]]:
    """Load a run's trainer, on any backend, and its checkpoint's JSON.

    Raises:
        CheckpointError: no such run, or its checkpoint cannot be read or is of another model.
    """
    path = arguments.path("open_run", "run", run) / "checkpoint.safetensors"
    checkpoint = read_checkpoint(path)
    meta = checkpoint.meta
    check(meta, RUN, str(path), CheckpointError, others=True)
    scale = meta.get("normalize")
    if scale is None and meta["white"] > 1 and meta["format_version"] == 1:  # such sets held bytes
        raise CheckpointError(str(path), "normalize, of a run trained on bytes", normalize=scale)
    recipe = models.recipe(meta["model_name"])
    model = models.build(meta["model_name"], tuple(meta["shape"]), len(meta["classes"])).to(get_backend(backend))
    checkpoint.restore(model)
    trainer = Trainer(model, loss=recipe.loss)
    trainer.take_scale(meta)
    return trainer, meta


def evaluate_run(
    run: str | Path,
    data: str | None = None,
    data_dir: str | None = None,
    backend: str | Backend | None = None,
    *,
    progress: Report | None = None,
) -> dict[str, Any]:
    """Measure a run's model on the test part of a data set, by default the run's.

    Another folder or file than the run's that has no test part is measured as a whole.

    Returns:
        {model, data, backend, device, examples, test_loss, test_accuracy, top5_accuracy, confusion, classes, run}.
    """
    arguments.optional(arguments.text)("evaluate_run", "data_dir", data_dir)
    trainer, meta = open_run(run, backend)
    if data is not None:
        data = str(arguments.path("evaluate_run", "data", data))
    else:
        data_dir = data_dir or meta.get("data_dir")
    train, test = load_data(data or meta["data"], data_dir, None if data else run, progress)
    if data not in (None, *datasets.DATASETS) and place(data) != meta["data"] and train.name == test.name:
        test = whole(train, test)  # another set than the run's, without a test part: none of it was trained on
    test = as_trained(test, meta, "evaluate")
    figures = trainer.evaluate(test)
    return {
        **_names(meta["model_name"], test.name, trainer.model.backend),
        "examples": len(test),
        "test_loss": figures["loss"],
        "test_accuracy": figures["accuracy"],
        "top5_accuracy": figures["top5_accuracy"],
        "confusion": figures["confusion"].tolist(),
        "classes": list(test.classes),
        "run": str(run),
    }


def predict_run(
    run: str | Path, images: list[str], top: int | None = None, backend: str | Backend | None = None
) -> list[dict[str, Any]]:
    """Classify image files by a run's model, each resized to the size it was trained on.

    Args:
        run: the run's folder.
        images: the files.
        top: the number of classes to return, 1 .. K; by default 3, or K if there are fewer.
        backend: where to compute; the default one by default.
    Returns:
        For each image {image, classes: the top K names, probabilities}.
    Raises:
        ConfigError: top is outside 1 .. K. DataError: a file does not exist or is not an image.
    """
    trainer, meta = open_run(run, backend)
    images = [images] if isinstance(images, str) else arguments.items("predict_run", "images", images)
    images = [str(arguments.path("predict_run", "images", i)) for i in images]
    if not images:
        raise ConfigError("predict_run", "images, at least one", images="none")
    classes, shape = meta["classes"], tuple(meta["shape"])
    top = min(3, len(classes)) if top is None else top
    if arguments.as_index(top) is None or not 1 <= top <= len(classes):
        raise ConfigError("top", f"1 <= top <= {len(classes)}, the number of classes", top=arguments.shown(top))
    if len(shape) != 3:
        raise ConfigError("predict", "a run trained on images (H, W, C)", shape=shape)
    if folders := [path for path in images if Path(path).is_dir()]:
        do = f"name its files: {folders[0].rstrip('/')}/*.png"
        raise DataError.event(folders[0], "this is a folder, and predict takes image files", do)
    pixels = np.stack([load_image(path, shape) for path in images]).astype(np.float32)
    if trainer.scale:
        chances = trainer.predict(pixels, white=255.0)
    else:  # a run of xpnet 0.6 or older
        chances = trainer.predict(pixels * np.float32(meta["white"] / 255.0))
    ranked = np.argsort(-chances, axis=1, kind="stable")[:, :top]
    return [
        {
            "image": path,
            "classes": [classes[k] for k in order],
            "probabilities": [round(float(row[k]), 6) for k in order],
        }
        for path, row, order in zip(images, chances, ranked, strict=True)
    ]
