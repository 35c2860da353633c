"""The images: what is learned, and whether what is written out is what the network computes."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from tests.playground.test_code import run
from xpnet import get_backend
from xpnet.errors import ConfigError, DataError
from xpnet.playground.drawing import DRAWN, fit_drawing
from xpnet.playground.image_settings import ImageSettings
from xpnet.playground.images import Images

VARIANTS = {
    "LeNet-5": {},
    "convolution, average, across": {"flip": True, "pool": "average", "norm": "across"},
    "within": {"norm": "within"},
}


def trained(steps: int, **settings) -> Images:
    images = Images(ImageSettings(**settings), get_backend("cpu"))
    for _ in range(steps):
        images.advance()
    return images


def encode(ink: np.ndarray) -> str:
    return base64.b64encode(ink.astype(np.uint8).tobytes()).decode()


def test_digits_are_learned():
    assert trained(200).frame()["test"]["accuracy"] > 0.93


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_every_number_that_is_written_out_is_the_networks_own(settings):
    images, draw = trained(12, **settings), np.random.default_rng(0)
    values, described = images._values()[1:], images.describe()["layers"]
    kinds = set()
    for layer, y in zip(described, values, strict=True):
        if layer["kind"] == "flatten":
            continue
        for _ in range(12):
            place = [int(draw.integers(n)) for n in (y.shape if y.ndim == 3 else (1, 1, *y.shape))]
            row, column, channel = place
            given = {"layer": layer["name"], "row": row, "column": column, "channel": channel}
            found = images.command("explain", given)[0]
            actual = y[tuple(place)] if y.ndim == 3 else y[place[2]]
            assert found["result"] == pytest.approx(actual, rel=1e-4, abs=1e-5)
            kinds.add(found["kind"].split()[0])
            if "sums" in found:
                products = [np.multiply(w, f).sum() for w, f in zip(found["window"], found["filter"], strict=True)]
                assert sum(products) + found["bias"] == pytest.approx(actual, rel=1e-4, abs=1e-5)
                turned = [np.asarray(f)[::-1, ::-1].tolist() for f in found["kept"]]
                assert found["filter"] == (turned if settings.get("flip") else found["kept"])
            if found["kind"] == "weighted sum":
                terms = sum(term["x"] * term["w"] for term in found["terms"])
                assert terms + found["others"] + found["bias"] == pytest.approx(actual, rel=1e-4, abs=1e-5)
    assert len(kinds) == 4 + ("norm" in settings)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_the_program_that_is_shown_gives_the_same_loss(settings):
    images = trained(25, **settings, seed=2)
    loss, accuracy = run(images.code())["test"]
    test = images.frame()["test"]
    assert loss == pytest.approx(test["loss"], abs=2e-6)
    assert accuracy == pytest.approx(test["accuracy"], abs=6e-4)


def test_the_program_repeats_the_rates_that_were_changed():
    images = trained(10, lr=0.01)
    images.command("lr", {"value": 0.1})
    for _ in range(10):
        images.advance()
    assert run(images.code())["test"][0] == pytest.approx(images.frame()["test"]["loss"], abs=2e-6)
    assert images.reset().settings == ImageSettings(lr=0.1)


def test_training_ends_after_some_epochs():
    images = trained(0, batch=256)
    while images.advance():
        pass
    frame = images.frame()
    assert (frame["epoch"], frame["epochs"], frame["ended"]) == (12, 12, True)


def test_a_test_digit_is_told_with_its_label_and_a_drawing_without():
    images = trained(0)
    labels = [images.test.classes[images.test.y[i]] for i in (0, 7, 14)]
    assert images.frame()["label"] == labels[0]
    for label in labels[1:]:
        assert images.command("example", {}) == ({}, True)
        assert images.frame()["label"] == label
    images.command("draw", {"pixels": encode(np.eye(DRAWN) * 255)})
    assert images.frame()["label"] == ""
    assert images.frame()["ended"] is False


def test_a_drawing_is_fitted_as_the_digits_are():
    ink = np.zeros((DRAWN, DRAWN), np.uint8)
    ink[40:80, 60:70] = 255  # a stroke, four times as high as wide
    image = fit_drawing(ink, 8)[:, :, 0]
    assert image.shape == (8, 8)
    assert np.all(image[:, 3:5].sum(axis=1) == pytest.approx(2, abs=0.1))
    assert image.sum() == pytest.approx(16, abs=0.5)
    large = fit_drawing(ink, 28)[:, :, 0]
    assert large.sum() == pytest.approx(100, abs=5)
    assert np.argwhere(large > 0.5).mean(axis=0) == pytest.approx([13.5, 13.5], abs=1)
    assert not fit_drawing(np.zeros((DRAWN, DRAWN), np.uint8), 8).any()


def test_a_test_digit_that_is_drawn_large_is_recognized():
    images = trained(400)
    right = 0
    for i in range(40):
        ink = np.kron(images.test.x[i, :, :, 0], np.ones((12, 12))) * (255 / 16)
        images.command("draw", {"pixels": encode(ink)})
        right += int(np.argmax(images.frame()["probabilities"]) == images.test.y[i])
    assert right >= 35


@pytest.mark.parametrize("pixels", [None, "", "AAAA", "?" * 100, base64.b64encode(b"0" * 9217).decode()])
def test_what_is_no_drawing_is_one_line(pixels):
    with pytest.raises((ConfigError, DataError), match="drawing: expected"):
        trained(0).command("draw", {"pixels": pixels})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layer": "conv9"}, "a known layer"),
        ({"layer": "conv1", "row": 8}, "row, 0 to 7"),
        ({"layer": "scores", "channel": 10}, "channel, 0 to 9"),
        ({"layer": "flatten"}, "a layer that computes"),
    ],
    ids=str,
)
def test_a_number_that_is_not_there_is_one_line(given, words):
    with pytest.raises(ConfigError, match=words):
        trained(0).command("explain", given)


def test_mnist_that_is_not_here_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("xpnet.playground.images.has_mnist", lambda: False)
    with pytest.raises(DataError, match="xpnet data mnist"):
        trained(0, data="mnist")
