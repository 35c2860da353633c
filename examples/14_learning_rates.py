"""The learning rate is the size of each step of gradient descent: if it is too small, training takes very long; if it
is too large, the steps jump over the minimum.

A step changes the weights once, w <- w - lambda dL/dw, here after a batch of 32 examples. An epoch is one pass over all
training examples, here 45 steps.
Notes: "Training".
"""

import numpy as np
from arguments import parse

from xpnet import Tensor, backward, data, get_backend, models, nn, optim
from xpnet.train import Step
from xpnet.viz.style import PALETTE, despine

options = parse(__doc__)
backend = get_backend(options.backend)
train, test = data.load("digits")
feed = data.Feed(train, 32, backend, normalize=data.Normalize.of(train), shuffle=True)
EPOCHS = 2 if options.quick else 10
RATES = {"too small": 0.001, "right": 0.3, "too large": 5.0}  # for the network
VALLEY = {"too small": 0.05, "right": 0.7, "too large": 2.1}  # for L = w**2 / 2
COLOURS = {"too small": PALETTE[0], "right": PALETTE[2], "too large": PALETTE[1]}


def descent(rate, w=-1.0, steps=8):
    """The points that gradient descent visits in the valley L = w**2 / 2."""
    places = [w]
    for _ in range(steps):
        here = Tensor(backend.from_numpy(np.asarray(places[-1])), requires_grad=True)
        gradient = backward(here * here / 2)[here]
        places.append(places[-1] - rate * float(gradient))
    return np.asarray(places)


def losses(rate):
    """Train a multi-layer perceptron on the digits; return the cross-entropy of each step."""
    model = models.build("mlp", train.shape, len(train.classes)).to(options.backend)
    step = Step(model, nn.softmax_cross_entropy, optim.SGD(model.parameters(), lr=rate))
    return [float(step(x, y)) for epoch in range(EPOCHS) for x, y in feed.epoch(epoch)]


found = {name: np.asarray(losses(rate)).reshape(EPOCHS, -1) for name, rate in RATES.items()}


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    w = np.linspace(-2.2, 2.2)
    left.plot(w, w**2 / 2, color="0.7")
    for (name, rate), mark in zip(VALLEY.items(), "osv", strict=True):
        places = descent(rate)
        left.plot(places, places**2 / 2, mark + "--", color=COLOURS[name], ms=5, lw=1, label=f"{name}: {rate}")
    left.set(title="eight steps in the valley L = w²/2", xlabel="w", ylabel="L", ylim=(-0.1, 3.1))
    for name, each in found.items():
        right.plot(np.arange(each.size) / each.shape[1], each.ravel(), color=COLOURS[name], alpha=0.3, lw=0.8)
        label = f"{name}: {RATES[name]}"
        right.plot(np.arange(EPOCHS) + 0.5, each.mean(axis=1), "o-", color=COLOURS[name], ms=4, label=label)
    right.set(title="a network on the digits", xlabel="epoch", yscale="log", ylim=(0.003, 3000))
    right.set_ylabel("cross-entropy of each step; dots: of an epoch")
    left.legend(title="learning rate", fontsize=9, loc="upper center", ncols=3, columnspacing=1, handletextpad=0.3)
    right.legend(title="learning rate", fontsize=9, loc="upper right")
    despine(left, right, grid=None)
    return figure


options.save(picture)
for name, each in found.items():
    first, *_, last = each.mean(axis=1)
    print(f"{name:>9}, {RATES[name]:5}: average loss {first:.2f} in epoch 1, {last:.3f} in epoch {EPOCHS}")
small, right, large = (each[-1].mean() for each in found.values())
assert right < 0.3 < 1.5 < min(small, large)
print(
    f"Notice: guessing among ten classes has a loss of ln 10 = {np.log(10):.2f}. The small rate is still near it; the"
)
print("large one jumped far above, where ReLUs output only 0, and stays there. All three had the same number of steps.")
