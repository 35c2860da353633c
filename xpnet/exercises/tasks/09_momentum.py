"""09 Gradient descent with momentum: step along the decaying sum of the gradients.

    v = momentum * v + g         v is the velocity, g = dL/dw the gradient
    w = w - lr * v               with the new v; lr is the learning rate

With momentum 0 this is plain gradient descent. With 0.9, steps become up to ten times longer where all gradients have
the same direction, and shorter where their signs alternate. w, v and g have the same shape, which may be any.

Read more: examples/course/17-training.md, examples/14_learning_rates.py
Run the test: python 09_momentum.py
"""

from xpnet.exercises import check


def sgd_step(w, v, g, lr, momentum):
    """Return the new w and the new v; the arrays that are given stay as they are."""
    raise NotImplementedError  # your code


def test():
    # v = 0.5 * 2 + 4 = 5, and w = 1 - 0.1 * 5
    w, v = sgd_step(check.array([1.0]), check.array([2.0]), check.array([4.0]), 0.1, 0.5)
    check.equal("v", v, [5.0])
    check.equal("w", w, [0.5])

    check.general("momentum", sgd_step)  # several steps in a row, with a rate that changes


if __name__ == "__main__":
    check.run(test)
