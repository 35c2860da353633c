"""Models filled with distinct numbers, and checks of folded models, for the tests of fold and collapse."""

from __future__ import annotations

import numpy as np

from tests.harness import agree, sample
from xpnet import nn

IMAGES, ROWS = (2, 9, 8, 4), (3, 6)


def filled(model, dtype="float32"):
    """Give every array numbers that a wrong use of it would show; variances stay positive, sums stay near 1."""
    for i, (path, state) in enumerate(model.states().items()):
        values = sample(*state.shape, seed=30 + i, low=-1.0, high=1.0)
        if path.endswith("var"):
            values = 1.5 + values
        elif len(state.shape) > 1:
            values *= 2.0 / np.sqrt(values[0].size)
        state.data = state.backend.from_numpy(values.astype(dtype))
        state.dtype_ = dtype
    return model


def kinds(model):
    """Names and kinds of the layers that compute."""
    return {path: type(m).__name__ for path, m in model.modules() if not list(m.children())}


def same(model, x, *, length=400, **options):
    """Collapse a model and hold it to the model's own answer; returns the collapsed one."""
    collapsed = nn.collapse(model, **options)
    dtype = np.float64 if x.dtype == np.float64 else np.float32
    agree(collapsed(x).numpy(), model.eval()(x).numpy(), dtype, length, "the collapsed model")
    assert collapsed(x).shape == model(x).shape
    return collapsed


def on_host(model, shape, **options):
    return same(filled(model, "float64"), sample(*shape, seed=3), **options)
