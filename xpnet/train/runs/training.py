"""A run: one model trained on one data set, kept in a folder. What the command line does, as functions::

    RUN/checkpoint.safetensors   parameters, optimizer state, counters, history
    RUN/best.safetensors         the same after the best epoch by validation, if it is to be kept
    RUN/config.json              the configuration, the command that repeats it, versions, the commit
    RUN/metrics.jsonl            a line an epoch
    RUN/result.json              what train_run returned
    RUN/curves.png               the epochs as a picture, if matplotlib is installed
    RUN/report.html              the run on one page, likewise; see viz.report

Everything is checked before the folder is made. A run's folder has one writer at a time, which holds a lock.
"""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from xpnet import arguments, kernels
from xpnet.backend import get_backend
from xpnet.data import Splits
from xpnet.data.augmentation import in_words
from xpnet.distributed import by_first, check_agreement, data_facts, get_communicator, model_facts, version_facts
from xpnet.distributed.sharing import sharing
from xpnet.distributed.supervised import tell_run
from xpnet.errors import CheckpointError, ConfigError, DeviceLostError
from xpnet.output import counted, to_json
from xpnet.train.callbacks import BestCheckpoint, Callback, EarlyStopping, JsonLines, SaveCheckpoint
from xpnet.train.checkpoint import read_checkpoint
from xpnet.train.inputs import read_callbacks
from xpnet.train.precision import check_precision
from xpnet.train.runs.config import RunConfig, read_config
from xpnet.train.runs.config_schema import parse_every
from xpnet.train.runs.data import as_trained, check_used, load_options, load_parts, placed
from xpnet.train.runs.fine_tuning import outputs_of, read_weights
from xpnet.train.runs.folder import FILES, is_same_file, locked, log_folder, make_log_dir
from xpnet.train.runs.origin import origin_of
from xpnet.train.runs.pictures import draw_run
from xpnet.train.runs.preparation import augmentation_of, make_trainer
from xpnet.train.runs.result import chosen_by, ended, monitored, result_of
from xpnet.train.scaling import measure
from xpnet.train.schema import RUN, check
from xpnet.train.tensorboard import TensorBoard
from xpnet.train.trainer import Trainer
from xpnet.writing import FileLock, remove_parts, write_atomically

__all__ = ["train_run"]

Report = Callable[[int, int], None]
Announce = Callable[[str], None]


def train_run(
    config: RunConfig,
    out: str | Path | None = None,
    *,
    resume: str | Path | None = None,
    callbacks: Iterable[Callback] = (),
    progress: Report | None = None,
    announce: Announce = lambda line: None,
) -> dict[str, Any]:
    """Train by a configuration, and keep the run in a folder.

    Curves, the best epoch and early stopping go by a validation set, held out of the training set. The test set is
    measured once, at the end.

    Args:
        config: the model, the data and how to train.
        out: the run's folder, created if it does not exist; by default a new one in ``runs``.
        resume: the folder of a run to continue; its configuration should be config's but for epochs, backend and data.
        callbacks: further callbacks of the trainer.
        progress: called as (done, total) while data is loaded.
        announce: called with each line to print.
    Returns:
        {model, data, task, backend, device, precision, epochs, seed, parameters, train_loss, validation_loss and
        further figures of the task as validation_accuracy, test_loss, test_accuracy, best_epoch (None where it is not
        kept), chosen_by (the set that chose the epoch, validation or test, which may be one; or None), seconds,
        images_per_second, peak_memory_bytes (of the device, or of this process where the host computes), run,
        interrupted: the number of the signal that ended training early, or 0}. With best, the figures are those of the
        best epoch.
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
    if resumed:
        check(resumed.meta, RUN, str(kept), CheckpointError, others=True)
        seed = resumed.meta.get("progress", {}).get("seed", config.seed)
        config.require({"model": resumed.meta["model_name"], "seed": seed})
    config = placed(config)
    start = read_weights(config.from_run) if config.from_run and not resumed else None
    known = resumed or (None if config.image_size else start)  # data is brought to its shape
    options = load_options(config, known and known.meta)
    if not resumed:  # the columns of the other run, as it measured them
        columns = start and start.meta.get("columns")
        options = dataclasses.replace(options, columns=columns and {**columns, "target": None})
    options = dataclasses.replace(options, share=sharing(get_communicator()))
    parts = load_parts(config, options, resume, progress)
    if resumed:
        train, *held = (part and as_trained(part, resumed.meta, "resume", not i) for i, part in enumerate(parts[:3]))
        assert train is not None
        parts = parts._replace(train=train, validation=held[0], test=held[1])
    check_used(config, parts.train)
    if parts.validation is None and (config.best or config.patience):
        name, do = "best" if config.best else "patience", "hold out a part with val=0.2"
        raise ConfigError(name, "a validation set to compare epochs by", do, training_examples=len(parts.train))
    trainer, config = make_trainer(config, backend, parts, start, is_resumed=resumed is not None)
    if resumed:
        config.require(resumed.meta.get("settings") or {})
        trainer.resume(resumed)
        config = dataclasses.replace(config, epochs=max(trainer.epoch, config.epochs or 0))
    logged = read_config(resume)[1] if resume and config.log_dir else {}
    communicator, locks = trainer.processes.communicator, []
    if communicator.size > 1:
        check_agreement(communicator, _facts(trainer, parts, config))
    with ExitStack() as stack:

        def take() -> str:
            if config.log_dir:
                make_log_dir(config.log_dir)
            folder, lock = stack.enter_context(locked(Path(resume) if resume else None, out, config))
            if kept and before and not is_same_file(before, kept.stat()):
                raise CheckpointError.event(str(kept), "another process has written it meanwhile", "resume once more")
            tell_run(folder)
            locks.append(lock)
            return str(folder)

        folder = Path(by_first(communicator, take))
        meta = _meta(trainer, parts, config, options.fit)
        announce = _say_nothing if communicator.rank else announce
        lock = locks[0] if locks else None  # of process 0, which writes
        return _train_in(folder, lock, trainer, parts, config, meta, logged, callbacks, announce)


def _train_in(
    folder: Path,
    lock: FileLock | None,
    trainer: Trainer,
    parts: Splits,
    config: RunConfig,
    meta: dict[str, Any],
    logged: dict[str, Any],
    callbacks: Iterable[Callback],
    announce: Announce,
) -> dict[str, Any]:
    """Train and keep the run in a folder whose lock process 0 holds; as train_run."""
    communicator = trainer.processes.communicator

    def begin() -> str | None:
        remove_parts(folder, FILES)
        logs = log_folder(config, folder, logged) if config.log_dir else None
        saved = dataclasses.asdict(config) | origin_of(config, trainer.model.backend)
        saved |= {"log_folder": logs and str(logs), "logged_from": logs and str(folder.absolute())}
        write_atomically(folder / "config.json", (to_json(saved, indent=2) + "\n").encode())
        return saved["log_folder"]

    logs = by_first(communicator, begin)
    notes = [line for line in parts.note if not any(text.endswith(line) for text in parts.warnings)]
    change = augmentation_of(config, parts.train)
    made = [f"augmentation {config.augment}: {in_words(change)}"] if change else []
    shown = [f"logs: {logs}; see them with: {shlex.join(['tensorboard', '--logdir', str(config.log_dir)])}"]
    for line in (*notes, *_lines(trainer, parts, config), *made, *(shown if logs else [])):
        announce(line)
    epochs, steps = parse_every(config.checkpoint_every or 1) or (1, 0)
    save = SaveCheckpoint(folder, meta, lock, every=epochs or 1, steps=steps or None)
    monitor, best = monitored(trainer), folder / "best.safetensors"
    trainer.callbacks = [
        *([EarlyStopping(config.patience, monitor)] if config.patience else []),
        *([BestCheckpoint(best, monitor, meta)] if config.best else []),  # before the run: a resumed one finds it
        save,
        JsonLines(folder / "metrics.jsonl"),
        *([_tensorboard(config, Path(logs), parts)] if logs else []),
        *callbacks,  # first saved, then printed
    ]
    seen, began = trainer.epoch, time.perf_counter()
    each = parts.test if any("test_loss" in record for record in trainer.history) else None  # as of xpnet 0.7 or older
    try:
        trainer.fit(
            parts.train,
            each,
            validation=parts.validation,
            epochs=config.epochs or 0,
            batch_size=config.batch_size or 1,
            augment=change,
            progress=False,
        )
    except DeviceLostError as error:
        is_saved = (folder / "checkpoint.safetensors").exists()
        error.do = f"continue with: xpnet train --resume {folder}" if is_saved else "nothing was saved yet: start again"
        raise
    trainer.model.backend.synchronize()
    seconds = time.perf_counter() - began
    for line in ended(trainer, config):
        announce(line)
    if chosen_by(parts, config) == "test":
        announce("the test set is the validation set, which chose the epoch: new examples will do worse")
    communicator.barrier()  # the last epoch is written
    if config.best and trainer.history and not trainer.interrupted:
        read_checkpoint(best).restore(trainer.model)
    result = result_of(folder, trainer, parts, config, (trainer.epoch - seen, seconds))

    def end() -> None:
        if not trainer.history and not trainer.interrupted:
            save.on_epoch(trainer, {})
        write_atomically(folder / "result.json", (to_json(result, indent=2) + "\n").encode())
        with trainer.alone():
            draw_run(folder, trainer, parts, config, announce)

    by_first(communicator, end)
    return result


def _facts(trainer: Trainer, parts: Splits, config: RunConfig) -> dict[str, str]:
    """What the processes of a run must have in common, by name."""
    facts = version_facts(trainer.model.backend)
    for name, part in zip(("training data", "validation data", "test data"), parts[:3], strict=True):
        facts |= {} if part is None else data_facts(name, part)
    settings = {name: str(value) for name, value in config.settings().items()}
    return facts | settings | {"epochs": str(config.epochs), **model_facts(trainer.model)}


def _say_nothing(line: str) -> None:
    """Process 0 says it."""


def _tensorboard(config: RunConfig, folder: Path, parts: Splits) -> TensorBoard:
    asked = {name: value for name, value in dataclasses.asdict(config).items() if value is not None}
    return TensorBoard(folder, parts.validation, data_in="validation", configuration=asked)


def _meta(trainer: Trainer, parts: Splits, config: RunConfig, fit: str) -> dict[str, Any]:
    """What a checkpoint says of a run: enough to build its model, and to load data for it."""
    train = parts.train
    columns = getattr(train.source, "to_json", None)
    return {
        "model_name": config.model,
        "shape": list(train.shape),
        "classes": list(train.classes),
        "outputs": outputs_of(trainer.task, train),
        "white": train.white,
        "fit": fit,
        "skip_damaged": config.skip_damaged,
        "target": config.target,
        "columns": columns() if columns else None,
        "data": config.data,
        "data_dir": config.data_dir,
        "settings": config.settings(),
    }


def _lines(trainer: Trainer, parts: Splits, config: RunConfig) -> list[str]:
    """What is trained on what, and how."""
    train, *held = parts[:3]
    size = "x".join(map(str, train.shape)) + (" numbers" if len(train.shape) == 1 else "")
    if len(train.shape) == 1 and (trainer.scale or measure(train, None)[0]).columns:
        size += ", each standardized"
    counts = [f"{len(train):,} training"]
    counts += [f"{len(part):,} {name}" for name, part in zip(("validation", "test"), held, strict=True) if part]
    examples = ", ".join(counts[:-1]) + (" and " if counts[1:] else "") + counts[-1]
    classes = f", {counted(len(train.classes), 'class')}" if train.labelled else ""
    return [
        f"{config.model}, {counted(trainer.model.parameter_count, 'parameter')}, on {Path(config.data).name}: "
        f"{examples} examples of {size}{classes}",
        trainer.describe(),
        f"{trainer.model.backend.spec}, {config.precision}, batches of {config.batch_size}, "
        f"{config.optimizer} with rate {config.lr}, seed {config.seed}",
        *trainer.processes.lines(),
    ]
