"""What `xpnet summary` and `xpnet draw` do: open a model by its name or a run by its folder, summarize it, draw it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from xpnet import models, viz
from xpnet.errors import ConfigError, ShapeError, nearest
from xpnet.nn import Module
from xpnet.train.runs.evaluation import open_run
from xpnet.viz.canvas import check_format, need_matplotlib, save
from xpnet.viz.summary import Summary, summarize

__all__ = ["STYLES", "draw_model", "open_model", "parse_input", "summarize_model"]

Opener = Callable[[str, str | None], tuple[Module, tuple[int, ...], str]]
STYLES = ("blocks", "volumes")


def parse_input(text: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Read the shape of one example.

    Args:
        text: "227x227x3" is (H, W, C), "784" is (D,), and "64x64" is (H, W, C) with the channels of default.
        default: the model's own shape.
    Raises:
        ConfigError: the text is not a shape.
    """
    if not re.fullmatch(r"\d{1,9}(x\d{1,9}){0,2}", text, re.IGNORECASE | re.ASCII) or 0 in (
        shape := tuple(int(n) for n in re.split("x", text, flags=re.IGNORECASE))
    ):
        do = "write it like " + "x".join(map(str, default))
        raise ConfigError("input", "HxWxC or HxW pixels, or D numbers", do, input=repr(text))
    return (*shape, default[2]) if len(shape) == 2 and len(default) == 3 else shape


def open_model(model_or_run: str, input: str | None = None) -> tuple[Module, tuple[int, ...], str]:
    """Build a model of models.MODELS, or open that of a run.

    A name of MODELS is the model, also where a folder has that name; write such a folder as a path, ./cnn.

    Args:
        model_or_run: a key of models.MODELS, or the folder of a run.
        input: as parse_input takes it; by default the model's own input, and the run's.
    Returns:
        The module, the shape of one example, and a title.
    Raises:
        ConfigError: neither a model nor a folder has that name, or input is not a shape.
        ShapeError: a layer of the model cannot take that input.
        CheckpointError: the folder has no run, or its checkpoint cannot be read.
    """
    if model_or_run in models.MODELS:
        default = models.MODELS[model_or_run].shape
        shape = default if input is None else parse_input(input, default)
        return models.build(model_or_run, shape), shape, model_or_run
    folder = Path(model_or_run)
    if not folder.is_dir() and len(folder.parts) < 2:
        known = [*models.MODELS, *(str(p.parent) for p in sorted(Path("runs").glob("*/checkpoint.safetensors")))]
        do = nearest(model_or_run, known)
        raise ConfigError("model_or_run", "a model's name, or the folder of a run", do, name=repr(model_or_run))
    trainer, meta = open_run(folder)
    default = tuple(meta["shape"])
    shape = default if input is None else parse_input(input, default)
    try:
        trainer.model.cost(shape)
    except ShapeError as error:
        error.do = error.do or f"{folder} was trained on {'x'.join(map(str, default))}"
        raise
    return trainer.model, shape, f"{meta['model_name']} ({folder.resolve().name})"


def summarize_model(
    model_or_run: str, input: str | None = None, batch: int = 1, opener: Opener | None = None
) -> tuple[str, Summary]:
    """Count the layers of a model or of a run's model.

    Args:
        model_or_run, input: as open_model takes them.
        batch: as viz.summarize takes it.
        opener: opens further kinds of models; open_model by default.
    Returns:
        A title, and the summary.
    Raises:
        As open_model and viz.summarize.
    """
    if batch < 1:
        raise ConfigError("batch", "batch >= 1", batch=batch)
    model, shape, title = (opener or open_model)(model_or_run, input)
    return title, summarize(model, shape, batch)


def draw_model(
    model_or_run: str,
    style: str = "blocks",
    input: str | None = None,
    out: str | Path | None = None,
    opener: Opener | None = None,
) -> tuple[str, Path]:
    """Draw a model or a run's model into a file. Everything is checked before the file is written.

    Args:
        model_or_run, input: as open_model takes them.
        style: one of STYLES.
        out: the file, its suffix is the format; by default MODEL-STYLE.svg, or the folder's name for a run.
        opener: as of summarize_model.
    Returns:
        A title, and the file.
    Raises:
        ConfigError: an unknown style or format, no such folder, or matplotlib is not installed. And as open_model.
    """
    if style not in STYLES:
        raise ConfigError("style", "the name of a style", nearest(style, STYLES), style=repr(style))
    if out is not None:
        check_format(out)
        if not Path(out).parent.is_dir():
            raise ConfigError("out", "a file in an existing folder", folder=repr(str(Path(out).parent)))
    need_matplotlib()
    model, shape, title = (opener or open_model)(model_or_run, input)
    path = Path(f"{Path(model_or_run).resolve().name}-{style}.svg" if out is None else out)
    save(getattr(viz, style)(model, shape, title=title), path)
    return title, path
