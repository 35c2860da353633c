"""Bias by an added dimension: each input gets one more number, always 1, whose weight is the bias.

A line without a bias goes through the origin, wherever the examples are. Linear(bias="augmented") appends the 1; its
outputs and gradients are those of Linear with a bias of its own.
Notes: "Bias implementation".
"""

import numpy as np
from arguments import parse

from xpnet import Tensor, backward, data, get_backend, nn, optim, use_backend, viz

options = parse(__doc__)
backend = get_backend(options.backend)
x = data.blobs(60, classes=3).x  # (N, D), D = 2
labels = backend.from_numpy(data.blobs(60, classes=3).y)

with use_backend(backend):  # both draw their first weights from one seed and one name, so they begin alike
    separate, augmented = nn.Linear(2, 3).initialize(seed=1), nn.Linear(2, 3, bias="augmented").initialize(seed=1)
    trainings = [optim.SGD(layer.parameters(), lr=0.1, momentum=0.9) for layer in (separate, augmented)]


def apart(a, b):
    """The largest difference of two arrays."""
    return float(np.max(np.abs(a - b)))


def step(layer, training):
    """One step of gradient descent; the scores before it, and the gradients as one array (M, D+1)."""
    scores = layer(Tensor(backend.from_numpy(x)))
    gradients = backward(nn.softmax_cross_entropy(scores, labels))
    training.step(gradients)
    columns = [backend.to_numpy(gradients[p]) for p in layer.parameters()]
    return scores.numpy(), np.concatenate([c.reshape(3, -1) for c in columns], axis=1)


steps = 10 if options.quick else 100
differences = []
for _ in range(steps):
    (scores, gradients), (same_scores, same_gradients) = map(step, (separate, augmented), trainings)
    differences.append((apart(scores, same_scores), apart(gradients, same_gradients)))
for name, layer in (("a bias of its own", separate), ("augmented", augmented)):
    print(f"{name:>17}: parameters", *(f"{p.path} {p.shape}" for p in layer.parameters()))
print("first step:  outputs differ by at most {:.0e}, gradients by {:.0e}".format(*differences[0]))
print(f"after {steps} steps: outputs differ by at most {{:.0e}}, gradients by {{:.0e}}".format(*differences[-1]))
assert np.max(differences) < 1e-4
w, b = separate.weight.numpy(), separate.bias.numpy()
assert apart(augmented.weight.numpy(), np.concatenate([w, b[:, None]], axis=1)) < 1e-4

heaps = data.blobs(60, classes=2, noise=0.3)
heaps = data.from_arrays(heaps.x[:, ::-1] + np.asarray([4, 0]), heaps.y, ["far", "near"])  # both right of the origin
with use_backend(backend):
    bound, free = nn.Perceptron(2, bias=False), nn.Perceptron(2)
without = [bound.learn(heaps.x, heaps.y) for _ in range(10)]
with_bias = [free.learn(heaps.x, heaps.y) for _ in range(10)]
print("mistakes of each pass without a bias:", *without)
print("mistakes of each pass with a bias:   ", *with_bias)
assert min(without) > 0
assert with_bias[-1] == 0


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 6.4), layout="constrained")
    panels = {
        "without a bias: {} mistakes in pass 10": (bound, without),
        "with a bias: {} mistakes in pass 10": (free, with_bias),
    }
    for ax, (title, (neuron, mistakes)) in zip(figure.subplots(2, 1), panels.items(), strict=True):
        shown = data.from_arrays(np.concatenate([heaps.x, [[0, 0]]]), np.append(heaps.y, 2), ["far", "near", "origin"])
        viz.decision_boundary(neuron, shown, ax, lines=neuron, title=title.format(mistakes[-1]))
    return figure


options.save(picture)
print("Notice: a bias is one more weight, of an input that is always 1: the same numbers come out and go back. Without")
print("it the line goes through the origin, and none passes between heaps that lie in one direction from it.")
