"""LeNet-5 to an accuracy on MNIST with xpnet's Trainer, in one process; see suites.process."""

import contextlib
import sys
from typing import Any

from serve import Done, peak_mb

from xpnet import data, models
from xpnet.data import Normalize
from xpnet.optim import SGD
from xpnet.train import Callback, Trainer


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Train until the accuracy is reached or the steps are done."""
    if not request.get("fast", True):
        sys.modules["numba"] = None  # type: ignore[assignment]  # as if it were not installed
    train, test = data.load("mnist", request["folder"])

    class Goal(Callback):
        steps, accuracy = 0, 0.0

        def on_step(self, trainer: Any) -> None:
            self.steps += 1
            if self.steps % request["every"] == 0:
                self.accuracy = trainer.evaluate(test)["accuracy"]
                if self.accuracy >= request["accuracy"] or self.steps >= request["steps"]:
                    raise Done

    model, goal, scale = models.build("lenet5").initialize(request["seed"]), Goal(), Normalize((0.1307,), (0.3081,))
    optimizer = SGD(model.parameters(), lr=request["lr"], momentum=request["momentum"])
    with contextlib.suppress(Done):
        trainer = Trainer(model, optimizer, seed=request["seed"], callbacks=[goal], normalize=scale)
        trainer.fit(train, epochs=1000, batch_size=request["batch"])
    return {"steps": goal.steps, "accuracy": goal.accuracy, "mb": peak_mb()}
