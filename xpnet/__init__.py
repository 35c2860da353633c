"""xpnet: a neural-network framework written once, against the Python Array API standard.

    from xpnet import data, models
    from xpnet.train import Trainer

    train, test = data.load("digits")
    model = models.build("cnn", train.shape, len(train.classes))
    trainer = Trainer(model)
    trainer.fit(train, test, epochs=5)      # on NumPy
    model.to("torch")                       # or "cuda", "jax": values stay
    trainer.fit(train, test, epochs=10)     # epochs 6 to 10, there

README.md and examples/guides/ say the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from xpnet.errors import XpnetError

if TYPE_CHECKING:
    from xpnet import backend, data, errors, interop, models, nn, ops, optim, random, train, viz
    from xpnet.autograd import Tensor, apply, backward, gradcheck, no_grad
    from xpnet.autograd.exchange import from_dlpack
    from xpnet.backend import Backend, get_backend, namespace, register_backend, use_backend
    from xpnet.interop.onnx.export import export_onnx
    from xpnet.interop.onnx.load import load_onnx
    from xpnet.interop.torch.loading import load_torch, to_torch_state_dict
    from xpnet.nn.saving import load

__version__ = "0.10.0"

__all__ = [
    "Backend",
    "Tensor",
    "XpnetError",
    "apply",
    "backend",
    "backward",
    "data",
    "errors",
    "export_onnx",
    "from_dlpack",
    "get_backend",
    "gradcheck",
    "interop",
    "load",
    "load_onnx",
    "load_torch",
    "models",
    "namespace",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "random",
    "register_backend",
    "to_torch_state_dict",
    "train",
    "use_backend",
    "viz",
]

_FROM: dict[str, str] = dict.fromkeys(("Tensor", "apply", "backward", "gradcheck", "no_grad"), "autograd")
_FROM["load"] = "nn.saving"
_FROM["export_onnx"] = "interop.onnx.export"
_FROM["load_onnx"] = "interop.onnx.load"
_FROM["load_torch"] = _FROM["to_torch_state_dict"] = "interop.torch.loading"
_FROM["from_dlpack"] = "autograd.exchange"
_FROM |= dict.fromkeys(("Backend", "get_backend", "namespace", "register_backend", "use_backend"), "backend")


def __getattr__(name: str) -> Any:
    """Import a part of xpnet when it is first named, so that importing xpnet alone costs next to nothing."""
    if name in _FROM:
        value = getattr(importlib.import_module(f"xpnet.{_FROM[name]}"), name)
    elif name in __all__:
        value = importlib.import_module(f"xpnet.{name}")
    else:
        raise AttributeError(f"module 'xpnet' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
