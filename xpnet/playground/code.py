"""The Python that trains exactly the network of the plane, for the user to copy."""

from __future__ import annotations

from xpnet.playground.points import FORMULAS, SCALES
from xpnet.playground.sent_settings import SentSettings
from xpnet.playground.settings import ACTIVATIONS, Settings

__all__ = ["write_code", "write_rate"]

_LOSSES = {"cross-entropy": "softmax_cross_entropy", "hinge": "hinge_loss", "perceptron": "perceptron_loss"}


def write_code(settings: Settings, classes: int, steps: int, backend: str = "") -> str:
    """Write a program that makes so many steps and prints the loss of the training and of the test points.

    Args:
        settings: of the plane. classes: K.
        steps: >= 1.
        backend: as get_backend takes it; "": NumPy, which need not be named.
    """
    on_host = not backend
    array = "{}" if on_host else "backend.from_numpy({})"
    lines = ["import itertools", "", "import numpy as np", ""]
    lines += [f"from xpnet import Tensor, backward, data, {'' if on_host else 'get_backend, '}nn, optim", ""]
    if not on_host:
        lines += [f'backend = get_backend("{backend}")']
    lines += [*_data(settings), "", "", *_features(settings), "", ""]
    lines += ["def batches():", "    for epoch in itertools.count():"]
    lines += [f"        order = np.random.default_rng([{settings.seed}, epoch]).permutation(len(x))"]
    lines += [f"        for start in range(0, len(x), {settings.batch}):"]
    lines += [f"            yield order[start : start + {settings.batch}]", "", ""]
    lines += ["def loss_of(scores, labels):"]
    if settings.loss == "squared error":
        targets = array.format(f"np.eye({classes}, dtype=np.float32)[labels]")
        lines += [f"    return nn.mean_squared_error(scores, {targets})", "", ""]
    else:
        lines += [f"    return nn.{_LOSSES[settings.loss]}(scores, {array.format('labels')})", "", ""]
    lines += _network(settings, classes)
    if not on_host:
        lines += ["model.to(backend)"]
    before, rate = write_rate(settings)
    lines += [*before, f'optimizer = optim.make_optimizer("{settings.optimizer}", model.parameters(), lr={rate})']
    if settings.penalty != "none":
        lines += ['weights = [p for p in model.parameters() if p.path.endswith("weight")]']
    lines += ["x = features(train)", f"for rows in itertools.islice(batches(), {steps}):"]
    lines += [f"    loss = loss_of(model(Tensor({array.format('x[rows]')})), train.y[rows])"]
    if settings.penalty != "none":
        term = {"L1": "abs(w)", "L2": "(w**2)"}[settings.penalty]
        lines += [f"    loss = loss + {settings.penalty_rate!r} * sum({term}.sum() for w in weights)"]
    lines += ["    optimizer.step(backward(loss))", ""]
    lines += ['for name, points in (("training", train), ("test", test)):']
    lines += [f"    scores = model(Tensor({array.format('features(points)')}))"]
    lines += ["    accuracy = (scores.numpy().argmax(1) == points.y).mean()"]
    lines += ['    print(f"{name}: loss {loss_of(scores, points.y):.6f}, accuracy {accuracy:.1%}")']
    return "\n".join(lines) + "\n"


def write_rate(settings: SentSettings) -> tuple[list[str], str]:
    """Return the lines that define the learning rate, and how it is given to an optimizer: a number or a function."""
    if not settings.earlier_rates:
        return [], repr(settings.lr)
    lines = ["", "", "def rate(step):"]
    lines += [f"    if step < {until}:\n        return {lr!r}" for until, lr in settings.earlier_rates]
    return [*lines, f"    return {settings.lr!r}", "", ""], "rate"


def _data(settings: Settings) -> list[str]:
    name, n, rest = settings.data, settings.n, f"noise={settings.noise!r}, seed={settings.seed}"
    if name == "points":
        rows, line = [], "   "
        for x, y, k in settings.points:
            point = f" ({x:g}, {y:g}, {k}),"
            if len(line) + len(point) > 92:
                rows, line = [*rows, line], "   "
            line += point
        names = [str(k) for k in range(max(2, 1 + max(point[2] for point in settings.points)))]
        words = repr(names).replace("'", '"')
        points = ["points = np.array([  # x, y, class", *rows, line, "])"]
        points += ["xy, labels = points[:, :2].astype(np.float32), points[:, 2].astype(int)"]
        return [*points, f"train = test = data.from_arrays(xy, labels, {words})"]
    if name in ("blobs", "spirals"):
        rest = f"{'classes' if name == 'blobs' else 'arms'}={settings.classes}, {rest}"
    return [f"train, test = data.{name}({n}, {rest}).split({settings.train!r})"]


def _features(settings: Settings) -> list[str]:
    scale, both = SCALES[settings.data], ", ".join(FORMULAS[name][0] for name in settings.features)
    xy = "points.x.T" if scale == 1 else f"np.float32({scale:g}) * points.x.T"
    return ["def features(points):", f"    x, y = {xy}", f"    return np.stack([{both}], axis=1)  # (N, D)"]


def _network(settings: Settings, classes: int) -> list[str]:
    lines, size = ["model = nn.Sequential("], len(settings.features)
    bias = "" if settings.bias else ", bias=False"
    for neurons in settings.layers:
        activation = f" nn.{ACTIVATIONS[settings.activation]}()," if settings.activation != "none" else ""
        lines += [f"    nn.Linear({size}, {neurons}{bias}),{activation}"]
        size = neurons
    return [*lines, f"    nn.Linear({size}, {classes}{bias}),", f").initialize(seed={settings.seed})"]
