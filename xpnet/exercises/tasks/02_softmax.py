"""02 Softmax: from logits to probabilities.

    p_j = exp(a_j) / sum over k of exp(a_k)

a_j is the output of neuron j, its logit. The p_j of an example are above 0, and their sum is 1.

exp(1000) is larger than any float. Subtracting the largest logit of an example from all of its logits changes no p_j
(why?), and then no exponential is larger than 1. Shapes:

    a  (N, K)   logits of N examples for K classes
    p  (N, K)   probabilities

Read more: examples/course/16-definitions.md, examples/13_mnist_by_hand.py
Run the test: python 02_softmax.py
"""

import math

import xpnet
from xpnet.exercises import check


def softmax(a):
    """Return p, (N, K), of the logits a, (N, K)."""
    xp = xpnet.namespace(a)
    raise NotImplementedError  # your code


def test():
    # exp of the logits is 1, 2 and 5; their sum is 8
    a = check.array([[0.0, math.log(2.0), math.log(5.0)]])
    check.equal("softmax(a)", softmax(a), [[1 / 8, 2 / 8, 5 / 8]])

    a = check.array([[1000.0, 1000.0], [0.0, -1000.0]])
    check.equal("softmax of large logits", softmax(a), [[0.5, 0.5], [1.0, 0.0]])

    check.general("softmax", softmax)  # more numbers, one example, strided arrays, and a is not overwritten


if __name__ == "__main__":
    check.run(test)
