"""The configuration of a run, and how it is read again to continue."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpnet import arguments, models
from xpnet.data.opening import open_file
from xpnet.errors import CheckpointError, ConfigError, nearest
from xpnet.nn.storage import parse
from xpnet.train import tables
from xpnet.train.checkpoint import nearest_run
from xpnet.train.runs.config_schema import CONFIG, ORIGIN
from xpnet.train.schema import check

__all__ = ["RunConfig", "read_config", "resolve_backend", "resumed_config"]

_LONGEST = 1 << 20  # bytes of a configuration
_SMALL = 10_000  # training examples; smaller sets get more epochs and smaller batches
_TABLE_FEW = 1000  # rows; smaller tables get smaller batches
_TABLE_STEPS, _TABLE_EPOCHS = 1000, 20  # of a table: the fewest of each
_WARM = 300  # steps in which the rate rises
_ENDING = ("cosine", "step", "one-cycle")  # schedules that depend on the number of epochs
_MAY_CHANGE = ("epochs", "backend", "data", "data_dir", "threads", "workers", "cache_images", "cache_folder",
               "patience", "checkpoint_every", "log_dir")  # fmt: skip


@dataclass(frozen=True)
class RunConfig:
    """The configuration of a run. What is None follows from the model's recipe and the data.

    Args:
        model: a key of models.MODELS.
        data: a name or path that data.load takes; data_dir: where its files are.
        backend: a string that get_backend takes.
        epochs, batch_size: 0 to 1,000,000, >= 1; None: 20, 32 for fewer than 10,000 training examples, else 5, 64; of
            mlp on a table at least 20 epochs and 1,000 steps, and 16 for fewer than 1,000 rows.
        optimizer: a name of optim.OPTIMIZERS, and lr its highest rate; None: as in the model's recipe.
        seed: 0 <= seed < 2**64.
        precision: "fp32", "tf32" or "fp16"; see train.precision.
        threads: 1 to 1,024, that share a step on a CPU; None: Trainer's choice.
        shards: V, into how many virtual shards a batch is divided: the same bits on 1 to V processes. None:
            8 where mpiexec or xpnet launch started the process, else none.
        batch_norm: with several shards or processes, "sync": statistics of the whole batch, or "local".
        task: "classification", "multilabel", "regression" or "reconstruction"; None: as the targets say.
        target: the column or columns of a table that are learned, separated by commas.
        image_size: "128", pixels of the shorter side, or "96x128"; image_fit: "crop", "pad" or "stretch".
        augment: "none", "light" or "strong".
        skip_damaged: leave out images that cannot be decoded. cache_images: such as "4GB". workers: decoding threads.
        cache_folder: where decoded images are kept on disk.
        schedule: how the rate changes: "inverse", "constant", "cosine", "step" or "one-cycle"; None: inverse, of mlp on
            a table cosine.
        warmup: the steps in which the rate rises first; None: with inverse 300, but at most 3/8 of all, with cosine and
            step at most 1/10, else none.
        weight_decay: >= 0. momentum: 0 <= momentum < 1. clip: the largest norm of the gradient, > 0.
        label_smoothing: 0 <= label_smoothing < 1.
        ema: keep an average of the weights with this decay, 0 <= ema < 1, and evaluate it.
        accumulate: of how many batches the gradients are averaged before an update.
        class_weights: "balanced", or a weight for each name: "cat=2,dog=0.5".
        val: the part of the training set that is held out to validate with, 0 <= val < 1, or a folder; None: 0.1.
        best: keep the best epoch by validation, and evaluate it. patience: stop after so many epochs without a better.
        from_run: the folder of a run whose weights are the first ones. freeze: "body", to train its head alone.
        run_name: the name of the run.
        checkpoint_every: save after so many epochs, 5, or steps, "500steps"; None: after each epoch.
        log_dir: where TensorBoard's event files are written, in a folder of the run's name, or name-2, name-3 where
            that exists; a resumed run continues in its own. See TensorBoard.
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
    shards: int | None = None
    batch_norm: str | None = None
    task: str | None = None
    target: str | None = None
    image_size: str | None = None
    image_fit: str | None = None
    augment: str | None = None
    skip_damaged: bool = False
    cache_images: str | None = None
    cache_folder: str | None = None
    workers: int | None = None
    schedule: str | None = None
    warmup: int | None = None
    weight_decay: float | None = None
    momentum: float | None = None
    label_smoothing: float | None = None
    class_weights: str | None = None
    clip: float | None = None
    ema: float | None = None
    accumulate: int | None = None
    val: float | str | None = None
    best: bool = False
    patience: int | None = None
    from_run: str | None = None
    freeze: str | None = None
    run_name: str | None = None
    checkpoint_every: int | str | None = None
    log_dir: str | None = None

    def __post_init__(self) -> None:
        check(dataclasses.asdict(self), CONFIG, "", ConfigError)
        if self.freeze and not self.from_run:
            do = "weights that were never trained should not stay as they are"
            raise ConfigError("freeze", "the run whose body it is, with from_run", do, freeze=self.freeze)
        if self.val == 0 and (self.best or self.patience):
            name = "best" if self.best else "patience"
            do = "omit val=0, or hold out more" if self.val is not None else ""
            raise ConfigError(name, "a validation set to compare epochs by", do, val=0)
        if self.schedule == "one-cycle" and self.warmup:
            do = "omit warmup: one-cycle rises by itself"
            raise ConfigError("warmup", "a schedule without a rise of its own", do, schedule=self.schedule)

    def completed(self, examples: int, table: bool = False) -> RunConfig:
        """Fill in what follows from the model's recipe, the number of training examples, and whether they are a table.

        The recipe of a table was chosen by cross-validation: see train.tables.
        """
        arguments.count("RunConfig.completed", "examples", examples)
        recipe = models.recipe(self.model)
        epochs, batch_size = (20, 32) if examples < _SMALL else (5, 64)
        schedule = "inverse"
        if table and self.model == "mlp" and self.optimizer in (None, "adamw"):
            batch_size = 16 if examples < _TABLE_FEW else batch_size
            epochs = max(_TABLE_EPOCHS, -(-_TABLE_STEPS // -(-examples // (self.batch_size or batch_size))))
            recipe = recipe._replace(optimizer="adamw", lr=tables.RATE, weight_decay=tables.decay_of(examples))
            schedule = "cosine"
        is_recipe = self.optimizer in (None, recipe.optimizer)
        config = dataclasses.replace(
            self,
            epochs=epochs if self.epochs is None else self.epochs,
            batch_size=self.batch_size or batch_size,
            optimizer=self.optimizer or recipe.optimizer,
            lr=recipe.lr if self.lr is None and is_recipe else self.lr,
            weight_decay=recipe.weight_decay if self.weight_decay is None else self.weight_decay,
            schedule=self.schedule or schedule,
            val=0.1 if self.val is None else self.val,
        )
        steps = config.steps(examples) * (config.epochs or 0)
        # of 2 and 5 epochs of the digits 3/8 do better than 300 by 2 to 15 points, of 20 epochs 300 by 0.5 than 1/10
        long = min(_WARM, 3 * steps // 8) if steps else _WARM
        rises = {"inverse": long, "cosine": min(_WARM, steps // 10), "step": min(_WARM, steps // 10)}
        return dataclasses.replace(
            config, warmup=rises.get(config.schedule or "", 0) if self.warmup is None else self.warmup
        )

    def steps(self, examples: int) -> int:
        """Return the updates of an epoch, once the batch size is known."""
        return -(-examples // ((self.batch_size or 1) * (self.accumulate or 1)))

    def settings(self) -> dict[str, Any]:
        """Return what may not change when the run is resumed."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in _MAY_CHANGE}

    def require(self, settings: Mapping[str, Any]) -> None:
        """Raise ConfigError unless the settings of a checkpoint are this configuration's."""
        own = self.settings()
        for name, value in settings.items():
            if name in own and value != own[name] and not _may_change(name, value, own[name]):
                raise ConfigError("resume", f"{name} {value!r}, as the checkpoint has it", **{name: repr(own[name])})


def resolve_backend(backend: str | None, device: str | None) -> str:
    """Join the options ``--backend`` and ``--device`` into a string that get_backend takes."""
    if backend and device:
        return f"{backend}:{device}"
    if device and not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        do = "did you mean 'cuda'?" if device == "gpu" else nearest(device, ("cpu", "cuda"))
        raise ConfigError("device", "cpu, cuda or cuda:N", do, device=repr(device))
    return backend or device or "cpu"


def read_config(run: str | Path) -> tuple[RunConfig, dict[str, Any]]:
    """Read a run's configuration, and where the run comes from: its command, versions and commit.

    Raises:
        CheckpointError: no such run, or its configuration is invalid.
    """
    path = arguments.path("read_config", "run", run) / "config.json"
    what, do = "the configuration cannot be read", "give the folder of a run"
    hint = "" if path.exists() else nearest_run(path.parent, path)
    with open_file(path, error=CheckpointError, do=hint) as file:
        text = file.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise CheckpointError(str(path), f"a configuration of at most {_LONGEST:,} bytes", do)
    values = parse(text, str(path), what, do)
    check(values, CONFIG | ORIGIN, str(path), CheckpointError)
    origin = {name: values.pop(name) for name in ORIGIN if name in values}
    try:
        return RunConfig(**{"val": 0, **values}), origin  # runs of xpnet 0.7 or older held nothing out
    except ConfigError as error:
        raise CheckpointError(str(path), error.rule, "", **error.got) from error


def _may_change(name: str, before: Any, after: Any) -> bool:
    """Whether a setting may differ when a run is resumed; a folder to validate with may have moved, as data may."""
    return name in _MAY_CHANGE or (name == "val" and isinstance(before, str) and isinstance(after, str))


def resumed_config(run: str | Path, asked: dict[str, Any]) -> RunConfig:
    """Read a run's configuration, and replace what may change on resuming, such as the number of epochs.

    Raises:
        CheckpointError: no such run, or its configuration is invalid. ConfigError: another setting differs.
    """
    saved, _ = read_config(arguments.path("resumed_config", "run", run))
    for name, value in asked.items():
        before = getattr(saved, name)
        if value != before and not _may_change(name, before, value):
            raise ConfigError("resume", f"{name} {before!r}, as the run began", **{name: repr(value)})
    if saved.schedule in _ENDING and asked.get("epochs", saved.epochs) != saved.epochs:
        do = f"its {saved.schedule} schedule ends there: train on with from_run={run}"
        raise ConfigError("resume", f"epochs {saved.epochs!r}, as the run began", do, epochs=asked["epochs"])
    return dataclasses.replace(saved, **asked)
