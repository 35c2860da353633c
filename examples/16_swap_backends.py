"""Start with NumPy and continue with another library by changing one word: values and random draws stay the same.

Two runs from one seed: one stays on NumPy, the other moves half-way to --backend (torch by default; cuda on a machine
with a GPU). Both see the same batches, so their losses differ only by rounding.
"""

import numpy as np
from arguments import parse

from xpnet import data, get_backend, models
from xpnet.train import Trainer

options = parse(__doc__, backend="torch")
train, test = data.load("digits")
HALF = 1 if options.quick else 4  # epochs


def fitted(*backends: str) -> Trainer:
    """Train on each backend in turn; the weights, batches and all other draws come from seed 0."""
    trainer = Trainer(models.build("mlp", train.shape, len(train.classes)), seed=0)
    for i, backend in enumerate(backends, 1):
        trainer.model.to(backend)
        trainer.fit(train, test, epochs=HALF * i)
    return trainer


here, there = fitted("cpu", "cpu"), fitted("cpu", options.backend)
stayed, moved = ([record["train_loss"] for record in trainer.history] for trainer in (here, there))
print(f"epoch          NumPy only   {options.backend} from epoch {HALF + 1}")
for epoch, losses in enumerate(zip(stayed, moved, strict=True), 1):
    print("{:>5}   {:17.6f}   {:12.6f}".format(epoch, *losses))

states = zip(here.model.state_dict().values(), there.model.state_dict().values(), strict=True)
apart = max(float(np.max(np.abs(a - b))) for a, b in states)
assert apart < 1e-3


def picture():
    from matplotlib.figure import Figure

    ax = Figure(figsize=(6.4, 3.6), layout="constrained").subplots()
    epochs = range(1, 2 * HALF + 1)
    ax.plot(epochs, stayed, "o-", color="#0072B2", ms=10, label="NumPy all the way")
    ax.plot(epochs, moved, "s--", color="#E69F00", ms=5, label=f"moved to {get_backend(options.backend).name}")
    ax.axvline(HALF + 0.5, color="0.5", lw=1)
    ax.annotate(f' model.to("{options.backend}")', (HALF + 0.5, max(stayed)), va="top", family="monospace")
    ax.set_title(f"the weights differ by at most {apart:.1g} in the end", fontsize=10)
    ax.set(xlabel="epoch", ylabel="training loss", yscale="log", xticks=epochs)
    ax.legend(frameon=False, loc="lower left")
    ax.spines[["top", "right"]].set_visible(False)
    return ax.figure


options.save(picture)
print(f"Notice: after {2 * HALF} epochs no weight of the two runs differs by more than {apart:.1g}. Libraries sum in")
print("different orders, so results differ by rounding; all random draws are the same bit for bit.")
