"""Every public function and constructor, with one argument replaced by something else: it works, or xpnet says why.

VALID gives arguments that each public name takes. A name that is not there fails, so that new functions are covered.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xpnet import autograd, backend, data, models, nn, ops, optim, random, train, viz
from xpnet.arguments import shown
from xpnet.errors import XpnetError

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)
IMAGES = np.linspace(-1, 1, 2 * 5 * 5 * 2, dtype=np.float32).reshape(2, 5, 5, 2)
W, B, LABELS = np.ones((3, 6), np.float32), np.zeros(3, np.float32), np.array([0, 1, 2, 0])
SIX = np.ones(6, np.float32)
KEY = random.Key(1, "a test")
FILTERS = np.ones((2, 3, 3, 2), np.float32)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


def bad_values() -> dict[str, Any]:
    values = {
        "None": None, "True": True, "-1": -1, "0": 0, "1.5": 1.5, "nan": float("nan"), "inf": float("inf"),
        "int64": np.int64(2), "float32": np.float32(2), "word": "x", "[]": [], "{}": {}, "object": object(),
        "list": [1, 2], "nested": [[1], [2, 3]], "0-d": np.array(2), "0-d float": np.array(2.5), "type": int,
        "negative list": [-1, 2], "bytes": b"x", "large": 10**30,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torch

            values["torch"] = torch.ones(2)
        except ImportError:
            pass
    return values


BAD = bad_values()


def _each(arguments: dict[str, Any], names: list[str]) -> dict[str, dict[str, Any]]:
    return dict.fromkeys(names, arguments)


_POOL = {"x": IMAGES, "kernel_size": 2, "stride": 2, "padding": 0, "ceil_mode": False}
_UNARY = _each({"x": X}, ["abs", "exp", "flatten", "gelu", "log", "negative", "relu", "sigmoid", "sqrt", "square",
                          "tanh", "threshold"])  # fmt: skip
_BINARY = _each({"a": X, "b": X}, ["add", "divide", "maximum", "minimum", "multiply", "subtract"])
_REDUCE = _each({"x": X, "axis": 0, "keepdims": False}, ["sum", "mean", "max", "min"])

OPS: dict[str, dict[str, Any]] = {
    **_UNARY, **_BINARY, **_REDUCE,
    "avg_pool2d": _POOL | {"count_include_pad": True},
    "batch_norm": {"x": X, "gamma": SIX, "beta": SIX, "mean": SIX, "var": SIX, "eps": 1e-5, "training": False},
    "binary_cross_entropy": {"logits": X, "targets": X * 0, "reduction": "mean"},
    "broadcast_to": {"x": SIX, "shape": (4, 6)},
    "cast": {"x": X, "dtype": "float64"},
    "clip": {"x": X, "low": 0.0, "high": 1.0},
    "concat": {"0": X, "1": X, "axis": 0},
    "conv2d": {"x": IMAGES, "w": FILTERS, "b": np.zeros(2, np.float32), "stride": 1, "padding": 0, "dilation": 1,
               "groups": 1, "flip": False, "activation": None},
    "dropout": {"x": X, "mask": X > 0, "rate": 0.5},
    "getitem": {"x": X, "index": 1},
    "global_avg_pool2d": {"x": IMAGES},
    "hinge_loss": {"scores": X, "labels": LABELS, "margin": 1.0, "reduction": "mean"},
    "layer_norm": {"x": X, "gamma": SIX, "beta": SIX, "eps": 1e-5},
    "leaky_relu": {"x": X, "slope": 0.1},
    "linear": {"x": X, "w": W, "b": B, "activation": None},
    "local_response_norm": {"x": IMAGES, "size": 3, "alpha": 1.0, "beta": 1.0, "k": 1.0, "region": "across",
                            "average": True},
    "log_softmax": {"x": X, "axis": -1},
    "matmul": {"a": X, "b": W.T},
    "max_pool2d": _POOL,
    "mean_squared_error": {"y": X, "target": X, "reduction": "mean"},
    "moments": {"x": X},
    "perceptron_loss": {"scores": X, "labels": LABELS, "reduction": "mean"},
    "permute_dims": {"x": X, "axes": (1, 0)},
    "power": {"a": X, "exponent": 2.0},
    "random_dropout": {"x": X, "key": KEY, "rate": 0.5, "start": 0},
    "reshape": {"x": X, "shape": (6, 4)},
    "running_moments": {"mean": SIX, "var": SIX, "new_mean": SIX, "new_var": SIX, "count": 4, "momentum": 0.1},
    "softmax": {"x": X, "axis": -1},
    "softmax_cross_entropy": {"logits": X, "labels": LABELS, "label_smoothing": 0.1, "class_weights": SIX,
                              "reduction": "mean"},
    "where": {"mask": X > 0, "a": X, "b": X},
}  # fmt: skip

NN: dict[str, Any] = {
    "AvgPool2d": {"kernel_size": 2, "stride": 2, "padding": 0, "ceil_mode": False, "count_include_pad": True},
    "BatchNorm": {"features": 6, "eps": 1e-5, "momentum": 0.1},
    "Buffer": {"shape": (2,), "initializer": nn.zeros, "dtype": "float32"},
    "Conv2d": {"in_channels": 2, "out_channels": 2, "kernel_size": 3, "stride": 1, "padding": 1, "dilation": 1,
               "groups": 1, "bias": True, "flip": False, "init": nn.zeros},
    "Dropout": {"rate": 0.5},
    "LayerNorm": {"features": 6, "eps": 1e-5},
    "LeakyReLU": {"slope": 0.1},
    "Linear": {"in_features": 6, "out_features": 2, "bias": True, "init": nn.zeros},
    "LocalResponseNorm": {"size": 3, "alpha": 1.0, "beta": 1.0, "k": 1.0, "region": "across", "average": True},
    "LogSoftmax": {"axis": -1},
    "MaxPool2d": {"kernel_size": 2, "stride": 2, "padding": 0, "ceil_mode": False},
    "PadChannels": {"before": 1, "after": 1},
    "Parameter": {"shape": (2,), "initializer": nn.zeros, "dtype": "float32"},
    "Perceptron": {"in_features": 2, "neurons": 1, "bias": True},
    "Residual": {"body": nn.ReLU(), "shortcut": nn.ReLU()},
    "Sequential": {"0": nn.ReLU(), "1": nn.ReLU()},
    "Softmax": {"axis": -1},
    "State": {"shape": (2,), "initializer": nn.zeros, "dtype": "float32"},
    "collapse": {"model": net()},
    "constant": {"value": 1.0},
    "fold": {"model": net()},
    "normal": {"std": 1.0, "mean": 0.0},
    "uniform": {"low": 0.0, "high": 1.0},
    **_each({"key": KEY, "shape": (2, 3)}, ["he_normal", "he_uniform", "glorot_normal", "glorot_uniform",
                     "lecun_normal", "lecun_uniform",
                     "zeros", "ones"]),
    **{name: OPS[name] for name in ("binary_cross_entropy", "hinge_loss", "mean_squared_error", "perceptron_loss",
                                    "softmax_cross_entropy")},
}  # fmt: skip

_OPTIMIZER = {"parameters": net().parameters(), "lr": 0.1, "weight_decay": 0.0, "clip_norm": None}
OPTIM: dict[str, Any] = {
    "SGD": _OPTIMIZER | {"momentum": 0.5, "nesterov": False, "clip_value": 1.0},
    "Adagrad": _OPTIMIZER | {"eps": 1e-8},
    "Adam": _OPTIMIZER | {"beta1": 0.9, "beta2": 0.9, "eps": 1e-8},
    "AdamW": _OPTIMIZER | {"beta1": 0.9, "beta2": 0.9, "eps": 1e-8},
    "RMSprop": _OPTIMIZER | {"rho": 0.9, "eps": 1e-8, "momentum": 0.5},
    "FlatBuffer": {"parameters": net().parameters()},
    "Group": {"parameters": net().parameters(), "lr": 0.1, "weight_decay": 0.0},
    "LossScale": {"backend": backend.get_backend("cpu")},
    "Optimizer": _OPTIMIZER,
    "clip_norm": {"gradient": X, "limit": 1.0},
    "clip_value": {"gradient": X, "limit": 1.0},
    "norm_scale": {"parts": [X], "limit": 1.0},
    "make_optimizer": {"name": "sgd", "parameters": net().parameters(), "lr": 0.1},
    "constant": {"lr": 0.1},
    "cosine": {"lr": 0.1, "steps": 3, "floor": 0.0},
    "inverse_decay": {"lr": 0.1, "every": 3},
    "one_cycle": {"peak": 0.1, "steps": 3, "warm": 0.3, "start_divisor": 25.0, "end_divisor": 100.0},
    "step_decay": {"lr": 0.1, "every": 3, "factor": 0.1},
    "warmup": {"after": 0.1, "steps": 3},
}

_MODEL = {"shape": (8, 8, 1), "classes": 3}
MODELS: dict[str, Any] = {
    "build": {"name": "mlp"} | _MODEL,
    "smallest_input": {"name": "mlp", "channels": 1},
    **_each(_MODEL, ["cnn", "lenet5", "perceptron", "softmax", "resnet18", "resnet20"]),
    "mlp": _MODEL | {"hidden": (4,)},
}

BACKEND: dict[str, Any] = {
    "get_backend": {"spec": "cpu"},
    "use_cores": {"n": 2},
    "use_backend": {"spec": "cpu"},
    "namespace": {"x": X},
    "backend_of": {"x": X},
    "library": {"x": X},
    "register_backend": {"name": "a-test", "open": lambda device: None, "package": None, "install": ""},
}

AUTOGRAD: dict[str, Any] = {
    "Tensor": {"data": X, "requires_grad": True},
    "backward": {"y": autograd.Tensor(X[:1, :1], True).sum(), "dy": None, "keep_tape": True},
    "gradcheck": {"0": lambda t: (t * t).sum(), "1": X.astype(np.float64), "eps": 1e-6, "tolerance": 1e-6, "seed": 0},
}

TRAIN: dict[str, Any] = {
    "accuracy": {"scores": X, "labels": LABELS},
    "top_k_accuracy": {"scores": X, "labels": LABELS, "k": 2},
    "confusion_matrix": {"predicted": LABELS, "labels": LABELS, "classes": 3},
    "BestCheckpoint": {"path": "best.safetensors", "monitor": "test_loss"},
    "EarlyStopping": {"patience": 3, "monitor": "test_loss", "least": 0.0},
    "GradientFlow": {"every": 1, "keep": 10},
    "JsonLines": {"path": "log.jsonl"},
    "Progress": {"every": 0.1},
    "SaveCheckpoint": {"folder": "run"},
    "Trainer": {"model": net(), "optimizer": None, "loss": nn.softmax_cross_entropy, "seed": 0, "callbacks": (),
                "normalize": None, "capture": None, "precision": "fp32", "threads": None},
}  # fmt: skip

# Data, protocols and classes without arguments; and what others test: files, runs, recorded programs, pictures.
OTHERS = {
    "ops": {"ACTIVATIONS", "column_budget"},
    "nn": {"GELU", "Activation", "Cost", "Field", "Filters", "Flatten", "Foldable", "Form", "GlobalAvgPool2d",
           "Initializer", "Module", "ReLU", "Sigmoid", "Stage", "Tanh", "UnknownCostError", "averages_examples",
           "inference", "is_average", "watch"},
    "optim": {"OPTIMIZERS", "Schedule", "adagrad_rule", "adam_rule", "rmsprop_rule", "sgd_rule"},
    "models": {"MODELS", "Recipe", "alexnet", "vgg16"},
}  # fmt: skip

TABLES = {"ops": (ops, OPS), "nn": (nn, NN), "optim": (optim, OPTIM), "models": (models, MODELS),
          "backend": (backend, BACKEND), "autograd": (autograd, AUTOGRAD), "train": (train, TRAIN)}  # fmt: skip


def call(function: Any, arguments: dict[str, Any]) -> Any:
    """Call with arguments by name; those named "0", "1", ... by place; a context manager is entered."""
    places = [v for k, v in arguments.items() if k.isdecimal()]
    if inspect.isgeneratorfunction(getattr(function, "__wrapped__", None)):
        with function(*places, **{k: v for k, v in arguments.items() if not k.isdecimal()}):
            return None
    return function(*places, **{k: v for k, v in arguments.items() if not k.isdecimal()})


PATHS: dict[str, Callable[[Any], Any]] = {
    "load_image": lambda path: data.load_image(path, (8, 8, 1)),
    "read_checkpoint": train.read_checkpoint,
    "write_checkpoint": lambda path: train.write_checkpoint(path, train.Trainer(net()).checkpoint()),
    "open_run": train.open_run,
    "evaluate_run": train.evaluate_run,
    "predict_run": lambda path: train.predict_run(path, []),
    "train_run": train.train_run,
    "out": lambda path: train.train_run(train.RunConfig("mlp", "xor"), out=path),
    "resume": lambda path: train.train_run(train.RunConfig("mlp", "xor"), resume=path),
}


@pytest.mark.parametrize("door", PATHS)
@pytest.mark.parametrize("path", [3, 1.5, True, [], {}, b"x", "", "a\0b", object(), X], ids=shown)
def test_what_is_no_path_is_refused_where_a_path_is_expected(door, path):
    with np.errstate(all="ignore"), pytest.raises(XpnetError):
        PATHS[door](path)


PICTURES: dict[str, Callable[[Any], Any]] = {
    "curves": viz.curves,
    "decision_boundary": lambda data: viz.decision_boundary(net().predict, data),
    "gradient_flow": viz.gradient_flow,
    "mistakes": lambda data: viz.mistakes(X, data),
    "report": viz.report,
    "save": lambda path: viz.save(None, path),
}


@pytest.mark.parametrize("door", PICTURES)
@pytest.mark.parametrize("value", [None, 3, 1.5, True, "x", [1], {}, object()], ids=shown)
def test_what_cannot_be_drawn_is_refused(door, value):
    pytest.importorskip("matplotlib")
    with pytest.raises(XpnetError):
        PICTURES[door](value)


@pytest.mark.parametrize("folder", ["ops", "nn", "optim", "models"])
def test_every_public_name_is_in_a_table(folder):
    module, table = TABLES[folder]
    assert set(module.__all__) == set(table) | OTHERS[folder]


@pytest.mark.parametrize(
    ("folder", "name"), [(folder, name) for folder, (_, table) in TABLES.items() for name in table]
)
def test_no_argument_ends_in_an_error_of_python(folder, name):
    module, table = TABLES[folder]
    function, valid = getattr(module, name), table[name]
    call(function, valid)
    wrong = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for argument in valid:
            for label, value in BAD.items():
                if callable(valid[argument]) and callable(value):
                    continue  # what a function does when it is called is its own
                try:
                    call(function, valid | {argument: value})
                except XpnetError:
                    continue
                except Exception as error:
                    wrong.append(f"{argument}={label}: {type(error).__name__}: {str(error)[:80]}")
    assert not wrong, "\n".join([f"{name}", *wrong])
