"""10 Batch normalization: give each feature mean 0 and variance 1 over the batch, then a learned scale and shift.

    mean = 1/N * sum over n of x_n                   var = 1/N * sum over n of (x_n - mean)^2
    xhat = (x - mean) / sqrt(var + eps)              y   = gamma * xhat + beta

mean and var depend on every example of the batch, so the gradient of x has three terms:

    dbeta  = sum over n of dy
    dgamma = sum over n of dy * xhat
    dx     = gamma / sqrt(var + eps) * (dy - dbeta / N - xhat * dgamma / N)

Shapes:

    x, y, dy, dx  (N, D)             gamma, beta, dgamma, dbeta, mean, var  (D,)

Read more: examples/course/13-local-response-normalization-layer.md, examples/11_local_response_norm.py
Run the test: python 10_batch_norm.py
"""

import xpnet
from xpnet.exercises import check


def batch_norm(x, gamma, beta, eps):
    """Return y, (N, D)."""
    xp = xpnet.namespace(x)
    raise NotImplementedError  # your code


def batch_norm_backward(dy, x, gamma, eps):
    """Return dx, dgamma, dbeta for dy, (N, D)."""
    xp = xpnet.namespace(x)
    raise NotImplementedError  # your code


def test():
    # 1 and 5 have mean 3 and variance 4; with eps = 0, xhat is -1 and 1
    x, gamma, beta = check.array([[1.0], [5.0]]), check.array([10.0]), check.array([7.0])
    check.equal("batch_norm(x, gamma, beta, 0)", batch_norm(x, gamma, beta, 0.0), [[-3.0], [17.0]])

    # two numbers can only become -1 and 1, whatever they are: dx is 0
    dx, dgamma, dbeta = batch_norm_backward(check.array([[2.0], [3.0]]), x, gamma, 0.0)
    check.equal("dbeta", dbeta, [5.0])
    check.equal("dgamma", dgamma, [1.0])
    check.equal("dx", dx, [[0.0], [0.0]])

    check.general("batch_norm", batch_norm, batch_norm_backward)  # larger batches; slopes in random directions


if __name__ == "__main__":
    check.run(test)
