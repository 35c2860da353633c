"""Networks that pictures are asked of, and what a picture must leave alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet import nn
from xpnet.backend import Backend


def small_net(backend: Backend) -> nn.Sequential:
    """A network with all that a picture could disturb: dropout, running averages, a layer frozen, mixed modes."""
    net = nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, padding=1),
        norm=nn.BatchNorm(4),
        relu=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        deep=nn.Conv2d(4, 6, 3),
        flatten=nn.Flatten(),
        drop=nn.Dropout(0.5),
        scores=nn.Linear(24, 3),
    )
    return net.to(backend).initialize(5)


def image(seed: int = 0, channels: int = 1) -> np.ndarray:
    """One image of 8x8 bytes, no two pixels alike."""
    return np.random.default_rng(seed).permutation(64 * channels).astype(np.uint8).reshape(8, 8, channels)


def halved(x: Any) -> Any:
    """A normalization that leaves a trace: x / 64 - 1/2, in float32, on any backend."""
    from xpnet.backend import namespace

    xp = namespace(x)
    return xp.astype(x, xp.float32) * 0.015625 - 0.5


@contextlib.contextmanager
def untouched(net: nn.Module) -> Iterator[None]:
    """Assert that a with-block changes nothing of a network: values, modes, gradients, tape and draws."""
    net.train()
    net.scores.eval()  # pyright: ignore[reportAttributeAccessIssue]
    net.deep.weight.requires_grad = False  # pyright: ignore[reportAttributeAccessIssue]
    before = _all_of(net)
    yield
    after = _all_of(net)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name], err_msg=name)


def _all_of(net: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {f"mode of {path}": layer.training for path, layer in net.modules()}
    for path, state in net.states().items():
        found |= {path: state.numpy(), f"gradient of {path}": str(state.grad)}
        found |= {f"whether {path} is trained": state.requires_grad, f"node of {path}": str(state.node)}
    return found | {"draws": net.drop.calls}  # pyright: ignore[reportAttributeAccessIssue]


def rgb(ax: Any) -> np.ndarray:
    """The pixels of the one picture on an axes."""
    (found,) = ax.get_images()
    return np.asarray(found.get_array())


def texts(figure: Any) -> list[str]:
    """All that is written on a figure: titles, texts, and ticks where axes are shown."""
    found = [t for ax in figure.axes for t in (ax.title, *ax.texts)]
    found += [t for ax in figure.axes if ax.axison for t in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    return [t.get_text() for t in found if t.get_text()]
