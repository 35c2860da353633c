"""What a run came to: its figures, the best epoch, and why it ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpnet.backend import Backend
from xpnet.data import Splits
from xpnet.train.callbacks import best_epoch
from xpnet.train.runs.config import RunConfig
from xpnet.train.tasks import TASKS, Task
from xpnet.train.tasks.classification import Classification
from xpnet.train.trainer import Trainer

__all__ = ["chosen_by", "ended", "headline_text", "monitored", "names_of", "recorded_of", "result_of"]


def names_of(model: str, data: str, backend: Backend) -> dict[str, Any]:
    """Return the first entries of a result: {model, data, backend, device}."""
    return {"model": model, "data": data, "backend": backend.name, "device": backend.device_name}


def monitored(trainer: Trainer) -> str:
    """Return the figure that epochs are compared by."""
    headline = trainer.task.headline if trainer.task else None
    return f"validation_{headline.key}" if headline else "validation_loss"


def recorded_of(task: Task | None, figures: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the figures of one number each that a task records, as test_loss, test_accuracy; None without figures."""
    return {f"{name}_{key}": figures.get(key) for key in ("loss", *(task.recorded if task else ()))}


def headline_text(figures: Mapping[str, Any], name: str, task: Task | None = None) -> str:
    """Say the figure that models are compared by, such as "test accuracy 97.50%"; "" where there is none.

    Args:
        figures: a result, or a record of the history.
        name: of the part, such as "test".
        task: what is learned; by default as the result says.
    """
    headline = (task or TASKS.get(figures.get("task") or "") or Classification).headline
    value = figures.get(f"{name}_{headline.key if headline else 'loss'}")
    if value is None:
        return ""
    return f"{name} {headline.title} {headline.text(value)}" if headline else f"{name} loss {value:.4f}"


def chosen_by(parts: Splits, config: RunConfig) -> str | None:
    """Return the set that chooses the epoch: "test" where the validation set is that set or shares files with it."""
    if not (config.best or config.patience):
        return None
    held, test = parts.validation, parts.test
    if held is None or test is None or held.files is None or test.files is None:
        return "validation" if held is not test else "test"
    return "test" if {*map(str, held.files)} & {*map(str, test.files)} else "validation"


def ended(trainer: Trainer, config: RunConfig) -> list[str]:
    """Say why training ended, where that was before its last epoch, and which epoch is the best."""
    if trainer.interrupted or not trainer.history:
        return []
    epoch, lines = best_epoch(trainer.history, monitored(trainer)), []
    figure = headline_text(trainer.history[epoch - 1], "validation", trainer.task) if epoch else ""
    if config.patience and trainer.epoch < (config.epochs or 0):
        text = f"stopped after epoch {trainer.epoch} of {config.epochs}: none of the last {config.patience} was better"
        lines.append(f"{text} than epoch {epoch}, {figure}")
    if config.best:
        lines.append(f"epoch {epoch} is the best, {figure}: its weights are kept and tested")
    return lines


def result_of(
    folder: Path, trainer: Trainer, parts: Splits, config: RunConfig, trained: tuple[int, float]
) -> dict[str, Any]:
    """Measure the test set, and return what train_run returns.

    Args:
        folder: the run's.
        trainer: which was trained, and has the weights that are kept.
        parts: the data. config: of the run.
        trained: epochs and seconds.
    """
    task, model = trainer.task, trainer.model
    history, done = trainer.history, bool(trainer.history and not trainer.interrupted)
    best = best_epoch(history, monitored(trainer)) if config.best and done else 0
    last = history[best - 1] if history else {}
    tested = trainer.evaluate(parts.test) if done and parts.test is not None else {}
    epochs, seconds = trained
    images = epochs * len(parts.train)
    held = {key.removeprefix("validation_"): value for key, value in last.items()}
    return {
        **names_of(config.model, config.data, model.backend),
        "task": task.name if task else None,
        "precision": config.precision,
        "epochs": trainer.epoch,
        "seed": config.seed,
        "parameters": model.parameter_count,
        "train_loss": last.get("train_loss"),
        **recorded_of(task, held, "validation"),
        **recorded_of(task, tested, "test"),
        "best_epoch": best or None,
        "chosen_by": chosen_by(parts, config),
        "seconds": round(seconds, 3),
        "images_per_second": round(images / seconds, 1) if seconds else 0.0,
        "peak_memory_bytes": model.backend.memory().peak,
        "run": str(folder),
        "interrupted": trainer.interrupted,
    }
