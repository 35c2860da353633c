"""xpnet predict: the classes of images."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import data
from xpnet.train import open_run


def save_digit(path, i: int) -> None:
    import PIL.Image

    pixels = data.load("digits")[1].x[i, :, :, 0]
    PIL.Image.fromarray((pixels * (255 / 16)).round().astype(np.uint8)).save(path)


def test_predict_names_the_classes_of_images_by_their_probability(xpnet, run, here):
    for i in range(3):
        save_digit(here / f"{i}.png", i)
    result = xpnet("predict", "run", "0.png", "1.png", "2.png", top=4, json=True)
    assert result.code == 0
    trainer, _ = open_run("run")
    for i, said in enumerate(result.json):
        chances = trainer.predict(data.load("digits")[1].x[i : i + 1])[0]
        assert said["image"] == f"{i}.png"
        assert said["classes"] == [str(k) for k in np.argsort(-chances)[:4]]
        np.testing.assert_allclose(said["probabilities"], np.sort(chances)[::-1][:4], atol=0.02)  # 8-bit rounding
    lines = result.err.splitlines()
    assert lines[0].startswith(f"0.png: {result.json[0]['classes'][0]} {result.json[0]['probabilities'][0]:.1%}, ")


def test_predict_names_three_classes_or_all_where_there_are_fewer(xpnet, run, here, write_images):
    save_digit(here / "a.png", 0)
    assert len(xpnet("predict", "run", "a.png", json=True).json[0]["classes"]) == 3
    photos = write_images()
    xpnet("train", "softmax", data=photos, epochs=20, out="two")
    result = xpnet("predict", "two", photos / "dark" / "0.png", photos / "bright" / "0.png", json=True)
    assert [r["classes"] for r in result.json] == [["dark", "bright"], ["bright", "dark"]]


def test_predict_scales_pixels_to_the_brightness_that_was_trained(xpnet, here):
    import PIL.Image

    draw = np.random.default_rng(0)
    x = draw.uniform(0, 0.2, (40, 5, 5, 1)).astype(np.float32)
    x[20:] += 0.7
    np.savez(here / "floats.npz", x=x, y=np.arange(40) // 20)
    xpnet("train", "softmax", data="floats.npz", epochs=30, out="run")
    PIL.Image.fromarray((x[5, :, :, 0] * 255).round().astype(np.uint8)).save("dark.png")
    said = xpnet("predict", "run", "dark.png", json=True).json[0]
    want = open_run("run")[0].predict(x[5:6])[0]
    assert said["probabilities"][0] == pytest.approx(want.max(), abs=0.01)
