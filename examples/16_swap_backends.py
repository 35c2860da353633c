"""Start with NumPy and continue with another library by changing one word: values and random draws stay the same.

Each run starts on NumPy from one seed and moves half-way: to every other library that is installed, or to the one of
--backend and --device (cuda on a machine with a GPU). Where there is no other, NumPy goes on with numbers of 64 bits.
All see the same batches: their losses differ by rounding.
"""

import importlib.util

import numpy as np
from arguments import parse

from xpnet import data, get_backend, models
from xpnet.train import Trainer
from xpnet.viz.style import MARKERS, PALETTE, despine

options = parse(__doc__)
train, test = data.load("digits")
HALF = 1 if options.quick else 4  # epochs
LIBRARIES = ["torch", "jax"]
found = [name for name in LIBRARIES if importlib.util.find_spec(name)]
targets = found if get_backend(options.backend).name == "numpy" else [options.backend]
if missing := [name for name in LIBRARIES if name not in found]:
    print(f"not compared, as not installed: {', '.join(missing)}; pip install 'xpnet[{','.join(missing)}]'")
if not targets:
    print("no other library, so NumPy goes on in float64")
    targets = ["float64"]


def fitted(*places: str) -> Trainer:
    """Train on each backend, or in float64, in turn; the weights, batches and all other draws come from seed 0."""
    trainer = Trainer(models.build("mlp", train.shape, len(train.classes)), seed=0)
    for i, place in enumerate(places, 1):
        trainer.model.to(dtype=place) if place == "float64" else trainer.model.to(place)
        trainer.fit(train, test, epochs=HALF * i)
    return trainer


def losses(trainer):
    """The training loss of each epoch."""
    return np.asarray([record["train_loss"] for record in trainer.history])


stayed, moved = fitted("cpu", "cpu"), {target: fitted("cpu", target) for target in targets}
print("epoch      NumPy only" + "".join(f"{target + ' from ' + str(HALF + 1):>20}" for target in moved))
for epoch, row in enumerate(zip(*map(losses, (stayed, *moved.values())), strict=True), 1):
    print(f"{epoch:>5}{row[0]:16.6f}" + "".join(f"{loss:20.6f}" for loss in row[1:]))

weights = [np.concatenate([w.ravel() for w in t.model.state_dict().values()]) for t in (stayed, *moved.values())]
apart = max(float(np.max(np.abs(weights[0] - other))) for other in weights[1:])
assert apart < 1e-3


def picture():
    from matplotlib.figure import Figure

    above, below = Figure(figsize=(7, 4.6), layout="constrained").subplots(2, 1, sharex=True, height_ratios=(2, 1))
    epochs = range(1, 2 * HALF + 1)
    above.plot(epochs, losses(stayed), color=PALETTE[0], lw=6, alpha=0.4, label="NumPy all the way")
    for (target, trainer), colour, marker in zip(moved.items(), PALETTE[1:], MARKERS[1:], strict=False):
        name = target if target == "float64" else get_backend(target).name
        above.plot(epochs, losses(trainer), f"{marker}--", color=colour, ms=5, label=f"moved to {name}")
        below.plot(epochs, abs(losses(trainer) - losses(stayed)), marker, color=colour)
    above.text(HALF + 0.6, losses(stayed)[0], "model.to(...)", va="top", family="monospace")
    below.set_yscale("symlog", linthresh=1e-8)
    below.set(xlabel="epoch", ylabel="difference", ylim=(-1e-9, 1e-4), yticks=[0, 1e-8, 1e-6, 1e-4], xticks=epochs)
    above.set(ylabel="training loss", yscale="log")
    above.set_title(f"after {2 * HALF} epochs the weights differ by at most {apart:.1g}", fontsize=10)
    above.legend(frameon=False, loc="lower left")
    for ax in (above, below):
        ax.axvline(HALF + 0.5, color="0.5", lw=1)
    despine(above, below, grid=None)
    return above.figure


options.save(picture)
print(f"Notice: after {2 * HALF} epochs no weight differs by more than {apart:.1g} between the runs. Libraries sum in")
print("different orders, and float64 keeps more digits: results differ by rounding. All random draws are the same.")
