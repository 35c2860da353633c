"""The pictures of a run: its curves and its report, drawn when it ends."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path

from xpnet.data import Splits
from xpnet.output import counted
from xpnet.train.runs.config import RunConfig
from xpnet.train.trainer import Trainer
from xpnet.writing import write_atomically

__all__ = ["draw_run"]


def draw_run(folder: Path, trainer: Trainer, parts: Splits, config: RunConfig, announce: Callable[[str], None]) -> None:
    """Draw the curves and the report, also after an interruption; a failure is announced, not raised."""
    if not trainer.history:
        return
    if importlib.util.find_spec("matplotlib") is None:
        announce("no curves.png and no report.html without matplotlib: pip install 'xpnet[viz]'")
        return
    from xpnet import viz
    from xpnet.viz.curves import save_curves

    train, *held = parts[:3]
    shown = parts.validation if trainer.interrupted else parts.test or parts.validation  # the test set once, at the end
    size = "x".join(map(str, train.shape)) + (" numbers" if len(train.shape) == 1 else "")
    counts = [f"{len(train):,} training"]
    counts += [f"{len(part):,} {name}" for name, part in zip(("validation", "test"), held, strict=True) if part]
    note = (
        f"{', '.join(counts)} examples of {size}" + f" in {counted(len(train.classes), 'class')}" * train.labelled + "."
    )
    if trainer.interrupted:
        note += f" Interrupted after {trainer.epoch} of {trainer.epochs} epochs: the figures are from then."
    asked = {name.replace("_", " "): value for name, value in dataclasses.asdict(config).items() if value is not False}
    path = folder / "curves.png"
    try:
        save_curves(trainer.history, path)
        path = folder / "report.html"
        title = f"{config.model} on {Path(config.data).name}"
        page = viz.report(trainer, shown, title=title, note=note, configuration=asked)
        write_atomically(path, page.encode())
    except Exception as error:  # all else is saved: do not fail for a picture
        announce(f"no {path.name}: {type(error).__name__}: {error}".replace("\n", " "))
        return
    announce(f"report: {path}")
