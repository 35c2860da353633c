"""The trainer of a run: model, optimizer, schedule and loss, as the configuration says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from xpnet import models, nn
from xpnet.backend import Backend
from xpnet.data import DATASETS, Augmentation, Columns, Dataset, Splits, augment
from xpnet.data.augmentation import are_characters
from xpnet.errors import ConfigError
from xpnet.optim import OPTIMIZERS, Optimizer, cosine, inverse_decay, make_optimizer, one_cycle, step_decay, warmup
from xpnet.train.checkpoint import Checkpoint
from xpnet.train.runs.config import RunConfig
from xpnet.train.runs.config_schema import parse_weights
from xpnet.train.runs.fine_tuning import begin_from, freeze_body, head_of, outputs_of
from xpnet.train.scaling import is_table
from xpnet.train.tasks import infer_task, make_task
from xpnet.train.trainer import Trainer

__all__ = ["augmentation_of", "make_trainer"]

_HALVED = 4  # epochs after which the inverse schedule is at half its highest rate


def make_trainer(
    config: RunConfig, backend: Backend, parts: Splits, start: Checkpoint | None = None, *, is_resumed: bool = False
) -> tuple[Trainer, RunConfig]:
    """Make the trainer of a run.

    Args:
        config: as it was asked for.
        backend: of the model.
        parts: the data.
        start: whose weights are the first ones; None: new ones.
        is_resumed: whether the configuration is that of a run which goes on: without shards, if it began so.
    Returns:
        The trainer; and the configuration with all that follows from the model's recipe and the data.
    """
    train = parts.train
    task = make_task(config.task) or infer_task(train)
    train = task.read("data", train)
    weights = config.class_weights
    given = weights if weights in (None, "balanced") else parse_weights(weights)
    task.set_class_weights(given)
    task.fit(train)
    of_columns = isinstance(train.source, Columns) or (config.data not in DATASETS and is_table(train))
    config = config.completed(len(train), of_columns)
    outputs = outputs_of(task, train)
    model = models.build(config.model, train.shape, outputs).to(backend).initialize(config.seed)
    head = head_of(config.model, train.shape, outputs) if config.freeze else set()
    frozen = freeze_body(model, head) if config.freeze else []
    optimizer = _optimizer(config, [p for p in model.parameters() if p.requires_grad])
    rate = optimizer.current_lr
    optimizer.lr = _schedule(config, rate, config.steps(len(train)))
    loss = _loss(config, models.recipe(config.model).loss if task.labelled else None)
    options: dict[str, Any] = {"seed": config.seed, "precision": config.precision, "threads": config.threads}
    options |= {"ema": config.ema, "accumulate": config.accumulate or 1}
    options |= {"shards": config.shards or (1 if is_resumed else None), "batch_norm": config.batch_norm or "sync"}
    trainer = Trainer(model, optimizer, loss, task=task, class_weights=given, **options)
    trainer.frozen = frozen
    if start is not None:
        begin_from(trainer, config.model, train, start)
    val = config.val if parts.validation is not None else 0.0
    return trainer, dataclasses.replace(
        config, lr=rate, task=task.name, val=val, **_of_processes(config, trainer, is_resumed)
    )


def _of_processes(config: RunConfig, trainer: Trainer, is_resumed: bool) -> dict[str, Any]:
    """The settings of several processes, of shards and batch norm, where there are such."""
    processes = trainer.processes
    if processes.virtual or processes.communicator.size > 1:
        return {"shards": processes.shards, "batch_norm": processes.batch_norm}
    if config.batch_norm and not is_resumed:
        do = "omit it: a batch is not divided"
        raise ConfigError("batch_norm", "several shards or processes", do, batch_norm=config.batch_norm)
    return {}


def augmentation_of(config: RunConfig, train: Dataset) -> Augmentation | None:
    """Return the augmentation of a run: characters are not mirrored."""
    characters = models.recipe(config.model).characters or are_characters(train.classes)
    return augment(config.augment or "none", mirror=not characters)


def _optimizer(config: RunConfig, parameters: Any) -> Optimizer:
    name = config.optimizer or ""
    able = [key for key, make in OPTIMIZERS.items() if "momentum" in getattr(getattr(make, "func", make), "checks", ())]
    if config.momentum is not None and name not in able:
        rule = "an optimizer with momentum: " + ", ".join(able)
        raise ConfigError("momentum", rule, momentum=config.momentum, optimizer=repr(name))
    options = {"weight_decay": config.weight_decay, "momentum": config.momentum, "clip_norm": config.clip}
    given = {key: value for key, value in options.items() if value is not None}
    return make_optimizer(name, parameters, config.lr, **given)


def _schedule(config: RunConfig, rate: float, steps: int) -> Callable[[int], float]:
    """The rate at each step.

    inverse and constant depend on the step and the warmup alone, not on the number of epochs, so that 5 epochs and then
    5 more are the same as 10 with that warmup. The others end with the last step.
    """
    rise = config.warmup or 0
    rest = max(1, steps * (config.epochs or 0) - rise)
    if config.schedule == "one-cycle":
        return one_cycle(rate, max(2, rest))
    if config.schedule == "inverse":
        return warmup(inverse_decay(rate, _HALVED * steps), rise)
    after = {"constant": rate, "cosine": cosine(rate, rest), "step": step_decay(rate, math.ceil(rest / 3))}
    return warmup(after[config.schedule or ""], rise)


def _loss(config: RunConfig, loss: Callable[..., Any] | None) -> Callable[..., Any] | None:
    if not config.label_smoothing:
        return loss
    if loss is None or loss is not nn.softmax_cross_entropy:
        got = {"label_smoothing": config.label_smoothing, "model": repr(config.model)}
        raise ConfigError("label_smoothing", "a model that is trained with softmax and cross-entropy", **got)
    return partial(loss, label_smoothing=config.label_smoothing)
