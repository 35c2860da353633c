"""The bias as one more dimension: each input gets an additional number, always 1, and the weight of it is the bias.

A line without a bias goes through the origin, wherever the examples are. Linear(bias="augmented") appends the 1; its
outputs and gradients are those of a Linear with a separate bias.
Notes: "Bias implementation".
"""

import numpy as np
from arguments import parse

from xpnet import Tensor, backward, data, get_backend, nn, optim, use_backend, viz
from xpnet.viz.style import MARKERS, PALETTE

options = parse(__doc__)
backend = get_backend(options.backend)
x = data.blobs(60, classes=3).x  # (N, D), D = 2
labels = backend.from_numpy(data.blobs(60, classes=3).y)

with use_backend(backend):  # the same seed and name give the same initial weights
    separate, augmented = nn.Linear(2, 3).initialize(seed=1), nn.Linear(2, 3, bias="augmented").initialize(seed=1)
    trainings = [optim.SGD(layer.parameters(), lr=0.1, momentum=0.9) for layer in (separate, augmented)]


def difference(a, b):
    """The largest difference of two arrays."""
    return float(np.max(np.abs(a - b)))


def step(layer, training):
    """Make one step of gradient descent; return the scores before it and the gradients as one array (M, D+1)."""
    scores = layer(Tensor(backend.from_numpy(x)))
    gradients = backward(nn.softmax_cross_entropy(scores, labels))
    training.step(gradients)
    columns = [backend.to_numpy(gradients[p]) for p in layer.parameters()]
    return scores.numpy(), np.concatenate([c.reshape(3, -1) for c in columns], axis=1)


steps = 10 if options.quick else 100
differences = []
for _ in range(steps):
    (scores, gradients), (same_scores, same_gradients) = map(step, (separate, augmented), trainings)
    differences.append((difference(scores, same_scores), difference(gradients, same_gradients)))
for name, layer in (("separate bias", separate), ("augmented", augmented)):
    print(f"{name:>17}: parameters", *(f"{p.path} {p.shape}" for p in layer.parameters()))
print("first step:  outputs differ by at most {:.0e}, gradients by {:.0e}".format(*differences[0]))
print(f"after {steps} steps: outputs differ by at most {{:.0e}}, gradients by {{:.0e}}".format(*differences[-1]))
assert np.max(differences) < 1e-4
w, b = separate.weight.numpy(), separate.bias.numpy()
assert difference(augmented.weight.numpy(), np.concatenate([w, b[:, None]], axis=1)) < 1e-4

clusters = data.blobs(60, classes=2, noise=0.3)
clusters = data.from_arrays(
    clusters.x[:, ::-1] + np.asarray([4, 0]), clusters.y, ["far", "near"]
)  # both right of the origin
with use_backend(backend):
    bound, free = nn.Perceptron(2, bias=False), nn.Perceptron(2)
without = [bound.learn(clusters.x, clusters.y) for _ in range(10)]
with_bias = [free.learn(clusters.x, clusters.y) for _ in range(10)]
print("mistakes of each pass without a bias:", *without)
print("mistakes of each pass with a bias:   ", *with_bias)
assert min(without) > 0
assert with_bias[-1] == 0


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5.4), layout="constrained")
    panels = {
        "without a bias: {} mistakes in pass 10": (bound, without),
        "with a bias: {} mistakes in pass 10": (free, with_bias),
    }
    for ax, (title, (neuron, mistakes)) in zip(figure.subplots(2, 1, sharex=True), panels.items(), strict=True):
        shown = data.from_arrays(
            np.concatenate([clusters.x, [[0, 0]]]), np.append(clusters.y, 2), ["far", "near", "origin"]
        )
        legend = neuron is free
        viz.decision_boundary(neuron, shown, ax, lines=neuron, title=title.format(mistakes[-1]), legend=legend)
        ax.plot(0, 0, MARKERS[2], color=PALETTE[2], markeredgecolor="white", markersize=12, zorder=5)  # above the line
        ax.label_outer()
    return figure


options.save(picture)
print("Notice: a bias is one more weight, of an input that is always 1; outputs and gradients are the same. Without a")
print("bias the line goes through the origin, and no such line separates clusters that lie in the same direction.")
