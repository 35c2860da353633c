"""The configuration of a run, and how it is read again to continue."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpnet import arguments, models
from xpnet.data.opening import open_file
from xpnet.errors import CheckpointError, ConfigError
from xpnet.train.schema import CONFIG, check, parse

__all__ = ["RunConfig", "resolve_backend", "resumed_config"]

_LONGEST = 1 << 20  # bytes of a configuration
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
