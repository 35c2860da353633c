"""What TensorBoard shows of a training, in event files: curves, histograms, pictures, texts."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xpnet import arguments
from xpnet.autograd import Tensor
from xpnet.backend import Array
from xpnet.data import Dataset
from xpnet.errors import CheckpointError, ConfigError
from xpnet.nn import Parameter
from xpnet.output import counted
from xpnet.train.callbacks import Callback, Training
from xpnet.train.event_file import EventFile
from xpnet.train.step_losses import StepLoss, StepLosses

__all__ = ["TensorBoard"]

_log = logging.getLogger("xpnet")

_PARTS = ("train", "validation", "test")
_FOLDERS = (*_PARTS, "data")


class TensorBoard(Callback):
    """Write event files for TensorBoard: ``tensorboard --logdir FOLDER``.

        Trainer(model, callbacks=[TensorBoard("logs/first")]).fit(train, test)

    Training, validation and test set have separate sub-folders of folder, so that their curves are in one chart.
    The figures of epochs are recorded at the number of updates made. A resumed training writes a new file, which
    replaces the older ones from the step where it continues; a new training replaces them from the first step,
    with a warning.
    Files are written after each epoch. A disk that is full ends the log with a warning, not the training.

    Args:
        folder: of this training alone; it is made.
        data: a set whose mistakes and confusions are drawn, or what else its task draws; None: of none.
        data_in: the folder of these pictures, "train", "validation", "test", or "data" by default.
        every: write loss and learning rate of every so many updates, >= 1; losses are read from the device once a
            second.
        histograms: write histograms of weights and gradients after every so many epochs, >= 1; 0: never. Gradients are
            those of the epoch's last step, which runs eagerly.
        pictures: draw filters, the model, and what data is for, after every so many epochs, >= 1; 0: never; None: after
            epochs 1, 2, 4, 8 and so on, and at the end. They need matplotlib, and are left out without it.
        configuration: what to write as a table, by name; the model, the optimizer and the task are written in any case.
    Raises:
        ConfigError: an argument is of another kind or out of range.
        CheckpointError: the folder cannot be written to, when training begins.
    Cost: a histogram copies all weights to the host, about 20 ns each and 0.3 ms a parameter; a picture takes about
        0.2 s, those of data an evaluation. The numbers of the training are the same as without.
    """

    everywhere = False

    def __init__(
        self,
        folder: str | Path,
        data: Dataset | None = None,
        *,
        data_in: str = "data",
        every: int = 10,
        histograms: int = 1,
        pictures: int | None = None,
        configuration: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = arguments.path("TensorBoard", "folder", folder)
        kind = (Dataset, type(None))
        self.data = arguments.instance("TensorBoard", "data", data, kind=kind, rule="a Dataset or None")
        self.data_in = arguments.choice("TensorBoard", "data_in", data_in, _FOLDERS)
        self.every = arguments.count("TensorBoard", "every", every)
        self.histograms = arguments.count("TensorBoard", "histograms", histograms, 0)
        self.pictures = arguments.optional(arguments.natural)("TensorBoard", "pictures", pictures)
        self.configuration = arguments.optional(arguments.mapping)("TensorBoard", "configuration", configuration) or {}
        self._losses = StepLosses(self.every)
        self._files: dict[str, EventFile] = {}
        self._first = 0
        self._drawn = 0  # the last epoch with pictures
        self._open = False
        self._without: set[str] = set()  # pictures that cannot be drawn

    def on_start(self, trainer: Training) -> None:
        """Make a new file, and write what is known before the first step."""
        step = trainer.optimizer.steps
        self._first = step + 1 if step else 0
        self._files, self._drawn = {}, trainer.epoch
        self._losses.start(trainer)
        self._without.clear()
        try:
            earlier = self._first == 0 and any((self.folder / "train").glob("events.out.tfevents.*"))
            file = self._file("train")
        except OSError as error:
            what, do = "the folder cannot be written", "choose another folder for TensorBoard"
            raise CheckpointError.event(str(self.folder), what, do, error=error.strerror) from error
        self._open = True
        if earlier:
            do = "give each training a folder of its own"
            _log.warning("TensorBoard: an earlier training in %s is not shown any more; %s", self.folder, do)
        file.text("configuration", _table(_facts(trainer) | {str(k): v for k, v in self.configuration.items()}), step)
        if self.pictures != 0 and importlib.util.find_spec("matplotlib") is None:
            _log.warning("TensorBoard: no pictures without matplotlib: pip install 'xpnet[viz]'")
            self.pictures = 0
        self._draw_model(trainer, file, step)
        self._flush()

    def reads_gradients(self, trainer: Training) -> bool:
        """Whether the next step is the last of an epoch that gets histograms."""
        return (
            self._open and trainer.step == (trainer.steps or 0) - 1 and self._is_due(self.histograms, trainer.epoch + 1)
        )

    def on_gradients(self, trainer: Training, gradients: dict[Tensor, Array]) -> None:
        """Write histograms of the gradients."""
        file, step = self._file("train"), trainer.optimizer.steps + 1
        for path, state in trainer.model.states().items():
            if isinstance(state, Parameter) and state in gradients:
                file.histogram(f"gradients/{path}", trainer.model.backend.to_numpy(gradients[state]), step)

    def on_step(self, trainer: Training) -> None:
        """Write the losses that were read."""
        if self._open and (losses := self._losses.after_step(trainer)):
            self._write(losses)
            self._flush()

    def on_epoch(self, trainer: Training, record: dict[str, Any]) -> None:
        """Write the figures of the epoch, and the histograms and pictures that are due."""
        if not self._open:
            return
        self._write(self._losses.after_epoch(trainer))
        step = trainer.optimizer.steps
        for key, value in record.items():
            if arguments.is_number(value):
                part, _, name = key.partition("_")
                part, name = (part, name) if name and part in _PARTS else ("train", key)
                try:
                    self._file(part).scalar(name, float(value), step)
                except OSError as error:
                    self._end(self.folder / part, error)
                    return
        if self._is_due(self.histograms, trainer.epoch):
            for path, state in trainer.model.states().items():
                if isinstance(state, Parameter):
                    self._file("train").histogram(f"weights/{path}", state.numpy(), step)
        powers = self.pictures is None and trainer.epoch & (trainer.epoch - 1) == 0
        if powers or self._is_due(self.pictures or 0, trainer.epoch):
            self._draw(trainer)
        self._flush()

    def on_end(self, trainer: Training) -> None:
        """Write the remaining events, also the loss that ended the training, and close the files."""
        if self._open:
            self._write(self._losses.new(trainer))
            if self.pictures is None and trainer.epoch > self._drawn and sys.exc_info()[0] is None:
                self._draw(trainer)
            self._flush()
        self._close()

    @staticmethod
    def _is_due(every: int, epoch: int) -> bool:
        return every > 0 and epoch % every == 0

    def _file(self, part: str) -> EventFile:
        if part not in self._files:
            self._files[part] = EventFile(self.folder / part, self._first)
        return self._files[part]

    def _write(self, losses: list[StepLoss]) -> None:
        file = self._file("train")
        for update, loss, rates in losses:
            file.scalar("loss/step", loss, update)
            for i, rate in enumerate(rates):
                file.scalar("learning_rate" + (f"/{i}" if len(rates) > 1 else ""), rate, update)

    def _draw_model(self, trainer: Training, file: EventFile, step: int) -> None:
        from xpnet import viz

        shape = trainer.shape
        if not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape):  # of several inputs
            return
        try:
            lines = viz.summarize(trainer.model, shape).lines(100)
        except Exception as error:  # a module without a cost or description
            _log.info("TensorBoard: no table and no picture of the model: %s", error)
            return
        file.text("layers", "\n".join(f"    {line}" for line in lines), step)
        if self.pictures != 0:
            self._picture("model", lambda: viz.blocks(trainer.model, shape), step)

    def _draw(self, trainer: Training) -> None:
        """Draw the filters, and what the task shows of the data."""
        from xpnet import viz

        step, self._drawn = trainer.optimizer.steps, trainer.epoch
        self._picture("filters", lambda: viz.filters(trainer.model), step)
        if self.data is None or trainer.task is None or "data" in self._without:
            return
        try:
            drawings = trainer.task.pictures(trainer.evaluate(self.data), self.data)
        except Exception as error:
            self._leave_out("data", error)
            return
        for name, make in drawings.items():
            self._picture(name, make, step, self.data_in)

    def _picture(self, name: str, make: Callable[[], Any], step: int, part: str = "train") -> None:
        """Draw a picture; an error is logged once, and training continues."""
        from xpnet.viz.canvas import to_png

        if name in self._without or not self._open:
            return
        try:
            png = to_png(make())
        except Exception as error:
            self._leave_out(name, error)
            return
        try:
            self._file(part).image(name, png, step)
        except OSError as error:
            self._end(self.folder / part, error)

    def _leave_out(self, name: str, error: Exception) -> None:
        self._without.add(name)
        level = logging.INFO if name == "filters" and isinstance(error, ConfigError) else logging.WARNING  # it has none
        _log.log(level, "TensorBoard: no pictures of %s: %s: %s", name, type(error).__name__, error)

    def _flush(self) -> None:
        """Write to the files; where that fails, warn and write no more."""
        for file in [*self._files.values()]:
            try:
                file.flush()
            except OSError as error:
                self._end(file.path, error)
                return

    def _end(self, path: Path, error: OSError) -> None:
        _log.warning("TensorBoard: %s cannot be written (%s): the log ends, training continues", path, error.strerror)
        self._close()

    def _close(self) -> None:
        self._open = False
        for file in self._files.values():
            file.close()
        self._files = {}


def _facts(trainer: Training) -> dict[str, Any]:
    model = trainer.model
    return {
        "model": f"{type(model).__name__}, {counted(model.parameter_count, 'parameter')}",
        "backend": model.backend.spec,
        "optimizer": repr(trainer.optimizer),
        "task": trainer.describe(),
        "epochs": trainer.epochs,
        "steps an epoch": "not known" if trainer.steps is None else trainer.steps,
    }


def _table(values: Mapping[str, Any]) -> str:
    """Write a table in Markdown."""
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in values.items() if value is not None]
    return "\n".join(["| name | value |", "|---|---|", *rows])


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
