"""Custom modules made of ops, as ONNX Runtime computes them."""

from __future__ import annotations

import functools
import operator

import numpy as np
import pytest

from tests.interop.onnx.exporting import Custom, agree, randomized
from xpnet import nn, ops
from xpnet.autograd import apply
from xpnet.interop.onnx import functions

IMAGE, ROWS, SEQUENCE = (6, 5, 4), (6,), (5, 6)


def _sum(values):
    return functools.reduce(operator.add, values)


def _conv():
    return nn.Conv2d(4, 4, 3, padding=1)


def _vector(n=4):
    return nn.Parameter((n,), nn.ones)


def _attention(self, x):
    q, k, v = self.q(x), self.k(x), self.v(x)
    return self.o((q @ k.permute(0, 2, 1) / 6**0.5).softmax() @ v)


def _heads(self, x):
    n, t = x.shape[0], x.shape[1]
    q = self.q(x).reshape(n, t, 2, 3).permute(0, 2, 1, 3)
    return (q @ q.permute(0, 1, 3, 2)).softmax().reshape(n, -1)


def _squeeze(self, x):
    y = self.conv(x)
    s = self.b(self.a(y.mean(axis=(1, 2))).relu()).sigmoid()
    return y * s.reshape(s.shape[0], 1, 1, 4)


def _shuffle(self, x):
    n, h, w, c = x.shape
    return self.conv(x).reshape(n, h, w, 2, c // 2).permute(0, 1, 2, 4, 3).reshape(n, h, w, c)


# by name: forward, parts, shape of an example, and how many Transposes there may be at most
CASES = {
    "residual": (lambda self, x: (self.conv(x) + x).relu(), {"conv": _conv}, IMAGE, 0),
    "dense block": (lambda self, x: apply(ops.concat, x, self.conv(x), self.conv(x).relu(), axis=-1),
                    {"conv": _conv}, IMAGE, 0),
    "concat of rows": (lambda self, x: apply(ops.concat, x, x * 2.0, axis=1), {}, ROWS, 0),
    "concat of examples": (lambda self, x: apply(ops.concat, x, x * 2.0, axis=0)[: len(x)], {}, ROWS, 0),
    "concat of flattened branches": (
        lambda self, x: self.fc(apply(ops.concat, self.conv(x).flatten(), x.flatten(), axis=1)),
        {"conv": _conv, "fc": lambda: nn.Linear(240, 5)}, IMAGE, 0),
    "concat with a constant": (
        lambda self, x: apply(ops.concat, x, np.full((len(x), 2), 3, np.float32), axis=1), {}, ROWS, 0),
    "concat with rows of constants": (
        lambda self, x: apply(ops.concat, x, np.tile(np.float32([1, 2]), (len(x), 1)), axis=1), {}, ROWS, 0),
    "padded images": (lambda self, x: self.conv(apply(
        ops.concat, x, np.zeros((len(x), 6, 2, 4), np.float32), axis=2)), {"conv": _conv}, IMAGE, 0),
    "slices of images": (lambda self, x: self.conv(x)[:, 1:-1, ::2, :3], {"conv": _conv}, IMAGE, 0),
    "an integer index": (lambda self, x: self.conv(x)[:, 2, ..., -1], {"conv": _conv}, IMAGE, 0),
    "indices of rows": (lambda self, x: x[..., 1:5:3] - x[:, 2:4], {}, ROWS, 0),
    "the last step": (lambda self, x: self.fc(x[:, -1]), {"fc": lambda: nn.Linear(6, 3)}, SEQUENCE, 0),
    "a slice of the batch": (lambda self, x: x - x[:1], {}, ROWS, 0),
    "the last example": (lambda self, x: x - x[-1], {}, ROWS, 0),
    "a change of axes": (lambda self, x: self.conv(x).permute(0, 2, 1, 3), {"conv": _conv}, IMAGE, 1),
    "channels first within": (lambda self, x: self.conv(x.permute(0, 3, 1, 2).permute(0, 2, 3, 1)),
                              {"conv": _conv}, IMAGE, 0),
    "transposed": (lambda self, x: x @ x.T @ x, {}, ROWS, 1),
    "mean of each channel": (lambda self, x: self.fc(self.conv(x).mean(axis=(1, 2))),
                             {"conv": _conv, "fc": lambda: nn.Linear(4, 3)}, IMAGE, 0),
    "mean over columns": (lambda self, x: self.conv(x).mean(axis=2), {"conv": _conv}, IMAGE, 1),
    "sums kept": (lambda self, x: self.conv(x) / self.conv(x).exp().sum(axis=-1, keepdims=True),
                  {"conv": _conv}, IMAGE, 0),
    "sum of all": (lambda self, x: x / (x * x + 1.0).sum().sqrt(), {}, ROWS, 0),
    "sum over examples": (lambda self, x: x - x.sum(axis=0), {}, ROWS, 0),
    "largest and smallest": (lambda self, x: x.max(axis=1) - x.min(axis=(1,)), {}, SEQUENCE, 0),
    "reduction of flattened images": (lambda self, x: self.conv(x).flatten().max(axis=1, keepdims=True),
                                      {"conv": _conv}, IMAGE, 0),
    "average of flattened images": (lambda self, x: self.conv(x).flatten().mean(axis=0) + x.flatten(),
                                    {"conv": _conv}, IMAGE, 2),
    "reshape to rows": (lambda self, x: self.fc(self.conv(x).reshape(x.shape[0], -1)),
                        {"conv": _conv, "fc": lambda: nn.Linear(120, 3)}, IMAGE, 0),
    "reshape with -1": (lambda self, x: x.reshape(-1, 3, 2).sum(axis=1), {}, ROWS, 0),
    "reshape of the batch": (lambda self, x: self.fc(x.reshape(-1, 6)).reshape(*x.shape[:2], 3),
                             {"fc": lambda: nn.Linear(6, 3)}, SEQUENCE, 0),
    "patches": (lambda self, x: self.fc(self.conv(x).reshape(x.shape[0], 30, 4)),
                {"conv": _conv, "fc": lambda: nn.Linear(4, 3)}, IMAGE, 1),
    "images from rows": (lambda self, x: self.conv(self.fc(x).reshape(x.shape[0], 3, 2, 4)),
                         {"conv": _conv, "fc": lambda: nn.Linear(6, 24)}, ROWS, 1),
    "shuffled channels": (_shuffle, {"conv": _conv}, IMAGE, 3),
    "squeeze and excite": (_squeeze,
                           {"conv": _conv, "a": lambda: nn.Linear(4, 3), "b": lambda: nn.Linear(3, 4)}, IMAGE, 0),
    "attention": (_attention, {name: lambda: nn.Linear(6, 6) for name in "qkvo"}, SEQUENCE, 1),
    "heads": (_heads, {"q": lambda: nn.Linear(6, 6)}, SEQUENCE, 2),
    "scale and shift of channels": (lambda self, x: self.conv(x) * self.scale - self.shift,
                                    {"conv": _conv, "scale": _vector, "shift": _vector}, IMAGE, 0),
    "a constant image": (lambda self, x: self.conv(x) + np.arange(20, dtype=np.float32).reshape(5, 4),
                         {"conv": _conv}, IMAGE, 0),
    "a constant for each row": (lambda self, x: x * np.full((len(x), 6), 2, np.float32), {}, ROWS, 0),
    "constants for each row and what has none": (
        lambda self, x: x.mean(axis=0) + np.full((len(x), 6), 2, np.float32), {}, ROWS, 0),
    "rows times a constant": (lambda self, x: self.conv(x).flatten() * np.arange(120, dtype=np.float32),
                              {"conv": _conv}, IMAGE, 1),
    "numbers": (lambda self, x: (2 - x) / 3.5 + 1 / (x * x + 0.5) - -x, {}, ROWS, 0),
    "powers": (lambda self, x: (abs(x) + 0.5) ** 1.5 + x**2 + 2**x, {}, ROWS, 0),
    "exp and log": (lambda self, x: (x.exp() + 1.0).log(), {}, IMAGE, 0),
    "clipped": (lambda self, x: x.clip(-0.5, 0.3) + x.clip(low=0.1) + x.clip(high=0.2), {}, IMAGE, 0),
    "log of probabilities": (lambda self, x: self.conv(x).log_softmax() + self.conv(x).softmax(axis=1),
                             {"conv": _conv}, IMAGE, 0),
    "softmax of flattened images": (lambda self, x: self.fc(self.conv(x).flatten().softmax()),
                                    {"conv": _conv, "fc": lambda: nn.Linear(120, 3)}, IMAGE, 0),
    "where": (lambda self, x: apply(ops.where, self.conv(x) > x, x, -2.0), {"conv": _conv}, IMAGE, 0),
    "masks": (lambda self, x: apply(ops.where, x <= 0.2, apply(ops.where, x != x, 1.0, x * 3.0), x), {}, ROWS, 0),
    "a constant mask": (lambda self, x: apply(ops.where, np.arange(6) % 2 == 0, x, 0.0), {}, ROWS, 0),
    "where any": (lambda self, x: apply(ops.where, (x > 2.0).any(), x, -x), {}, ROWS, 0),
    "where all": (lambda self, x: apply(ops.where, (x > -9.0).all(), x, -x), {}, ROWS, 0),
    "the largest": (lambda self, x: apply(ops.where, x.argmax(axis=1) == 2, x.sum(axis=1), -1.0), {}, ROWS, 0),
    "maximum": (lambda self, x: apply(ops.maximum, x, self.conv(x)) - apply(ops.minimum, x, 0.1),
                {"conv": _conv}, IMAGE, 0),
    "broadcast": (lambda self, x: apply(ops.broadcast_to, x.mean(axis=1, keepdims=True), (x.shape[0], 3, 6)),
                  {}, SEQUENCE, 0),
    "broadcast to the batch": (lambda self, x: apply(ops.broadcast_to, x.mean(axis=0), (len(x), 6)) * x, {}, ROWS, 0),
    "activations": (lambda self, x: x.gelu() + x.tanh() * x.leaky_relu(0.3) + apply(ops.threshold, x), {}, IMAGE, 0),
    "a fused activation": (lambda self, x: self.conv(x, activation="leaky_relu"), {"conv": _conv}, IMAGE, 0),
    "sum of flattened branches": (lambda self, x: self.fc(self.conv(x).flatten() + x.flatten() * 2.0),
                                  {"conv": _conv, "fc": lambda: nn.Linear(120, 3)}, IMAGE, 0),
    "rows of images times a matrix": (lambda self, x: self.conv(x).flatten() @ self.w,
                                      {"conv": _conv, "w": lambda: nn.Parameter((120, 2), nn.ones)}, IMAGE, 0),
    "one layer twice": (lambda self, x: self.fc(self.fc(x).relu()), {"fc": lambda: nn.Linear(6, 6)}, ROWS, 0),
    "one weight in two orders": (
        lambda self, x: self.fc(x.flatten()) + self.fc(self.conv(x).permute(0, 2, 1, 3).permute(0, 2, 1, 3).flatten())
        + self.fc(x.reshape(len(x), 30, 4).flatten()),
        {"conv": _conv, "fc": lambda: nn.Linear(120, 3)}, IMAGE, 1),
    "layers in a list": (lambda self, x: self.layers[1](self.layers[0](x)).sum(axis=-1),
                         {"layers": lambda: [nn.LayerNorm(6), nn.Linear(6, 4)]}, SEQUENCE, 0),
    "norm of a sequence": (lambda self, x: self.norm(x), {"norm": lambda: nn.BatchNorm(6)}, SEQUENCE, 0),
    "weights that are computed": (lambda self, x: apply(ops.linear, x, x[:1] * 0 + self.w),
                                  {"w": lambda: nn.Parameter((6, 6), nn.ones)},
                                  ROWS, 1),
    "standardized weights": (lambda self, x: apply(ops.conv2d, x, self.w - self.w.mean(axis=(1, 2, 3), keepdims=True)),
                             {"w": lambda: nn.Parameter((3, 3, 2, 4), nn.ones)}, IMAGE, 0),
    "functions of imported models": (lambda self, x: _sum(apply(f, x * 0.3) for f in (
        *(f for name, f in functions.SMOOTH.items() if name != "acosh"), *functions.ROUNDED.values(), functions.erf)),
        {}, IMAGE, 0),
    "remainders": (lambda self, x: apply(functions.divide_rest, x, self.w, truncated=True)
                   + apply(functions.divide_rest, x, self.w, truncated=False), {"w": lambda: _vector(6)}, ROWS, 0),
    "powers of two values": (lambda self, x: apply(functions.power, abs(x) + 0.1, x), {}, IMAGE, 0),
    "steps, sums and places": (lambda self, x: apply(functions.take, apply(
        functions.cumulative_sum, apply(functions.hard_steps, self.conv(x), low=-0.2, high=0.1), axis=3, reverse=True),
        np.asarray([2, 0, 2]), axis=3), {"conv": _conv}, IMAGE, 0),
    "the input itself": (lambda self, x: x, {}, IMAGE, 0),
    "a cast": (lambda self, x: apply(ops.cast, apply(ops.cast, x, "float64") * 2.0, "float32"), {}, ROWS, 0),
}  # fmt: skip


def built(name):
    forward, parts, shape, transposes = CASES[name]
    return randomized(Custom(forward, **{part: make() for part, make in parts.items()})), shape, transposes


@pytest.mark.parametrize("name", CASES)
def test_a_custom_forward_gives_the_same(name, tmp_path):
    model, shape, transposes = built(name)
    nodes = agree(model, shape, tmp_path / "m.onnx")
    assert nodes.count("Transpose") <= transposes


@pytest.mark.parametrize("opset", [17, 23])
@pytest.mark.parametrize(
    "name", ["sums kept", "largest and smallest", "clipped", "activations", "where any", "slices of images"]
)
def test_a_custom_forward_gives_the_same_in_other_opsets(name, opset, tmp_path):
    model, shape, _ = built(name)
    agree(model, shape, tmp_path / "m.onnx", opset=opset, batches=(3,))


@pytest.mark.parametrize("name", ["patches", "shuffled channels", "squeeze and excite", "heads", "reshape of the batch",
                                  "slices of images", "padded images"])  # fmt: skip
def test_a_custom_forward_of_images_as_they_lie_gives_the_same(name, tmp_path):
    model, shape, _ = built(name)
    agree(model, shape, tmp_path / "m.onnx", layout="nhwc", batches=(3,))


def test_a_fixed_batch_allows_what_depends_on_the_number_of_examples(tmp_path):
    model = Custom(lambda self, x: x[: len(x) // 2] * (1.0 / len(x)) + len(x))
    agree(model, ROWS, tmp_path / "m.onnx", batch=4, batches=(4,))
