"""xpnet draw: the file, in each style and format; and what it refuses in one line, with nothing written."""

from __future__ import annotations

import sys

import pytest

from xpnet import models

REFUSED = {
    "draw lenet": ("'lenet'", "did you mean 'lenet5'"),
    "draw runs/none -o a.svg": ("runs/none", "no such file", "folder of a run"),
    "draw lenet5 --style volume": ("--style", "'volume'", "did you mean 'volumes'"),
    "draw lenet5 --style 3d": ("--style", "'3d'", "blocks, volumes"),
    "draw lenet5 -o a.gif": ("-o", "'a.gif'", "svg"),
    "draw runs/none -o a.gif": ("-o", "'a.gif'"),
    "draw lenet5 -o a": ("-o", "'a'", "pdf, png, svg"),
    "draw lenet5 -o nowhere/a.svg": ("-o", "'nowhere'"),
    "draw lenet5 --input 28xx1": ("--input", "'28xx1'", "28x28x1"),
    "draw alexnet --input 66x66 --style volumes": ("pool5", "(2, 2, 256)", "67x67 or more"),
    "draw": ("MODEL|RUN",),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_draw_does_not_understand_is_refused(refused, words):
    pytest.importorskip("matplotlib")
    refused(words, *REFUSED[words])


def test_without_matplotlib_the_command_that_installs_it_is_named(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused("draw lenet5 -o a.svg", "matplotlib", "pip install 'xpnet[viz]'")


@pytest.mark.parametrize("style", ["blocks", "volumes"])
@pytest.mark.parametrize("model", ["softmax", "alexnet", "resnet20"])
def test_a_model_is_drawn_in_both_styles_into_a_file_whose_name_says_so(xpnet, here, model, style):
    pytest.importorskip("matplotlib")
    result = xpnet("draw", model, style=style)
    assert result.code == 0
    assert result.out.count("\n") == 1
    assert f"{model}-{style}.svg" in result.out
    content = (here / f"{model}-{style}.svg").read_text()
    assert f">{model}<" in content
    assert "x".join(map(str, models.MODELS[model].shape)) in content


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("b.png", b"\x89PNG"), ("c.PDF", b"%PDF")])
def test_the_ending_of_the_file_says_the_format(xpnet, here, name, start):
    pytest.importorskip("matplotlib")
    (here / "deep").mkdir()
    assert xpnet("draw", "mlp", "-o", f"deep/{name}").code == 0
    assert (here / "deep" / name).read_bytes().startswith(start)


def test_a_run_is_drawn_as_it_was_trained_or_on_another_input(xpnet, here):
    pytest.importorskip("matplotlib")
    xpnet("train", "softmax", epochs=0, out="runs/mine")
    assert "mine-blocks.svg" in xpnet("draw", "runs/mine").out
    content = (here / "mine-blocks.svg").read_text()
    assert ">softmax (mine)<" in content
    assert ">input 8x8x1<" in content
    assert xpnet("draw", "runs/mine", "-o", "mine.svg", input="4x16").code == 0
    assert ">input 4x16x1<" in (here / "mine.svg").read_text()


def test_a_file_that_cannot_be_written_is_refused_in_one_line(xpnet, here):
    pytest.importorskip("matplotlib")
    (here / "a.svg").mkdir()
    result = xpnet("draw", "mlp", "-o", "a.svg")
    assert result.code == 2
    assert result.err == "xpnet: a.svg: the file cannot be written: error Is a directory\n"


def test_json_says_where_the_picture_is(xpnet, here):
    pytest.importorskip("matplotlib")
    found = xpnet("draw", "softmax", out="a.svg", json=True).json
    assert found == {"model": "softmax", "picture": "a.svg", "bytes": (here / "a.svg").stat().st_size}
