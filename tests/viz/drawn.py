"""Models to draw, and what is wrong with a picture: texts that overlap, leave the sheet or leave their box."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

from xpnet import models, nn, viz

SLACK = 0.5  # pixels: what rounding to pixels may add to a text's box


class Gate(nn.Module):
    """A module of the user's own: one row, one block."""

    def __init__(self, features: int) -> None:
        self.sums = nn.Linear(features, features)
        self.gates = nn.Linear(features, features)

    def forward(self, x: Any) -> Any:
        return self.sums(x) * nn.Sigmoid()(self.gates(x))

    def cost(self, shape: tuple[int, ...]) -> nn.Cost:
        one = self.sums.cost(shape)
        return nn.Cost(one.output, 2 * one.macs, 3 * one.saved)


def block(channels: int, filters: int, stride: int = 1) -> nn.Residual:
    """A residual with a projection where sizes change."""
    body = nn.Sequential(
        nn.Conv2d(channels, filters, 3, stride, 1, bias=False),
        nn.BatchNorm(filters),
        nn.ReLU(),
        nn.Conv2d(filters, filters, 3, padding=1, bias=False),
        nn.BatchNorm(filters),
    )
    return nn.Residual(body, None if stride == 1 else nn.Conv2d(channels, filters, 1, stride))


def mixed() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding="same"),
        nn.LayerNorm(16),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 24, (3, 5), (2, 1), dilation=2, groups=2, flip=True),
        nn.LeakyReLU(),
        nn.LocalResponseNorm(3, region="within"),
        nn.MaxPool2d((3, 2), (2, 1), (1, 0)),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(24 * 3 * 7, 32, bias="augmented"),
        nn.Tanh(),
        nn.Perceptron(32, 10),
        nn.Softmax(),
    )


def nested() -> nn.Sequential:
    body = nn.Sequential(block(8, 8), nn.ReLU(), nn.Residual(nn.Sequential(nn.ReLU(), block(8, 8))))
    shortcut = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Residual(nn.Conv2d(8, 8, 1)))
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Residual(body, shortcut), nn.ReLU(), nn.GlobalAvgPool2d())


def deep() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 3, padding=1)]
    for channels, filters in ((4, 8), (8, 16), (16, 32)):
        layers += [block(channels, filters, 2), nn.ReLU()]
        layers += [layer for _ in range(6) for layer in (block(filters, filters), nn.ReLU())]
    return nn.Sequential(*layers)


OWN = {
    "mixed": (mixed, (32, 32, 3)),
    "own module": (lambda: nn.Sequential(nn.Linear(20, 16), nn.ReLU(), Gate(16), nn.Linear(16, 3)), (20,)),
    "one module": (lambda: Gate(8), (8,)),
    "nested": (nested, (16, 12, 3)),
    "long shortcut": (
        lambda: nn.Residual(nn.ReLU(), nn.Sequential(nn.Conv2d(3, 3, 1), nn.LayerNorm(3), nn.Conv2d(3, 3, 1))),
        (9, 9, 3),
    ),
    "deep": (deep, (32, 32, 3)),
    "rows": (lambda: nn.Sequential(nn.LayerNorm(64), nn.Residual(nn.Linear(64, 64)), nn.Linear(64, 5)), (50, 64)),
    "empty": (nn.Sequential, (7, 5, 3)),
    "activation": (nn.ReLU, (4,)),
}
NAMES = [*models.MODELS, *OWN]


def net(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A model and its input."""
    if name in OWN:
        make, shape = OWN[name]
        return make(), shape
    return models.build(name), models.MODELS[name].shape


@cache
def picture(style: str, name: str) -> Any:
    """The picture of a model, drawn once for all tests; they only look at it."""
    return getattr(viz, style)(*net(name), title=name)


def said(figure: Any) -> list[str]:
    """All texts, in the order in which they were written."""
    return [t.get_text() for t in figure.axes[0].texts]


def rendered(figure: Any) -> Any:
    """A renderer that knows how large the figure's texts are."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return FigureCanvasAgg(figure).get_renderer()


def faults(figure: Any, ax: Any = None) -> list[str]:
    """Texts that overlap each other, leave the sheet, or leave the box they stand in."""
    from matplotlib.patches import FancyBboxPatch

    renderer = rendered(figure)
    sheet, ax = (figure.bbox, figure.axes[0]) if ax is None else (ax.bbox, ax)
    texts = [(t.get_text(), t.get_window_extent(renderer)) for t in ax.texts]
    boxes = [p.get_window_extent(renderer) for p in ax.patches if isinstance(p, FancyBboxPatch)]
    found = [f"{a} on {b}" for (a, one), (b, two) in itertools.combinations(texts, 2) if overlap(one, two)]
    for text, at in texts:
        if not within(at, sheet):
            found.append(f"{text} leaves the sheet")
        around = [b for b in boxes if b.contains((at.x0 + at.x1) / 2, (at.y0 + at.y1) / 2)]
        if around and not within(at, min(around, key=lambda b: b.width)):
            found.append(f"{text} leaves its box")
    return found


def overlap(one: Any, two: Any, slack: float = SLACK) -> bool:
    """Whether two rectangles share more than a slack."""
    across, up = min(one.x1, two.x1) - max(one.x0, two.x0), min(one.y1, two.y1) - max(one.y0, two.y0)
    return across > slack and up > slack


def within(one: Any, other: Any, slack: float = SLACK) -> bool:
    """Whether a rectangle is in another."""
    beyond = (other.x0 - one.x0, other.y0 - one.y0, one.x1 - other.x1, one.y1 - other.y1)
    return max(beyond) <= slack
