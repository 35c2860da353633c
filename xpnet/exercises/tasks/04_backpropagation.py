"""04 Backpropagation through two layers: the chain rule, from the last layer to the first.

    a1 = x w1^T + b1         the first layer
    h  = max(a1, 0)          ReLU
    a2 = h w2^T + b2         the second layer: the logits

The loss gives da2 = dL/da2. From there go backwards; each line needs what the lines before have found:

    dw2 = da2^T h            db2 = sum over n of da2
    dh  = da2 w2
    da1 = dh where a1 > 0, else 0
    dw1 = da1^T x            db1 = sum over n of da1

Each gradient has the shape of what it belongs to:

    x  (N, D)   examples     w1 (M, D), b1 (M,)   M hidden neurons: a row of w1 is the weights of a neuron
    h  (N, M)   features     w2 (K, M), b2 (K,)   K neurons, one a class
    a2 (N, K)   logits

Read more: examples/course/17-training.md, examples/05_composition.py
Run the test: python 04_backpropagation.py
"""

import xpnet
from xpnet.exercises import check


def forward(x, w1, b1, w2, b2):
    """Return a2, (N, K)."""
    xp = xpnet.namespace(x)
    raise NotImplementedError  # your code


def backward(da2, x, w1, b1, w2, b2):
    """Return dw1, db1, dw2, db2 for da2, (N, K). Compute a1 and h anew, from x."""
    xp = xpnet.namespace(x)
    raise NotImplementedError  # your code


def test():
    # one example, two hidden neurons: a1 = (5, -4), so h = (5, 0) and a2 = 2 * 5 + 3 * 0 + 1
    x, w1, b1 = check.array([[1.0, 2.0]]), check.array([[1.0, 2.0], [-1.0, -2.0]]), check.array([0.0, 1.0])
    w2, b2 = check.array([[2.0, 3.0]]), check.array([1.0])
    check.equal("forward(...)", forward(x, w1, b1, w2, b2), [[11.0]])

    # dh = 10 * (2, 3); the second neuron is off, so its da1 is 0
    dw1, db1, dw2, db2 = backward(check.array([[10.0]]), x, w1, b1, w2, b2)
    check.equal("dw2", dw2, [[50.0, 0.0]])
    check.equal("db2", db2, [10.0])
    check.equal("dw1", dw1, [[20.0, 40.0], [0.0, 0.0]])
    check.equal("db1", db1, [20.0, 0.0])

    check.general("backpropagation", forward, backward)  # many examples; gradients against slopes in random directions


if __name__ == "__main__":
    check.run(test)
