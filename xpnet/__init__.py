"""xpnet: a neural-network framework written once, against the Python Array API standard.

import xpnet
from xpnet import data, models
from xpnet.train import Trainer

train, test = data.load("digits")
model = models.build("cnn", train.shape, len(train.classes))
Trainer(model).fit(train, test, epochs=5)
model.to("torch")                       # or "cuda", "jax": values stay
"""

from xpnet import data, errors, models, nn, ops, optim, random, train
from xpnet.autograd import Tensor, apply, backward, gradcheck, no_grad
from xpnet.backend import Backend, get_backend, namespace, register_backend, use_backend
from xpnet.errors import XpnetError

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "Tensor",
    "XpnetError",
    "apply",
    "backward",
    "data",
    "errors",
    "get_backend",
    "gradcheck",
    "models",
    "namespace",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "random",
    "register_backend",
    "train",
    "use_backend",
]
