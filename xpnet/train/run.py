"""A run: one model trained on one data set, kept in a folder. What the command line does, as functions.

    RUN/checkpoint.safetensors   parameters, optimizer state, counters, history
    RUN/config.json              the configuration, the command that repeats it, versions, the commit
    RUN/metrics.jsonl            a line an epoch
    RUN/curves.png               the same as a picture, if matplotlib is installed
    RUN/report.html              the run on one page, likewise; see viz.report

Everything is checked before the folder is made. A run's folder has one writer at a time, which holds a lock.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from xpnet import arguments, kernels
from xpnet.backend import get_backend
from xpnet.data import Columns, Dataset
from xpnet.errors import CheckpointError, ConfigError, DeviceLostError
from xpnet.output import to_json
from xpnet.train.callbacks import Callback, JsonLines, SaveCheckpoint
from xpnet.train.checkpoint import read_checkpoint
from xpnet.train.inputs import read_callbacks
from xpnet.train.origin import origin_of
from xpnet.train.precision import check_precision
from xpnet.train.run_config import RunConfig
from xpnet.train.run_data import as_trained, load_data, load_options, place
from xpnet.train.run_evaluation import names_of
from xpnet.train.run_folder import FILES, is_same_file, locked
from xpnet.train.run_pictures import draw_run
from xpnet.train.run_trainer import make_trainer
from xpnet.train.schema import RUN, check
from xpnet.train.trainer import Trainer
from xpnet.writing import FileLock, remove_parts, write_atomically

__all__ = ["train_run"]

Report = Callable[[int, int], None]

_LATER = ("task", "target",
          "class_weights", "val", "best", "patience", "from_run", "freeze", "run_name", "checkpoint_every")  # fmt: skip


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
    for name in _LATER:
        if getattr(config, name):
            raise ConfigError.event(name, "this option is not there yet", **{name: getattr(config, name)})
    path = arguments.optional(arguments.path)
    out, resume = path("train_run", "out", out), path("train_run", "resume", resume)
    callbacks, announce = read_callbacks(callbacks), arguments.function("train_run", "announce", announce)
    backend = get_backend(config.backend)
    check_precision(config.precision, backend)
    kernels.prepare(backend.xp.empty(0, device=backend.device))  # while the data is loaded
    kept = Path(resume) / "checkpoint.safetensors" if resume else None
    resumed, before = (read_checkpoint(kept), kept.stat()) if kept else (None, None)
    config = dataclasses.replace(config, data=place(config.data), data_dir=config.data_dir and place(config.data_dir))
    options = load_options(config, resumed.meta if resumed else None)
    train, test = load_data(config.data, config.data_dir, resume, progress, options)
    if resumed:
        check(resumed.meta, RUN, str(kept), CheckpointError, others=True)
        seed = resumed.meta.get("progress", {}).get("seed", config.seed)
        config.require({"model": resumed.meta["model_name"], "seed": seed})
        train = as_trained(train, resumed.meta, "resume", every=True)
        test = as_trained(test, resumed.meta, "resume")
    config = config.completed(len(train), isinstance(train.source, Columns))
    trainer, config = make_trainer(config, backend, train)
    if resumed:
        config.require(resumed.meta.get("settings") or {})
        trainer.resume(resumed)
        config = dataclasses.replace(config, epochs=max(trainer.epoch, config.epochs or 0))
    with locked(Path(resume) if resume else None, out, config) as (folder, lock):
        if kept and before and not is_same_file(before, kept.stat()):
            raise CheckpointError.event(str(kept), "another process has written it meanwhile", "resume once more")
        return _train_in(folder, lock, trainer, (train, test), config, options.fit, callbacks, announce)


def _train_in(
    folder: Path,
    lock: FileLock,
    trainer: Trainer,
    sets: tuple[Dataset, Dataset],
    config: RunConfig,
    fit: str,
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
        "fit": fit,
        "data": config.data,
        "data_dir": config.data_dir,
        "settings": config.settings(),
    }
    remove_parts(folder, FILES)
    kept = dataclasses.asdict(config) | origin_of(config, backend)
    write_atomically(folder / "config.json", (to_json(kept, indent=2) + "\n").encode())
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
        trainer.fit(train, test, epochs=config.epochs or 0, batch_size=config.batch_size or 1, augment=config.augment)
    except DeviceLostError as error:
        saved = (folder / "checkpoint.safetensors").exists()
        error.do = f"continue with: xpnet train --resume {folder}" if saved else "nothing was saved yet: start again"
        raise
    backend.synchronize()
    seconds = time.perf_counter() - began
    if not trainer.history and not trainer.interrupted:
        save.on_epoch(trainer, {})
    draw_run(folder, trainer, (train, test), config, announce)
    last = trainer.history[-1] if trainer.history else {}
    images = (trainer.epoch - seen) * len(train)
    return {
        **names_of(config.model, config.data, backend),
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
