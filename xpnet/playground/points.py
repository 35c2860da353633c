"""The points of the plane: data sets, what the user painted, and the features that the network receives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xpnet import data
from xpnet.playground.settings import Settings

__all__ = ["FORMULAS", "HALF", "SCALES", "draw_points", "make_features"]

HALF = 4.0  # the picture shows x and y from -HALF to HALF
SCALES = {"circles": 2.5, "xor": 1.5, "blobs": 1.0, "spirals": 1.5, "moons": 1.5, "points": 1.0}
FORMULAS: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "x": ("x", lambda x, y: x),
    "y": ("y", lambda x, y: y),
    "x^2": ("x**2", lambda x, y: x**2),
    "y^2": ("y**2", lambda x, y: y**2),
    "xy": ("x * y", lambda x, y: x * y),
    "sin x": ("np.sin(x)", lambda x, y: np.sin(x)),
    "sin y": ("np.sin(y)", lambda x, y: np.sin(y)),
}  # by feature: how it is written in Python, and what it computes


def draw_points(settings: Settings) -> tuple[data.Dataset, data.Dataset]:
    """Return the training and the test points, in the units of the data set; painted points are both."""
    name, n, noise, seed = settings.data, settings.n, settings.noise, settings.seed
    if name == "points":
        xy = np.asarray([point[:2] for point in settings.points], np.float32)  # (N, 2)
        labels = np.asarray([point[2] for point in settings.points])
        both = data.from_arrays(xy, labels, [str(k) for k in range(max(2, int(labels.max()) + 1))], name="points")
        return both, both
    if name == "blobs":
        points = data.blobs(n, classes=settings.classes, noise=noise, seed=seed)
    elif name == "spirals":
        points = data.spirals(n, arms=settings.classes, noise=noise, seed=seed)
    else:
        points = getattr(data, name)(n, noise=noise, seed=seed)
    return points.split(settings.train)


def make_features(settings: Settings, xy: np.ndarray) -> np.ndarray:
    """Compute the features (N, D), float32, of points (N, 2) in the units of the data set."""
    x, y = (np.float32(SCALES[settings.data]) * xy.astype(np.float32)).T
    return np.stack([FORMULAS[name][1](x, y) for name in settings.features], axis=1)
