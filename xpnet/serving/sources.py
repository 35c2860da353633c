"""What is served: it makes examples of what a client sends, scores them, and says what is predicted.

    given = source.rows([[0.0, 1.0], [1.0, 1.0]])           # or source.images([source.image("a.png", bytes), ...])
    scores = source.scores([given.x])[0]                    # in a batch with other requests
    source.predictions(given, scores, top=3)                # [{"classes": ..., "probabilities": ...}, ...]

Everything that depends on values (missing cells, the scale of pixels) is decided for each request by itself, so that
what is predicted does not depend on the other requests of a batch.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet.arguments import shown
from xpnet.backend import Array, available_cores
from xpnet.data import Columns
from xpnet.data.image import Encoded, decode
from xpnet.errors import ConfigError, DataError, DTypeError, ShapeError
from xpnet.nn import Module
from xpnet.nn.predict import predictor
from xpnet.serving.tables import table_of
from xpnet.train import scaling
from xpnet.train.device_errors import device_errors
from xpnet.train.precision import input_dtype
from xpnet.train.tasks import Task

__all__ = ["Given", "Source"]

_log = logging.getLogger("xpnet")
_NUMBERS = 1 << 21  # in a batch
_PIXELS = b"P5 2 2 255\n" + bytes(4)  # an image


class Given(NamedTuple):
    """The examples of a request.

    Args:
        x: as the model takes them, (n, ...), on its backend.
        host: as they were given, (n, ...).
        inputs: how they were normalized and the shape of one, for a task that gives them back.
    """

    x: Any
    host: np.ndarray
    inputs: tuple[Any, tuple[int, ...]]


class Source:
    """A model of images, of a table, or of other arrays. Subclasses say how examples are normalized.

    Args:
        path: of the run or file. name: of the model.
        model: on the backend that computes.
        task: what was learned. classes: names of the outputs.
        shape: of an example.
        columns: of a table, or None.
        fit: how an image of another aspect ratio is brought to the shape, as load_image takes it.
    """

    def __init__(
        self,
        path: str,
        name: str,
        model: Module,
        task: Task,
        classes: Sequence[str],
        shape: tuple[int, ...],
        columns: Columns | None,
        fit: str,
    ) -> None:
        self.path, self.name, self.task, self.classes = path, name, task, list(classes)
        self.shape, self.columns, self._fit = shape, columns, fit
        self.takes_images = columns is None and len(shape) == 3 and shape[2] in (1, 3)
        self._model, self.backend = model, model.backend  # its predictor does not keep the model
        self._score, self._dtype = predictor(model), input_dtype(model)
        self._decoding = threading.Semaphore(available_cores())  # bounds the memory of large images

    def warm_up(self) -> None:
        """Predict once, and load the readers of images, so that the first client does not wait for it.

        Raises:
            ConfigError: XPNET_MAX_PIXELS is none. ShapeError: the model gives no score for each class.
        """
        zeros = self.backend.xp.zeros((1, *self.shape), dtype=getattr(self.backend.xp, self._dtype))
        self.task.check_scores(self.path, self.scores([zeros])[0], tuple(self.classes))
        if self.takes_images:
            self.image("warm-up", _PIXELS)

    def describe(self) -> dict[str, Any]:
        """Say what is served, for /health and the page: model, task, kind, classes, shape and columns."""
        kind = "table" if self.columns else "images" if self.takes_images else "arrays"
        found = {"model": self.name, "task": self.task.name, "takes": kind, "classes": self.classes}
        found |= {"shape": list(self.shape)}
        if self.columns:
            features = self.columns.features
            found["columns"] = [{"name": f.name, "median": f.median, "values": f.values} for f in features]
        return found

    def largest(self, most: int) -> int:
        """Return how many examples a batch may have: most, and fewer of large ones."""
        return max(1, min(most, max(32, _NUMBERS // max(1, math.prod(self.shape)))))

    def image(self, name: str, content: bytes) -> np.ndarray:
        """Decode one image, (H, W, C) uint8, as `xpnet predict` does.

        Raises:
            DataError: it is no image, is damaged or too large. ConfigError: the run takes no images.
        """
        if not self.takes_images:
            raise ConfigError(name, "a run trained on images (H, W, C)", shape=self.shape)
        H, W, C = self.shape
        with self._decoding:
            return decode(Encoded(name, content), (H, W, C), fit=self._fit, on_frames=_say_frames)

    def images(self, pixels: Sequence[np.ndarray]) -> Given:
        """Return decoded images as the model takes them."""
        return self._given(np.stack(pixels).astype(np.float32), white=255.0)

    def rows(self, rows: list[Any]) -> Given:
        """Return rows of JSON as the model takes them: of a table objects by column or lists, else nested lists.

        Raises:
            DataError, ShapeError, DTypeError: a column is missing, or a value or a shape is not as in training.
        """
        if self.columns is not None:
            return self._given(self.columns.apply(table_of(rows, [f.name for f in self.columns.features])))
        return self._given(_array(rows, self.shape, self.takes_images))

    def scores(self, xs: Sequence[Array]) -> list[np.ndarray]:
        """Score the examples of several requests at once; return those of each, on the host."""
        backend, counts = self.backend, [len(x) for x in xs]
        with backend.active(), device_errors("predict"):
            x = xs[0] if len(xs) == 1 else backend.xp.concat(list(xs), axis=0)
            step = self.largest(256)
            every = [backend.to_numpy(self._score(x[i : i + step, ...])) for i in range(0, sum(counts), step)]
        return np.split(np.concatenate(every), np.cumsum(counts)[:-1])

    def predictions(self, given: Given, scores: np.ndarray, top: int | None = None) -> list[dict[str, Any]]:
        """Return what is predicted of each example of a request, as `xpnet predict --json` has it.

        Raises:
            ConfigError: top is outside 1 .. K, the number of classes.
        """
        return self.task.predictions(self._answers(given, scores), self.classes, given.host, self.top(top))

    def top(self, top: int | None) -> int:
        """Return how many classes are named: 3, or as many as there are, where top is None."""
        K = max(1, len(self.classes))
        if top is not None and not 1 <= top <= K:
            raise ConfigError("top", f"1 <= top <= {K}, the number of classes", top=top)
        return min(3, K) if top is None else top

    def normalization(self, x: np.ndarray, white: float | None) -> Any:
        """Return what normalizes the examples of one request, (n, ...) of this white; or None.

        Raises:
            DataError: they are not on the scale of the training set.
        """
        raise NotImplementedError

    def _answers(self, given: Given, scores: np.ndarray) -> np.ndarray:
        return self.task.answer(scores, *given.inputs)

    def _given(self, x: np.ndarray, white: float | None = None) -> Given:
        normalize = self.normalization(x, white)
        inputs = (normalize, x.shape[1:]) if self.task.of_inputs else (None, ())
        with self.backend.active(), device_errors("predict"):
            return Given(scaling.converted(x, normalize, self._dtype, self.backend), x, inputs)


def _say_frames(image: Encoded) -> None:
    _log.warning("%s: the first of several frames is used", image)


def _first_wrong(rows: list[Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Say which row is the first that is no nested lists of numbers of the shape, and what it is."""
    for number, row in enumerate(rows, 1):
        if isinstance(row, dict):
            return {"row": number, "value": "an object"}
        try:
            x = np.asarray(row)
        except ValueError:
            return {"row": number, "value": "lists of different lengths"}
        if x.dtype.kind not in "iuf":
            return {"row": number, "value": shown(row) if x.ndim < 2 else "lists that hold other values"}
        if x.shape not in (shape, shape[:-1]):
            return {"row": number, "shape": x.shape}
    return {"value": "rows of different shapes"}


def _array(rows: list[Any], shape: tuple[int, ...], of_images: bool) -> np.ndarray:
    """Return nested lists of numbers as an array (n, *shape)."""
    try:
        x = np.asarray(rows)
    except ValueError:  # ragged
        x = np.asarray([None])
    if x.dtype.kind not in "iuf":
        do = "this run is of images: send the file of an image, or its pixels as such lists" if of_images else ""
        raise DTypeError("rows", f"nested lists of numbers, each row of shape {shape}", do, **_first_wrong(rows, shape))
    if shape[-1:] == (1,) and len(shape) == 3 and x.shape[1:] == shape[:-1]:
        x = x[..., np.newaxis]  # gray images (n, H, W)
    if x.shape[1:] != shape:
        raise ShapeError("rows", f"rows of shape {shape}", shape=x.shape[1:])
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise DataError("rows", "finite numbers of 32 bits", row=int(np.argwhere(~np.isfinite(x))[0][0]) + 1)
    return x
