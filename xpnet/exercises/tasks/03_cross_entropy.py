"""03 Cross-entropy and its gradient: how wrong the probabilities are.

    p     = softmax(a)
    L     = -1/N * sum over n, j of y_nj * ln p_nj        y_nj is 1 for the class of example n, else 0
    dL/da = (p - y) / N

A small p_j may be rounded to 0, and ln 0 is minus infinity. So do not compute p first; this is the same, and finite:

    ln p_j = a_j - m - ln(sum over k of exp(a_k - m))     m is the largest logit of the example

Shapes:

    a  (N, K)   logits
    y  (N, K)   labels, one-hot: one 1 in each row, else 0
    L  ()       one number, as an array without axes

Read more: examples/course/16-definitions.md, examples/13_mnist_by_hand.py
Run the test: python 03_cross_entropy.py
"""

import math

import xpnet
from xpnet.exercises import check


def cross_entropy(a, y):
    """Return L, (), the mean over the N examples."""
    xp = xpnet.namespace(a, y)
    raise NotImplementedError  # your code


def cross_entropy_gradient(a, y):
    """Return dL/da, (N, K)."""
    xp = xpnet.namespace(a, y)
    raise NotImplementedError  # your code


def test():
    # two examples with p = (1/4, 3/4) and (1/2, 1/2), both of class 0: L = (ln 4 + ln 2) / 2
    a, y = check.array([[0.0, math.log(3.0)], [0.0, 0.0]]), check.array([[1.0, 0.0], [1.0, 0.0]])
    check.equal("cross_entropy(a, y)", cross_entropy(a, y), (math.log(4.0) + math.log(2.0)) / 2)
    check.equal("cross_entropy_gradient(a, y)", cross_entropy_gradient(a, y), [[-3 / 8, 3 / 8], [-1 / 4, 1 / 4]])

    # the right class is improbable: ln p = -1000
    a, y = check.array([[0.0, 1000.0]]), check.array([[1.0, 0.0]])
    check.equal("cross_entropy of large logits", cross_entropy(a, y), 1000.0)

    check.general("cross_entropy", cross_entropy, cross_entropy_gradient)  # the slope of L in a random direction, ...


if __name__ == "__main__":
    check.run(test)
