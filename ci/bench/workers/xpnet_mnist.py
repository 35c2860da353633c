"""LeNet-5 on MNIST against the clock, from a set that is loaded.

    {"do": "learn", "device": ..., "data_dir": ..., "seeds": 3, "precision": ...}
        -> {"runs": [{"seed", "seconds", "accuracy"}], "recipe": {...}}     accuracy in percent of the test images

seconds is Trainer.fit, all of it: the set's way to the device, the steps that are not yet recorded, the recording, the
replays. A short run before, of another model, compiles the kernels, which CuPy then keeps on disk.
"""

from __future__ import annotations

import os
from time import perf_counter
from typing import Any

from serve import answer

from xpnet import data, models
from xpnet.backend import get_backend, use_backend
from xpnet.data import Dataset
from xpnet.optim import SGD, one_cycle
from xpnet.train import Trainer

RECIPE = {"epochs": 4, "batch_size": 128, "peak_rate": 0.1, "rise": 0.2, "momentum": 0.9, "weight_decay": 5e-4}
SHORT = 20 * 128  # images of the run before


def learn(request: dict[str, Any]) -> dict[str, Any]:
    """Train with seeds 0, 1, ..., and look at the test images once after each."""
    os.environ.setdefault("XPNET_DATA_DIR", request["data_dir"] or "")
    train, test = data.load("mnist", request["data_dir"])
    most = request.get("images", len(train))
    train = Dataset(train.x[:most], train.y[:most], train.classes, train.name)
    short = Dataset(train.x[:SHORT], train.y[:SHORT], train.classes, train.name)
    _train(short, request, seed=0)
    runs = []
    for seed in range(request["seeds"]):
        trainer, seconds = _train(train, request, seed)
        runs.append({"seed": seed, "seconds": seconds, "accuracy": 100 * trainer.evaluate(test)["accuracy"]})
    return {"runs": runs, "recipe": RECIPE}


def _train(train: Dataset, request: dict[str, Any], seed: int) -> tuple[Trainer, float]:
    backend = get_backend(request["device"])
    with use_backend(backend):
        model = models.build("lenet5", train.shape, len(train.classes)).initialize(seed)
    steps = RECIPE["epochs"] * -(-len(train) // RECIPE["batch_size"])
    rate = one_cycle(RECIPE["peak_rate"], steps, warm=RECIPE["rise"])
    optimizer = SGD(
        model.parameters(), rate, momentum=RECIPE["momentum"], nesterov=True, weight_decay=RECIPE["weight_decay"]
    )
    trainer = Trainer(model, optimizer, seed=seed, precision=request["precision"])
    backend.synchronize()
    began = perf_counter()
    trainer.fit(train, epochs=int(RECIPE["epochs"]), batch_size=int(RECIPE["batch_size"]))
    backend.synchronize()
    return trainer, perf_counter() - began


if __name__ == "__main__":
    answer(learn)
