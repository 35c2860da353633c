"""01 The perceptron rule: learn from mistakes only.

    y = 1 if sum over i of w_i * x_i + b > 0, else 0

After each example that was answered wrongly (t is the right answer, 0 or 1, and lr the learning rate):

    w_i = w_i + lr * (t - y) * x_i
    b   = b   + lr * (t - y)

The next example already meets the corrected weights. Shapes:

    w  (D,)     the weights              b   one number, the bias
    x  (N, D)   the examples             t   (N,)  their right answers

Read more: examples/course/02-perceptrons.md, examples/02_perceptron.py
Run the test: python 01_perceptron_rule.py
"""

import xpnet
from xpnet.exercises import check


def answer(w, b, x):
    """Return y, the int 0 or 1, for one example x, (D,)."""
    xp = xpnet.namespace(w, x)  # the library of these arrays: NumPy, or what --backend says
    raise NotImplementedError  # your code


def learn(w, b, x, t, lr):
    """Go over the N examples once, in order; return the new w, the new b, and how many mistakes were made."""
    raise NotImplementedError  # your code


def test():
    # w = (2, -1), b = -1: the sums of the three examples are 1, 0 and -2. Exactly 0 is not above 0.
    w, x = check.array([2.0, -1.0]), check.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    for n, y in enumerate([1, 0, 0]):
        check.equal(f"answer of example {n}", answer(w, -1.0, x[n, :]), y)

    # AND, from w = 0 and b = 0. Only (1, 1) is answered wrongly: its t - y is 1.
    x, t = check.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), check.array([0, 0, 0, 1])
    w, b, mistakes = learn(check.array([0.0, 0.0]), 0.0, x, t, 1.0)
    check.equal("w after one pass over AND", w, [1.0, 1.0])
    check.equal("b after one pass over AND", b, 1.0)
    check.equal("mistakes of one pass over AND", mistakes, 1)

    check.general("perceptron_rule", answer, learn)  # more examples, several passes, and w is not overwritten


if __name__ == "__main__":
    check.run(test)
