"""Optimizers, learning-rate schedules and clipping.

Each optimizer is plain state and a pure rule; schedules and clipping work with all of them:

    optimizer = SGD(model.parameters(), lr=warmup(cosine(0.1, steps=900), steps=100), momentum=0.9, clip_norm=1.0)
    optimizer.step(backward(loss))
"""

from __future__ import annotations

from xpnet.optim.clipping import clip_norm, clip_value, norm_scale
from xpnet.optim.flat import FlatBuffer
from xpnet.optim.groups import Group, by_path
from xpnet.optim.loss_scale import LossScale
from xpnet.optim.optimizer import Optimizer
from xpnet.optim.optimizers import OPTIMIZERS, SGD, Adagrad, Adam, AdamW, RMSprop, make_optimizer
from xpnet.optim.rules import adagrad_rule, adam_rule, rmsprop_rule, sgd_rule
from xpnet.optim.schedules import Schedule, constant, cosine, inverse_decay, one_cycle, step_decay, warmup

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "FlatBuffer",
    "Group",
    "LossScale",
    "Optimizer",
    "RMSprop",
    "Schedule",
    "adagrad_rule",
    "adam_rule",
    "by_path",
    "clip_norm",
    "clip_value",
    "constant",
    "cosine",
    "inverse_decay",
    "make_optimizer",
    "norm_scale",
    "one_cycle",
    "rmsprop_rule",
    "sgd_rule",
    "step_decay",
    "warmup",
]
