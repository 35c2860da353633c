"""Begin on NumPy, go on with torch by one word, and come back: the values stay, the draws are the same.

Give another backend as the argument: python examples/swap_backends.py jax (or cuda, on a machine with a GPU).
"""

import sys

import numpy as np

from xpnet import data, models
from xpnet.train import Trainer

other = sys.argv[1] if len(sys.argv) > 1 else "torch"
train, test = data.load("digits")


def fitted(*backends: str) -> tuple[Trainer, list[float]]:
    """Train two epochs on each backend in turn; the weights, batches and all other draws come from seed 0."""
    trainer = Trainer(models.build("mlp", train.shape, len(train.classes)), seed=0)
    for i, backend in enumerate(backends, 1):
        trainer.model.to(backend)
        trainer.fit(train, test, epochs=2 * i)
    return trainer, [record["train_loss"] for record in trainer.history]


here, stayed = fitted("cpu", "cpu")
there, moved = fitted("cpu", other)
print("epoch   NumPy all the way   ", other, "from epoch 3")
for epoch, (a, b) in enumerate(zip(stayed, moved, strict=True), 1):
    print(f"{epoch:>5}   {a:17.6f}   {b:12.6f}")

apart = max(
    float(np.max(np.abs(a - b)))
    for a, b in zip(here.model.state_dict().values(), there.model.state_dict().values(), strict=True)
)
print(f"weights differ by at most {apart:.1e}")
assert apart < 1e-3
