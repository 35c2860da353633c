"""Problems in the plane: positions follow their definition, the classes are balanced, the draws are reproducible."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from xpnet import data
from xpnet.data import DATASETS, load
from xpnet.errors import ConfigError
from xpnet.train import RunConfig, evaluate_run, predict_run, train_run

MAKERS = {name: getattr(data, name) for name in ("moons", "circles", "spirals", "xor", "blobs")}
CLOSE = {"rtol": 0, "atol": 1e-5}


def points(problem):
    """x and y coordinates in float64, and the labels."""
    return *problem.x.astype(np.float64).T, problem.y


@pytest.mark.parametrize("name", MAKERS)
def test_a_problem_is_a_data_set_of_two_features_per_sample(name):
    problem = MAKERS[name](101)
    assert problem.name == name
    assert (problem.x.shape, problem.x.dtype, problem.y.dtype) == ((101, 2), np.float32, np.int64)
    assert problem.white == 1.0
    counts = np.bincount(problem.y, minlength=len(problem.classes))
    assert counts.max() - counts.min() <= 1
    assert len(counts) == len(problem.classes) >= 2


@pytest.mark.parametrize("name", MAKERS)
def test_samples_are_in_random_order(name):
    y = MAKERS[name](1000).y
    classes = int(y.max()) + 1
    assert abs(np.mean(y[1:] == y[:-1]) - 1 / classes) < 0.06
    for part in (y[:500], y[500:]):
        assert np.bincount(part, minlength=classes).min() > 0.8 * 500 / classes


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seed_gives_the_same_samples_and_another_seed_others(name):
    first, same, other = (MAKERS[name](50, seed=seed) for seed in (3, 3, 4))
    assert first.x.tobytes() == same.x.tobytes()
    assert first.y.tobytes() == same.y.tobytes()
    assert np.abs(first.x - other.x).max() > 0.1
    assert not np.array_equal(first.y, other.y)


def test_another_seed_draws_other_positions_and_other_noise():
    for name, noise in (("moons", 0.0), ("circles", 0.0), ("spirals", 0.0), ("xor", 1.0), ("blobs", 1.0)):
        few, many = ({row.tobytes() for row in MAKERS[name](200, noise=noise, seed=seed).x} for seed in (3, 4))
        assert not few & many, name


@pytest.mark.parametrize("name", MAKERS)
def test_noise_is_the_standard_deviation_added_to_each_coordinate(name):
    moved = MAKERS[name](4000, noise=0.5).x - MAKERS[name](4000, noise=0.0).x
    np.testing.assert_allclose(moved.std(axis=0), 0.5, atol=0.02)
    np.testing.assert_allclose(moved.mean(axis=0), 0.0, atol=0.03)
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.05


def test_moons_are_two_interleaved_half_circles():
    x, y, label = points(data.moons(400, noise=0.0))
    up = label == 0
    np.testing.assert_allclose(np.hypot(x[up], y[up]), 1.0, **CLOSE)
    np.testing.assert_allclose(np.hypot(x[~up] - 1.0, y[~up] - 0.5), 1.0, **CLOSE)
    assert y[up].min() >= -1e-6
    assert y[~up].max() <= 0.5 + 1e-6
    for part in (x[up], x[~up] - 1.0):  # from one end to the other
        assert part.min() < -0.99
        assert part.max() > 0.99


def test_circles_have_the_radii_asked_for():
    x, y, label = points(data.circles(400, noise=0.0, inner=0.3))
    np.testing.assert_allclose(np.hypot(x, y), np.where(label == 0, 1.0, 0.3), **CLOSE)
    for k in (0, 1):
        angles = np.sort(np.arctan2(y[label == k], x[label == k]))
        assert np.diff(angles).max() < 0.3


@pytest.mark.parametrize(("arms", "turns", "radius"), [(2, 1.0, 2.0), (3, 0.75, 5.0)], ids=str)
def test_the_angle_of_a_spiral_is_proportional_to_its_radius(arms, turns, radius):
    x, y, label = points(data.spirals(600, arms, 0.0, turns=turns, radius=radius))
    out = np.hypot(x, y) / radius
    off = np.arctan2(y, x) / (2 * np.pi) - turns * out - label / arms
    far = out > 0.01  # nearer the origin float32 does not resolve the angle
    np.testing.assert_allclose((off - np.round(off))[far], 0.0, **CLOSE)
    assert out.max() <= 1.0 + 1e-6
    assert abs(np.mean(out < 0.5) - 0.25) < 0.05  # the inner half of the radius has a quarter of the samples


def test_xor_is_of_class_0_where_the_signs_are_equal():
    x, y, label = points(data.xor(4, noise=0.0))
    assert sorted(zip(x, y, strict=True)) == [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    assert np.array_equal(label, (x * y < 0).astype(int))
    x, y, label = points(data.xor(400, noise=0.0))
    assert np.array_equal(label, (x * y < 0).astype(int))
    assert np.bincount((2 * x + y + 3).astype(int) // 2).tolist() == [100] * 4


def test_blobs_lie_around_centres_on_a_circle():
    x, y, label = points(data.blobs(500, 5, noise=0.0))
    np.testing.assert_allclose(np.hypot(x, y), 2.0, **CLOSE)
    assert [len(np.unique(np.round(x[label == k], 4))) for k in range(5)] == [1] * 5
    top = label == 0
    np.testing.assert_allclose(np.stack([x[top], y[top]]), np.stack([0 * x[top], 0 * y[top] + 2]), **CLOSE)
    chords = np.hypot(*(np.diff([[x[label == k][0], y[label == k][0]] for k in range(5)], axis=0).T))
    np.testing.assert_allclose(chords, 4 * np.sin(np.pi / 5), **CLOSE)


@pytest.mark.parametrize("name", MAKERS)
def test_a_problem_loaded_by_name_is_always_the_same(name):
    assert name in DATASETS
    train, test = load(name)
    assert (len(train), len(test)) == (3200, 800)
    assert train.classes == test.classes == MAKERS[name](10).classes
    seen = {row.tobytes() for row in train.x}
    assert not any(row.tobytes() in seen for row in test.x)
    assert load(name)[0].x.tobytes() == train.x.tobytes()


@pytest.mark.parametrize("name", ["moons", "spirals"])
def test_an_mlp_learns_a_problem_with_the_default_settings(name, tmp_path):
    result = train_run(RunConfig("mlp", name), tmp_path / "run")
    assert result["test_accuracy"] > 0.97
    measured = evaluate_run(tmp_path / "run")
    assert measured["test_accuracy"] == result["test_accuracy"]
    assert measured["classes"] == list(MAKERS[name](10).classes)
    with raises(ConfigError, "predict", "(2,)"):
        predict_run(tmp_path / "run", ["picture.png"])


COMMON = [("n", 1), ("n", -5), ("noise", -0.1), ("noise", float("nan")), ("noise", float("inf"))]
OWN = [
    ("circles", "inner", 0.0),
    ("circles", "inner", 1.0),
    ("spirals", "turns", 0.0),
    ("spirals", "turns", float("inf")),
    ("spirals", "radius", -1.0),
    ("spirals", "arms", 1),
    ("blobs", "classes", 1),
]


@pytest.mark.parametrize(("name", "option", "value"), [*((name, *o) for name in MAKERS for o in COMMON), *OWN], ids=str)
def test_an_argument_out_of_range_is_an_error(name, option, value):
    with raises(ConfigError, name, f"{option} {value}"):
        MAKERS[name](**{option: value})


@pytest.mark.parametrize("name", MAKERS)
def test_a_seed_out_of_range_is_an_error(name):
    with raises(ConfigError, "random", "seed -1"):
        MAKERS[name](seed=-1)
