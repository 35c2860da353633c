"""xpnet predict, evaluate and summary of ONNX files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.interop.onnx.graphs import lenet, rng, runtime
from xpnet import data

pytest.importorskip("onnx")


def pictures(folder, count=4):
    """Digits as files of pixels of 0..255."""
    digits = data.load("digits")[1]
    for i in range(count):
        pixels = np.asarray(digits.x[i], np.float32)[..., 0] * 255 / 16
        Image.fromarray(pixels.round().astype(np.uint8)).save(folder / f"{i}.png")


@pytest.mark.parametrize("options", [(), ("--with-preprocessing",), ("--inputs", "nhwc", "--batch", "fixed")],
                         ids=["plain", "with preprocessing", "nhwc"])  # fmt: skip
def test_a_file_of_a_run_says_what_the_run_says(xpnet, run, here, options):
    pictures(here)
    assert xpnet("export", "run", *options, out="m.onnx").code == 0
    of_run, of_file = (xpnet("predict", name, "0.png", "1.png", "2.png", "3.png").out for name in ("run", "m.onnx"))
    assert of_file == of_run
    assert "%" in of_file
    of_run, of_file = (xpnet("evaluate", name, "--json", data="digits").json for name in ("run", "m.onnx"))
    assert of_file["test_accuracy"] == of_run["test_accuracy"]
    assert of_file["test_loss"] == pytest.approx(of_run["test_loss"], rel=1e-4)
    assert of_file["confusion"] == of_run["confusion"]


def test_summary_lists_the_nodes_of_a_file(xpnet, run):
    xpnet("export", "run", out="m.onnx")
    found, wanted = (xpnet("summary", name, "--json").json for name in ("m.onnx", "run"))
    assert (found["parameters"], found["macs"]) == (wanted["parameters"], wanted["macs"])
    assert xpnet("summary", "m.onnx").out.startswith("m.onnx\n")


def test_a_file_of_another_program_needs_to_be_told_the_scale(xpnet, here):
    path = lenet(here / "m.onnx", side=8)
    pictures(here, 1)
    said = xpnet("predict", "m.onnx", "0.png")
    assert said.code == 2
    assert "does not say on which scale its images are; give --scale 1/255" in said.err
    pixels = np.asarray(Image.open(here / "0.png"), np.float32)[None, None]
    scores = runtime(path, (pixels / 255 - np.float32(0.5)) / np.float32(0.25))[0]
    p = np.exp(scores - scores.max())[0]
    p /= p.sum()
    said = xpnet("predict", "m.onnx", "0.png", "--mean", "0.5", "--std", "0.25", "--json").json
    assert said[0]["classes"][0] == str(p.argmax())
    assert said[0]["probabilities"] == pytest.approx(sorted(p)[::-1][:3], abs=1e-4)


def test_a_folder_of_classes_is_evaluated_by_a_file_without_names(xpnet, here):
    lenet(here / "m.onnx", side=8)
    for k in range(4):
        (here / "photos" / f"class{k}").mkdir(parents=True)
        for i in range(3):
            pixels = rng(10 * k + i).integers(0, 255, (9, 11), dtype=np.uint8)
            Image.fromarray(pixels).save(here / "photos" / f"class{k}" / f"{i}.png")
    found = xpnet("evaluate", "m.onnx", "--scale", "1/255", "--json", data="photos").json
    assert found["examples"] == 12
    assert found["classes"] == ["class0", "class1", "class2", "class3"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "absent.onnx", "0.png"], "absent.onnx: no such file"),
        (["predict", "m.onnx", "0.png", "--scale", "x"], "expected a number, such as 1 or 1/255"),
        (["predict", "m.onnx", "0.png", "--mean", "a,b"], "expected numbers with commas between them"),
        (["predict", "m.onnx", "0.png", "--mean", "1,2,3"], "C channels"),
        (["predict", "m.onnx", "0.png", "--std", "0"], "std"),
        (["predict", "run", "0.png", "--mean", "1"], "--mean: a run knows how its data is normalized"),
        (["evaluate", "m.onnx", "--scale", "1"], "data to evaluate on"),
        (["summary", "absent.onnx"], "absent.onnx: no such file"),
        (["summary", "m.onnx", "--input", "9x9"], "expected x of shape"),
    ],
    ids=lambda value: value[0] + " " + value[-1] if isinstance(value, list) else "",
)
def test_what_a_file_cannot_be_asked_is_one_line(xpnet, run, here, arguments, words):
    lenet(here / "m.onnx", side=8)
    pictures(here, 1)
    said = xpnet(*arguments)
    assert said.code == 2
    assert words in said.err
    assert "Traceback" not in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_metadata_that_are_none_are_one_line(xpnet, run, here):
    import onnx

    pictures(here, 1)
    xpnet("export", "run", out="m.onnx")
    for key, value in {"classes": "[1]", "preprocessing": '{"normalize": 3}', "task": '{"name": "x"}'}.items():
        file = onnx.load(here / "m.onnx")
        entries = {entry.key: entry.value for entry in file.metadata_props} | {key: value}
        onnx.helper.set_model_props(file, entries)
        onnx.save(file, here / "bad.onnx")
        said = xpnet("predict", "bad.onnx", "0.png")
        assert (said.code, len(said.err.strip().splitlines())) == (2, 1)
