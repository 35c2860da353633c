"""Problems in the plane: two features per sample, so the decision boundary of a network can be drawn.

    train, test = data.load("moons")
    train, test = data.spirals(n=2000, arms=3, noise=0.02).split(0.8)

The classes differ in size by at most one sample, the order is random, and normal noise of the given standard deviation
is added to every coordinate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from xpnet import arguments
from xpnet.data.dataset import Dataset
from xpnet.random import Key, normal, permutation, uniform

__all__ = ["blobs", "circles", "moons", "spirals", "xor"]

Place = Callable[[NDArray[np.int64], NDArray[np.float64]], Sequence[NDArray[np.float64]]]


def blobs(n: int = 1000, classes: int = 3, noise: float = 0.5, seed: int = 0) -> Dataset:
    """Make K clusters with centres evenly spaced on a circle of radius 2: K perceptrons separate them.

    Args:
        n: samples, >= classes.
        classes: K, >= 2; the centre of class 0 is at the top.
        noise: the standard deviation of a cluster, >= 0.
        seed: of every draw, 0 <= seed < 2**64.
    Returns:
        (N, 2) float32, labels 0 .. K-1.
    Raises:
        ConfigError: a number is out of range.
    """

    def place(label: NDArray[np.int64], u: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
        angle = 2 * math.pi * label / classes
        return 2 * np.sin(angle), 2 * np.cos(angle)

    n = arguments.count("blobs", "n", n, 2, arguments.MOST)
    names = [str(k) for k in range(arguments.count("blobs", "classes", classes, 2, n))]
    return _scatter("blobs", place, names, n, noise, seed)


def circles(n: int = 1000, noise: float = 0.1, seed: int = 0, *, inner: float = 0.5) -> Dataset:
    """Make two concentric circles: no line separates them, but one more feature, the radius, does.

    Args:
        n: samples, >= 2.
        noise: >= 0.
        seed: of every draw, 0 <= seed < 2**64.
        inner: the radius of class 1, 0 < inner < 1; that of class 0 is 1.
    Returns:
        (N, 2) float32, labels 0 and 1.
    Raises:
        ConfigError: a number is out of range.
    """
    arguments.number("circles", "inner", inner, 0, 1, above=True)

    def place(label: NDArray[np.int64], u: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
        radius, angle = np.where(label == 1, inner, 1.0), 2 * math.pi * u
        return radius * np.cos(angle), radius * np.sin(angle)

    return _scatter("circles", place, ["outer", "inner"], n, noise, seed)


def moons(n: int = 1000, noise: float = 0.1, seed: int = 0) -> Dataset:
    """Make two interleaved half circles of radius 1: the boundary between them is curved.

    Args:
        n: samples, >= 2.
        noise: >= 0.
        seed: of every draw, 0 <= seed < 2**64.
    Returns:
        (N, 2) float32, labels 0 (the upper one) and 1.
    Raises:
        ConfigError: a number is out of range.
    """

    def place(label: NDArray[np.int64], u: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
        x, y = np.cos(math.pi * u), np.sin(math.pi * u)
        return np.where(label == 0, x, 1 - x), np.where(label == 0, y, 0.5 - y)

    return _scatter("moons", place, ["upper", "lower"], n, noise, seed)


def spirals(
    n: int = 1000, arms: int = 2, noise: float = 0.05, seed: int = 0, *, turns: float = 1.0, radius: float = 2.0
) -> Dataset:
    """Make interleaved spirals, one a class: they need a network with hidden layers and enough neurons.

    Args:
        n: samples, >= arms.
        arms: K, >= 2.
        noise: >= 0.
        seed: of every draw, 0 <= seed < 2**64.
        turns: the revolutions of an arm, > 0.
        radius: the distance of its end from the origin, > 0; samples are spread about evenly along an arm.
    Returns:
        (N, 2) float32, labels 0 .. K-1.
    Raises:
        ConfigError: a number is out of range.
    Source: Lang and Witbrock (1988), Learning to tell two spirals apart.
    """
    for name, value in (("turns", turns), ("radius", radius)):
        arguments.number("spirals", name, value, 0, above=True)

    def place(label: NDArray[np.int64], u: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
        part = np.sqrt(u)  # the outer part of an arm is longer and gets more samples
        angle = 2 * math.pi * (turns * part + label / arms)
        return radius * part * np.cos(angle), radius * part * np.sin(angle)

    n = arguments.count("spirals", "n", n, 2, arguments.MOST)
    names = [str(k) for k in range(arguments.count("spirals", "arms", arms, 2, n))]
    return _scatter("spirals", place, names, n, noise, seed)


def xor(n: int = 1000, noise: float = 0.3, seed: int = 0) -> Dataset:
    """Make four clusters at (+-1, +-1), of class 0 where the signs are equal: no line separates the classes.

    Args:
        n: samples, >= 2; n=4 and noise=0 give the four corners.
        noise: the standard deviation of a cluster, >= 0.
        seed: of every draw, 0 <= seed < 2**64.
    Returns:
        (N, 2) float32, labels 0 and 1.
    Raises:
        ConfigError: a number is out of range.
    Source: Minsky and Papert (1969), Perceptrons.
    """

    def place(label: NDArray[np.int64], u: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
        right = np.where(np.arange(len(label)) // 2 % 2, 1.0, -1.0)  # two on the left, two on the right, repeated
        return right, np.where(label == 0, right, -right)

    return _scatter("xor", place, ["equal", "unequal"], n, noise, seed)


def _scatter(name: str, place: Place, classes: list[str], n: int, noise: float, seed: int) -> Dataset:
    """Compute positions by place(labels, uniform numbers), both (N,), then add noise and shuffle."""
    count = len(classes)
    n = arguments.count(name, "n", n, count, arguments.MOST)
    noise = arguments.number(name, "noise", noise, 0)
    label = np.arange(n) % count
    u = uniform(Key(seed, f"plane/{name}"), (n,)).astype(np.float64)
    exact = np.stack(place(label, u), axis=1)  # (N, 2)
    x = (exact + normal(Key(seed, f"plane/{name}/noise"), (n, 2), 0.0, noise)).astype(np.float32)
    order = permutation(Key(seed, f"plane/{name}/order"), n)
    return Dataset(x[order], label[order].astype(np.int64), tuple(classes), name, white=1.0)
