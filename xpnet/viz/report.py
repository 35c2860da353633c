"""The report of a training run: one HTML file with its pictures inside."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.backend import Backend
from xpnet.data import Dataset
from xpnet.errors import ConfigError, XpnetError
from xpnet.nn import Module
from xpnet.output import counted, figure_text, figure_title
from xpnet.viz import page
from xpnet.viz.canvas import need_matplotlib
from xpnet.viz.curves import curves
from xpnet.viz.kinds import kind_text
from xpnet.viz.predicting import Subject
from xpnet.viz.summary import summarize
from xpnet.viz.volumes import volumes
from xpnet.writing import write_atomically

__all__ = ["report", "write_report"]


def report(
    trainer: Subject,
    test: Dataset | None = None,
    *,
    title: str = "",
    note: str = "",
    configuration: Mapping[str, Any] | None = None,
) -> str:
    """Describe a trained model in one page of HTML: its training, its mistakes, its layers.

    The page holds the results, the curves, the confusion matrix, the worst mistakes (of images) or the decision
    boundary (of points in the plane), a drawing and a table of the layers, the configuration and the environment. It
    needs no network and no scripts, is bright or dark by the reader's setting, and can be printed.

    Args:
        trainer: a Trainer that has trained; its model is evaluated on the test set.
        test: the test set; without one, only the curves are drawn and the layers are not listed.
        title: the heading; by default the model's class and the set's name.
        note: a sentence below the heading.
        configuration: the arguments of the run, by name.
    Returns: the page. A part that cannot be drawn is replaced by a line that says why.
    Raises:
        ConfigError: matplotlib is not installed.
    Cost: an evaluation, and about a second of drawing.
    """
    need_matplotlib()
    if not isinstance(model := getattr(trainer, "model", None), Module) or not hasattr(trainer, "evaluate"):
        raise ConfigError("report", "trainer, a Trainer", trainer=arguments.shown(trainer))
    for name, value in (("title", title), ("note", note)):
        arguments.text("report", name, value)
    asked: Mapping[str, Any] = arguments.mapping(
        "report", "configuration", {} if configuration is None else configuration
    )
    figures = trainer.evaluate(test) if test is not None else {}
    name = title or f"{type(model).__name__} on {test.name if test is not None else 'data without a test set'}"
    parts = [page.text(note) if note else "", page.tiles(_outcome(trainer, figures))]
    if trainer.history:
        parts.append(_part("Training", lambda: _curves(trainer.history)))
    if test is not None:
        parts += [_part(heading, make) for heading, make in trainer.task.sections(trainer, figures, test)]
        parts.append(_part("Architecture", lambda: _drawing(model, test.shape, name)))
    sides = [
        page.section("Configuration", page.pairs(asked)),
        page.section("Environment", page.pairs(_environment(model.backend))),
    ]
    parts.append('<div class="sides">\n' + "\n".join(filter(None, sides)) + "\n</div>")
    if test is not None:  # last, as the table of a deep network is long
        parts.append(_part("Layers", lambda: _layers(model, test.shape), long=True))
    return page.page(name, parts)


def write_report(path: str | Path, trainer: Subject, test: Dataset | None = None, **options: Any) -> None:
    """Write a report to a file; arguments as report takes them."""
    path = arguments.path("write_report", "path", path)
    content = report(trainer, test, **options)
    write_atomically(path, content.encode())


def _part(heading: str, make: Callable[[], list[str]], long: bool = False) -> str:
    """A section, or a line that says why it could not be made."""
    try:
        return page.section(heading, *make(), long=long)
    except XpnetError as error:
        return page.section(heading, page.text(f"Not drawn: {error}"))
    except Exception as error:  # of a custom layer, or of matplotlib: the rest of the page is still useful
        return page.section(heading, page.text(f"Not drawn: {type(error).__name__}: {error}"))


def _outcome(trainer: Any, figures: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    if figures:
        if headline := trainer.task.headline:
            found[f"test {headline.title}"] = headline.text(figures[headline.key])
        if figures.get("top5_accuracy") is not None and figures["scores"].shape[1] > 10:
            found["top-5 accuracy"] = f"{figures['top5_accuracy']:.2%}"
        found["test loss"] = f"{figures['loss']:.4f}"
    if trainer.history:
        found["training loss"] = f"{trainer.history[-1]['train_loss']:.4f}"
        found["epochs"] = f"{trainer.epoch}"
        found["time"] = _time(sum(record["seconds"] for record in trainer.history))
    found["parameters"] = f"{trainer.model.parameter_count:,}"
    return found


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _curves(history: list[dict[str, Any]]) -> list[str]:
    last = history[-1]
    alt = f"Training loss from {history[0]['train_loss']:.4f} to {last['train_loss']:.4f}, epochs: {len(history)}"
    figures = [(k, v) for k, v in last.items() if k.startswith(("validation_", "test_")) and isinstance(v, float)]
    for key, value in figures:
        part, _, name = key.partition("_")
        alt += f"; {part} {figure_title(name)} {figure_text(name, value)} at the end" * (name != "loss")
    return [page.figure(curves(history), alt)]


def _layers(model: Module, shape: tuple[int, ...]) -> list[str]:
    found = summarize(model, shape)
    images = any(layer.receptive_field for layer in found.layers)
    head = ("layer", "kind", "output", "parameters", "multiply-adds", "saved, bytes", *["receptive field"] * images)
    rows = [
        (
            layer.name,
            ", ".join(kind_text(layer.kind, layer.details)),
            _size(layer.output),
            *(f"{n:,}" if n else "-" for n in (layer.parameters, layer.macs, layer.saved_bytes)),
            *[_size(layer.receptive_field or ())] * images,
        )
        for layer in found.layers
    ]
    total = ("total", "", _size(found.output), f"{found.parameters:,}", f"{found.macs:,}", f"{found.saved_bytes:,}")
    words = f"For one example of {_words(shape)}. Saved: for the backward pass."
    words += " Receptive field: the part of the image that one output number depends on." * images
    return [page.text(words), page.table(head, rows, (*total, *[""] * images), numbers=(3, 4, 5))]


def _drawing(model: Module, shape: tuple[int, ...], title: str) -> list[str]:
    alt = f"The layers of the model as volumes, from the input {_size(shape)} to the output"
    return [page.figure(volumes(model, shape, title=title), alt, larger=1.25)]


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _words(shape: tuple[int, ...]) -> str:
    return counted(*shape, "number") if len(shape) == 1 else _size(shape)


def _environment(backend: Backend) -> dict[str, Any]:
    """The backend of the model, and the versions of libraries."""
    import importlib.metadata  # slow to load

    try:
        version = importlib.metadata.version("xpnet")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    library = getattr(backend.xp, "__version__", None)
    return {
        "backend": backend.spec,
        "xpnet": version,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        backend.name: None if backend.on_host else library,
        "machine": f"{platform.system()} {platform.machine()}",
    }
