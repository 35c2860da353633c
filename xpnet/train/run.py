"""A run: one model trained on one data set, kept in a folder. What the command line does, as functions.

    RUN/checkpoint.safetensors   parameters, optimizer state, counters, history
    RUN/config.json              the configuration
    RUN/metrics.jsonl            a line an epoch
    RUN/curves.png               the same as a picture, if matplotlib is installed
    RUN/report.html              the run on one page, likewise; see viz.report

Everything is checked before the folder is made. A run's folder has one writer at a time, which holds a lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import arguments, kernels, models
from xpnet import data as datasets
from xpnet.backend import Backend, get_backend
from xpnet.data import Dataset, load_image
from xpnet.data.opening import open_file
from xpnet.errors import CheckpointError, ConfigError, DataError, DeviceLostError
from xpnet.optim import inverse_decay, make_optimizer, warmup
from xpnet.output import to_json
from xpnet.train.callbacks import Callback, JsonLines, SaveCheckpoint
from xpnet.train.checkpoint import read_checkpoint
from xpnet.train.inputs import read_callbacks
from xpnet.train.precision import check_precision
from xpnet.train.schema import CONFIG, RUN, check, parse
from xpnet.train.trainer import Trainer
from xpnet.writing import FileLock, remove_parts, write_atomically

__all__ = ["RunConfig", "evaluate_run", "open_run", "predict_run", "resolve_backend", "resumed_config", "train_run"]

Report = Callable[[int, int], None]

# The rate rises over _WARM steps, then falls, to half after _HALVED epochs: it depends on the step alone, not on the
# number of epochs, so that 5 epochs and then 5 more are the same as 10.
_WARM, _HALVED = 300, 4
_LONGEST = 1 << 20  # bytes of a configuration
_FILES = ("checkpoint.safetensors", "config.json", "metrics.jsonl", "curves.png", "report.html")
_SMALL = 10_000  # training examples; smaller sets get more epochs and smaller batches


@dataclass(frozen=True)
class RunConfig:
    """The configuration of a run.

    Args:
        model: a key of models.MODELS.
        data: a name or path that data.load takes; data_dir: where its files are.
        backend: a string that get_backend takes.
        epochs, batch_size: 0 to 1,000,000, >= 1; None: 20, 32 for fewer than 10,000 training examples, else 5, 64.
        optimizer: a name of optim.OPTIMIZERS, and lr its highest rate; None: as in the model's recipe.
        seed: 0 <= seed < 2**64.
        precision: "fp32", "tf32" or "fp16"; see train.precision.
        threads: 1 to 1,024, that share a step on a CPU; None: Trainer's choice.
    """

    model: str = "cnn"
    data: str = "digits"
    data_dir: str | None = None
    backend: str = "cpu"
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    lr: float | None = None
    seed: int = 0
    precision: str = "fp32"
    threads: int | None = None

    def __post_init__(self) -> None:
        check(dataclasses.asdict(self), CONFIG, "", ConfigError)

    def completed(self, examples: int) -> RunConfig:
        """Fill in what follows from the model's recipe and the number of training examples."""
        arguments.count("RunConfig.completed", "examples", examples)
        recipe = models.recipe(self.model)
        epochs, batch_size = (20, 32) if examples < _SMALL else (5, 64)
        is_recipe = self.optimizer in (None, recipe.optimizer)
        return dataclasses.replace(
            self,
            epochs=epochs if self.epochs is None else self.epochs,
            batch_size=self.batch_size or batch_size,
            optimizer=self.optimizer or recipe.optimizer,
            lr=recipe.lr if self.lr is None and is_recipe else self.lr,
        )


def resolve_backend(backend: str | None, device: str | None) -> str:
    """Join the options ``--backend`` and ``--device`` into a string that get_backend takes."""
    if backend and device:
        return f"{backend}:{device}"
    return backend or device or "cpu"


def resumed_config(run: str | Path, asked: dict[str, Any]) -> RunConfig:
    """Read a run's configuration, and replace what may change on resuming: epochs, backend, data, data_dir, threads.

    Raises:
        CheckpointError: no such run, or its configuration is invalid. ConfigError: another setting differs.
    """
    path = arguments.path("resumed_config", "run", run) / "config.json"
    what, do = "the configuration cannot be read", "give the folder of a run"
    with open_file(path, error=CheckpointError, do=do) as file:
        text = file.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise CheckpointError(str(path), f"a configuration of at most {_LONGEST:,} bytes", do)
    values = parse(text, str(path), what, do)
    check(values, CONFIG, str(path), CheckpointError)
    saved = RunConfig(**values)
    for name, value in asked.items():
        before = getattr(saved, name)
        if name not in ("epochs", "backend", "data", "data_dir", "threads") and value != before:
            raise ConfigError("resume", f"{name} {before!r}, as the run began", **{name: repr(value)})
    return dataclasses.replace(saved, **asked)


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
    config = dataclasses.replace(config, data=_place(config.data), data_dir=config.data_dir and _place(config.data_dir))
    train, test = _load(config.data, config.data_dir, resume, progress)
    if resumed:
        check(resumed.meta, RUN, str(kept), CheckpointError, others=True)
        began = {"model": resumed.meta["model_name"], "seed": resumed.meta.get("progress", {}).get("seed", config.seed)}
        for name, value in began.items():
            if value != (given := getattr(config, name)):
                raise ConfigError("resume", f"{name} {value!r}, as the checkpoint has it", **{name: repr(given)})
        train = _as_trained(train, resumed.meta, "resume", every=True)
        test = _as_trained(test, resumed.meta, "resume")
    config = config.completed(len(train))
    trainer, config = _trainer(config, backend, train)
    if resumed:
        trainer.resume(resumed)
        if trainer.epoch >= (config.epochs or 0):
            config = dataclasses.replace(config, epochs=trainer.epoch)
            announce(f"the {trainer.epoch} epochs of {resume} are done already: ask for more with --epochs")
    with _locked(Path(resume) if resume else None, out, config) as (folder, lock):
        if kept and before and not _is_same_file(before, kept.stat()):
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
    remove_parts(folder, _FILES)
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


@contextlib.contextmanager
def _locked(resume: Path | None, out: str | Path | None, config: RunConfig) -> Iterator[tuple[Path, FileLock]]:
    """Make the run's folder, or take that of the run to resume, and hold the lock of its checkpoint.

    Raises:
        ConfigError: the folder already has a run. CheckpointError: another process writes it, or it cannot be written.
    """
    try:
        folder = resume or (_numbered(config) if out is None else Path(out))
        if (folder / "checkpoint.safetensors").exists() and not resume:  # before anything is made in it
            raise _occupied(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        do = "choose another with out=FOLDER"
        place = str(out or error.filename)
        raise CheckpointError.event(place, "the folder cannot be written", do, error=error.strerror) from error
    with FileLock(folder / "checkpoint.safetensors") as lock:
        if (folder / "checkpoint.safetensors").exists() and not resume:
            raise _occupied(folder)
        yield folder, lock


def _occupied(folder: Path) -> ConfigError:
    return ConfigError("out", "a folder without a run", f"continue it with resume={folder}", out=folder)


def _numbered(config: RunConfig) -> Path:
    """Make a folder in ``runs`` that did not exist, also where other processes do so at once."""
    stem = f"{config.model}-{Path(config.data).stem}"
    number = 1
    while True:
        folder = Path("runs") / f"{stem}-{number}"
        folder.parent.mkdir(exist_ok=True)
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def _is_same_file(a: os.stat_result, b: os.stat_result) -> bool:
    return (a.st_ino, a.st_size, a.st_mtime_ns) == (b.st_ino, b.st_size, b.st_mtime_ns)


def _place(data: str) -> str:
    """The absolute path of a folder or file, so that a run finds its data from everywhere; other names stay."""
    path = Path(os.path.expanduser(data))
    return data if data in datasets.DATASETS or not os.path.exists(path) else str(path.absolute())


def _load(data: str, data_dir: str | None, run: str | Path | None, progress: Report | None) -> tuple[Dataset, Dataset]:
    """Load a data set; where that of a run is gone, say how to name its new place."""
    if run is not None and data not in datasets.DATASETS and not os.path.exists(os.path.expanduser(data)):
        do = "say where it is now with data=PATH"
        raise DataError.event(data, f"the data of {run} is not there any more", do)
    return datasets.load(data, data_dir, progress=progress)


def _as_trained(data: Dataset, meta: Mapping[str, Any], where: str, every: bool = False) -> Dataset:
    """Number the classes of a data set, and scale its values, as in the set that a run was trained on.

    Args:
        data: examples of the run's shape, in classes whose names the run knows.
        meta: the JSON of the run's checkpoint.
        where: named in errors.
        every: whether no class of the run may be missing.
    Raises:
        ConfigError: the shape differs, or a class is unknown or missing.
    """
    classes, shape = tuple(meta["classes"]), tuple(meta["shape"])
    if data.shape != shape:
        raise ConfigError(where, f"data of shape {shape}, as the run was trained on", shape=data.shape)
    if data.classes != classes:
        unknown = [name for name in data.classes if name not in classes]
        missing = [name for name in classes if name not in data.classes]
        if unknown or (missing and every) or len(set(classes)) < len(classes):
            got = {"unknown": _some(unknown)} | ({"missing": _some(missing)} if every or unknown else {})
            rule = f"data in the classes of the run, {_some(classes)}"
            raise ConfigError(where, rule, **{name: value for name, value in got.items() if value})
        numbers = np.asarray([classes.index(name) for name in data.classes])
        data = dataclasses.replace(data, y=numbers[data.y], classes=classes)
    if not meta.get("scale") and data.white != meta["white"]:  # a run of xpnet 0.6 or older: else the Trainer does it
        x = data.x.astype(np.float32) * np.float32(meta["white"] / data.white)
        data = dataclasses.replace(data, x=x, white=meta["white"])
    return data


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


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
    """Measure a run's model on the test part of a data set, by default the run's; on all of
    another folder or file that has no test part.

    Returns:
        {model, data, backend, device, examples, test_loss, test_accuracy, top5_accuracy, confusion, classes, run}.
    """
    arguments.optional(arguments.text)("evaluate_run", "data_dir", data_dir)
    trainer, meta = open_run(run, backend)
    if data is not None:
        data = str(arguments.path("evaluate_run", "data", data))
    else:
        data_dir = data_dir or meta.get("data_dir")
    train, test = _load(data or meta["data"], data_dir, None if data else run, progress)
    if data not in (None, *datasets.DATASETS) and _place(data) != meta["data"] and train.name == test.name:
        # another set than the run's, with no test part of its own: none of it was trained on
        x, y = np.concatenate([train.x, test.x]), np.concatenate([train.y, test.y])
        test = dataclasses.replace(test, x=x, y=y)
    test = _as_trained(test, meta, "evaluate")
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
