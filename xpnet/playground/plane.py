"""The plane: a network that learns points, and what a page shows of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.autograd import Tensor, no_grad
from xpnet.backend import Backend
from xpnet.errors import DataError
from xpnet.nn import inference
from xpnet.playground.code import write_code
from xpnet.playground.dropped import read_points
from xpnet.playground.network import Training
from xpnet.playground.pictures import as_bytes, confidence_of, signed_bytes
from xpnet.playground.points import HALF, SCALES, draw_points, make_features
from xpnet.playground.settings import Settings

__all__ = ["Plane"]

SIDE = 60  # pixels of the large picture's sides
MANY = 64  # neurons from which on their pictures are smaller


class Plane:
    """A network that learns to tell the points of the plane apart; equal settings give equal numbers.

    Args:
        settings: of the plane.
        backend: where it is computed.
    """

    kind = "plane"

    def __init__(self, settings: Settings, backend: Backend) -> None:
        self.backend = backend
        self._backend_name = "" if backend.on_host else backend.spec
        self.train, self.test = draw_points(settings)
        self.classes = len(self.train.classes)
        x, self._test_x = (make_features(settings, each.x) for each in (self.train, self.test))
        self.training = Training(settings, x, self.train.y, self.classes, backend)
        scale = SCALES[settings.data]
        axis = (np.arange(SIDE, dtype=np.float32) + 0.5) * (2 * HALF / SIDE) - HALF
        grid = np.stack([np.tile(axis, SIDE), np.repeat(-axis, SIDE)], axis=1)  # (SIDE*SIDE, 2), the top row first
        self._grid = make_features(settings, grid / np.float32(scale))
        self._stride = 2 if sum(settings.layers) <= MANY else 3
        self._parts = np.cumsum([len(x), len(self._test_x)])

    @property
    def settings(self) -> Settings:
        """What it trains with now."""
        return self.training.settings

    @property
    def step(self) -> int:
        """Steps that were made."""
        return self.training.step

    def reset(self) -> Plane:
        """Return the same before its first step."""
        return Plane(self.settings.from_start(), self.backend)

    def advance(self) -> bool:
        """Make one step; return whether there are more, which is always so.

        Raises:
            DataError: weights became NaN or infinite.
        """
        with np.errstate(all="ignore"):  # raised as an error below
            self.training.advance()
        if self.step % 16 == 0 and not self._is_finite():
            raise self.diverged()
        return True

    def diverged(self) -> DataError:
        """Return the error that says that the network cannot go on."""
        return DataError.event(
            "training", "the weights became infinite", "choose a smaller rate, then reset", step=self.step
        )

    def _is_finite(self) -> bool:
        return all(np.isfinite(p.numpy()).all() for p in self.training.model.parameters())

    def describe(self) -> dict[str, Any]:
        """Return what does not change while it learns: layers, points, pictures of the features, and the settings."""
        scale, features = SCALES[self.settings.data], self._grid.reshape(SIDE, SIDE, -1)[::2, ::2]
        maps, largest = signed_bytes(features.reshape(-1, features.shape[2]).T)
        points = {
            name: [
                [round(float(x), 3), round(float(y), 3), int(k)]
                for (x, y), k in zip(scale * part.x, part.y, strict=True)
            ]
            for name, part in (("train", self.train), ("test", self.test))
        }
        if self.settings.data == "points":
            points["test"] = []
        return {
            "kind": self.kind,
            "settings": self.settings.to_json(),
            "classes": list(self.train.classes),
            "half": HALF,
            "sizes": [len(self.settings.features), *self.settings.layers, self.classes],
            "parameters": self.training.model.parameter_count,
            "points": points,
            "features": {"side": SIDE // 2, "maps": maps, "largest": largest},
        }

    def frame(self) -> dict[str, Any]:
        """Return the state now: losses, accuracy, weights, gradients, and what each neuron answers on the plane.

        Raises:
            DataError: the network gives numbers that are not finite.
        """
        with np.errstate(all="ignore"):
            layers = self._outputs(np.concatenate([self.training.x, self._test_x, self._grid]))
        scores = layers[-1]
        if not np.isfinite(scores).all():
            raise self.diverged()
        figures = {
            name: self._measure(part, labels)
            for name, part, labels in zip(
                ("train", "test"), np.split(scores, self._parts), (self.train.y, self.test.y), strict=False
            )
        }
        side = -(-SIDE // self._stride)
        grids = [each[self._parts[1] :].reshape(SIDE, SIDE, -1) for each in layers]
        small = np.concatenate([each[:: self._stride, :: self._stride].reshape(side * side, -1).T for each in grids])
        maps, largest = signed_bytes(small)
        large = grids[-1].reshape(SIDE * SIDE, -1)
        confidence = confidence_of(large, self.settings.loss == "cross-entropy")
        parameters = {p.path: p.numpy().astype(np.float64).round(4).tolist() for p in self.training.model.parameters()}
        return {
            "step": self.step,
            "epoch": self.training.epoch,
            **figures,
            "norms": self.training.gradient_norms(),
            "weights": [value for path, value in parameters.items() if path.endswith("weight")],
            "biases": [value for path, value in parameters.items() if path.endswith("bias")],
            "side": side,
            "maps": maps,
            "largest": largest,
            "large": {
                "side": SIDE,
                "classes": as_bytes(large.argmax(axis=1)),
                "confidence": as_bytes(np.rint(255 * confidence)),
            },
        }

    def code(self) -> str:
        """Return the Python that trains this network for as many steps as were made; at the start, for 1,000."""
        return write_code(self.settings, self.classes, self._steps_of_code, self._backend_name)

    @property
    def _steps_of_code(self) -> int:
        return self.step or 1000

    def command(self, name: str, given: dict[str, Any]) -> tuple[Any, bool]:
        """Carry out a command; return the reply, and whether the state changes.

        "code": give the program. "csv": read points of a text. "lr": go on with another learning rate.

        Raises:
            KeyError: another name. ConfigError, DataError: it is refused.
        """
        return {"code": self._code, "csv": self._csv, "lr": self._change_rate}[name](given), False

    def _code(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"code": self.code(), "steps": self._steps_of_code}

    def _csv(self, given: dict[str, Any]) -> dict[str, Any]:
        points, note = read_points(arguments.text("CSV file", "text", given.get("text")))
        return {"points": points, "note": note}

    def _change_rate(self, given: dict[str, Any]) -> dict[str, Any]:
        self.training.settings = self.settings.with_rate(given.get("value"), self.step)
        return {"settings": self.settings.to_json()}

    def _outputs(self, x: np.ndarray) -> list[np.ndarray]:
        """Return what each hidden layer gives after its activation, and the scores, (N, M) each."""
        found: list[np.ndarray] = []
        with inference(), no_grad():
            h = Tensor(self.backend.from_numpy(x))
            for _, layer in self.training.model.children():
                h = layer(h)
                if layer.kind == "linear":
                    found.append(h.numpy())
                else:
                    found[-1] = h.numpy()
        return found

    def _measure(self, scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        with no_grad():
            loss = float(self.training.loss(Tensor(self.backend.from_numpy(np.ascontiguousarray(scores))), labels))
        accuracy = float(np.mean(scores.argmax(axis=1) == labels))
        return {"loss": loss if math.isfinite(loss) else math.inf, "accuracy": accuracy}
