"""The volumes: sizes on one scale, windows on what they slide over, arcs over residuals, and nothing overlaps."""

from __future__ import annotations

import itertools
import sys

import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Polygon
from matplotlib.transforms import Bbox

from tests.harness import raises
from tests.viz.drawn import NAMES, block, faults, net, overlap, picture, rendered, said, within
from xpnet import nn, viz
from xpnet.errors import ConfigError
from xpnet.viz.canvas import save


def faces(figure) -> list[Polygon]:
    return [p for p in figure.axes[0].patches if isinstance(p, Polygon)]


def volumes(figure) -> list[Bbox]:
    """The drawn volumes in order: each of three opaque faces; inches."""
    opaque = [p for p in faces(figure) if p.get_facecolor()[3] == 1.0]
    return [
        Bbox.union([Bbox([p.get_xy().min(axis=0), p.get_xy().max(axis=0)]) for p in opaque[i : i + 3]])
        for i in range(0, len(opaque), 3)
    ]


def windows(figure) -> list[Bbox]:
    """The windows on them: faces that one sees through."""
    through = [p for p in faces(figure) if p.get_facecolor()[3] < 1.0]
    return [Bbox([p.get_xy().min(axis=0), p.get_xy().max(axis=0)]) for p in through]


def pluses(figure) -> list[Circle]:
    return [p for p in figure.axes[0].patches if isinstance(p, Circle) and p.radius > 0.03]


def arcs(figure) -> list[float]:
    """How high the arcs go; arrows with corners."""
    paths = [p.get_path().vertices for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]
    return [float(v[:, 1].max()) for v in paths if len(v) > 6]


@pytest.mark.parametrize("name", NAMES)
def test_no_text_overlaps_another_or_leaves_its_box_or_the_sheet(name):
    figure = picture("volumes", name)
    assert faults(figure) == []
    assert figure.get_size_inches()[0] <= (7.0 if name != "nested" else 9.0)  # whose residual is wider than a page
    assert figure.get_size_inches()[1] <= 10.0
    assert min(t.get_fontsize() for t in figure.axes[0].texts) >= 6.0


@pytest.mark.parametrize("name", NAMES)
def test_no_volume_overlaps_another_or_a_text_or_leaves_the_sheet(name):
    figure = picture("volumes", name)
    boxes, renderer = volumes(figure), rendered(figure)
    sheet = Bbox([(0, 0), figure.get_size_inches()])
    inches = figure.dpi_scale_trans.inverted()
    texts = [t.get_window_extent(renderer).transformed(inches) for t in figure.axes[0].texts]
    assert not any(overlap(one, two, 0.0) for one, two in itertools.combinations(boxes, 2))
    assert not any(overlap(one, text, 0.0) for one in boxes for text in texts)
    assert all(within(one, sheet, 0.0) for one in boxes)


def test_sizes_are_labelled_in_order_with_what_makes_them():
    lines = said(viz.volumes(*net("alexnet"), title="the paper's"))
    sizes = [
        "227x227x3",
        "55x55x96",
        "27x27x96",
        "27x27x256",
        "13x13x256",
        "13x13x384",
        "6x6x256",
        "9216",
        "4096",
        "1000",
    ]
    places = [lines.index(s) for s in sizes]
    assert places == sorted(places)
    assert lines[lines.index("27x27x256") :][1:5] == ["conv 5x5", "pad 2, 2 groups", "relu", "response norm 5"]
    assert {"the paper's", "60,965,224 parameters, 724 M multiply-adds", "max pool 3x3", "flatten"} <= set(lines)


def test_every_volume_of_alexnet_is_seen_on_one_scale():
    boxes = volumes(picture("volumes", "alexnet"))
    assert len(boxes) == 14  # the input, five convolutions, three pools, a row, three linear layers, and one again
    tall = [b.height for b in boxes[:3]]
    assert tall == sorted(tall, reverse=True)
    assert boxes[0].height > 1.2
    row = boxes[-3]  # 1x1x4096
    assert row.height > 0.06
    assert row.width > 0.7
    assert row.width / boxes[-1].width == pytest.approx((4096 / 1000) ** 0.25, rel=0.05)


def test_a_window_lies_on_the_volume_it_slides_over():
    model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.MaxPool2d((2, 3)), nn.Flatten(), nn.Linear(8 * 70, 4))
    figure = viz.volumes(model, (32, 20, 3))
    boxes, inner = volumes(figure), windows(figure)
    assert len(boxes) == 5
    assert [i for w in inner for i, b in enumerate(boxes) if within(w, b, 1e-6)] == [0, 1, 3]
    assert inner[0].height > inner[1].height  # 5x5, then 2x3, both by the one scale
    assert inner[2].height == pytest.approx(boxes[3].height)  # all of a row goes into each neuron


def test_a_linear_layer_on_an_image_sees_one_pixel_and_a_global_average_all():
    figure = viz.volumes(nn.Sequential(nn.Linear(3, 5), nn.GlobalAvgPool2d()), (16, 16, 3))
    first, second = windows(figure)
    boxes = volumes(figure)
    assert first.height < 0.2 * boxes[0].height
    assert second.y1 == pytest.approx(boxes[1].y1)
    assert second.height > 0.9 * boxes[1].height


def test_a_residual_has_a_plus_and_an_arc_that_says_what_lies_on_it():
    figure = viz.volumes(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), block(4, 8, 2), block(8, 8)), (8, 6, 3))
    assert len(pluses(figure)) == 2
    arc = [t for t in figure.axes[0].texts if t.get_text().startswith("conv 1x1")]
    assert [t.get_text() for t in arc] == ["conv 1x1, stride 2"]
    assert arc[0].get_position()[1] > max(b.y1 for b in volumes(figure))
    assert len(pluses(picture("volumes", "nested"))) == 4  # the one within the shortcut is named on its arc


def test_an_arc_goes_over_those_within_it():
    first, second, over_second, over_all = arcs(picture("volumes", "nested"))
    assert first == second < over_second < over_all


def test_a_row_begins_with_the_last_volume_of_the_row_before_and_cuts_no_residual():
    figure = picture("volumes", "resnet18")
    lines = said(figure)
    again = [lines[i - 1] for i, text in enumerate(lines) if text == "as above"]
    assert again == ["56x56x64", "28x28x128", "14x14x256", "7x7x512"]
    assert len(pluses(figure)) == len(arcs(figure)) == 8
    assert len(volumes(figure)) == 29 + 4
    assert len({round(b.y0 + b.height / 2, 3) for b in volumes(figure)}) == 5


def test_what_repeats_is_drawn_once_only_where_the_picture_would_be_taller_than_a_page():
    assert said(picture("volumes", "deep")).count("6 times") == 3
    assert not any("times" in text for text in said(picture("volumes", "resnet18")))
    many = [layer for _ in range(199) for layer in (nn.Linear(9, 9), nn.Tanh())]
    assert "199 times" in said(viz.volumes(nn.Sequential(*many), (9,)))


def test_activations_before_a_body_are_named_with_what_they_lead_to():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Residual(nn.Sequential(nn.BatchNorm(4), nn.ReLU(), nn.Conv2d(4, 4, 1)))
    )
    lines = said(viz.volumes(model, (6, 6, 3)))
    assert lines[lines.index("batch norm, relu") :][:2] == ["batch norm, relu", "conv 1x1"]


def test_a_legend_names_the_kinds_that_are_drawn():
    lines = said(picture("volumes", "resnet20"))
    assert lines[-7:-1] == ["input", "convolution", "linear", "pooling", "sum", "reshape"]


def test_a_picture_fits_an_axes_that_is_given():
    figure = Figure(figsize=(12, 4))
    left, right = figure.subplots(1, 2)
    assert viz.volumes(*net("lenet5"), ax=right) is figure
    assert not left.texts
    assert faults(figure, right) == []


def test_text_in_an_svg_stays_text(tmp_path):
    save(viz.volumes(*net("lenet5"), title="LeNet-5"), tmp_path / "a.svg")
    content = (tmp_path / "a.svg").read_text()
    for text in ("28x28x6", "conv 5x5", "max pool 2x2", "LeNet-5"):
        assert f">{text}" in content


def test_without_matplotlib_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with raises(ConfigError, "viz", "pip install 'xpnet[viz]'"):
        viz.volumes(*net("mlp"))
