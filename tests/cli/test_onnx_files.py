"""xpnet predict, evaluate and summary of ONNX files."""

from __future__ import annotations

import json

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


@pytest.mark.parametrize("options", [(), ("--with-preprocessing",)], ids=["plain", "with preprocessing"])
@pytest.mark.parametrize("kind", ["regression", "copies of rows", "copies of images", "several numbers"])
def test_a_file_of_numbers_says_what_the_run_says(xpnet, here, kind, options):
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(80, 3)) * (1, 50, 3) + (2, 400, 0)
    for name in ("t.csv", "other.csv"):
        (here / name).write_text("a,b,c\n" + "".join(f"{a:.3f},{b:.3f},{a + b / 9 + c:.3f}\n" for a, b, c in rows))
    for name in ("n.npz", "other.npz"):
        np.savez(here / name, x=(rows * 3).astype("f"), y=rows[:, :2].astype("f"))
    pictures(here)
    given = {
        "regression": ("other.csv", {"data": "t.csv", "target": "c"}),
        "several numbers": ("other.npz", {"data": "n.npz"}),
        "copies of rows": ("other.npz", {"data": "n.npz", "task": "reconstruction"}),
        "copies of images": ("digits", {"data": "digits", "task": "reconstruction"}),
    }
    data, train = given[kind]
    assert xpnet("train", "mlp", epochs=2, out="run", **train).code == 0
    assert xpnet("export", "run", *options, out="m.onnx").code == 0
    asked = ["0.png", "1.png"] if data == "digits" else [data]
    of_run, of_file = (xpnet("predict", name, *asked, json=True).json for name in ("run", "m.onnx"))
    assert len(of_run) == len(of_file) >= 2
    for mine, theirs in zip(of_run, of_file, strict=True):
        assert mine.keys() == theirs.keys()
        wanted, found = ([*each["values"].values()] if "values" in each else each["mse"] for each in (mine, theirs))
        assert found == pytest.approx(wanted, rel=1e-3)
    of_run, of_file = (xpnet("evaluate", name, data=data, json=True).json for name in ("run", "m.onnx"))
    for key in {"test_loss", "test_rmse", "test_mae", "test_r2", "test_mse"} & of_run.keys():
        if key in ("test_loss", "test_r2") or data != "digits":  # the pixels of files are 0..255, those of digits 0..16
            assert of_file[key] == pytest.approx(of_run[key], rel=1e-3), key


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
        (["predict", "m.onnx", "0.png", "--mean", "1,2,3"], "one for each channel"),
        (["predict", "m.onnx", "0.png", "--std", "0"], "std"),
        (["predict", "run", "0.png", "--mean", "1"], "--mean: a run knows how its data is normalized"),
        (["evaluate", "m.onnx", "--scale", "1"], "a data set, since the ONNX file holds none"),
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


def _told(path, **texts):
    """Write metadata into a file."""
    import onnx

    model = onnx.load(path)
    held = {p.key: p.value for p in model.metadata_props}
    onnx.helper.set_model_props(model, held | {k: v if isinstance(v, str) else json.dumps(v) for k, v in texts.items()})
    onnx.save(model, path)


LIES = {
    "two names of ten": ({"classes": ["a", "b"]}, "metadata classes, a name for each output"),
    "names of columns": ({"classes": ["a", "b"], "task": {"name": "multilabel", "labels": 2}}, "classes 2, outputs 10"),
    "a reconstruction of ten numbers": ({"task": {"name": "reconstruction"}}, "an output of the size of the input"),
    "a mean of text": ({"task": {"name": "regression", "mean": "x"}}, "m.onnx: metadata task cannot be read"),
    "columns": ({"columns": {"features": 5}}, "m.onnx: metadata columns cannot be read"),
}


@pytest.mark.parametrize("name", LIES)
def test_metadata_that_do_not_fit_the_outputs_are_one_line(xpnet, run, here, name):
    texts, message = LIES[name]
    pictures(here, 1)
    xpnet("export", "run", out="m.onnx")
    _told("m.onnx", **texts)
    said = xpnet("predict", "m.onnx", "0.png")
    assert said.code == 2
    assert message in said.err
    assert said.err.count("\n") == 1


def test_a_file_of_an_enormous_input_is_one_line(xpnet, here):
    import onnx

    path = lenet(here / "m.onnx", side=8)
    model = onnx.load(path)
    nodes = [onnx.helper.make_node("GlobalAveragePool", ["x"], ["y"])]
    x, y = (
        onnx.helper.make_tensor_value_info(n, 1, s) for n, s in (("x", ["N", 3, 30000, 30000]), ("y", ["N", 3, 1, 1]))
    )
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [x], [y]), opset_imports=model.opset_import), path
    )
    for command in (("summary", "m.onnx"), ("predict", "m.onnx", "0.png", "--scale", "1")):
        said = xpnet(*command)
        assert (said.code, said.err.count("\n")) == (2, 1)
        assert "m.onnx: a value of more than" in said.err


def test_a_file_is_drawn(xpnet, run, here):
    xpnet("export", "run", out="m.onnx")
    assert xpnet("draw", "m.onnx", out="m.svg").code == 0
    assert "<svg" in (here / "m.svg").read_text()
    assert "m.onnx" in xpnet("draw", "m.onnx", "--style", "volumes", out="v.svg").out


@pytest.mark.parametrize("kind", ["rows", "sequences", "targets"])
def test_numbers_that_are_no_pixels_are_evaluated_as_they_are(xpnet, here, kind):
    r = np.random.default_rng(0)
    x = r.normal(size=(120, 6, 3) if kind == "sequences" else (120, 10)).astype(np.float32)
    y = x[:, :2] * 100 + 1000 if kind == "targets" else (x.reshape(120, -1)[:, 0] > 0).astype(np.int64)
    np.savez(here / "a.npz", x=x[:80], y=y[:80])
    np.savez(here / "b.npz", x=x[80:], y=y[80:])
    assert xpnet("train", "mlp", data="a.npz", epochs=1, out="run").code == 0
    assert xpnet("export", "run", out="m.onnx").code == 0
    of_run, of_file = (xpnet("evaluate", name, "--json", data="b.npz").json for name in ("run", "m.onnx"))
    assert of_file["test_loss"] == pytest.approx(of_run["test_loss"], rel=1e-4)


@pytest.mark.parametrize("command", ["export m.onnx -o n.onnx", "train softmax --from m.onnx", "predict noext 0.png"])
def test_a_file_where_a_run_is_expected_is_named(xpnet, here, command):
    lenet(here / "m.onnx", side=8).rename(here / "m.onnx")
    (here / "noext").write_bytes(b"x")
    said = xpnet(*command.split())
    assert said.code == 2
    assert "is a file: give the folder of a run" in said.err
