"""Decision boundaries: which colour lies where, how the examples and the neurons' lines are drawn, what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from tests.harness import raises, sample
from xpnet import data, nn, viz
from xpnet.autograd import Tensor
from xpnet.backend import Backend, get_backend, use_backend
from xpnet.errors import ConfigError, ShapeError
from xpnet.train import Trainer
from xpnet.viz.style import PALETTE

PROBLEM = data.blobs(60, 3)
WEIGHT, BIAS = np.asarray([[1, 2], [-2, 1], [0, -1]], np.float32), np.asarray([0.5, -1, 0.25], np.float32)


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def draw(predict, problem=PROBLEM, **options):
    """The axes of a picture, and its plane: (rows, columns, 3), the lowest row first."""
    ax = viz.decision_boundary(predict, problem, resolution=50, **options).axes[0]
    (image,) = ax.images
    assert image.origin == "lower"
    return ax, np.asarray(image.get_array())


def places(ax, plane):
    """The coordinates that each of the plane's colours is of."""
    left, right, low, high = ax.images[0].get_extent()
    return np.meshgrid(np.linspace(left, right, plane.shape[1]), np.linspace(low, high, plane.shape[0]))


def strength(plane, k):
    """How much of a class's colour there is, 0 to 1, given that it is that colour mixed with white."""
    colour = np.asarray(to_rgb(PALETTE[k]))
    channel = int(np.argmin(colour))
    share = (1.0 - plane[..., channel]) / (1.0 - colour[channel])
    np.testing.assert_allclose(plane, 1.0 - share[..., None] * (1.0 - colour), atol=1e-12)
    return share


def filled(layer):
    layer.load_state_dict({"weight": WEIGHT, "bias": BIAS})
    return layer


def test_each_place_has_the_colour_of_its_class():
    ax, plane = draw(lambda x: (x[:, 0] + 2 * x[:, 1] > 1).astype(int), data.moons(40))
    across, up = places(ax, plane)
    said = across + 2 * up > 1
    assert 0.2 < said.mean() < 0.8
    for k, part in ((0, ~said), (1, said)):
        share = strength(plane[part], k)
        assert share.min() == share.max() > 0.15


def test_the_colour_fades_towards_the_boundary_where_scores_are_given():
    ax, plane = draw(lambda x: np.stack([-3 * x[:, 0], 3 * x[:, 0]], axis=1))
    across, _ = places(ax, plane)
    right = across > 0
    chance = 1 / (1 + np.exp(-6 * np.abs(across)))
    for k, part in ((0, ~right), (1, right)):
        share = strength(plane[part], k)
        order = np.argsort(chance[part])
        assert (np.diff(share[order]) >= -1e-7).all()
        near, far = share[order][0], share[order][-1]
        assert near < 0.2
        assert far > 0.35
        np.testing.assert_allclose(share, far * chance_scaled(chance[part], near, far), atol=0.02)


def chance_scaled(chance, near, far):
    """What of its full strength the colour has, linear in how far the chance is from a guess."""
    low, high = chance.min(), chance.max()
    return (near + (far - near) * (chance - low) / (high - low)) / far


def test_scores_and_their_softmax_and_a_single_sum_give_one_picture():
    def two(x):
        return np.stack([0 * x[:, 0] + 5, 5 + x[:, 0] + x[:, 1]], axis=1)

    def softmax(x):
        e = np.exp(two(x))
        return e / e.sum(axis=1, keepdims=True)

    _, want = draw(two)
    np.testing.assert_allclose(draw(softmax)[1], want, atol=1e-6)
    np.testing.assert_allclose(draw(lambda x: x.sum(axis=1, keepdims=True))[1], want, atol=1e-6)


def test_a_model_draws_alike_on_every_backend(backend):
    plain = nn.Sequential(hidden=nn.Linear(2, 5), act=nn.Tanh(), scores=nn.Linear(5, 3))
    with use_backend(backend):
        model = nn.Sequential(hidden=nn.Linear(2, 5), act=nn.Tanh(), scores=nn.Linear(5, 3))
    ax, plane = draw(model)
    x = np.stack([c.ravel() for c in places(ax, plane)], axis=1).astype(np.float32)
    said = np.argmax(plain(Tensor(x)).numpy(), axis=1).reshape(plane.shape[:2])
    assert len(np.unique(said)) > 1
    for k in np.unique(said):
        inner = said == k
        assert strength(plane[inner], k).max() > 0.05
    np.testing.assert_allclose(plane, draw(Trainer(model))[1], atol=1e-5)


def test_a_perceptron_is_asked_for_its_classes(backend):
    with use_backend(backend):
        neurons = filled(nn.Perceptron(2, 3))
    ax, plane = draw(neurons)
    x = np.stack([c.ravel() for c in places(ax, plane)], axis=1)
    said = np.argmax(x @ WEIGHT.T + BIAS, axis=1).reshape(plane.shape[:2])
    for k in range(3):
        assert (said == k).any()
        share = strength(plane[said == k], k)
        assert share.min() == share.max()


def test_a_picture_is_one_transfer_to_the_host(monkeypatch):
    model, backend = nn.Sequential(nn.Linear(2, 3)), get_backend("numpy")
    model(Tensor(np.zeros((1, 2), np.float32)))
    count, copy = [], Backend.to_numpy
    monkeypatch.setattr(type(backend), "to_numpy", lambda self, a: count.append(a.shape) or copy(self, a))
    for predict in (model, Trainer(model), nn.Perceptron(2, 3)):
        count.clear()
        draw(predict)
        assert len(count) == 1, predict


def test_a_model_is_used_in_inference_and_left_as_it_was():
    class Asking(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter((2, 2), nn.ones)
            self.seen = []

        def forward(self, x):
            self.seen.append(self.training)
            y = x @ self.weight
            assert not y.requires_grad
            return y

    for training in (True, False):
        model = Asking().train(training).to(dtype="float64")
        draw(model)
        assert model.seen == [False]
        assert model.training is training


def test_each_class_has_a_colour_and_a_marker_of_its_own():
    ax, _ = draw(lambda x: np.zeros(len(x)))
    assert len(ax.collections) == 3
    shapes = set()
    for k, drawn in enumerate(ax.collections):
        offsets = np.asarray(drawn.get_offsets())
        assert sorted(map(tuple, offsets)) == sorted(map(tuple, PROBLEM.x[PROBLEM.y == k].astype(np.float64)))
        assert tuple(drawn.get_facecolors()[0][:3]) == to_rgb(PALETTE[k])
        shapes.add(drawn.get_paths()[0].vertices.tobytes())
    assert len(shapes) == 3
    for low, high, column in ((*ax.get_xlim(), 0), (*ax.get_ylim(), 1)):
        assert low < PROBLEM.x[:, column].min()
        assert high > PROBLEM.x[:, column].max()


def drawn_lines(ax):
    return [line for line in ax.lines if hasattr(line, "get_xy1")]


@pytest.mark.parametrize("place", ["alone", "given"])
@pytest.mark.parametrize(
    ("classes", "low", "words"), [(2, 0.0, "probability of\nlower"), (3, 1 / 3, "the predicted class")]
)
def test_a_colour_bar_says_the_probability_where_scores_are_given(classes, low, words, place):
    problem = data.moons(30) if classes == 2 else PROBLEM
    ax = Figure().subplots() if place == "given" else None

    def drawn(predict):
        return viz.decision_boundary(predict, problem, ax, resolution=9).axes[0].child_axes

    (bar,) = drawn(lambda x: np.stack([x[:, 0] * k for k in range(classes)], axis=1))
    assert bar.get_ylim() == pytest.approx((low, 1.0))
    assert words in bar.get_ylabel()
    assert bar.yaxis.get_major_formatter()(1.0) == "100%"


def test_names_of_classes_are_never_formulas():
    problem = data.from_arrays(PROBLEM.x, PROBLEM.y % 2, ["a", "$x$ $"])
    figure = viz.decision_boundary(lambda x: x, problem, resolution=9)
    assert figure.axes[0].child_axes[0].get_ylabel() == "probability of\n\\$x\\$ \\$"
    assert figure.legends[0].get_texts()[1].get_text() == r"\$x\$ \$"


def test_without_scores_there_is_no_colour_bar():
    figure = viz.decision_boundary(lambda x: np.zeros(len(x), int), PROBLEM, resolution=9)
    assert len(figure.axes) == 1
    assert not figure.axes[0].child_axes


@pytest.mark.parametrize("kind", ["perceptron", "linear", "augmented", "no bias"])
def test_a_line_lies_where_a_neurons_sum_is_zero_and_its_arrow_points_above(kind):
    bias = BIAS
    if kind == "augmented":
        layer = nn.Linear(2, 3, bias="augmented")
        layer.load_state_dict({"weight": np.concatenate([WEIGHT, BIAS[:, None]], axis=1)})
    elif kind == "no bias":
        layer, bias = nn.Linear(2, 3, bias=False), 0 * BIAS
        layer.load_state_dict({"weight": WEIGHT})
    else:
        layer = filled(nn.Perceptron(2, 3) if kind == "perceptron" else nn.Linear(2, 3))
    ax, _ = draw(layer, lines=layer)
    lines = drawn_lines(ax)
    arrows = [t for t in ax.texts if isinstance(t, Annotation)]
    assert len(lines) == len(arrows) == 3
    for k, (line, arrow) in enumerate(zip(lines, arrows, strict=True)):
        for point in (line.get_xy1(), line.get_xy2()):
            assert abs(WEIGHT[k] @ np.asarray(point) + bias[k]) < 1e-5
        assert line.get_xy1() != pytest.approx(line.get_xy2(), abs=0.1)
        tip, tail = (WEIGHT[k] @ np.asarray(p) + bias[k] for p in (arrow.xy, arrow.xyann))
        assert abs(tail) < 1e-5
        assert tip > 0.1
        assert to_rgb(line.get_color()) == to_rgb(PALETTE[k])


def test_one_neurons_line_is_black_and_one_out_of_sight_has_no_arrow():
    neuron = nn.Perceptron(2)
    neuron.load_state_dict({"weight": np.asarray([[0, 1]], np.float32), "bias": np.asarray([-100], np.float32)})
    ax, _ = draw(neuron, lines=neuron)
    (line,) = drawn_lines(ax)
    assert to_rgb(line.get_color()) == (0, 0, 0)
    assert [t for t in ax.texts if isinstance(t, Annotation)] == []
    assert ax.get_ylim()[1] < 10


def test_a_neuron_that_has_learned_nothing_has_no_line():
    ax, _ = draw(nn.Perceptron(2), lines=nn.Perceptron(2))
    assert len(ax.lines) == 0


def test_the_classes_and_the_lines_are_named_beside_the_picture():
    neurons = filled(nn.Perceptron(2, 3))
    figure = viz.decision_boundary(neurons, PROBLEM, lines=neurons, title="three of them", resolution=20)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "class 0",
        "class 1",
        "class 2",
        "a neuron's sum = 0",
    ]
    assert figure.axes[0].get_title() == "three of them"
    figure = viz.decision_boundary(lambda x: np.zeros(len(x), int), data.moons(9), resolution=20)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["upper", "lower"]
    figure = viz.decision_boundary(lambda x: np.zeros(len(x), int), PROBLEM, resolution=20, legend=False)
    assert figure.legends == []


def test_a_picture_is_drawn_on_axes_that_are_given():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert viz.decision_boundary(lambda x: x, PROBLEM, right, resolution=20) is figure
    assert not left.images
    assert len(right.images) == 1
    assert figure.legends == []
    assert right.get_legend() is not None


@pytest.mark.parametrize("problem", [PROBLEM, data.moons(300), data.xor(4, 0.0)], ids=["blobs", "moons", "corners"])
def test_nothing_lies_outside_of_the_picture(problem, tmp_path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    neurons = filled(nn.Perceptron(2, 3))
    figure = viz.decision_boundary(neurons, problem, lines=neurons, title="a title")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box, (width, height) = figure.get_tightbbox(canvas.get_renderer()), figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height
    assert box.x1 - box.x0 > 0.8 * width
    figure.savefig(tmp_path / "plane.png", dpi=50)
    with Image.open(tmp_path / "plane.png") as image:
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 20


def test_places_are_square_and_as_many_as_asked_for():
    ax, plane = draw(lambda x: x)
    assert max(plane.shape[:2]) == 50
    problem = data.from_arrays(np.asarray([[0, 0], [10, 1], [10, 0]]), np.asarray([0, 1, 1]))
    ax, plane = draw(lambda x: x, problem)
    assert plane.shape[1] == 50
    left, right, low, high = ax.images[0].get_extent()
    assert (right - left) / 50 == pytest.approx((high - low) / plane.shape[0], rel=0.1)
    assert ax.get_aspect() == 1


def test_arrays_serve_in_the_place_of_a_data_set():
    ax, _ = draw(lambda x: x, (PROBLEM.x, PROBLEM.y))
    assert len(ax.collections) == 3


def test_samples_of_other_sizes_are_an_error():
    with raises(ShapeError, "decision_boundary", "(5, 3)"):
        viz.decision_boundary(lambda x: x, (sample(5, 3), np.arange(5) % 2))


@pytest.mark.parametrize("resolution", [1, 0, -3])
def test_a_resolution_under_two_is_an_error(resolution):
    with raises(ConfigError, "decision_boundary", f"resolution {resolution}"):
        viz.decision_boundary(lambda x: x, PROBLEM, resolution=resolution)


@pytest.mark.parametrize("shape", [(3,), (5, 2), (2500, 2, 2), (2500, 0), ()], ids=str)
def test_answers_of_another_shape_are_an_error(shape):
    with raises(ShapeError, "decision_boundary", shape):
        draw(lambda x: np.zeros(shape))


@pytest.mark.parametrize("value", [0.25, -1.0, float("nan")], ids=str)
def test_answers_that_are_no_class_numbers_are_an_error(value):
    with raises(ShapeError, "decision_boundary", f"value {value}"), np.errstate(invalid="ignore"):
        draw(lambda x: np.where(np.arange(len(x)) == 7, value, 1.0))


def test_something_that_cannot_be_asked_is_an_error():
    with raises(ConfigError, "decision_boundary", "predict str"):
        draw("mlp")


@pytest.mark.parametrize(
    ("layer", "shape"), [(lambda: nn.Linear(3, 2), (2, 3)), (nn.ReLU, (0, 0))], ids=["three features", "no weights"]
)
def test_lines_of_anything_else_are_an_error(layer, shape):
    with raises(ShapeError, "decision_boundary", f"weight {shape}", type(layer()).__name__):
        draw(lambda x: x, lines=layer())


def test_no_window_is_opened_and_no_global_figure_kept():
    import matplotlib.pyplot as pyplot

    before = pyplot.get_fignums()
    draw(lambda x: x)
    assert pyplot.get_fignums() == before
