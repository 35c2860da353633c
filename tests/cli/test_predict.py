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


def test_folders_patterns_and_standard_input_name_images(xpnet, run, here, monkeypatch):
    import io

    (here / "more" / "deep").mkdir(parents=True)
    names = ["more/0 a.png", "more/1.png", "more/deep/2.png"]
    for i, name in enumerate(names):
        save_digit(here / name, i)
    (here / "more" / "notes.txt").write_text("no image")
    whole = xpnet("predict", "run", "more", json=True).json
    assert [r["image"] for r in whole] == names
    assert xpnet("predict", "run", *names, json=True).json == whole
    assert [r["image"] for r in xpnet("predict", "run", "more/*.png", json=True).json] == names[:2]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(names) + "\n"))
    assert xpnet("predict", "run", "-", json=True).json == whole
    (here / "empty").mkdir()
    assert "empty: there are no images" in xpnet("predict", "run", "empty").err
    assert "no file fits" in xpnet("predict", "run", "*.gif").err


def test_a_damaged_image_is_named_and_the_others_are_predicted(xpnet, run, here):
    for i in range(2):
        save_digit(here / f"{i}.png", i)
    (here / "bad.png").write_bytes(b"no image")
    good = xpnet("predict", "run", "0.png", "1.png", json=True).json
    result = xpnet("predict", "run", "0.png", "bad.png", "1.png", json=True)
    assert result.code == 2
    assert [r for r in result.json if "error" not in r] == good
    assert result.json[1]["image"] == "bad.png"
    assert result.err.splitlines()[-1].startswith("xpnet: bad.png: ")
    several = xpnet("predict", "run", "none.png", "0.png", "bad.png")
    assert several.code == 2
    assert several.out.startswith("0.png: ")
    assert several.err.splitlines()[-1].startswith("xpnet: predict: 2 of 3 images cannot be read: first none.png")


def test_predictions_are_written_as_a_table(xpnet, run, here, refused):
    import csv

    for i in range(2):
        save_digit(here / f"{i}.png", i)
    said = xpnet("predict", "run", "0.png", "1.png", top=2, json=True, csv="out.csv").json
    with open(here / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["image"], r["class"], r["class 2"]) for r in rows] == [(s["image"], *s["classes"]) for s in said]
    assert [float(r["probability"]) for r in rows] == [s["probabilities"][0] for s in said]
    refused("predict run 0.png --csv 0.png", "--csv", "not read by this command")
    refused("predict run 0.png --csv -", "--csv", "omit it")
    assert xpnet("predict", "run", "0.png", csv="nowhere/out.csv").err.startswith("xpnet: --csv: expected a file in an")


def test_the_rows_of_a_table_are_predicted_in_the_units_of_the_target(xpnet, here):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(120, 2))
    lines = [f"{a:.3f},{b:.3f},{100 + 10 * a:.3f}" for a, b in x]
    (here / "t.csv").write_text("\n".join(["a,b,price", *lines]))
    assert xpnet("train", "mlp", data="t.csv", target="price", epochs=30, out="run").code == 0
    (here / "new.csv").write_text("b,a\n0,1\n0,-1\n")
    said = xpnet("predict", "run", "new.csv", json=True).json
    assert [(r["table"], r["row"]) for r in said] == [("new.csv", 1), ("new.csv", 2)]
    assert [r["values"]["price"] for r in said] == pytest.approx([110, 90], abs=5)
    assert "as the run was trained on" in xpnet("predict", "run", "a.png").err
