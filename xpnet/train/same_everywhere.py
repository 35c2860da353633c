"""What the processes of a training must have in common: for each argument of Trainer and fit, what is compared.

An argument that is in neither table fails a test, so each new one needs a decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xpnet.distributed.facts import data_facts, model_facts, value_fact, version_facts

__all__ = ["FIT", "TRAINER", "common_facts"]

Decision = Callable[[Any], object] | None  # what of the Trainer, or of the argument, is compared; None: nothing


def _data(data: Any) -> object:
    return None if data is None else data_facts("", data)[""]


def _optimizer(trainer: Any) -> object:
    optimizer = trainer.optimizer
    names = (*optimizer.constants, "weight_decay", "clip_norm", "clip_value", "decays")
    return type(optimizer), {name: getattr(optimizer, name) for name in names}, optimizer.rates()


TRAINER: dict[str, Decision] = {
    "model": lambda trainer: model_facts(trainer.model)["model"],
    "optimizer": _optimizer,
    "loss": lambda trainer: trainer.loss,
    "task": lambda trainer: trainer.describe(),
    "metrics": lambda trainer: dict(trainer.metrics),
    "class_weights": lambda trainer: trainer._class_weights,
    "seed": lambda trainer: trainer.seed,
    "callbacks": None,  # the first process has more, such as those that write
    "normalize": lambda trainer: trainer.normalize,
    "capture": None,  # before each step the processes agree on what they do
    "precision": lambda trainer: trainer.precision,
    "threads": None,  # machines may have different cores
    "ema": lambda trainer: trainer.ema,
    "accumulate": lambda trainer: trainer.accumulate,
    "communicator": None,  # by which they compare
    "shards": lambda trainer: trainer.processes.shards,
    "batch_norm": lambda trainer: trainer.processes.batch_norm,
}
FIT: dict[str, Decision] = {
    "train": _data,
    "test": _data,
    "validation": _data,
    "sample_weight": None,  # part of the training data
    "epochs": lambda value: value,
    "batch_size": lambda value: value,
    "steps": lambda value: value,
    "augment": lambda value: value,
    "keep_memory": None,
    "progress": None,
}
_NAMES = {"train": "training data", "test": "test data", "validation": "validation data"}


def common_facts(trainer: Any, given: Mapping[str, Any]) -> dict[str, str]:
    """Return what the processes compare before they train.

    Args:
        trainer: a Trainer.
        given: the arguments of its fit, as they were read.
    """
    values: dict[str, object] = dict(version_facts(trainer.model.backend))
    values |= {name: decide(given[name]) for name, decide in FIT.items() if decide is not None}
    values |= {name: decide(trainer) for name, decide in TRAINER.items() if decide is not None}
    values["progress"] = f"epoch {trainer.epoch}, step {trainer.step}"
    return {_NAMES.get(name, name): value_fact(value) for name, value in values.items()}
