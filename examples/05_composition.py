"""Composition: layers of perceptrons on layers of perceptrons, each a function of the output of the one before.

A neuron of the first hidden layer separates the plane by a line. A neuron of the next layer combines lines to a curve,
and so on, until one line separates what no line in the plane separates. The output of a layer must have as many numbers
as the next layer expects.
Notes: "Composition", "Hidden Layer".
"""

import numpy as np
from arguments import parse

from xpnet import data, get_backend, nn, optim, viz
from xpnet.errors import ShapeError
from xpnet.train import Trainer
from xpnet.viz.style import MARKERS, PALETTE, signed

options = parse(__doc__)
backend = get_backend(options.backend)
train, test = data.spirals(n=1000).split(0.8)


def network(outputs, inputs):
    """Layers of 8, `outputs`, 2 and 2 neurons; the third layer expects `inputs` numbers."""
    hidden = {"hidden1": nn.Linear(2, 8), "tanh1": nn.Tanh(), "hidden2": nn.Linear(8, outputs), "tanh2": nn.Tanh()}
    last = {"hidden3": nn.Linear(inputs, 2), "tanh3": nn.Tanh(), "scores": nn.Linear(2, 2)}
    return nn.Sequential(**hidden, **last).to(options.backend)


def features(points):
    """The output of each layer of the model for points of the plane (N, 2), as NumPy arrays."""
    with nn.watch() as seen:
        model(backend.from_numpy(points.astype(np.float32)))
    return {"the plane": points} | {name: y.numpy() for name, y in seen.items()}


def separated(x, y):
    """The share of examples on the correct side of the best line, fitted by least squares."""
    wide = np.hstack([x, np.ones((len(x), 1))])
    sums = wide @ np.linalg.lstsq(wide, 2.0 * y - 1, rcond=None)[0]
    return float(np.mean((sums > 0) == y))


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.3), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2.5, 3.8))
    side = np.linspace(-2.4, 2.4, 121)
    over = features(np.stack(np.meshgrid(side, side), axis=2).reshape(-1, 2))
    above.suptitle("the output of each neuron over the plane", fontsize=10)
    for layer, axes in enumerate(above.subplots(2, 8), 1):
        axes[0].set_ylabel(f"tanh{layer}")
        for ax, neuron in zip(axes, over[f"tanh{layer}"].T, strict=True):
            image = ax.imshow(neuron.reshape(121, 121), **signed(1), origin="lower")
            ax.set(xticks=[], yticks=[])
    above.colorbar(image, ax=above.axes, ticks=(-1, 0, 1), aspect=30)
    left, right = below.subplots(1, 2)
    viz.decision_boundary(model, test, left, title="the plane, as the network divides it")
    bent = over["tanh3"].reshape(121, 121, 2)
    for i in range(0, 121, 6):  # the lines of a grid in the plane
        for line in (bent[i], bent[:, i]):
            right.plot(*line.T, color="0.8", lw=0.6, zorder=0)
    for label in range(2):
        points = features(test.x[test.y == label])["tanh3"]
        right.scatter(*points.T, s=16, color=PALETTE[label], marker=MARKERS[label])
    (a, b), c = -np.diff(model.scores.weight.numpy(), axis=0)[0], -np.diff(model.scores.bias.numpy())[0]
    right.plot([-1.1, 1.1], [(1.1 * a - c) / b, (-1.1 * a - c) / b], color="0.2")  # both scores are equal
    right.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xlabel="neuron 0", ylabel="neuron 1", aspect="equal")
    right.set_title(
        "the same as tanh3 gives it: a line is enough\n(grey: a grid of the plane, as the layers bend it)", fontsize=10
    )
    return figure


try:
    network(outputs=8, inputs=10)(backend.from_numpy(test.x))
    raise SystemExit("a layer accepted 8 numbers for 10")
except ShapeError as error:
    print(f"hidden2 has 8 outputs, hidden3 expects 10:\n    {error}")

model = network(outputs=8, inputs=8)
trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.01))
trainer.fit(train, epochs=20 if options.quick else 60, batch_size=80)
accuracy = trainer.evaluate(test)["accuracy"]
options.save(picture)
print("share of points that one line separates, fitted to the output of each layer:")
known = features(train.x)
share = {name: separated(known[name], train.y) for name in ("the plane", "hidden1", "tanh1", "tanh2", "tanh3")}
for name, value in share.items():
    print(f"    {name:12}{value:6.1%}")
assert np.isclose(share["hidden1"], share["the plane"], atol=0.01)
assert share["the plane"] < 0.8 < 0.95 < min(accuracy, share["tanh3"])
print("Notice: the weighted sums of hidden1 are no easier to separate than the points; the non-linear tanh1 is what")
print(
    f"helps. Each layer continues from the one before; together they classify {accuracy:.1%} of new points correctly."
)
