"""WHAT is computed: pure array functions, ``y, vjp = op(*arrays, **options)``, in Array API standard calls only.

Each takes arrays of one library and returns y, of the same library and device, and ``vjp(dy, needs)``, which returns
one gradient for each input, None where needs is False. An op knows no tensors, tapes, parameters or device names, and
writes no input, except running_moments.
"""

from xpnet.ops.activation import ACTIVATIONS, gelu, leaky_relu, log_softmax, relu, sigmoid, softmax, tanh, threshold
from xpnet.ops.conv import column_budget, conv2d
from xpnet.ops.dropout import dropout, random_dropout
from xpnet.ops.elementwise import (
    abs,
    add,
    cast,
    clip,
    divide,
    exp,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    sqrt,
    square,
    subtract,
    where,
)  # fmt: skip
from xpnet.ops.linear import linear, matmul
from xpnet.ops.loss import (
    binary_cross_entropy,
    hinge_loss,
    mean_squared_error,
    perceptron_loss,
    softmax_cross_entropy,
)
from xpnet.ops.normalization import batch_norm, layer_norm, moments, running_moments
from xpnet.ops.pool import avg_pool2d, global_avg_pool2d, max_pool2d
from xpnet.ops.reduction import max, mean, min, sum
from xpnet.ops.response_norm import local_response_norm
from xpnet.ops.shape import broadcast_to, concat, flatten, getitem, permute_dims, reshape

__all__ = [
    "ACTIVATIONS", "abs", "add", "avg_pool2d", "batch_norm", "binary_cross_entropy", "broadcast_to", "cast", "clip",
    "column_budget", "concat", "conv2d", "divide", "dropout", "exp", "flatten", "gelu", "getitem",
    "global_avg_pool2d", "hinge_loss", "layer_norm", "leaky_relu", "linear", "local_response_norm", "log",
    "log_softmax", "matmul", "max", "max_pool2d", "maximum", "mean", "mean_squared_error", "min", "minimum",
    "moments", "multiply", "negative", "perceptron_loss", "permute_dims", "power", "random_dropout", "relu",
    "reshape", "running_moments", "sigmoid", "softmax", "softmax_cross_entropy", "sqrt", "square", "subtract",
    "sum", "tanh", "threshold", "where",
]  # fmt: skip
