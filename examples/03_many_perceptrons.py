"""Many perceptrons: one for each class, each with a line of its own; the class is that of the highest sum.

In the plane the lines can be drawn. On the digits each of ten neurons has 64 weights, one a pixel, which are a picture:
blue speaks for its digit, red against it.
Notes: "Multiple Perceptrons".
"""

import numpy as np
from arguments import parse

from xpnet import Tensor, data, get_backend, nn, use_backend, viz

options = parse(__doc__)
backend = get_backend(options.backend)
heaps = data.blobs(100, classes=4, noise=0.3)
train, test = data.load("digits")
if options.quick:
    train = train.take(range(300))


def pixels(digits):
    """The digits as rows of 64 numbers, 0 to 1."""
    return digits.x.reshape(len(digits), 64).astype(np.float32) / 16


def taught(x, labels, classes, passes):
    """Teach a perceptron a class, all side by side, until a pass has no mistake, or for so many passes."""
    with use_backend(backend):
        neurons = nn.Perceptron(x.shape[1], classes)
    mistakes = []
    while len(mistakes) < passes and 0 not in mistakes:
        mistakes.append(neurons.learn(x, labels))
    return neurons, mistakes


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 4.8), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(5, 6.5))
    ax = left.subplots()
    viz.decision_boundary(plane, heaps, ax, lines=plane, title="four perceptrons, four lines", resolution=120)
    right.suptitle(f"ten perceptrons on the digits, test accuracy {accuracy:.1%}", fontsize=10)
    weights = ten.weight.numpy().reshape(10, 8, 8)
    for ax, w, digit in zip(right.subplots(2, 5).flat, weights, train.classes, strict=True):
        ax.imshow(w, cmap="RdBu", vmin=-abs(w).max(), vmax=abs(w).max())
        ax.set_title(digit, fontsize=10)
        ax.axis("off")
    return figure


plane, heap_mistakes = taught(heaps.x, heaps.y, 4, 50)
print("four heaps, mistakes of each pass:", *heap_mistakes)
assert heap_mistakes[-1] == 0
assert np.array_equal(plane.predict(heaps.x), heaps.y)

ten, mistakes = taught(pixels(train), train.y, 10, 2 if options.quick else 10)
accuracy = float(np.mean(ten.predict(pixels(test)) == test.y))
print(f"{len(train)} digits, mistakes of each pass:", *mistakes)
print(f"weights {ten.weight.shape}, biases {ten.bias.shape}; {len(test)} other digits: {accuracy:.1%} right")
assert accuracy > (0.7 if options.quick else 0.9)

answers = ten(Tensor(backend.from_numpy(pixels(test)))).numpy()  # (N, 10), zeros and ones
yes = answers.sum(axis=1)
options.save(picture)
print(
    f"Notice: exactly one neuron said yes to {np.mean(yes == 1):.0%} of them, none to {np.mean(yes == 0):.0%}, several"
)
print(f"to {np.mean(yes > 1):.0%}. Each neuron learned alone; it is the highest of the ten sums that makes them agree.")
