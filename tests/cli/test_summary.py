"""xpnet summary: the table, the JSON, runs and other inputs; and what it refuses in one line."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from xpnet import models


@pytest.fixture
def run(xpnet):
    """A run of the small convolutional network on the digits, in the folder "run"."""
    assert xpnet("train", "cnn", epochs=0, out="run").code == 0


TOTALS = {  # parameters, multiply-adds
    "softmax": (7_850, 7_840),
    "lenet5": (61_706, 416_520),
    "alexnet": (60_965_224, 724_406_816),
    "vgg16": (138_357_544, 15_470_264_320),
    "resnet18": (11_689_512, 1_814_073_344),
}


@pytest.mark.parametrize("model", TOTALS)
def test_a_model_has_its_published_totals_in_table_and_json(xpnet, model):
    result = xpnet("summary", model, json=True)
    assert result.code == 0
    assert (result.json["parameters"], result.json["macs"]) == TOTALS[model]
    assert f"{TOTALS[model][0]:,}" in result.err
    for row in result.json["layers"]:
        assert {"name", "kind", "output", "parameters", "macs", "saved_bytes", "receptive_field"} <= row.keys()
        assert any(line.startswith(row["name"] + " ") for line in result.err.splitlines())


def test_every_model_has_a_summary_of_its_own_input(xpnet, here):
    for name, recipe in models.MODELS.items():
        result = xpnet("summary", name, json=True)
        assert result.code == 0
        assert (result.json["input"], result.json["output"]) == (list(recipe.shape), [recipe.classes])
    assert list(here.iterdir()) == []


def test_without_json_the_output_is_for_people(xpnet):
    result = xpnet("summary", "lenet5")
    assert result.code == 0
    assert result.err == ""
    assert "{" not in result.out
    assert result.out.startswith("lenet5\n")


def test_the_table_fits_a_terminal_of_80_columns(xpnet, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name in models.MODELS:
        assert max(map(len, xpnet("summary", name).out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("model", "text", "shape"),
    [
        ("alexnet", "67x67x3", (67, 67, 3)),
        ("resnet20", "64X48", (64, 48, 3)),
        ("lenet5", "32x30", (32, 30, 1)),
        ("mlp", "784", (784,)),
        ("mlp", "5x6", (5, 6, 1)),
    ],
)
def test_another_input_may_be_asked_for(xpnet, model, text, shape):
    result = xpnet("summary", model, input=text, json=True)
    assert result.code == 0
    assert result.json["input"] == list(shape)
    assert result.json["macs"] == models.build(model, shape).cost(shape).macs


def test_memory_grows_with_the_batch_and_nothing_else_does(xpnet):
    one, many = (xpnet("summary", "lenet5", batch=n, json=True).json for n in (1, 64))
    assert many["saved_bytes"] == 64 * one["saved_bytes"] == 64 * 4 * (784 + 4704 + 1176 + 1600 + 400 + 120 + 84)
    assert {k: v for k, v in many.items() if k not in ("saved_bytes", "batch", "layers")} == {
        k: v for k, v in one.items() if k not in ("saved_bytes", "batch", "layers")
    }


def test_a_run_is_counted_as_it_was_trained(xpnet, run):
    result = xpnet("summary", "run", json=True)
    assert result.code == 0
    assert result.json["model"] == "cnn (run)"
    assert result.json["input"] == [8, 8, 1]
    assert result.json["parameters"] == 53_002


def test_a_name_of_a_model_is_the_model_and_a_path_the_run(xpnet):
    xpnet("train", "softmax", epochs=0, out="mlp")
    assert xpnet("summary", "mlp", json=True).json["parameters"] == 101_770
    assert xpnet("summary", "./mlp", json=True).json["parameters"] == 650


def test_a_run_of_rows_of_numbers_has_a_summary_too(xpnet, here):
    np.savez(here / "rows.npz", x=np.eye(6), y=np.arange(6) % 2)
    xpnet("train", "mlp", data="rows.npz", epochs=0, out="rows")
    result = xpnet("summary", "rows", json=True).json
    assert (result["input"], result["layers"][0]["receptive_field"]) == ([6], None)


REFUSED = {
    "summary lenet": ("'lenet'", "did you mean 'lenet5'"),
    "summary VGG": ("'VGG'", "'vgg16'"),
    "summary xyz": ("'xyz'", *models.MODELS),
    "summary runs/none": ("runs/none", "no such file", "folder of a run"),
    "summary .": ("checkpoint.safetensors", "folder of a run"),
    "summary lenet5 --input 28xx1": ("--input", "'28xx1'", "28x28x1"),
    "summary lenet5 --input 28x28x1x1": ("--input", "'28x28x1x1'"),
    "summary lenet5 --input 28x0x1": ("--input", "'28x0x1'"),
    "summary lenet5 --input -3x3": ("--input", "'-3x3'"),
    "summary lenet5 --input 2.5x3": ("--input", "'2.5x3'"),
    "summary lenet5 --input big": ("--input", "'big'"),
    "summary lenet5 --input 784": ("lenet5", "(784,)", "mlp"),
    "summary alexnet --input 66x66": ("pool5", "(2, 2, 256)", "(3, 3)", "67x67 or more"),
    "summary vgg16 --input 31x40x3": ("pool5", "(1, 2, 512)", "(2, 2)", "32x32 or more"),
    "summary lenet5 --batch 0": ("--batch", "batch 0"),
    "summary lenet5 --batch many": ("--batch", "whole number", "'many'"),
    "summary": ("MODEL|RUN",),
    "summary lenet5 cnn": ("cnn",),
    "summary lenet5 --bach 3": ("--bach", "--batch"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_summary_does_not_understand_is_refused(refused, words):
    refused(words, *REFUSED[words])


def test_an_input_that_a_run_cannot_take_names_the_layer_and_the_size_it_was_trained_on(refused, run):
    refused("summary run --input 28x28", "hidden", "D = 256", "(3136,)", "run was trained on 8x8x1")
    refused("summary run --input 8x8x3", "conv1", "(8, 8, 3)", "8x8x1")
    refused("summary run --input 3x3", "pool2", "(1, 1, 64)", "(2, 2)", "8x8x1")


def test_a_run_left_out_of_its_folder_is_found_by_name(refused, xpnet):
    xpnet("train", "softmax", epochs=0)
    refused("summary softmax-digits-1", "'softmax-digits-1'", "did you mean 'runs/softmax-digits-1'")


def test_the_help_lists_the_models_and_loads_them_only_then(xpnet):
    for command in ("train", "summary", "draw"):
        assert set(models.MODELS) <= set(re.findall(r"\w+", xpnet(command, "--help").out))
    script = "import sys; from xpnet import cli; sys.argv = ['xpnet']; \ntry: cli.main()\nexcept SystemExit: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", script + "print(*sys.modules)"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "summary" in done.stdout
    assert not {"xpnet.models", "xpnet.viz", "matplotlib"} & set(done.stdout.splitlines()[-1].split())
