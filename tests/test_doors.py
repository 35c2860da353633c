"""Every public function and constructor, with one argument replaced by something else: it works, or xpnet says why.

VALID gives arguments that each public name takes. A name that is not there fails, so that new functions are covered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from tests.doors import (
    FILTERS,
    IMAGES,
    KEY,
    LABELS,
    PICTURES,
    PNG,
    SET,
    SIX,
    B,
    W,
    X,
    faults,
    figure,
    flow,
    images_net,
    line,
    net,
)
from xpnet import autograd, backend, data, models, nn, ops, optim, random, train, viz
from xpnet.arguments import shown
from xpnet.errors import XpnetError


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
    "by_path": {"parameters": net().parameters(), "settings": {"0": 0.1}},
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
    "image_side": {"name": "cnn"},
    "smallest_input": {"name": "mlp", "channels": 1},
    **_each(_MODEL, ["cnn", "lenet5", "perceptron", "softmax", "resnet18", "resnet20"]),
    "mlp": _MODEL | {"hidden": (4,)},
}

BACKEND: dict[str, Any] = {
    "get_backend": {"spec": "cpu"},
    "use_cores": {"n": 2},
    "use_backend": {"spec": "cpu"},
    "use_precision": {"name": "tf32"},
    "namespace": {"x": X},
    "backend_of": {"x": X},
    "library": {"x": X},
    "register_backend": {"name": "a-test", "open": lambda device: None, "package": None, "install": ""},
}

AUTOGRAD: dict[str, Any] = {
    "Tensor": {"data": X, "requires_grad": True},
    "backward": {"y": autograd.Tensor(X[:1, :1], True).sum(), "dy": np.ones((), np.float32), "keep_tape": True},
    "gradcheck": {"0": lambda t: (t * t).sum(), "1": X.astype(np.float64), "eps": 1e-6, "tolerance": 1e-6, "seed": 0},
}

_RUN = {"model": "softmax", "data": "d.npz", "data_dir": None, "backend": "cpu", "epochs": 1, "batch_size": 4,
        "optimizer": "sgd", "lr": 0.1, "seed": 0, "precision": "fp32", "threads": 1}  # fmt: skip
TRAIN: dict[str, dict[str, Any]] = {
    "accuracy": {"scores": X, "labels": LABELS},
    "top_k_accuracy": {"scores": X, "labels": LABELS, "k": 2},
    "confusion_matrix": {"predicted": LABELS, "labels": LABELS, "classes": 3},
    "balanced_accuracy": {"predicted": LABELS, "true": LABELS, "classes": 3},
    "exact_match": {"predicted": X > 0, "true": X > 0},
    "f1_score": {"predicted": LABELS, "true": LABELS, "average": "macro", "classes": 3},
    "precision_recall_f1": {"predicted": LABELS, "true": LABELS, "classes": 3},
    "mean_absolute_error": {"predicted": X, "true": X},
    "r2_score": {"predicted": X, "true": X},
    "root_mean_squared_error": {"predicted": X, "true": X},
    "infer_task": {"y": LABELS, "loss": None},
    "make_task": {"task": "regression", "loss": None},
    "Trainer": {"model": net(), "optimizer": None, "loss": nn.softmax_cross_entropy, "task": "classification",
                "metrics": {}, "class_weights": "balanced", "seed": 0, "callbacks": (),
                "normalize": None, "capture": None, "precision": "fp32", "threads": None},
    "Step": {"model": net(), "loss": nn.softmax_cross_entropy, "optimizer": optim.SGD(net().parameters(), lr=0.1),
             "classes": 3, "precision": "fp32", "threads": 1, "capture": None},
    "Checkpoint": {"model": {"a": X}, "optimizer": {}, "meta": {}},
    "BestCheckpoint": {"path": "best.safetensors", "monitor": "test_loss", "meta": {}},
    "SaveCheckpoint": {"folder": ".", "meta": {}, "lock": None, "every": 1, "steps": None},
    "EarlyStopping": {"patience": 1, "monitor": "test_loss", "least": 0.0},
    "GradientFlow": {"every": 1, "keep": 2},
    "JsonLines": {"path": "lines.jsonl"},
    "Log": {"function": print, "every": 1},
    "TensorBoard": {"folder": "logs", "data": None, "data_in": "data", "every": 1, "histograms": 1, "pictures": None,
                    "configuration": None},
    "LossMeter": {"backend": backend.get_backend("cpu"), "total": 0.0, "count": 0, "sums": False},
    "Progress": {"every": 0.1, "on_output": False},
    "RunConfig": _RUN,
    "read_checkpoint": {"path": "run/checkpoint.safetensors"},
    "write_checkpoint": {"path": "c.safetensors", "checkpoint": train.Checkpoint({"a": X})},
    "open_run": {"run": "run", "backend": "cpu"},
    "evaluate_run": {"run": "run", "data": None, "data_dir": None, "backend": "cpu", "progress": None},
    "predict_run": {"run": "run", "images": ["i.png"], "top": 1, "backend": "cpu"},
    "train_run": {"config": train.RunConfig(**_RUN), "out": "run", "resume": "run", "callbacks": (), "progress": None,
                  "announce": lambda line: None},
}  # fmt: skip

_PLANE = {"n": 8, "noise": 0.1, "seed": 0}
DATA: dict[str, dict[str, Any]] = {
    "Augment": dict.fromkeys(("shift", "crop", "fill", "rotate", "scale", "squeeze", "shear", "elastic"), 1)
               | {"flip": True},
    "Colour": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1},
    "Compose": {"0": data.Mirror(), "1": data.Crop()},
    "Crop": {"area": (0.5, 1.0), "aspect": (0.8, 1.2)},
    "Erase": {"probability": 0.5, "area": (0.1, 0.2), "aspect": (0.5, 2.0), "fill": 3.0},
    "Mirror": {"probability": 0.5, "vertical": False},
    "Rotate": {"degrees": 10.0, "fill": None},
    "Transform": {},
    "augment": {"name": "light", "mirror": True},
    "Columns": {"features": (), "target": None, "ignored": ()},
    "Dataset": {"x": X, "y": LABELS, "classes": ("a", "b", "c"), "name": "n", "white": 1.0, "source": None},
    "Feed": {"dataset": SET, "batch_size": 2, "backend": backend.get_backend("cpu"), "normalize": None,
             "dtype": "float32", "shuffle": False, "seed": 0, "augment": None, "resident": None},
    "Lazy": {"shape": (2, 3), "read": lambda rows, out: None, "dtype": "uint8", "rows": None},
    "LoadOptions": {"image_size": 8, "side": 8, "channels": 1, "fit": "pad", "target": None, "task": None,
                    "skip_damaged": False, "cache_images": "1GB", "cache_folder": None, "workers": 1,
                    "max_pixels": 9},
    "Normalize": {"mean": (0.0,), "std": (1.0,), "white": 1.0},
    "Table": {"name": "t", "columns": {}, "lines": np.arange(2), "row": "row"},
    "Scale": {"white": 1.0, "low": 0.0, "high": 1.0, "whole": False, "normalized": False},
    "Splits": {"train": SET, "validation": None, "test": None, "note": (), "warnings": ()},
    "blobs": _PLANE | {"classes": 3},
    "circles": _PLANE | {"inner": 0.5},
    "moons": _PLANE,
    "spirals": _PLANE | {"arms": 2, "turns": 1.0, "radius": 2.0},
    "xor": _PLANE,
    "from_arrays": {"x": X, "y": LABELS, "classes": None, "name": "n", "white": 1.0},
    "host": {"where": "here", "values": X},
    "load": {"name_or_path": "d.npz", "data_dir": None, "progress": None, "max_pixels": 100, "options": None},
    "splits": {"name_or_path": "d.npz", "data_dir": None, "validation": 0.1, "least": 1, "seed": 0, "progress": None,
               "options": None},
    "read_table": {"source": "t.csv"},
    "load_image": {"path": "i.png", "shape": (4, 4, 1), "fit": "pad", "max_pixels": 100},
}  # fmt: skip

_PICTURE = {"model": images_net(), "image": IMAGES[0], "normalize": np.asarray}
VIZ: dict[str, dict[str, Any]] = {
    "activations": {"model": net(), "x": X, "ax": None, "layers": None, "normalize": np.asarray},
    "blocks": {"model": net(), "shape": (6,), "ax": None, "title": None},
    "compare": {"histories": {"a run": [{"epoch": 1, "train_loss": 1.0}]}, "ax": None},
    "multilabel": {"probabilities": X, "targets": X > 0, "names": (), "ax": None, "curve": "roc"},
    "reconstruction": {"inputs": X, "outputs": X, "ax": None, "white": None, "count": 2},
    "regression": {"predicted": X, "targets": X, "names": (), "ax": None},
    "confusion": {"counts": np.eye(2), "classes": None, "ax": None},
    "curves": {"history": [{"epoch": 1, "train_loss": 1.0}], "ax": None},
    "decision_boundary": {"predict": line(), "data": data.xor(8), "ax": None, "lines": None, "title": None,
                          "resolution": 2, "legend": False},
    "feature_maps": _PICTURE | {"layer": None, "ax": None},
    "filters": {"model": images_net(), "layer": None, "ax": None, "shape": None, "labels": None},
    "gradient_flow": {"flow": flow(), "ax": None, "layers": None},
    "mistakes": {"scores": IMAGES[:2, 0, 0, :1] * np.ones(3), "data": PICTURES, "ax": None, "count": 2},
    "report": {"trainer": train.Trainer(net()), "test": None, "title": "", "note": "", "configuration": None},
    "saliency": _PICTURE | {"ax": None, "label": None, "classes": None},
    "save": {"figure": figure(), "path": "f.svg", "dpi": 20},
    "summarize": {"model": net(), "shape": (6,), "batch": 1},
    "volumes": {"model": images_net(), "shape": (5, 5, 2), "ax": None, "title": None},
    "write_report": {"path": "r.html", "trainer": train.Trainer(net()), "test": None},
}  # fmt: skip

_DRAW = {"key": KEY, "shape": (2, 3)}
RANDOM: dict[str, dict[str, Any]] = {
    "cipher_key": {"key": KEY},
    "normal": _DRAW | {"mean": 0.0, "std": 1.0},
    "permutation": {"key": KEY, "n": 3},
    "step_key": {"purpose": "a test"},
    "uniform": _DRAW | {"low": 0.0, "high": 1.0},
}

CPU = backend.get_backend("cpu")


TABLE = data.read_table({"a": [1, 2, 4, 8], "b": ["x", "y", "x", "y"]})


def sgd() -> optim.Optimizer:
    return optim.SGD(net().parameters(), lr=0.1, momentum=0.5)


def with_gradients(optimizer: optim.Optimizer) -> optim.Optimizer:
    for p in optimizer.parameters:
        p.grad = np.ones(p.shape, np.float32)
    return optimizer


def trainer() -> train.Trainer:
    return train.Trainer(net())


def tensor() -> autograd.Tensor:
    return autograd.Tensor(X, requires_grad=True)


_STATE, _OF_SGD = net().state_dict(), sgd().state_dict()
_OTHER = [
    "add",
    "sub",
    "mul",
    "truediv",
    "radd",
    "rsub",
    "rmul",
    "rtruediv",
    "pow",
    "getitem",
    "eq",
    "ne",
    "lt",
    "contains",
]
METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Module()": (net, {"x": X}),
    "Module.predict": (lambda: net().predict, {"x": X, "batch_size": 2}),
    "Module.cost": (lambda: net().cost, {"shape": (6,)}),
    "Module.stages": (lambda: net().stages, {"shape": (6,)}),
    "Module.initialize": (lambda: net().initialize, {"seed": 0}),
    "Module.to": (lambda: net().to, {"backend": "cpu", "dtype": "float32"}),
    "Module.train": (lambda: net().train, {"mode": True}),
    "Module.load_state_dict": (lambda: net().load_state_dict, {"arrays": _STATE, "strict": True}),
    "Module.save": (lambda: net().save, {"path": "saved.safetensors"}),
    "xpnet.load": (lambda: xpnet.load, {"path": "run", "model": None}),
    "xpnet.export_onnx": (lambda: partial(xpnet.export_onnx, net()), {
        "path": "m.onnx", "shape": (6,), "inputs": "nhwc", "opset": 21, "batch": "N", "normalize": None, "finish": None,
        "classes": ("a",), "metadata": None}),
    "xpnet.load_onnx": (lambda: xpnet.load_onnx, {"path": "m.onnx", "inputs": "nchw", "output": None,
                                                  "free_batch": False, "max_bytes": 1 << 20}),
    "xpnet.load_torch": (lambda: xpnet.load_torch, {"model": net(), "source": _STATE, "rename": {}, "shape": (6,),
                                                    "strict": True, "verbose": False}),
    "xpnet.to_torch_state_dict": (lambda: xpnet.to_torch_state_dict, {"model": net(), "names": None, "shape": (6,),
                                                                      "numpy": True}),
    "xpnet.from_dlpack": (lambda: xpnet.from_dlpack, {"x": X, "backend": "cpu", "copy": False}),
    "Module.load_state_dict of a value": (lambda: lambda value: net().load_state_dict(_STATE | {"0.bias": value}),
                                          {"value": B[:1] + np.zeros(4, np.float32)}),
    "Module.weight =": (lambda: lambda weight: setattr(nn.Linear(6, 3), "weight", weight), {"weight": W}),
    "Sequential[]": (lambda: net().__getitem__, {"0": 0}),
    "Trainer.fit": (lambda: trainer().fit, {"train": SET, "test": SET, "validation": SET, "epochs": 1, "batch_size": 4,
                                            "augment": None, "keep_memory": False}),
    "Trainer.evaluate": (lambda: trainer().evaluate, {"data": SET, "batch_size": 4}),
    "Trainer.predict": (lambda: trainer().predict, {"x": X, "batch_size": 4, "white": None}),
    "Trainer.resume": (lambda: trainer().resume, {"checkpoint": trainer().checkpoint()}),
    "Trainer.take_scale": (lambda: trainer().take_scale, {"meta": {}}),
    "Checkpoint.of": (lambda: train.Checkpoint.of, {"model": net(), "optimizer": sgd()}),
    "Checkpoint.restore": (lambda: trainer().checkpoint().restore, {"model": net(), "optimizer": None}),
    "RunConfig.completed": (lambda: train.RunConfig().completed, {"examples": 3}),
    **{f"Tensor.__{name}__": (lambda name=name: getattr(tensor(), f"__{name}__"), {"0": 1}) for name in _OTHER},
    "Tensor.__matmul__": (lambda: tensor().__matmul__, {"0": W.T}),
    **{f"Tensor.{name}": (lambda name=name: getattr(tensor(), name), {"axis": 0, "keepdims": False})
       for name in ("sum", "mean", "max", "min")},
    **{f"Tensor.{name}": (lambda name=name: getattr(tensor(), name), {"axis": 0}) for name in ("argmax", "softmax")},
    "Tensor.leaky_relu": (lambda: tensor().leaky_relu, {"slope": 0.1}),
    "Tensor.clip": (lambda: tensor().clip, {"low": 0.0, "high": 1.0}),
    "Tensor.reshape": (lambda: tensor().reshape, {"0": 6, "1": 4}),
    "Tensor.permute": (lambda: tensor().permute, {"0": 1, "1": 0}),
    "Tensor.item": (lambda: lambda x: autograd.Tensor(x).item(), {"x": X[:1, :1]}),
    "Tensor.backward": (lambda: lambda x: (autograd.Tensor(x, True) * 1.0).backward(), {"0": np.ones((), np.float32)}),
    "len(Tensor)": (lambda: lambda x: len(autograd.Tensor(x)), {"x": X}),
    "Parameter.assign": (lambda: nn.Parameter((4, 6)).assign, {"values": X, "where": "a test"}),
    "Parameter.reset": (lambda: nn.Parameter((4, 6)).reset, {"seed": 0}),
    "Dataset.take": (lambda: SET.take, {"indices": [0, 1]}),
    "Dataset.split": (lambda: SET.split, {"fraction": 0.5, "seed": 0}),
    "Dataset.divide": (lambda: SET.divide, {"count": 2, "key": KEY}),
    "Dataset.hold_out_fifth": (lambda: SET.hold_out_fifth, {"purpose": "a test", "stratified": False}),
    "Feed.epoch": (lambda: data.Feed(SET, 2, CPU).epoch, {"epoch": 0, "start": 0}),
    "Feed.raw": (lambda: data.Feed(SET, 2, CPU, resident=False).raw, {"epoch": 0, "start": 0}),
    "Feed.labels": (lambda: data.Feed(SET, 2, CPU).labels, {"epoch": 0}),
    "Normalize()": (lambda: data.Normalize((0.0,), (1.0,)), {"x": X}),
    "Normalize.of": (lambda: data.Normalize.of, {"dataset": SET}),
    "Normalize.scaled": (lambda: data.Normalize((0.0,), (1.0,)).scaled, {"factor": 2.0}),
    "Normalize.from_json": (lambda: data.Normalize.from_json, {"values": {"mean": [0.0], "std": [1.0], "white": 1.0}}),
    "Scale.from_json": (lambda: data.Scale.from_json, {"values": data.Scale.of(X, 1.0).to_json()}),
    "Table.take": (lambda: TABLE.take, {"rows": [0, 2]}),
    "Columns.fit": (lambda: data.Columns.fit, {"table": TABLE, "target": "b", "rows": [0, 1], "task": None}),
    "Columns.apply": (lambda: data.Columns.fit(TABLE).apply, {"table": TABLE}),
    "Columns.dataset": (lambda: data.Columns.fit(TABLE, "b").dataset, {"table": TABLE}),
    "Columns.from_json": (lambda: data.Columns.from_json, {"values": data.Columns.fit(TABLE).to_json()}),
    "Backend.from_numpy": (lambda: CPU.from_numpy, {"array": X}),
    "Backend.to_numpy": (lambda: CPU.to_numpy, {"array": X}),
    "Optimizer.cast": (lambda: sgd().cast, {"dtype": "float16"}),
    "Optimizer.step": (lambda: with_gradients(sgd()).step, {"gradients": None}),
    "Optimizer.step of a value": (lambda: lambda value: (s := sgd()).step({s.parameters[1]: value}),
                                  {"value": np.zeros(4, np.float32)}),
    "Optimizer.update": (lambda: (s := with_gradients(sgd())) and partial(s.update, None), {"lr": 0.1, "t": 1}),
    "Optimizer.rates": (lambda: sgd().rates, {"step": 0}),
    "Optimizer.load_state_dict": (lambda: sgd().load_state_dict, {"arrays": _OF_SGD[0], "scalars": _OF_SGD[1]}),
    "Optimizer.load_state_dict of a value": (
        lambda: lambda value: sgd().load_state_dict(_OF_SGD[0] | {"velocity/0.bias": value}, _OF_SGD[1]),
        {"value": np.zeros(4, np.float32)}),
    "Optimizer.lr =": (lambda: lambda lr: setattr(sgd(), "lr", lr), {"lr": 0.1}),
    "LossScale.load": (lambda: optim.LossScale(CPU).load, {"saved": {"value": 2.0, "good": 0, "skipped": 0}}),
    "Summary.str": (lambda: lambda batch: str(viz.summarize(net(), (6,), batch)), {"batch": 1}),
}  # fmt: skip

# Data, protocols and classes without arguments; and what ops, draws and backends call at every step, unchecked.
OTHERS = {
    "ops": {"ACTIVATIONS", "column_budget"},
    "nn": {"GELU", "Activation", "Cost", "Field", "Filters", "Flatten", "Foldable", "Form", "GlobalAvgPool2d",
           "Initializer", "Module", "ReLU", "Sigmoid", "Stage", "Tanh", "UnknownCostError", "averages_examples",
           "inference", "is_average", "watch"},
    "optim": {"OPTIMIZERS", "Schedule", "adagrad_rule", "adam_rule", "rmsprop_rule", "sgd_rule"},
    "models": {"MODELS", "Recipe", "alexnet", "vgg16"},
    "data": {"AUGMENTATIONS", "Augmentation", "DATASETS"},
    "random": {"Key", "StepContext", "bounded", "current", "drop_threshold", "keep_mask", "random_bits", "use"},
    "autograd": {"Node", "Observer", "apply", "has_tape", "no_grad", "observe_ops"},
    "train": {"Callback", "History", "TASKS", "Task"},
    "backend": {"PRECISIONS", "Array", "Backend", "BackendInfo", "Memory", "Program", "Recorder", "StagingBuffers",
                "Unsupported", "add_at", "as_contiguous", "as_rows", "as_shape", "available_cores", "can_limit_blas",
                "copied", "cores", "current_backend", "current_precision", "describe_backends", "empty",
                "empty_aligned", "is_device_lost", "is_out_of_memory", "keep_freed_memory", "launch", "limit_threads",
                "processors", "record_call", "run_alone", "run_parallel", "scratch", "set_at", "shut_down_workers",
                "split", "this_thread"},
}  # fmt: skip

TABLES = {"ops": (ops, OPS), "nn": (nn, NN), "optim": (optim, OPTIM), "models": (models, MODELS),
          "backend": (backend, BACKEND), "autograd": (autograd, AUTOGRAD), "train": (train, TRAIN),
          "data": (data, DATA), "viz": (viz, VIZ), "random": (random, RANDOM)}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a data set, an image and a run."""
    folder = tmp_path_factory.mktemp("doors")
    (folder / "i.png").write_bytes(PNG)
    (folder / "t.csv").write_text("a,b\n1,x\n2,y\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        np.savez("d.npz", x=np.arange(160, dtype=np.uint8).reshape(10, 4, 4, 1), y=np.arange(10) % 2)
        train.train_run(train.RunConfig(**_RUN), "run")
        xpnet.export_onnx(net(), "m.onnx", (6,))
    return folder


@pytest.fixture
def place(files, monkeypatch):
    monkeypatch.chdir(files)
    Path("x").unlink(missing_ok=True)  # a word that a model may have been saved under
    monkeypatch.setattr("xpnet.train.runs.training.draw_run", lambda *drawn: None)


def test_every_name_of_xpnet_itself_is_a_package_or_a_name_of_one():
    for name in xpnet.__all__:
        value = getattr(xpnet, name)
        owners = [module for module, _ in TABLES.values() if name in module.__all__ and getattr(module, name) is value]
        assert owners or name in (*TABLES, "errors", "interop", "XpnetError") or f"xpnet.{name}" in METHODS, name


@pytest.mark.parametrize("folder", list(TABLES))
def test_every_public_name_is_in_a_table(folder):
    module, table = TABLES[folder]
    assert set(module.__all__) == set(table) | OTHERS.get(folder, set())


@pytest.mark.parametrize(
    ("folder", "name"), [(folder, name) for folder, (_, table) in TABLES.items() for name in table]
)
def test_no_argument_ends_in_an_error_of_python(folder, name, place):
    module, table = TABLES[folder]
    wrong = faults(lambda: getattr(module, name), table[name])
    assert not wrong, "\n".join([name, *wrong])


@pytest.mark.parametrize("name", METHODS)
def test_no_argument_of_a_method_ends_in_an_error_of_python(name, place):
    make, valid = METHODS[name]
    wrong = faults(make, valid, skip=(("epochs", "large"), ("lr", "nested"), ("t", "torch")))
    assert not wrong, "\n".join([name, *wrong])


PATHS: dict[str, Callable[[Any], Any]] = {
    "load_image": lambda path: data.load_image(path, (8, 8, 1)),
    "load": xpnet.load,
    "save": lambda path: net().save(path),
    "load_onnx": xpnet.load_onnx,
    "export_onnx": lambda path: xpnet.export_onnx(net(), path, (6,)),
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
