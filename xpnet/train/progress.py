"""The progress of a training: a bar and a line for each epoch in a terminal, a bar and a table in a notebook."""

from __future__ import annotations

import contextlib
import functools
import html
import sys
import time
from collections.abc import Iterator
from typing import Any

from xpnet import arguments
from xpnet.output import Lenient, figure_text, figure_title
from xpnet.train.callbacks import Callback, Training
from xpnet.train.history import History

__all__ = ["Progress", "in_notebook", "showing"]


def in_notebook() -> bool:
    """Whether the process is the kernel of a notebook, which shows HTML."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


@contextlib.contextmanager
def showing(callbacks: list[Callback], progress: bool | None) -> Iterator[None]:
    """Show progress within a with-block, unless a callback does.

    Args:
        callbacks: a trainer's, to which a Progress is added.
        progress: whether to show it; None: in a terminal and in a notebook, neither in a pipe nor in a log.
    """
    if progress is None:
        progress = in_notebook() or bool(getattr(sys.stderr, "isatty", bool)())
    if not progress or any(isinstance(callback, Progress) for callback in callbacks):
        yield
        return
    shown = Progress()
    callbacks.append(shown)
    try:
        yield
    finally:
        callbacks[:] = [callback for callback in callbacks if callback is not shown]


class Progress(Callback):
    """Show a bar for the current epoch and a line for each finished one, on a stream of text or in a notebook.

    The loss is read from the device at most ten times a second.

    Args:
        every: seconds between two readings of the loss, >= 0.1.
        on_output: whether the stream is standard output; by default it is standard error.
    """

    everywhere = False

    def __init__(self, every: float = 0.1, on_output: bool = False) -> None:
        self.every = arguments.number("Progress", "every", every, 0.1)
        self._on_output = arguments.boolean("Progress", "on_output", on_output)
        self._last = 0.0
        self._bar: Any = None
        self._page: Any = None  # what a notebook shows
        self._chosen = ""  # the task, where the data decided it

    def on_start(self, trainer: Training) -> None:
        """Open the bar, where the stream is a terminal or the process a notebook's."""
        self._first = len(trainer.history)
        self._chosen = f"task: {trainer.describe()}" if trainer.inferred and not trainer.history else ""
        if in_notebook():
            from IPython.display import HTML, display  # pyright: ignore[reportMissingImports]

            self._html = HTML
            self._page = display(HTML(self._text(trainer, "")), display_id=True)
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(file=Lenient(sys.stdout if self._on_output else sys.stderr))  # pyright: ignore[reportArgumentType]
        if not self._console.is_terminal:
            return
        if self._chosen:
            self._console.print(self._chosen, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        fields = {"epoch": trainer.epoch + 1, "epochs": trainer.epochs, "loss": ""}
        self._task = self._bar.add_task("", total=trainer.steps, **fields)
        self._bar.start()

    def on_step(self, trainer: Training) -> None:
        """Move the bar, at most ten times a second."""
        now = time.monotonic()
        if now - self._last < self.every:
            return
        self._last = now
        loss = f"{trainer.meter.read():.4f}"
        if self._bar is not None:
            self._bar.update(
                self._task, completed=trainer.step, total=trainer.steps, epoch=trainer.epoch + 1, loss=loss
            )
        elif self._page is not None:
            self._page.update(self._html(self._text(trainer, loss)))

    def on_epoch(self, trainer: Training, record: dict[str, Any]) -> None:
        """Print the epoch's line, or show the table with it."""
        if self._page is not None:
            self._page.update(self._html(self._text(trainer, "")))
            return
        figures = [f"epoch {record['epoch']:>{len(str(trainer.epochs))}}/{trainer.epochs}"]
        figures += [_figure(trainer, name, value) for name, value in record.items() if name not in ("epoch", "seconds")]
        figures.append(f"{record['seconds']:.1f} s")
        self._console.print("   ".join(figures), highlight=False, soft_wrap=True)
        if self._bar is not None:
            self._bar.update(self._task, completed=0)

    def on_end(self, trainer: Training) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.stop()
        if self._page is not None:
            self._page.update(self._html(History(trainer.history[self._first :])._repr_html_()))
            trainer.history.hide_table = functools.partial(_hide, self._page, self._html(""), _cell())
        self._bar = self._page = None

    def _text(self, trainer: Training, loss: str) -> str:
        """Write the table of the epochs that are done, and the bar of the one under way, as HTML."""
        done = History(trainer.history[self._first :])
        place = f"epoch {min(trainer.epoch + 1, trainer.epochs)}/{trainer.epochs}"
        is_known = trainer.steps is not None
        bar = (
            f'<progress value="{trainer.step}" max="{trainer.steps}"></progress>'
            if is_known
            else f"step {trainer.step}"
        )
        chosen = f"<div>{html.escape(self._chosen)}</div>" if self._chosen else ""
        return (
            chosen + (done._repr_html_() if done else "") + f"<div>{place} {bar} {'loss ' + loss if loss else ''}</div>"
        )


def _cell() -> int:
    """The number of the notebook's cell that is being run."""
    return sys.modules["IPython"].get_ipython().execution_count


def _hide(page: Any, nothing: Any, cell: int) -> None:
    """Empty what a cell shows, while it is being run."""
    if _cell() == cell:
        page.update(nothing)


def _figure(trainer: Training, name: str, value: Any) -> str:
    """Write a figure with its name; its loss and headline name the part of the data, which others follow."""
    headline = None if trainer.task is None else trainer.task.headline
    named = name.endswith(("_loss", *([f"_{headline.key}"] if headline else [])))
    shown = name if named else name.removeprefix("validation_").removeprefix("test_")
    return f"{figure_title(shown)} {figure_text(name, value):>{6 if name.endswith('_loss') or not named else 7}}"
