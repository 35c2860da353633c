"""One perceptron: its output is 1 if a weighted sum of its inputs is above 0, and it learns only from its mistakes.

Rosenblatt's rule: for each example that is classified wrongly, w += lr * (t - y) * x and b += lr * (t - y).
If a line separates the two classes, the rule finds one. XOR has no such line, so the mistakes never end.
Notes: "Perceptrons".
"""

import numpy as np
from arguments import parse

from xpnet import data, nn, use_backend, viz
from xpnet.viz.style import PALETTE, despine

options = parse(__doc__)
clusters = data.blobs(80, classes=2, noise=0.6, seed=3)
clusters = data.from_arrays(
    clusters.x[:, ::-1] + np.asarray([3, -2]), clusters.y, name="two clusters"
)  # away from the origin
corners = data.xor(40, noise=0.2)


def learn(problem, passes):
    """Train a new perceptron until it makes no mistake, or for the given number of passes; record each pass."""
    with use_backend(options.backend):
        neuron = nn.Perceptron(2)
    mistakes, weights = [], []
    while len(mistakes) < passes and 0 not in mistakes:
        mistakes.append(neuron.learn(problem.x, problem.y))
        weights.append(neuron.state_dict())
    return neuron, mistakes, weights


def picture():
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 4.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(5.8, 3.2))
    for ax, count, weights in zip(left.subplots(2, 3).flat, cluster_mistakes, cluster_weights, strict=False):
        one.load_state_dict(weights)
        title = f"after pass {ax.get_subplotspec().num1 + 1};\n{count} mistakes during it"
        viz.decision_boundary(one, clusters, ax, lines=one, title=title, resolution=100, legend=False)
        ax.label_outer()
    above, below = right.subplots(2, 1, height_ratios=(1.6, 1))
    viz.decision_boundary(other, corners, above, lines=other, title="XOR: no line separates the classes", legend=False)
    below.plot(range(1, len(cluster_mistakes) + 1), cluster_mistakes, "o-", color=PALETTE[2], label="two clusters")
    below.plot(range(1, len(xor_mistakes) + 1), xor_mistakes, "v-", color=PALETTE[3], label="XOR")
    below.set_title("mistakes of each pass", fontsize=10)
    below.set(xlabel="pass", ylabel="mistakes")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.legend(frameon=False)
    despine(below)
    return figure


one, cluster_mistakes, cluster_weights = learn(clusters, 100)
other, xor_mistakes, _ = learn(corners, 11 if options.quick else 101)
print("two clusters, mistakes of each pass:", *cluster_mistakes)
print("XOR,       mistakes of each pass:", *xor_mistakes[:10], "..." if len(xor_mistakes) > 11 else "")
assert cluster_mistakes[-1] == 0
assert np.array_equal(one.predict(clusters.x), clusters.y)
assert min(xor_mistakes) > 0

xor_mistakes = xor_mistakes[:11]
options.save(picture)
w, b = one.weight.numpy()[0], one.bias.numpy()[0]
line = f"{w[0]:.2f} x1 + {w[1]:.2f} x2 + {b:.2f} = 0"
print(f"Notice: after {len(cluster_mistakes)} passes the line {line} makes no mistake, so learning")
print("stops by itself. On XOR every pass has mistakes, however many passes there are.")
