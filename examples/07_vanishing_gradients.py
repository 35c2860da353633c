"""Vanishing gradients: why deep networks of sigmoids hardly learn, and networks of ReLUs do.

In the backward pass, the gradient is multiplied by the slope of each activation. The slope of a sigmoid is at most 1/4,
so ten of them leave at most a millionth; the slope of a ReLU is 1 wherever its input is positive.
Notes: "Non-linear activation".
"""

import numpy as np
from arguments import parse

from xpnet import data, get_backend, nn, ops, viz
from xpnet.optim import SGD
from xpnet.train import GradientFlow, Trainer
from xpnet.viz.style import PALETTE, despine

options = parse(__doc__)
backend = get_backend(options.backend)
train, test = data.load("digits")
if options.quick:
    train, test = train.take(range(1280)), test.take(range(64))
DEPTH, WIDTH = 10, 32
ACTIVATIONS = {
    "sigmoid": (nn.Sigmoid, nn.glorot_uniform),
    "ReLU": (nn.ReLU, nn.he_normal),
}  # each with a suitable initializer


def deep(activation, init):
    """DEPTH hidden layers, each followed by the activation, and ten scores."""
    layers, features = {"flatten": nn.Flatten()}, 64
    for i in range(1, DEPTH + 1):
        layers[f"hidden{i}"] = nn.Linear(features, WIDTH, init=init)
        layers[f"act{i}"] = activation()
        features = WIDTH
    return nn.Sequential(**layers, scores=nn.Linear(WIDTH, 10, init=init))


def shape_and_slope(op):
    """An activation and its derivative on the line from -6 to 6."""
    x = np.linspace(-6, 6, 241, dtype=np.float32)
    y, vjp = op(backend.from_numpy(x))
    (slope,) = vjp(backend.from_numpy(np.ones_like(x)), (True,))
    return x, backend.to_numpy(y), backend.to_numpy(slope)


flows, accuracies = {}, {}
for name, (activation, init) in ACTIVATIONS.items():
    model = deep(activation, init).to(options.backend)
    flows[name] = GradientFlow()  # records the norm of each layer's gradient at each step
    trainer = Trainer(model, SGD(model.parameters(), lr=0.02, momentum=0.9), callbacks=[flows[name]])
    trainer.fit(train, test, epochs=1 if options.quick else 5, batch_size=64 if options.quick else 32)
    accuracies[name] = trainer.history[-1]["test_accuracy"]


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.7))
    for op, name, colour in ((ops.sigmoid, "sigmoid", PALETTE[0]), (ops.relu, "ReLU", PALETTE[1])):
        x, y, slope = shape_and_slope(op)
        left.plot(x, y, color=colour, label=name)
        left.plot(x, slope, "--", color=colour)
    left.plot([], [], "--", color="0.4", label="slope")
    left.set(ylim=(-0.1, 2.1), xlabel="x", ylabel="output, slope")
    left.set_title("activations and their slopes", fontsize=10)
    left.legend(frameon=False, fontsize=9)
    despine(left)
    viz.gradient_flow(flows, ax=right)
    right.set_title(f"gradients in a network of {DEPTH} hidden layers", fontsize=10)
    return figure


options.save(picture)
_, _, slope = shape_and_slope(ops.sigmoid)
assert slope.max() == 0.25
assert set(shape_and_slope(ops.relu)[2].tolist()) == {0.0, 1.0}
for name, flow in flows.items():
    norms = np.median(flow.norms, axis=0)  # of all steps, for each layer
    ratio = norms[-1] / norms[0]
    print(f"{name:>7}: the last layer's gradient is {ratio:,.2g} times the first's; accuracy {accuracies[name]:.1%}")
    assert ratio > 1e4 if name == "sigmoid" else 0.1 < ratio < 10
assert accuracies["ReLU"] > accuracies["sigmoid"] + 0.1
print("Notice: both networks have the same layers and the same data. In the backward pass through sigmoids, each layer")
print("gets about a quarter of the gradient of the next one, so the first layers hardly change; ReLUs pass it on.")
