"""The summary against what is executed: products and arrays counted, pixels traced; its table and its JSON."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from tests.harness import raises
from tests.viz.drawn import Gate, block, mixed, nested, net
from xpnet import kernels, models, nn, viz
from xpnet.autograd import Tensor
from xpnet.backend import get_backend
from xpnet.errors import ConfigError, ShapeError

# name: a small model, and the shape of one example
SMALL = {
    "lenet5": lambda: (models.lenet5((12, 13, 2), 5), (12, 13, 2)),
    "resnet20": lambda: (models.resnet20((8, 8, 3), 4), (8, 8, 3)),
    "mixed": lambda: (mixed(), (32, 32, 3)),
    "nested": lambda: (nested(), (16, 12, 3)),
    "own module": lambda: net("own module"),
    "own product": lambda: (nn.Sequential(nn.Linear(5, 5), Squared(), nn.Linear(5, 2)), (5, 5)),
    "parameters in a body only": lambda: (nn.Sequential(nn.Residual(nn.Linear(6, 6)), nn.Linear(6, 3)), (6,)),
    "rows": lambda: net("rows"),
    "used twice": lambda: (twice(), (6,)),
    "frozen": lambda: (frozen(), (6,)),
}


class Squared(nn.Module):
    """A product of sums, without parameters: each example is a square matrix."""

    def forward(self, x):
        return x @ x

    def cost(self, shape):
        return nn.Cost.of(shape, shape, shape[0] ** 3, "x")


def twice() -> nn.Sequential:
    shared = nn.Linear(6, 6)
    return nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(6, 3))


def frozen() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4, bias=False), nn.Linear(4, 3))
    for index in (0, 1, 2):
        for parameter in model[index].parameters():
            parameter.requires_grad = False
    return model


@pytest.mark.parametrize("name", SMALL)
def test_parameters_are_the_numbers_that_the_arrays_hold(name):
    model, shape = SMALL[name]()
    found = viz.summarize(model, shape)
    assert found.parameters == sum(p.numpy().size for p in model.parameters())
    assert found.parameters == sum(layer.parameters for layer in found.layers)


@pytest.mark.parametrize("name", SMALL)
def test_flops_forward_and_backward_are_those_of_the_products_executed(name):
    pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    model, shape = SMALL[name]()
    backend = get_backend("torch")
    with kernels.disable():
        with FlopCounterMode(display=False) as forward:
            y = model.to(backend).train()(Tensor(backend.from_numpy(np.ones((2, *shape), np.float32))))
        with FlopCounterMode(display=False) as backward:
            (y * y).sum().backward()
    found = viz.summarize(model, shape)
    assert 2 * found.flops_forward == 4 * found.macs == forward.get_total_flops() > 0
    assert 2 * found.flops_backward == backward.get_total_flops() > 0


def test_memory_is_four_bytes_a_number_for_each_example_of_the_batch():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    rows = viz.summarize(model, (6,)).layers
    assert [r.saved_bytes for r in rows] == [4 * 6, 4 * 5, 0]  # the second Linear keeps what the ReLU keeps
    assert viz.summarize(model, (6,), 7).saved_bytes == 7 * 4 * 11
    assert viz.summarize(model, (6,), 7).macs == 6 * 5 + 5 * 4


def test_parameters_of_a_layer_used_twice_count_once():
    found = viz.summarize(twice(), (6,))
    assert [r.parameters for r in found.layers] == [6 * 6 + 6, 0, 0, 6 * 3 + 3]
    assert [r.macs for r in found.layers] == [36, 0, 36, 18]


def pixels_seen(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns between the pixels that make a number NaN if they are NaN, of the number where it is most."""
    height, width, _ = shape
    x = np.ones((height * width, *shape))
    for i in range(height * width):
        x[i, i // width, i % width] = np.nan
    with kernels.disable(), np.errstate(invalid="ignore"):
        y = model.to("numpy", dtype="float64").eval()(Tensor(x)).numpy()
    marked = np.isnan(y).reshape(height, width, -1)  # pixel by pixel of the image, number by number of the output
    return widest(marked.any(axis=1)), widest(marked.any(axis=0))


def widest(marked: np.ndarray) -> int:
    """Of (places, numbers), the most places from the first to the last mark of one number."""
    ends = [np.flatnonzero(column) for column in marked.T]
    return max((int(e[-1] - e[0]) + 1 for e in ends if e.size), default=0)


SEEN = {
    "one pixel": (lambda: nn.Sequential(nn.ReLU()), (5, 4, 2)),
    "3x3": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1)), (9, 8, 2)),
    "two 3x3": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 3, padding=1)), (9, 8, 2)),
    "stride, then 3x2": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, (2, 3)), nn.Conv2d(3, 2, (3, 2))), (17, 19, 2)),
    "dilation": (lambda: nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1, (2, 3)), nn.MaxPool2d(2, 1)), (15, 16, 1)),
    "overlapping pools": (lambda: nn.Sequential(nn.MaxPool2d(3, 2), nn.AvgPool2d(3, 2, 1)), (15, 16, 1)),
    "ceil mode": (lambda: nn.Sequential(nn.MaxPool2d(3, 3, ceil_mode=True), nn.Conv2d(1, 1, 2)), (8, 7, 1)),
    "wider than the image": (lambda: nn.Sequential(nn.Conv2d(1, 1, 7, 1, 3), nn.Conv2d(1, 1, 7, 1, 3)), (8, 9, 1)),
    "the last pixels left over": (lambda: nn.Sequential(nn.MaxPool2d(3), nn.Flatten(), nn.Linear(6, 2)), (8, 11, 1)),
    "pixels between strides": (lambda: nn.Sequential(nn.AvgPool2d(1, 3), nn.GlobalAvgPool2d()), (9, 8, 1)),
    "only padding": (lambda: nn.Sequential(nn.Conv2d(1, 1, 1, 1, 2), nn.Conv2d(1, 1, 3, 1, 0, 2)), (6, 7, 1)),
    "taps beyond both edges": (lambda: nn.Sequential(nn.Conv2d(1, 1, 2, 1, 3, 6)), (4, 4, 1)),
    "flat, number by number": (lambda: nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Tanh()), (4, 6, 1)),
    "flat, all of a row": (lambda: nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.LayerNorm(6)), (4, 6, 1)),
    "softmax of a row": (lambda: nn.Sequential(nn.Flatten(), nn.Softmax()), (4, 6, 1)),
    "softmax along H": (lambda: nn.Sequential(nn.AvgPool2d(2), nn.Softmax(axis=1)), (6, 4, 1)),
    "softmax along W": (lambda: nn.Sequential(nn.AvgPool2d(2), nn.LogSoftmax(axis=-2)), (6, 4, 1)),
    "channels": (lambda: nn.Sequential(nn.LocalResponseNorm(3), nn.LayerNorm(3), nn.Linear(3, 2)), (5, 4, 3)),
    "within a channel": (lambda: nn.Sequential(nn.AvgPool2d(2), nn.LocalResponseNorm(4, region="within")), (14, 18, 1)),
    "within, of an even size": (
        lambda: nn.Sequential(nn.LocalResponseNorm(4, region="within"), nn.AvgPool2d(1, 3)),
        (3, 3, 1),
    ),
    "batch norm": (lambda: nn.Sequential(nn.BatchNorm(2), nn.GELU(), nn.PadChannels(1, 2), nn.Dropout()), (5, 4, 2)),
    "residual": (lambda: nn.Sequential(nn.Residual(nn.Sequential(nn.Conv2d(2, 2, 3, 1, 1), nn.ReLU()))), (7, 8, 2)),
    "shortcut that sees more": (
        lambda: nn.Sequential(nn.Residual(nn.Conv2d(1, 1, (1, 3), 1, (0, 1)), nn.Conv2d(1, 1, (5, 1), 1, (2, 0)))),
        (9, 8, 1),
    ),
    "two residuals": (lambda: nn.Sequential(block(2, 3, 2), nn.ReLU(), block(3, 3)), (20, 22, 2)),
    "residuals within": (nested, (22, 20, 3)),
    "resnet20": (lambda: models.resnet20((16, 16, 3), 4)[:5], (16, 16, 3)),
    "mixed": (lambda: mixed()[:12], (32, 32, 3)),  # the perceptron says 0 to NaN
    "mixed, up to the row": (lambda: mixed()[:8], (32, 32, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", SEEN)
def test_the_receptive_field_is_the_pixels_that_a_number_depends_on(name):
    make, shape = SEEN[name]
    model = make()
    assert viz.summarize(model, shape).layers[-1].receptive_field == pixels_seen(model, shape)


def test_the_receptive_field_is_where_the_gradient_is_not_zero():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, 2), nn.Residual(nn.Conv2d(2, 2, (3, 5), 1, (1, 2))), nn.AvgPool2d(2))
    for parameter in model.parameters():
        parameter.data = np.ones(parameter.shape, np.float32)
    x = Tensor(np.ones((1, 21, 27, 1), np.float32), requires_grad=True)
    y = model(x)
    one = np.zeros(y.shape, np.float32)
    one[0, 2, 3, 0] = 1.0
    (y * Tensor(one)).sum().backward()
    rows, columns = np.nonzero(np.asarray(x.grad)[0, :, :, 0])
    spans = (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1)
    assert viz.summarize(model, (21, 27, 1)).layers[-1].receptive_field == spans == (9, 13)


def test_receptive_fields_are_those_known_of_alexnet_and_vgg16():
    alexnet = {r.name: r.receptive_field for r in viz.summarize(*net("alexnet")).layers}
    known = {"conv1": 11, "pool1": 19, "conv2": 51, "pool2": 67, "conv3": 99, "conv4": 131, "conv5": 163, "pool5": 195}
    assert {name: alexnet[name] for name in known} == {name: (n, n) for name, n in known.items()}
    assert alexnet["flatten"] == (195, 195)
    assert alexnet["fc6"] == alexnet["fc8"] == (227, 227)
    vgg16 = {r.name: r.receptive_field for r in viz.summarize(*net("vgg16")).layers}
    known = {"conv1_2": 5, "pool1": 6, "conv2_2": 14, "conv3_3": 40, "conv4_3": 92, "conv5_3": 196, "pool5": 212}
    assert {name: vgg16[name] for name in known} == {name: (n, n) for name, n in known.items()}


def test_the_receptive_field_is_not_known_without_an_image_or_after_a_layer_that_does_not_say():
    assert {r.receptive_field for r in viz.summarize(*net("own module")).layers} == {None}
    assert {r.receptive_field for r in viz.summarize(*net("rows")).layers} == {None}
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Gate(4), nn.Conv2d(4, 4, 3))
    assert [r.receptive_field for r in viz.summarize(model, (7, 8, 3)).layers] == [(3, 3), None, None]


def test_rows_say_kind_window_and_path():
    rows = {r.name: r for r in viz.summarize(*net("alexnet")).layers}
    conv2, pool2, norm2, drop6 = (rows[n] for n in ("conv2", "pool2", "norm2", "drop6"))
    assert (conv2.kind, conv2.layer, conv2.details) == ("conv", "Conv2d", ("5x5", "pad 2", "2 groups"))
    assert (conv2.kernel_size, conv2.stride, conv2.padding) == ((5, 5), (1, 1), (2, 2))
    assert (conv2.input, conv2.output) == ((27, 27, 96), (27, 27, 256))
    assert (pool2.kind, pool2.details) == ("max pool", ("3x3", "stride 2"))
    assert (norm2.kind, norm2.kernel_size) == ("response norm", None)
    assert drop6.details == ("50%",)
    paths = [r.name for r in viz.summarize(block(2, 4, 2), (8, 8, 2)).layers]
    assert paths == ["body.0", "body.1", "body.2", "body.3", "body.4", "shortcut", "Residual"]


class Pair(nn.Module):
    """Two layers one after the other, put together by hand."""

    def __init__(self) -> None:
        self.first = nn.Conv2d(3, 4, 3)
        self.second = block(4, 4)

    def stages(self, shape, kept=False):
        for layer in (self.first, self.second):
            for stage in layer.stages(shape, kept):
                yield stage
                shape, kept = stage.cost.output, stage.kept


def test_a_module_that_defines_stages_is_a_row_for_each_and_its_residuals_fork():
    by_hand, listed = Pair(), nn.Sequential(first=nn.Conv2d(3, 4, 3), second=block(4, 4))
    assert viz.summarize(nn.Sequential(Pair()), (9, 9, 3)).layers[0].name == "0.first"
    assert viz.summarize(by_hand, (9, 9, 3)) == viz.summarize(listed, (9, 9, 3))
    assert len(viz.summarize(by_hand, (9, 9, 3)).steps) == 2


KEYS = ["name", "kind", "output", "parameters", "macs", "saved_bytes", "receptive_field"]


def test_json_has_the_promised_keys_and_survives_a_round_trip():
    found = viz.summarize(*net("resnet18"), batch=3)
    said = found.to_json()
    assert json.loads(json.dumps(said)) == said
    assert set(KEYS) <= set(said["layers"][0])
    assert (said["parameters"], said["macs"], said["batch"]) == (found.parameters, found.macs, 3)
    assert (said["input"], said["output"]) == ([224, 224, 3], [1000])
    assert sum(r["saved_bytes"] for r in said["layers"]) == said["saved_bytes"]
    assert (
        said["layers"][0] | {"kind": "conv", "output": [112, 112, 64], "receptive_field": [7, 7]} == said["layers"][0]
    )


def test_nothing_is_computed_and_little_memory_taken_for_vgg16():
    viz.summarize(*net("alexnet"))
    tracemalloc.start()
    model, shape = net("vgg16")
    viz.summarize(model, shape)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000  # 20 MB are promised
    assert not any(state.made for state in model.states().values())


@pytest.mark.parametrize("width", [72, 80, 100, 120, 200])
@pytest.mark.parametrize("name", ["lenet5", "alexnet", "resnet18", "own module", "one module", "empty"])
def test_a_table_is_aligned_and_no_wider_than_the_terminal(name, width):
    found = viz.summarize(*net(name))
    lines = found.lines(width)
    assert max(map(len, lines)) <= width
    rules = [i for i, line in enumerate(lines) if set(line) == {"-"}]
    assert len(rules) == 2
    assert rules[1] - rules[0] == len(found.layers) + 1
    assert max(map(len, lines[: rules[1] + 2])) == len(lines[rules[0]])
    assert f"{found.parameters:,}" in lines[rules[1] + 1]
    assert lines[rules[1] + 1].startswith("total ")


def test_a_table_reads_like_this():
    model = nn.Sequential(
        first=nn.Conv2d(3, 4, 3, stride=2), relu=nn.ReLU(), flat=nn.Flatten(), last=nn.Linear(36, 1000)
    )
    assert viz.summarize(model, (7, 8, 3), 2).lines(100) == [
        "                                               multiply-    FLOPs     FLOPs   saved  receptive",
        "layer  kind                output  parameters       adds  forward  backward      MB      field",
        "----------------------------------------------------------------------------------------------",
        "first  conv 3x3, stride 2   3x3x4         112        972   1.94 k    1.94 k  0.0013        3x3",
        "relu   relu                 3x3x4           -          -        -         -  0.0003        3x3",
        "flat   flatten                 36           -          -        -         -       -        3x3",
        "last   linear                1000      37,000     36,000   72.0 k     144 k       -        7x7",
        "----------------------------------------------------------------------------------------------",
        "total                                  37,112     36,972   73.9 k     146 k  0.0016",
        "",
        "Input 7x8x3; figures are those of one example. FLOPs: two a multiply-add, other arithmetic not",
        "counted. Saved for the backward pass: by a batch of 2, 4 bytes a number.",
    ]


def test_long_paths_are_shortened_from_the_left():
    inner = nn.Sequential(conv1=nn.Conv2d(3, 3, 1), a_layer_with_a_long_name=nn.ReLU())
    model = nn.Sequential(stage1=nn.Sequential(block2=nn.Residual(inner)))
    names = [line.split("  ")[0] for line in viz.summarize(model, (512, 512, 3)).lines(72)[3:6]]
    assert names == ["s1.block2.body.conv1", "\u2026yer_with_a_long_name", "stage1.block2"]


def test_a_wide_table_says_all_and_a_narrow_one_the_most_telling():
    found = viz.summarize(*net("alexnet"))
    wide, narrow = "\n".join(found.lines(120)), "\n".join(found.lines(80))
    for text in ("724,406,816", "1.45 G", "2.69 G", "195x195", "conv 5x5, pad 2, 2 groups", "FLOPs"):
        assert text in wide
    for text in ("60,965,224", "724 M", "conv 5x5, pad 2, 2 groups", "13x13x384"):
        assert text in narrow
    assert "FLOPs" not in narrow


def test_print_fits_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = viz.summarize(*net("resnet18"))
    assert str(found).split("\n") == found.lines(80)
    monkeypatch.setenv("COLUMNS", "10")
    assert str(found).split("\n") == found.lines(72)


class Silent(nn.Module):
    def forward(self, x):
        return x


class Mine(nn.Module):
    """A forward in Python: two branches of which one is scaled, and a layer that is called twice."""

    def __init__(self):
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding="same"), nn.BatchNorm(4)
        self.scale = nn.Parameter((4,), nn.ones)
        self.head = nn.Sequential(flat=nn.Flatten(), fc=nn.Linear(6 * 5 * 4, 2))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        y = self.conv(x).relu()
        y = self.norm(y) * self.scale + self.norm(x[..., :1] * self.scale)
        return self.head(y)


def test_a_custom_forward_is_run_once_on_zeros_where_it_defines_no_cost():
    model = Mine()
    found = viz.summarize(model, (6, 5, 3), 2)
    rows = {"conv": (6, 5, 4), "norm": (6, 5, 4), "head.flat": (120,), "head.fc": (2,), "Mine": (2,)}
    assert [row.name for row in found.layers] == ["conv", "norm", "norm", "head.flat", "head.fc", "Mine"]
    assert all(row.output == rows[row.name] for row in found.layers)
    assert found.layers[0].macs == 6 * 5 * 4 * 27
    assert found.macs == 6 * 5 * 4 * 27 + 240
    assert [row.parameters for row in found.layers] == [112, 8, 0, 0, 242, 4]
    assert found.parameters == model.parameter_count
    assert found.uncounted == ("Mine",)
    assert "Not counted: multiply-adds and saved numbers of Mine" in " ".join(str(found).split())
    assert (model.calls, model.conv.weight.made, model.training) == (0, False, True)


def test_what_a_traced_model_keeps_counts_once():
    plain = nn.Sequential(a=nn.Linear(4, 4), act=nn.ReLU(), b=nn.Linear(4, 3))
    traced = nn.Sequential(a=nn.Linear(4, 4), act=nn.ReLU(), b=nn.Linear(4, 3), last=Silent())
    assert viz.summarize(traced, (4,)).saved_bytes == viz.summarize(plain, (4,)).saved_bytes


def test_a_layer_that_does_not_know_its_cost_is_counted_by_the_others():
    model = nn.Sequential(first=nn.Linear(4, 4), deep=nn.Residual(nn.Sequential(mine=Silent())), last=Silent())
    found = viz.summarize(model, (4,))
    assert [row.name for row in found.layers] == ["first", "deep.body.mine", "deep", "last"]
    assert found.uncounted == ("deep.body.mine", "last")
    with raises(nn.UnknownCostError, "deep.body.mine", "Silent", "cost(shape)", "nn.Cost", "stages"):
        model.cost((4,))


class Wrong(nn.Module):
    def forward(self, x):
        return x.no_such_method()


def test_a_forward_that_fails_is_said_in_one_line():
    with raises(ConfigError, "summary", "forward fails on zeros", "no_such_method"):
        viz.summarize(Wrong(), (4,))
    with raises(ShapeError, "0", "D = 4", "(3,)"):
        viz.summarize(nn.Sequential(nn.Linear(4, 2), Silent()), (3,))


def test_what_is_no_model_no_shape_and_no_batch_is_refused():
    with raises(ConfigError, "summary", "list"):
        viz.summarize([nn.ReLU()], (4,))  # pyright: ignore[reportArgumentType]
    for shape in ((), (4, 0), (4, 2.0), 4):
        with raises(ConfigError if shape else ShapeError, "summary", str(shape)):
            viz.summarize(nn.ReLU(), shape)  # pyright: ignore[reportArgumentType]
    for batch in (0, -1, 1.5):
        with raises(ConfigError, "summary", f"batch {batch}"):
            viz.summarize(nn.ReLU(), (4,), batch)  # pyright: ignore[reportArgumentType]
    with raises(ShapeError, "1", "D = 4", "(3,)"):
        viz.summarize(nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), (3,))


class Joined(nn.Module):
    """An image and a row of numbers."""

    def __init__(self):
        self.flatten, self.image = nn.Flatten(), nn.Linear(12, 5)
        self.row, self.head = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, image, row):
        return self.head(self.image(self.flatten(image)) + self.row(row))


@pytest.mark.parametrize("shape", [((2, 6, 1), (3,)), {"row": (3,), "image": (2, 6, 1)}], ids=["tuple", "names"])
def test_a_model_of_several_inputs_is_summarized(shape):
    summary = viz.summarize(Joined(), shape)
    rows = {layer.name: layer for layer in summary.layers if layer.parameters}
    assert {name: layer.macs for name, layer in rows.items()} == {"image": 60, "row": 15, "head": 10}
    assert summary.parameters == 60 + 5 + 15 + 5 + 10 + 2
    # the gradient of the weights only, where a layer reads an input
    assert {name: layer.flops_backward for name, layer in rows.items()} == {"image": 120, "row": 30, "head": 40}
    text = str(summary)
    assert "2x6x1" in text
    assert ("image 2x6x1" in text) == isinstance(shape, dict)
    assert json.loads(json.dumps(summary.to_json()))["input"] == (
        {"row": [3], "image": [2, 6, 1]} if isinstance(shape, dict) else [[2, 6, 1], [3]]
    )


def test_several_inputs_that_a_model_does_not_take_are_one_line():
    with raises(ConfigError, "summary", "shape ((3,),)", "'row'"):
        viz.summarize(Joined(), ((3,),))
    with raises(ConfigError, "summary", "shape"):
        viz.summarize(Joined(), {"image": (2, 6, 1), "row": (-3,)})
    with raises(ShapeError, "summary"):
        viz.summarize(Joined(), {"image": (2, 6, 1), "row": ()})


def test_volumes_are_of_one_input():
    pytest.importorskip("matplotlib")
    viz.blocks(Joined(), ((2, 6, 1), (3,)))
    with raises(ShapeError, "volumes", "one input", "2x6x1"):
        viz.volumes(Joined(), ((2, 6, 1), (3,)))
