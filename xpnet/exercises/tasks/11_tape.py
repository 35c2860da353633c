"""11 A tape: record how a number was computed, then let it find its own gradients.

An op of xpnet returns its result and a function that computes gradients, its vjp (vector-Jacobian product):

    y, vjp = op(x1, x2)                          for example xpnet.ops.multiply
    dx1, dx2 = vjp(dy, (True, True))             True for each input: its gradient is needed

apply calls an op, and stores in the result what is needed later: the vjp and the inputs. All results together are the
tape. backward goes over it from the end to the beginning:

    begin with the gradient of L, which is 1
    of the tensors whose gradient is known, take the one that was made last: the one with the largest number
    its vjp turns its gradient into gradients of its inputs
    an input that was used twice gets two gradients: add them

Read more: examples/course/17-training.md, examples/17_custom_layer.py
Run the test: python 11_tape.py
"""

import itertools

import xpnet
from xpnet import ops
from xpnet.exercises import check

numbers = itertools.count()


class Tensor:
    """An array, and how it was made; a leaf was given, so it has no vjp and no inputs."""

    def __init__(self, data, vjp=None, inputs=()):
        self.data, self.vjp, self.inputs = data, vjp, inputs
        self.number = next(numbers)  # a tensor has a larger number than those it was made of


def apply(op, *inputs):
    """Call an op with the arrays of some tensors, and return its result as a Tensor."""
    raise NotImplementedError  # your code


def backward(loss):
    """Return a dictionary from each leaf that the loss was made of to its gradient."""
    xp = xpnet.namespace(loss.data)
    raise NotImplementedError  # your code


def test():
    # L = x * x + x at x = 3: L = 12, dL/dx = 2 * 3 + 1. x is used three times.
    x = Tensor(check.array(3.0))
    loss = apply(ops.add, apply(ops.multiply, x, x), x)
    check.equal("x * x + x", loss.data, 12.0)
    check.equal("the gradient of x", backward(loss)[x], 7.0)

    # L = a * b at a = 2, b = 5
    a, b = Tensor(check.array(2.0)), Tensor(check.array(5.0))
    found = backward(apply(ops.multiply, a, b))
    check.equal("the gradient of a", found[a], 5.0)
    check.equal("the gradient of b", found[b], 2.0)

    check.general("tape", Tensor, apply, backward)  # a network of two layers, long chains, one vjp call a tensor


if __name__ == "__main__":
    check.run(test)
