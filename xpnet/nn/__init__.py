"""Layers: parameters and configuration; the arithmetic is in xpnet.ops."""

from xpnet.nn.activation import GELU, Activation, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from xpnet.nn.affine import Filters, Foldable, Form
from xpnet.nn.container import Residual, Sequential
from xpnet.nn.context import inference, watch
from xpnet.nn.conv import Conv2d
from xpnet.nn.cost import Cost, UnknownCostError
from xpnet.nn.description import Stage
from xpnet.nn.fold import collapse, fold
from xpnet.nn.initializers import (
    Initializer,
    constant,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    normal,
    ones,
    uniform,
    zeros,
)
from xpnet.nn.linear import Flatten, Linear
from xpnet.nn.loss import (
    averages_examples,
    binary_cross_entropy,
    hinge_loss,
    is_average,
    mean_squared_error,
    perceptron_loss,
    softmax_cross_entropy,
)
from xpnet.nn.module import Module
from xpnet.nn.normalization import BatchNorm, Dropout, LayerNorm, LocalResponseNorm
from xpnet.nn.pad import PadChannels
from xpnet.nn.perceptron import Perceptron
from xpnet.nn.pool import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from xpnet.nn.receptive import Field
from xpnet.nn.state import Buffer, Parameter, State

__all__ = [
    "GELU",
    "Activation",
    "AvgPool2d",
    "BatchNorm",
    "Buffer",
    "Conv2d",
    "Cost",
    "Dropout",
    "Field",
    "Filters",
    "Flatten",
    "Foldable",
    "Form",
    "GlobalAvgPool2d",
    "Initializer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSoftmax",
    "MaxPool2d",
    "Module",
    "PadChannels",
    "Parameter",
    "Perceptron",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Stage",
    "State",
    "Tanh",
    "UnknownCostError",
    "averages_examples",
    "binary_cross_entropy",
    "collapse",
    "constant",
    "fold",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "hinge_loss",
    "inference",
    "is_average",
    "lecun_normal",
    "lecun_uniform",
    "mean_squared_error",
    "normal",
    "ones",
    "perceptron_loss",
    "softmax_cross_entropy",
    "uniform",
    "watch",
    "zeros",
]
