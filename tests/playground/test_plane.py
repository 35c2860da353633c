"""The network of the plane: what it learns, and whether what is shown is what it computes."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest

from xpnet import get_backend
from xpnet.errors import DataError
from xpnet.playground.plane import SIDE, Plane
from xpnet.playground.points import HALF
from xpnet.playground.settings import DATA, FEATURES, Settings

POINTS = tuple((x / 4, y / 4, int(x * y > 0)) for x in range(-5, 6, 2) for y in range(-5, 6, 2))


def trained(steps: int, **settings) -> Plane:
    plane = Plane(Settings(**settings), get_backend("cpu"))
    for _ in range(steps):
        plane.advance()
    return plane


def numbers(text: str, kind: type, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind).reshape(shape)


def test_xor_is_learned_to_the_last_point():
    frame = trained(300, data="xor", noise=0.2, layers=(4, 2)).frame()
    assert frame["train"]["accuracy"] == frame["test"]["accuracy"] == 1
    assert frame["step"] == 300
    assert frame["epoch"] == 15


def test_one_line_does_not_separate_xor():
    assert trained(300, data="xor", noise=0.2, layers=(), lr=0.3).frame()["test"]["accuracy"] < 0.8


@pytest.mark.parametrize("name", DATA)
def test_points_lie_inside_the_picture_and_both_classes_are_there(name):
    found = trained(0, data=name, points=POINTS, classes=3).describe()
    points = np.asarray(found["points"]["train"] + found["points"]["test"])
    assert np.abs(points[:, :2]).max() < HALF
    assert set(points[:, 2]) == set(range(len(found["classes"])))
    assert len(found["classes"]) == (3 if name in ("blobs", "spirals") else 2)


def test_each_picture_is_what_the_neuron_gives_there():
    plane = trained(20, data="circles", layers=(3, 2), features=("x", "xy"))
    frame = plane.frame()
    side, row, column = frame["side"], 7, 22
    x, y = ((2 * i + 0.5) * 2 * HALF / SIDE - HALF for i in (column, row))
    h = np.asarray([x, -x * y])  # the rows go downwards, y upwards
    values = []
    for w, b in zip(frame["weights"], frame["biases"], strict=True):
        h = np.asarray(w) @ h + b
        h = np.tanh(h) if len(w) != 2 or w is frame["weights"][1] else h
        values += list(h)
    maps = numbers(frame["maps"], np.int8, 7, side, side)
    assert maps[:, row, column] / 127 * frame["largest"] == pytest.approx(values, abs=0.02)
    large = {name: numbers(frame["large"][name], np.uint8, SIDE, SIDE) for name in ("classes", "confidence")}
    p = np.exp(h) / np.exp(h).sum()
    assert large["classes"][2 * row, 2 * column] == np.argmax(h)
    assert large["confidence"][2 * row, 2 * column] / 255 == pytest.approx(abs(p[0] - p[1]), abs=0.02)


def test_the_picture_of_a_feature_is_the_feature():
    found = trained(0, features=FEATURES).describe()["features"]
    maps = numbers(found["maps"], np.int8, 7, 30, 30) / 127 * np.asarray(found["largest"])[:, None, None]
    x, y = 0.5 * 2 * HALF / SIDE - HALF, HALF - 0.5 * 2 * HALF / SIDE
    assert maps[:, 0, 0] == pytest.approx([x, y, x * x, y * y, x * y, math.sin(x), math.sin(y)], rel=0.02, abs=0.02)


def test_gradient_norms_are_those_that_moved_the_weights():
    plane = trained(5, optimizer="sgd", lr=0.5, layers=(3,))
    before = [np.asarray(p.numpy()) for p in plane.training.model.parameters()]
    plane.advance()
    after = [p.numpy() for p in plane.training.model.parameters()]
    moved = [np.sqrt(np.mean(((a - b) / 0.5) ** 2)) for a, b in zip(before, after, strict=True) if a.ndim == 2]
    assert plane.frame()["norms"] == pytest.approx(moved, rel=1e-3)


def test_gradients_vanish_through_eight_sigmoids_and_not_through_relus():
    first, *_, last = trained(1, activation="sigmoid", layers=(8,) * 8).frame()["norms"]
    assert first < 1e-3 * last
    first, *_, last = trained(1, activation="relu", layers=(8,) * 8).frame()["norms"]
    assert first > 1e-2 * last


@pytest.mark.parametrize("penalty", ["L1", "L2"])
def test_a_penalty_makes_weights_small(penalty):
    sizes = [
        sum(abs(np.asarray(w)).sum() for w in trained(200, penalty=p, penalty_rate=0.03).frame()["weights"])
        for p in ("none", penalty)
    ]
    assert sizes[1] < 0.7 * sizes[0]


def test_equal_settings_give_equal_frames():
    assert json.dumps(trained(30).frame()) == json.dumps(trained(30).frame())
    assert trained(30).frame() != trained(30, seed=1).frame()


def test_painted_points_are_all_learned_from():
    plane = trained(400, data="points", points=POINTS, layers=(8,), lr=0.3, batch=6)
    assert plane.frame()["train"]["accuracy"] == 1
    assert len(plane.describe()["points"]["train"]) == len(POINTS)


def test_weights_that_become_infinite_are_an_error_of_one_line():
    with pytest.raises(DataError, match="choose a smaller rate") as found:
        trained(200, lr=10, activation="none", layers=(16,) * 4, loss="squared error").frame()
    assert "\n" not in str(found.value)


def test_another_learning_rate_goes_on_with_the_same_network_and_can_be_repeated():
    plane, same = trained(20, lr=0.1), trained(20, lr=0.1)
    assert plane.command("lr", {"value": 0.5}) == ({"settings": plane.settings.to_json()}, False)
    assert plane.frame()["weights"] == same.frame()["weights"]
    for each in (plane, same):
        each.advance()
    assert plane.frame()["weights"] != same.frame()["weights"]
    plane.command("lr", {"value": 0.01})
    for _ in range(10):
        plane.advance()
    assert plane.settings.earlier_rates == ((20, 0.1), (21, 0.5))
    repeated = trained(31, lr=0.01, earlier_rates=((20, 0.1), (21, 0.5)))
    assert json.dumps(repeated.frame()) == json.dumps(plane.frame())
    again = plane.reset()
    again.advance()
    assert again.frame()["weights"] == trained(1, lr=0.01).frame()["weights"]
