"""LeNet-5 to an accuracy on MNIST with xpnet's Trainer, in one process; see ci/bench/whole_process.py."""

from __future__ import annotations

import json
import sys
from typing import Any

from serve import peak_mb

REQUEST: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
if not REQUEST.get("fast", True):
    sys.modules["numba"] = None  # type: ignore[assignment]  # as if it were not installed

from xpnet import data, models  # noqa: E402
from xpnet.data import Dataset, Normalize  # noqa: E402
from xpnet.optim import SGD  # noqa: E402
from xpnet.train import Callback, Trainer  # noqa: E402


class Done(Exception):
    """The accuracy is reached, or the steps are done."""


class Look(Callback):
    """Evaluate on a test set every so many steps, and end training when it is good enough."""

    def __init__(self, test: Dataset, every: int, accuracy: float, most: int) -> None:
        self.test, self.every, self.goal, self.most = test, every, accuracy, most
        self.steps, self.accuracy = 0, 0.0

    def on_step(self, trainer: Trainer) -> None:
        """Count, and look when it is time."""
        self.steps += 1
        if self.steps % self.every == 0:
            self.accuracy = trainer.evaluate(self.test)["accuracy"]
            if self.accuracy >= self.goal or self.steps >= self.most:
                raise Done


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Train until the accuracy is reached or the steps are done."""
    train, test = data.load("mnist", request["folder"])
    model = models.build("lenet5").initialize(request["seed"])
    optimizer = SGD(model.parameters(), lr=request["lr"], momentum=request["momentum"])
    look = Look(test, request["every"], request["accuracy"], request["steps"])
    scale = Normalize((0.1307,), (0.3081,))
    try:
        trainer = Trainer(model, optimizer, seed=request["seed"], callbacks=[look], normalize=scale)
        trainer.fit(train, epochs=1000, batch_size=request["batch"])
    except Done:
        pass
    return {"steps": look.steps, "accuracy": look.accuracy}


if __name__ == "__main__":
    result = main(REQUEST)
    print(json.dumps({**result, "peak_mb": peak_mb()}))
