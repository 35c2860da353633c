"""The images: a LeNet-5 that learns digits while it answers what is drawn, and what a page shows of it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet import arguments, data, nn, optim
from xpnet.autograd import Tensor, backward, no_grad
from xpnet.backend import Backend
from xpnet.data.idx import has_mnist
from xpnet.errors import ConfigError, DataError
from xpnet.nn import inference
from xpnet.playground.drawing import fit_drawing, read_drawing
from xpnet.playground.explain import explain_number
from xpnet.playground.image_settings import ImageSettings
from xpnet.playground.lenet import build_lenet, write_image_code
from xpnet.playground.pictures import as_floats

__all__ = ["Images"]

_TEST = 1000  # images that accuracy is measured on, at most
_EVERY = 15  # steps between two measurements
_EPOCHS = {"digits": 12, "mnist": 2}  # after which training ends


class Images:
    """A LeNet-5 that learns digits; equal settings give equal numbers.

    Args:
        settings: of the images.
        backend: where it is computed.
    Raises:
        DataError: the files of MNIST are not on this machine.
    """

    kind = "images"

    def __init__(self, settings: ImageSettings, backend: Backend) -> None:
        self.settings, self.backend = settings, backend
        self.train, self.test = _load(settings.data)
        self.side = self.train.shape[0]
        self.model = build_lenet(settings, self.side).to(backend)
        self.optimizer = optim.SGD(self.model.parameters(), lr=lambda step: self.settings.rate_at(step), momentum=0.9)
        self.step, self._measured = 0, (-1, 0.0, 0.0)  # steps; when it was measured, the loss and the accuracy
        self._batches, self._loss = self._draw_batches(), float("nan")
        self._shown = 0  # examples that were shown
        self._next({})

    def reset(self) -> Images:
        """Return the same before its first step."""
        return Images(self.settings.from_start(), self.backend)

    def advance(self) -> bool:
        """Make one step; return whether there are more.

        Raises:
            DataError: the loss became NaN or infinite.
        """
        rows = next(self._batches, None)
        if rows is None:
            return False
        with np.errstate(all="ignore"):
            scores = self.model(self._tensor(self.train.x[rows]))
            loss = nn.softmax_cross_entropy(scores, self.backend.from_numpy(self.train.y[rows]))
            self.optimizer.step(backward(loss))
        self.step, self._loss = self.step + 1, float(loss)
        if not np.isfinite(self._loss):
            raise DataError.event("training", "the loss became infinite", "choose a smaller rate, then reset")
        return True

    def describe(self) -> dict[str, Any]:
        """Return what does not change while it learns: layers with their shapes, and the settings."""
        return {
            "kind": self.kind,
            "settings": self.settings.to_json(),
            "classes": list(self.train.classes),
            "side": self.side,
            "parameters": self.model.parameter_count,
            "layers": [
                {"name": name, "kind": layer.kind, "shape": list(values.shape)}
                for (name, layer), values in zip(self.model.children(), self._values()[1:], strict=True)
            ],
        }

    def frame(self) -> dict[str, Any]:
        """Return the state now: figures, filters, and each layer's numbers for the image that is shown."""
        values = self._values()
        scores = values[-1].astype(np.float64)
        p = np.exp(scores - scores.max())
        if self._measured[0] < 0 or self.step - self._measured[0] >= _EVERY or not self._has_more():
            self._measure()
        found = {
            "step": self.step,
            "epoch": self.step // self._steps_an_epoch,
            "epochs": _EPOCHS[self.settings.data],
            "ended": not self._has_more(),
            "test": {"loss": self._measured[1], "accuracy": self._measured[2]},
            "batch_loss": self._loss,
            "is_blank": not values[0].any(),
            "image": as_floats(values[0]),
            "label": self._label,
            "values": [as_floats(each) for each in values[1:]],
            "probabilities": (p / p.sum()).tolist(),
            "filters": {
                name: as_floats(layer.weight.numpy())
                for name, layer in self.model.children()
                if isinstance(layer, nn.Conv2d)
            },
        }
        return found

    def command(self, name: str, given: dict[str, Any]) -> tuple[Any, bool]:
        """Carry out a command; return the reply, and whether the state changes.

        "draw": answer a drawing. "example": show a test image. "explain": write a number out. "code": give the program.
        "lr": go on with another learning rate.

        Raises:
            KeyError: another name. ConfigError, DataError: it is refused.
        """
        commands = {"draw": self._draw, "example": self._next, "explain": self._explain, "code": self._code}
        return {**commands, "lr": self._change_rate}[name](given)

    def _draw(self, given: dict[str, Any]) -> tuple[Any, bool]:
        self._image, self._label = fit_drawing(read_drawing(given.get("pixels")), self.side), ""
        return {}, True

    def _next(self, given: dict[str, Any]) -> tuple[Any, bool]:
        i = 7 * self._shown % len(self.test)
        self._shown += 1
        self._image = self.test.x[i].astype(np.float32) / np.float32(self.test.white)
        self._label = self.test.classes[int(self.test.y[i])]
        return {}, True

    def _explain(self, given: dict[str, Any]) -> tuple[Any, bool]:
        layers, values = dict(self.model.children()), self._values()
        name = arguments.choice("explain", "layer", given.get("layer"), layers)
        index = list(layers).index(name)
        x, y = values[index], values[index + 1]
        shape = y.shape if y.ndim == 3 else (1, 1, *y.shape)
        place = [
            arguments.count("explain", axis, given.get(axis, 0), 0, size - 1)
            for axis, size in zip(("row", "column", "channel"), shape, strict=True)
        ]
        if layers[name].kind == "flatten":
            raise ConfigError("explain", "a layer that computes", layer=name)
        row, column, channel = place
        return explain_number(layers[name], x, (row, column, channel)), False

    def _change_rate(self, given: dict[str, Any]) -> tuple[Any, bool]:
        self.settings = self.settings.with_rate(given.get("value"), self.step)
        return {"settings": self.settings.to_json()}, False

    def _code(self, given: dict[str, Any]) -> tuple[Any, bool]:
        return {"code": self.code(), "steps": self._steps_of_code}, False

    def code(self) -> str:
        """Return the Python that trains this network for as many steps as were made; at the start, for one epoch."""
        backend = "" if self.backend.on_host else self.backend.spec
        return write_image_code(self.settings, self.side, self.train.white, self._steps_of_code, backend)

    @property
    def _steps_of_code(self) -> int:
        return self.step or self._steps_an_epoch

    def _tensor(self, images: np.ndarray) -> Tensor:
        return Tensor(self.backend.from_numpy(images.astype(np.float32) / np.float32(self.train.white)))

    def _values(self) -> list[np.ndarray]:
        """Return the image that is shown, (H, W, 1), and what each layer gives for it."""
        found = [self._image]
        with inference(), no_grad(), np.errstate(all="ignore"):
            h = Tensor(self.backend.from_numpy(self._image[None]))
            for _, layer in self.model.children():
                h = layer(h)
                found.append(h.numpy()[0])
        return found

    def _measure(self) -> None:
        x, y = self.test.x[:_TEST], self.test.y[:_TEST]
        with inference(), no_grad(), np.errstate(all="ignore"):
            scores = self.model(self._tensor(x))
            loss = float(nn.softmax_cross_entropy(scores, self.backend.from_numpy(y)))
        self._measured = self.step, loss, float(np.mean(scores.numpy().argmax(axis=1) == y))

    def _has_more(self) -> bool:
        return self.step < _EPOCHS[self.settings.data] * self._steps_an_epoch

    @property
    def _steps_an_epoch(self) -> int:
        return -(-len(self.train) // self.settings.batch)

    def _draw_batches(self) -> Iterator[np.ndarray]:
        for epoch in itertools.count():
            order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(self.train))
            for start in range(0, len(order), self.settings.batch):
                if not self._has_more():
                    return
                yield order[start : start + self.settings.batch]


@functools.lru_cache(maxsize=2)
def _load(name: str) -> tuple[data.Dataset, data.Dataset]:
    if name == "mnist" and not has_mnist():
        do = "run 'xpnet data mnist' once, or set XPNET_DATA_DIR to their folder"
        raise DataError.event("mnist", "its files are not on this machine", do)
    train, test = data.load(name)
    return train, test
