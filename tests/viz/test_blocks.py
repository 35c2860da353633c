"""The column of blocks: what each says, where it stands, and that nothing overlaps."""

from __future__ import annotations

import itertools
import sys

import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

from tests.harness import raises
from tests.viz.drawn import NAMES, block, faults, net, overlap, picture, rendered, said, within
from xpnet import nn, viz
from xpnet.errors import ConfigError
from xpnet.viz.canvas import save


def at(figure, text: str) -> tuple[float, float]:
    """Where a text stands that occurs once; inches."""
    (found,) = [t for t in figure.axes[0].texts if t.get_text() == text]
    return found.get_position()


def pluses(figure) -> list[Circle]:
    return [p for p in figure.axes[0].patches if isinstance(p, Circle)]


@pytest.mark.parametrize("name", NAMES)
def test_no_text_overlaps_another_or_leaves_its_block_or_the_sheet(name):
    figure = picture("blocks", name)
    assert faults(figure) == []
    assert figure.get_size_inches()[0] <= 7.4
    assert figure.get_size_inches()[1] <= 10.5
    assert min(t.get_fontsize() for t in figure.axes[0].texts) >= 6.5


@pytest.mark.parametrize("name", NAMES)
def test_no_block_overlaps_another_but_those_that_are_part_of_it(name):
    figure = picture("blocks", name)
    renderer = rendered(figure)
    boxes = [p.get_window_extent(renderer) for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]
    for one, two in itertools.combinations(boxes, 2):
        assert not overlap(one, two, 2.0) or within(one, two, 2.0) or within(two, one, 2.0)


def test_each_block_says_its_kind_window_stride_and_activation():
    lines = said(viz.blocks(*net("alexnet"), title="the paper's"))
    for text in (
        "input 227x227x3", "conv 11x11, 96 filters, stride 4", "conv 5x5, 256 filters, pad 2, 2 groups",
        "response norm 5", "max pool 3x3, stride 2", "dropout 50%", "linear, 1,000 neurons", "the paper's",
        "60,965,224 parameters, 724 M multiply-adds, 1.45 G FLOPs",
    ):  # fmt: skip
        assert text in lines
    assert lines.count("relu") == 7


def test_layers_go_from_bottom_to_top_with_parameters_left_and_flops_right():
    figure = picture("blocks", "lenet5")
    words = ("input 28x28x1", "conv 5x5, 6 filters, pad 2", "conv 5x5, 16 filters", "flatten", "linear, 84 neurons")
    heights = [at(figure, text)[1] for text in words]
    assert heights == sorted(heights)
    for middle, left, right, output in (
        ("conv 5x5, 6 filters, pad 2", "156", "235 k", "28x28x6"),
        ("conv 5x5, 16 filters", "2,416", "480 k", "10x10x16"),
        ("linear, 84 neurons", "10,164", "20.2 k", "84"),
    ):
        columns = [at(figure, text) for text in (left, middle, right, output)]
        assert columns == sorted(columns)
        assert len({round(y, 6) for _, y in columns}) == 1


def test_an_activation_stands_in_the_block_it_is_applied_to():
    figure = viz.blocks(nn.Sequential(nn.Linear(4, 30), nn.Tanh(), nn.Flatten(), nn.Linear(30, 2)), (4,))
    assert at(figure, "tanh")[1] == at(figure, "linear, 30 neurons")[1]
    alone = viz.blocks(nn.Sequential(nn.Tanh(), nn.Linear(4, 30)), (4,))
    assert at(alone, "tanh")[1] < at(alone, "linear, 30 neurons")[1]


def test_a_residual_has_a_plus_and_its_shortcut_beside_it_with_its_figures():
    figure = viz.blocks(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), block(4, 8, 2), nn.ReLU()), (8, 6, 3))
    (plus,) = pluses(figure)
    body, shortcut = at(figure, "conv 3x3, 8 filters, pad 1"), at(figure, "conv 1x1, 8 filters")
    assert shortcut[0] < min(body[0], plus.center[0])
    assert at(figure, "conv 3x3, 8 filters, stride 2, pad 1")[1] < shortcut[1] < plus.center[1]
    assert body[1] < plus.center[1]
    assert {"40 parameters", "768 FLOPs", "stride 2"} <= set(said(figure))
    assert len(pluses(picture("blocks", "nested"))) == 5


def test_what_repeats_is_drawn_once_only_where_the_picture_would_be_taller_than_a_page():
    figure = picture("blocks", "deep")
    assert said(figure).count("\u00d76") == 3
    assert said(figure).count("9,280") == 3  # figures of one: two of the six, one of the block before
    assert not any("\u00d7" in text for text in said(picture("blocks", "vgg16")))


def test_a_legend_names_the_kinds_that_occur():
    lines = said(picture("blocks", "mlp"))
    assert [t for t in lines if t in ("input", "linear", "activation", "reshape", "convolution", "sum")] == [
        "input", "linear", "activation", "reshape",
    ]  # fmt: skip


def test_a_picture_fits_an_axes_that_is_given():
    figure = Figure(figsize=(9, 4))
    left, right = figure.subplots(1, 2)
    assert viz.blocks(*net("lenet5"), ax=right) is figure
    assert not left.texts
    assert faults(figure, right) == []


def test_text_in_an_svg_stays_text_and_dollars_are_dollars(tmp_path):
    save(viz.blocks(*net("lenet5"), title="$5 & $6"), tmp_path / "a.svg")
    content = (tmp_path / "a.svg").read_text()
    for text in ("conv 5x5, 16 filters", "61,706 parameters", "$5 &amp; $6"):
        assert f">{text}" in content


def test_the_title_is_the_class_by_default():
    assert "Sequential" in said(viz.blocks(*net("mlp")))


def test_without_matplotlib_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with raises(ConfigError, "viz", "pip install 'xpnet[viz]'"):
        viz.blocks(*net("mlp"))
