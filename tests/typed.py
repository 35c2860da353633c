"""What a type checker must infer of programs that use xpnet: ci/check runs pyright on it. It is never run itself."""

from __future__ import annotations

from typing import assert_type

import numpy as np
from matplotlib.figure import Figure

import xpnet
from xpnet import Tensor, nn, viz
from xpnet.train import History, Trainer

model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
x = Tensor(np.ones((1, 2), np.float32))
assert_type(model(x), Tensor)
assert_type(nn.Linear(2, 3)(x), Tensor)
assert_type(model[0], nn.Module)
assert_type(model["0"], nn.Module)
assert_type(model[:1], nn.Sequential)
assert_type(model.to("cpu"), nn.Sequential)
assert_type(model.initialize(3), nn.Sequential)
assert_type(x.relu() * 2 + np.float32(1), Tensor)
assert_type(x < 1, Tensor)
assert_type(float(x), float)
assert_type(x.shape, tuple[int, ...])
assert_type(xpnet.load("file"), nn.Module)
assert_type(xpnet.load("file", model), nn.Sequential)
assert_type(viz.curves([]), Figure)
assert_type(viz.blocks(model, (2,)), Figure)
assert_type(Trainer(model).fit((x, x)), History)


class Custom(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()


assert_type(Custom()(x), Tensor)
assert_type(Custom().eval(), Custom)
