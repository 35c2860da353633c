"""Many perceptrons: one for each class, each with its own line; the predicted class is the one with the highest sum.

In the plane the lines can be drawn. On the digits, each of ten neurons has 64 weights, one for each pixel, which can be
shown as a picture: red pixels are evidence for the digit, blue ones against it.
Notes: "Multiple Perceptrons".
"""

import numpy as np
from arguments import parse

from xpnet import Tensor, data, get_backend, nn, use_backend, viz

options = parse(__doc__)
backend = get_backend(options.backend)
clusters = data.blobs(100, classes=4, noise=0.3)
train, test = data.load("digits")
if options.quick:
    train = train.take(range(300))


def pixels(digits):
    """The digits as rows of 64 numbers, 0 to 1."""
    return digits.x.reshape(len(digits), 64).astype(np.float32) / 16


def learn(x, labels, classes, passes):
    """Train one perceptron for each class until a pass has no mistake, or for the given number of passes."""
    with use_backend(backend):
        neurons = nn.Perceptron(x.shape[1], classes)
    mistakes = []
    while len(mistakes) < passes and 0 not in mistakes:
        mistakes.append(neurons.learn(x, labels))
    return neurons, mistakes


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2.9, 6.1))
    title = "four perceptrons, four lines"
    viz.decision_boundary(plane, clusters, left, lines=plane, title=title, resolution=120, legend=False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=5, frameon=False)
    viz.filters(ten, ax=right, labels=train.classes)
    right.set_title(f"the weights of ten perceptrons, test accuracy {accuracy:.1%}", fontsize=10)
    return figure


plane, cluster_mistakes = learn(clusters.x, clusters.y, 4, 50)
print("four clusters, mistakes of each pass:", *cluster_mistakes)
assert cluster_mistakes[-1] == 0
assert np.array_equal(plane.predict(clusters.x), clusters.y)

ten, mistakes = learn(pixels(train), train.y, 10, 2 if options.quick else 10)
accuracy = float(np.mean(ten.predict(pixels(test)) == test.y))
print(f"{len(train)} digits, mistakes of each pass:", *mistakes)
print(f"weights {ten.weight.shape}, biases {ten.bias.shape}; {len(test)} test digits: {accuracy:.1%} correct")
assert accuracy > (0.7 if options.quick else 0.9)

answers = ten(Tensor(backend.from_numpy(pixels(test)))).numpy()  # (N, 10), zeros and ones
yes = answers.sum(axis=1)
options.save(picture)
print(f"Notice: of the test digits, exactly one neuron answers yes for {np.mean(yes == 1):.0%}, none for")
print(
    f"{np.mean(yes == 0):.0%} and several for {np.mean(yes > 1):.0%}. Each neuron is trained alone; taking the highest"
)
print("of the ten sums always gives exactly one answer.")
