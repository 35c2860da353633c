"""A collapsed model computes what the model does, with as few layers as can be exact; the model is not touched."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.harness import agree, few_on_jax, float_types, put, raises, sample
from tests.nn.folding import IMAGES, ROWS, filled, kinds, on_host
from xpnet import get_backend, models, nn
from xpnet.autograd import Tensor
from xpnet.backend import use_backend
from xpnet.errors import ConfigError, ShapeError


class Twice(nn.Module):
    """A module that collapse does not know."""

    def __init__(self, body):
        self.body = body
        self.scale = nn.Parameter((), nn.ones)

    def forward(self, x):
        return self.body(self.body(x)) * self.scale


class Doubled(nn.Linear):
    """A Linear whose forward is its own."""

    def forward(self, x, activation=None):
        return super().forward(x) + super().forward(x, activation)


def block(channels, filters, stride, shortcut):
    return nn.Residual(
        nn.Sequential(
            conv1=nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False),
            norm1=nn.BatchNorm(filters),
            relu=nn.ReLU(),
            conv2=nn.Conv2d(filters, filters, 3, padding=1, bias=False),
            norm2=nn.BatchNorm(filters),
        ),
        nn.Sequential(conv=nn.Conv2d(channels, filters, 1, stride, bias=False), norm=nn.BatchNorm(filters))
        if shortcut
        else None,
    )


# name: the model, the shape of x, and what is left of it
MODELS = {
    "eight linear layers": (
        lambda: nn.Sequential(*(nn.Linear(6, 6, bias=i % 3 != 1) for i in range(8))),
        ROWS,
        {"0": "Linear"},
    ),
    "linear layers with the bias as a column": (
        lambda: nn.Sequential(nn.Linear(6, 5, "augmented"), nn.Linear(5, 7, "augmented"), nn.Linear(7, 3, False)),
        ROWS,
        {"0": "Linear"},
    ),
    "rows of rows": (lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2)), (2, 4, 6), {"0": "Linear"}),
    "norms around a linear layer": (
        lambda: nn.Sequential(
            before=nn.BatchNorm(6, eps=0.3),
            fc=nn.Linear(6, 5, False),
            drop=nn.Dropout(),
            after=nn.BatchNorm(5, eps=0.7),
        ),
        ROWS,
        {"fc": "Linear"},
    ),
    "two norms": (
        lambda: nn.Sequential(nn.BatchNorm(4, eps=0.3), nn.BatchNorm(4, eps=0.7)),
        IMAGES,
        {"0": "BatchNorm"},
    ),
    "conv, norm, relu": (
        lambda: nn.Sequential(
            conv1=nn.Conv2d(4, 6, 3, padding=1, bias=False),
            norm1=nn.BatchNorm(6),
            relu1=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 4, (2, 3), groups=2, flip=True),
            norm2=nn.BatchNorm(4),
            relu2=nn.LeakyReLU(),
            flatten=nn.Flatten(),
            hidden=nn.Linear(24, 5),
            norm3=nn.BatchNorm(5),
            again=nn.Flatten(),
            scores=nn.Linear(5, 3),
        ),
        IMAGES,
        {
            "conv1": "Conv2d",
            "relu1": "ReLU",
            "pool": "MaxPool2d",
            "conv2": "Conv2d",
            "relu2": "LeakyReLU",
            "flatten": "Flatten",
            "hidden": "Linear",
        },
    ),
    "residual blocks": (
        lambda: nn.Sequential(
            block1=block(4, 4, 1, False), relu1=nn.ReLU(), block2=block(4, 6, 2, True), relu2=nn.ReLU()
        ),
        IMAGES,
        {
            "block1.body.conv1": "Conv2d",
            "block1.body.relu": "ReLU",
            "block1.body.conv2": "Conv2d",
            "relu1": "ReLU",
            "block2.body.conv1": "Conv2d",
            "block2.body.relu": "ReLU",
            "block2.body.conv2": "Conv2d",
            "block2.shortcut.conv": "Conv2d",
            "relu2": "ReLU",
        },
    ),
    "three convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 6, 3, (2, 1), padding=(1, 2), groups=2, flip=True),
            nn.Conv2d(6, 4, (2, 3), bias=False, groups=2),
            nn.Conv2d(4, 3, (1, 2), (1, 3), flip=True),
        ),
        IMAGES,
        {"0": "Conv2d"},
    ),
    "a linear layer on pixels": (
        lambda: nn.Sequential(mix=nn.Linear(4, 5), conv=nn.Conv2d(5, 3, 3, 2), out=nn.Linear(3, 2)),
        IMAGES,
        {"mix": "Conv2d"},
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_collapsed_model_gives_what_the_model_gives(backend, name):
    few_on_jax(backend, name in ("norms around a linear layer", "two norms", "a linear layer on pixels"))
    make, shape, left = MODELS[name]
    for dtype in float_types(backend)[: 1 if backend.name == "jax" else 2]:
        with use_backend(backend):
            model = filled(make(), np.dtype(dtype).name).eval()
        collapsed = nn.collapse(model)
        x = put(backend, sample(*shape, seed=3), dtype)
        agree(collapsed(x).numpy(), model(x).numpy(), dtype, 200, name)
        assert kinds(collapsed) == left
        assert collapsed.cost(shape[1:]).output == model.cost(shape[1:]).output
        for state in collapsed.states().values():
            assert state.backend == backend
            assert state.data.dtype == x.dtype


# What cannot be folded is not.


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)),
        lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4)),
        lambda: nn.Sequential(nn.Linear(4, 4), nn.AvgPool2d(2), nn.Linear(4, 4)),
        lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, padding=1)),
        lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, padding=(0, 1))),
        lambda: nn.Sequential(nn.Conv2d(4, 4, 1, 2, bias=False), nn.Conv2d(4, 4, 3, padding=1)),
        lambda: nn.Sequential(nn.Conv2d(4, 4, 1, 1, 1, bias=False), nn.Conv2d(4, 4, 3, padding=1)),
        lambda: nn.Sequential(nn.Conv2d(4, 4, (1, 2), bias=False), nn.Conv2d(4, 4, 3, padding=1)),
        lambda: nn.Sequential(nn.BatchNorm(4), nn.Conv2d(4, 4, 3, padding=1)),
        lambda: nn.Sequential(nn.Linear(4, 4), Doubled(4, 4), nn.BatchNorm(4)),
        lambda: nn.Sequential(nn.Linear(4, 4), nn.Residual(nn.Linear(4, 4)), nn.Linear(4, 4)),
        lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.Flatten(), nn.BatchNorm(168)),
        lambda: nn.Sequential(nn.Conv2d(4, 4, (9, 8)), nn.Flatten(), nn.Linear(4, 3)),
    ],
    ids=[
        "ReLU", "LayerNorm", "pool", "padding", "padding of 1x1", "stride before padding", "padding twice",
        "kernel before padding", "norm before padding", "a subclass", "Residual", "Flatten of images",
        "Flatten of pixels",
    ],
)  # fmt: skip
def test_what_is_not_linear_or_not_exact_stays(make):
    model = make()
    assert kinds(on_host(model, IMAGES)) == kinds(model)


def test_a_shift_anywhere_before_padding_ends_the_run():
    model = nn.Sequential(nn.BatchNorm(4), nn.Linear(4, 5, False), nn.Conv2d(5, 3, 3, padding=1))
    assert kinds(on_host(model, IMAGES)) == {"1": "Linear", "2": "Conv2d"}


def test_layers_that_do_not_fit_are_left_for_the_call_to_refuse():
    collapsed = nn.collapse(nn.Sequential(nn.Linear(6, 5), nn.Linear(4, 3)))
    assert len(collapsed) == 2
    with raises(ShapeError, "1 (linear)", (3, 5)):
        collapsed(sample(*ROWS).astype(np.float32))


# Flatten and Dropout.


def test_dropout_is_left_out():
    model = nn.Sequential(nn.Linear(6, 5), nn.Dropout(), nn.Linear(5, 4), nn.ReLU(), nn.Dropout(0.2))
    assert kinds(on_host(model, ROWS)) == {"0": "Linear", "3": "ReLU"}


def test_flat_rows_are_not_flattened_again():
    layers = [nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Flatten(), nn.Linear(5, 4), nn.Flatten(), nn.Linear(4, 3)]
    assert kinds(on_host(nn.Sequential(*layers), (2, 3, 4))) == {
        "0": "Flatten",
        "1": "Linear",
        "2": "ReLU",
        "4": "Linear",
    }


class Fold(nn.Module):
    """Rows of 12 numbers become 3 rows of 4."""

    def forward(self, x):
        return x.reshape(-1, 3, 4)


def test_rows_that_are_flat_no_more_are_flattened():
    model = nn.Sequential(nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(4, 12), Fold(), nn.Tanh(), nn.Flatten())
    assert list(kinds(on_host(model, IMAGES))) == ["0", "2", "3", "4", "5"]


@pytest.mark.parametrize("shape", [(3, 6), (3, 1, 6)])
@pytest.mark.parametrize("norm", [False, True])
def test_a_flatten_of_rows_of_one_stays_beside_the_folded_layer(shape, norm):
    first = nn.BatchNorm(6) if norm else nn.Linear(6, 6)
    last = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh())
    collapsed = on_host(nn.Sequential(nn.Sequential(first), last), shape)
    assert sorted(kinds(collapsed).values()) == ["Flatten", "Linear", "Tanh"]


# What is shared, what is copied.


def test_a_layer_used_twice_is_one_layer_in_the_copy():
    fc = nn.Linear(6, 6)
    collapsed = on_host(nn.Sequential(fc, nn.ReLU(), fc, nn.ReLU(), fc), ROWS)
    assert collapsed[0] is collapsed[2] is collapsed[4] is not fc
    assert collapsed.parameter_count == 6 * 6 + 6


def test_a_run_used_twice_is_folded_once():
    part = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm(6), nn.ReLU())
    collapsed = on_host(nn.Sequential(a=part, b=part), ROWS)
    assert collapsed.a[0] is collapsed.b[0]
    assert collapsed.parameter_count == 6 * 6 + 6


def test_a_layer_used_twice_in_a_run_counts_twice():
    fc = nn.Linear(6, 6)
    assert len(on_host(nn.Sequential(fc, fc, fc), ROWS)) == 1


def test_only_smaller_leaves_a_shared_layer_shared():
    fc = nn.Linear(20, 20, False)
    model = nn.Sequential(fc, nn.BatchNorm(20), nn.ReLU(), fc, nn.BatchNorm(20))
    assert kinds(on_host(model, (2, 20), only_smaller=True)) == kinds(model)
    assert nn.collapse(model).parameter_count == 2 * (400 + 20)


def test_tied_weights_stay_tied():
    one, two = nn.Linear(6, 6), nn.Linear(6, 6)
    two.weight = one.weight
    collapsed = on_host(nn.Sequential(one, nn.ReLU(), two), ROWS)
    assert collapsed[0].weight is collapsed[2].weight is not one.weight


def test_the_model_is_not_touched():
    model = filled(MODELS["conv, norm, relu"][0]())
    before, layers = model.state_dict(), dict(model.modules())
    before = {path: array.copy() for path, array in before.items()}
    collapsed = nn.collapse(model)
    for state in collapsed.states().values():
        state.data[...] = 7.0
    assert all(np.array_equal(array, before[path]) for path, array in model.state_dict().items())
    assert dict(model.modules()) == layers
    assert model.training
    assert all(m.training for _, m in model.modules())
    assert not any(m.training for _, m in collapsed.modules())


def test_what_is_kept_as_it_is_has_arrays_of_its_own(backend):
    with use_backend(backend):
        model = filled(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), Twice(nn.Linear(6, 6))))
    x = put(backend, sample(*ROWS, seed=3), np.float32)
    collapsed = nn.collapse(model)
    want = model(x).numpy()
    for state in model.states().values():
        state.data = 0.0 * state.data
    assert np.array_equal(collapsed(x).numpy(), want)
    assert {id(s) for s in model.states().values()}.isdisjoint(id(s) for s in collapsed.states().values())


def test_a_module_of_your_own_is_copied_whole():
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm(6), Twice(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))))
    collapsed = on_host(model, ROWS)
    assert kinds(collapsed) == {"0": "Linear", "2.body.0": "Linear", "2.body.1": "Linear"}


def test_a_module_by_itself_is_copied():
    for model, shape in ((nn.Linear(6, 4), ROWS), (nn.BatchNorm(6), ROWS), (Twice(nn.Linear(6, 6)), ROWS)):
        collapsed = on_host(model, shape)
        assert type(collapsed) is type(model)
        assert collapsed is not model


def test_a_part_of_a_model_begins_its_own_paths():
    model = filled(
        nn.Sequential(features=nn.Sequential(fc=nn.Linear(6, 6), norm=nn.BatchNorm(6)), own=Twice(nn.Tanh()))
    )
    assert list(nn.collapse(model.features).states()) == ["fc.weight", "fc.bias"]
    assert list(nn.collapse(model.own).states()) == ["scale"]


def test_a_run_across_sequentials_stays_where_it_begins():
    model = nn.Sequential(
        stem=nn.Sequential(conv=nn.Conv2d(4, 4, 3)), norm=nn.BatchNorm(4), rest=nn.Sequential(last=nn.Conv2d(4, 2, 2))
    )
    assert kinds(on_host(model, IMAGES)) == {"stem.conv": "Conv2d"}


def test_a_model_that_has_computed_nothing_yet_collapses_to_what_it_will_compute():
    fc = nn.Linear(6, 6)
    model = nn.Sequential(fc, nn.Linear(6, 6), nn.Sequential(nn.ReLU(), fc), Twice(nn.Linear(6, 6))).initialize(seed=5)
    again = nn.Sequential(fc := nn.Linear(6, 6), nn.Linear(6, 6), nn.Sequential(nn.ReLU(), fc), Twice(nn.Linear(6, 6)))
    x = sample(*ROWS, seed=3).astype(np.float32)
    want = again.initialize(seed=5)(x).numpy()
    agree(nn.collapse(model)(x).numpy(), want, np.float32, 50, "before the first call")


class Stack(nn.Module):
    """Layers that came to a list one by one."""

    def __init__(self):
        self.layers = []
        for _ in range(2):
            self.layers.append(nn.Linear(6, 6))

    def forward(self, x):
        return self.layers[1](self.layers[0](x))


def test_first_weights_are_those_of_seed_0():
    x = sample(*ROWS, seed=3).astype(np.float32)
    assert np.array_equal(nn.collapse(Stack())(x).numpy(), Stack().initialize(seed=0)(x).numpy())


def test_a_convolutional_network_loses_its_norms_and_no_more():
    model = models.build("resnet20", (32, 32, 3), 10)
    collapsed = nn.collapse(model)
    left = [type(m).__name__ for _, m in collapsed.modules()]
    assert left.count("Conv2d") == 19
    assert "BatchNorm" not in left
    # a shift for each gamma and beta: of 16, 7 times, of 32 and 64, 6 times each
    assert model.parameter_count - collapsed.parameter_count == 7 * 16 + 6 * 32 + 6 * 64
    assert collapsed.cost((32, 32, 3)).macs == model.cost((32, 32, 3)).macs


def test_a_module_that_holds_its_backend_is_copied():
    model = nn.Sequential(mine=Twice(nn.Tanh()))
    model.mine.where = get_backend("numpy")
    assert nn.collapse(model).mine.where is model.mine.where


def test_gradients_flow_through_a_collapsed_model():
    collapsed = nn.collapse(filled(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))))
    loss = (collapsed(Tensor(sample(*ROWS).astype(np.float32))) ** 2).mean()
    loss.backward()
    assert all(p.grad is not None for p in collapsed.parameters())


# fold.


def test_fold_is_a_copy_without_norms_in_evaluation_mode(backend):
    with use_backend(backend):
        model = filled(MODELS["conv, norm, relu"][0]())
    x = put(backend, sample(*IMAGES, seed=3), np.float32)
    folded = nn.fold(model)
    assert "BatchNorm" not in kinds(folded).values()
    assert model.training
    assert not folded.training
    with nn.inference():
        want = model(x).numpy()
    agree(folded(x).numpy(), want, np.float32, 200, "folded")
    model.conv1.weight.data = 0.0 * model.conv1.weight.data
    agree(folded(x).numpy(), want, np.float32, 200, "after a write to the model")


def test_fold_adds_no_weights():
    model = nn.Sequential(nn.Linear(50, 3), nn.Linear(3, 50), nn.BatchNorm(50))
    assert kinds(nn.fold(model)) == {"0": "Linear", "1": "Linear"}
    assert kinds(nn.collapse(model)) == {"0": "Linear"}


# Bad input.


def test_what_is_no_module_is_refused():
    with raises(ConfigError, "collapse", "list"):
        nn.collapse([nn.Linear(2, 2)])  # type: ignore[arg-type]


def test_a_module_that_cannot_be_copied_is_named():
    model = nn.Sequential(nn.ReLU(), mine=Twice(nn.Tanh()))
    model.mine.lock = threading.Lock()
    with raises(ConfigError, "collapse", "mine", "lock"):
        nn.collapse(model)
