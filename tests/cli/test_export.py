"""xpnet export: a run as an ONNX file, and what ONNX Runtime computes with it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from tests.interop.onnx.exporting import close, ran, session
from xpnet import data
from xpnet.train import open_run


def test_export_writes_the_scores_of_a_run(xpnet, run):
    result = xpnet("export", "run", out="m.onnx")
    assert result.code == 0
    assert result.out.splitlines()[1:] == ["input   input: float32 (N, 1, 8, 8)", "output  output: float32 (N, 10)"]
    assert result.out.startswith("m.onnx: ")
    trainer, _ = open_run("run")
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)
    close(ran("m.onnx", x), trainer.model.predict(x))


def test_with_preprocessing_the_file_takes_pixels_and_gives_probabilities(xpnet, run):
    assert xpnet("export", "run", "--with-preprocessing", out="m.onnx", inputs="nhwc").code == 0
    digits = data.load("digits")[1].x[:5].astype(np.float32)  # 0..16
    trainer, meta = open_run("run")
    close(ran("m.onnx", digits * np.float32(255 / 16), "nhwc"), trainer.predict(digits))
    known = session("m.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(known["classes"]) == meta["classes"]
    assert json.loads(known["task"])["name"] == "classification"
    facts = json.loads(known["preprocessing"])
    assert (facts["included"], facts["white"]) == (True, 255.0)
    assert known["model"] == "softmax"


def test_the_metadata_says_what_a_file_without_preprocessing_needs(xpnet, run):
    xpnet("export", "run", out="m.onnx")
    facts = json.loads(session("m.onnx").get_modelmeta().custom_metadata_map["preprocessing"])
    assert not facts["included"]
    digits = data.load("digits")[1].x[:5].astype(np.float32)
    trainer, _ = open_run("run")
    pixels = digits * np.float32(255 / facts["white"] * 255 / 16)
    scores = ran("m.onnx", data.Normalize.from_json(facts["normalize"])(pixels))
    close(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), trainer.predict(digits))


def table(folder, target):
    rng = np.random.default_rng(0)
    a, b = rng.normal(50, 20, 80), rng.normal(0, 0.01, 80)
    lines = [f"{x:.4f},{y:.5f},{target(x, y)}" for x, y in zip(a, b, strict=True)]
    (folder / "t.csv").write_text("\n".join(["a,b,c", *lines]) + "\n")


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_a_run_of_a_table_takes_the_numbers_of_its_columns(kind, xpnet, here):
    table(
        here, (lambda x, y: f"{7 * x + 900 * y:.3f}") if kind == "numbers" else (lambda x, y: "hi" if x > 50 else "lo")
    )
    assert xpnet("train", "mlp", data="t.csv", epochs=3, target="c", out="run").code == 0
    result = xpnet("export", "run", "--with-preprocessing", out="m.onnx", json=True)
    assert result.code == 0
    assert result.json["inputs"]["input"] == {"dtype": "float32", "shape": ["N", 2]}
    trainer, meta = open_run("run")
    x = np.float32([[40, 0.01], [70, -0.02], [10, 0.0]])
    (here / "new.csv").write_text("a,b\n40,0.01\n70,-0.02\n10,0\n")
    wanted = np.asarray(trainer.predict(data.Columns.from_json(meta["columns"]).apply("new.csv")))
    close(ran("m.onnx", x).reshape(-1), wanted.reshape(-1))
    said = session("m.onnx").get_modelmeta()
    assert json.loads(said.custom_metadata_map["inputs"]) == ["a", "b"]
    assert "columns (N, 2): a, b; numbers in their own units" in said.description
    if kind == "classes":
        assert xpnet("predict", "m.onnx", "new.csv").out == xpnet("predict", "run", "new.csv").out


def test_texts_and_missing_cells_of_a_table_are_named_columns_of_the_file(xpnet, here):
    rng = np.random.default_rng(0)
    rows = [
        f"{a:.2f},{'' if i % 9 == 0 else i % 5},{'rs'[i % 2]},{'yn'[int(a > 0)]}"
        for i, a in enumerate(rng.normal(size=90))
    ]
    (here / "t.csv").write_text("\n".join(["a,b,c,kind", *rows]) + "\n")
    assert xpnet("train", "mlp", data="t.csv", epochs=1, target="kind", out="run").code == 0
    assert xpnet("export", "run", "--with-preprocessing", out="m.onnx").code == 0
    known = session("m.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(known["inputs"]) == ["a", "b", "b is missing", "c is 'r'", "c is 's'"]
    (here / "new.csv").write_text("a,b,c\n1.5,3,s\n-0.5,,r\n")
    trainer, meta = open_run("run")
    median = meta["columns"]["features"][1]["median"]
    x = np.float32([[1.5, 3, 0, 0, 1], [-0.5, median, 1, 1, 0]])
    close(ran("m.onnx", x), trainer.predict(data.Columns.from_json(meta["columns"]).apply("new.csv")))
    assert xpnet("predict", "m.onnx", "new.csv").out == xpnet("predict", "run", "new.csv").out


def test_the_description_says_what_a_file_takes_and_gives(xpnet, run):
    xpnet("export", "run", out="m.onnx")
    said = session("m.onnx").get_modelmeta().description
    assert said.startswith("Takes images (N, 1, 8, 8), gray, each ")
    assert said.endswith("as in metadata preprocessing. Gives scores of classification.")
    xpnet("export", "run", "--with-preprocessing", out="m.onnx", inputs="nhwc")
    said = session("m.onnx").get_modelmeta().description
    assert said.startswith("Takes images (N, 8, 8, 1), gray, each ")
    assert said.endswith("pixels of 0 to 255. Gives the probability of each class.")


def test_the_dimension_of_examples_and_the_opset_are_options(xpnet, run):
    assert (
        xpnet("export", "run", out="m.onnx", batch="fixed", opset=18, json=True).json["inputs"]["input"]["shape"][0]
        == 1
    )
    assert onnx.load("m.onnx").opset_import[0].version == 18
    assert xpnet("export", "run", out="m.onnx", batch=4, json=True).json["outputs"]["output"]["shape"] == [4, 10]
    assert (
        xpnet("export", "run", out="m.onnx", batch="images", json=True).json["outputs"]["output"]["shape"][0]
        == "images"
    )


def test_without_a_name_the_file_is_in_the_run(xpnet, run):
    assert xpnet("export", "run", json=True).json["path"] == "run/model.onnx"
    onnx.checker.check_model("run/model.onnx")


def test_a_file_is_replaced_whole(xpnet, run, here, refused):
    (here / "m.onnx").write_bytes(b"before")
    refused(["export", "run", "-o", "m.onnx", "--opset", 12], "--opset", "17 to 23")
    assert xpnet("export", "run", out="m.onnx").code == 0
    onnx.checker.check_model("m.onnx")


def test_what_cannot_be_exported_is_one_line(refused, run):
    refused("export nowhere -o m.onnx", "nowhere")
    refused("export run -o m.onnx --inputs hwc", "--inputs", "nhwc")
    refused("export run -o none/m.onnx", "none/m.onnx", "cannot be written")
    refused("export run -o m.onnx --batch 0", "--batch")
    refused("export run -o m.onnx --batch a-b", "--batch")
    refused("export run -o .", "--out", "*.onnx")
    refused("export run -o digits.pt", "--out", "*.onnx")
