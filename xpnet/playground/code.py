"""The Python that trains exactly the network of the plane, for the user to copy."""

from __future__ import annotations

from xpnet.playground.points import FORMULAS, SCALES
from xpnet.playground.program import fill, pieces_of_backend, pieces_of_rate
from xpnet.playground.settings import ACTIVATIONS, Settings

__all__ = ["write_code"]

_PROGRAM = """\
import itertools

import numpy as np

from xpnet import Tensor, backward, data, {get_backend}nn, optim

{open_backend}
{points}


def features(points):
    x, y = {xy}
    return np.stack([{formulas}], axis=1)  # (N, D)


def batches():
    for epoch in itertools.count():
        order = np.random.default_rng([{seed}, epoch]).permutation(len(x))
        for start in range(0, len(x), {batch}):
            yield order[start : start + {batch}]


def loss_of(scores, labels):
    return nn.{loss}(scores, {on}{targets}{off})


model = nn.Sequential(
{layers}
).initialize(seed={seed})
{move_model}
{rate_function}
optimizer = optim.make_optimizer("{optimizer}", model.parameters(), lr={rate})
{weights}
x = features(train)
for rows in itertools.islice(batches(), {steps}):
    loss = loss_of(model(Tensor({on}x[rows]{off})), train.y[rows])
    {penalty}
    optimizer.step(backward(loss))

for name, points in (("training", train), ("test", test)):
    scores = model(Tensor({on}features(points){off}))
    accuracy = (scores.numpy().argmax(1) == points.y).mean()
    print(f"{{name}}: loss {{loss_of(scores, points.y):.6f}}, accuracy {{accuracy:.1%}}")
"""
_LOSSES = {
    "cross-entropy": "softmax_cross_entropy",
    "squared error": "mean_squared_error",
    "hinge": "hinge_loss",
    "perceptron": "perceptron_loss",
}
_TERMS = {"L1": "abs(w)", "L2": "(w**2)"}  # of a penalty, a weight each


def write_code(settings: Settings, classes: int, steps: int, backend: str = "") -> str:
    """Write a program that makes so many steps and prints the loss of the training and of the test points.

    Args:
        settings: of the plane. classes: K.
        steps: >= 1.
        backend: as get_backend takes it; "": NumPy, which need not be named.
    """
    scale, is_penalized = SCALES[settings.data], settings.penalty != "none"
    term = f"sum({_TERMS[settings.penalty]}.sum() for w in weights)" if is_penalized else ""
    return fill(
        _PROGRAM,
        points=_points(settings),
        xy="points.x.T" if scale == 1 else f"np.float32({scale:g}) * points.x.T",
        formulas=", ".join(FORMULAS[name][0] for name in settings.features),
        seed=settings.seed,
        batch=settings.batch,
        loss=_LOSSES[settings.loss],
        targets=f"np.eye({classes}, dtype=np.float32)[labels]" if settings.loss == "squared error" else "labels",
        layers=_layers(settings, classes),
        optimizer=settings.optimizer,
        weights='weights = [p for p in model.parameters() if p.path.endswith("weight")]' if is_penalized else "",
        penalty=f"loss = loss + {settings.penalty_rate!r} * {term}" if is_penalized else "",
        steps=steps,
        **pieces_of_rate(settings),
        **pieces_of_backend(backend),
    )


def _points(settings: Settings) -> str:
    """Return the lines that make ``train`` and ``test``."""
    name, rest = settings.data, f"noise={settings.noise!r}, seed={settings.seed}"
    if name == "points":
        return _painted(settings)
    if name in ("blobs", "spirals"):
        rest = f"{'classes' if name == 'blobs' else 'arms'}={settings.classes}, {rest}"
    return f"train, test = data.{name}({settings.n}, {rest}).split({settings.train!r})"


def _painted(settings: Settings) -> str:
    rows, line = [], "   "
    for x, y, k in settings.points:
        point = f" ({x:g}, {y:g}, {k}),"
        if len(line) + len(point) > 92:
            rows, line = [*rows, line], "   "
        line += point
    names = ", ".join(f'"{k}"' for k in range(max(2, 1 + max(point[2] for point in settings.points))))
    lines = ["points = np.array([  # x, y, class", *rows, line, "])"]
    lines += ["xy, labels = points[:, :2].astype(np.float32), points[:, 2].astype(int)"]
    return "\n".join([*lines, f"train = test = data.from_arrays(xy, labels, [{names}])"])


def _layers(settings: Settings, classes: int) -> str:
    lines, size, bias = [], len(settings.features), "" if settings.bias else ", bias=False"
    for neurons in settings.layers:
        activation = f" nn.{ACTIVATIONS[settings.activation]}()," if settings.activation != "none" else ""
        lines += [f"    nn.Linear({size}, {neurons}{bias}),{activation}"]
        size = neurons
    return "\n".join([*lines, f"    nn.Linear({size}, {classes}{bias}),"])
