"""What every module does: finding its parameters, naming them, making, moving, saving and loading them."""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading
import tracemalloc
from collections import deque

import numpy as np
import pytest

from tests.harness import float64_ok, put, raises, sample
from xpnet import nn, random
from xpnet.autograd import Tensor
from xpnet.backend import Backend, backend_of, use_backend
from xpnet.errors import CheckpointError, ConfigError, DeviceError, DTypeError, ShapeError
from xpnet.random import Key


class Block(nn.Module):
    def __init__(self, features):
        self.fc = nn.Linear(features, features)
        self.norm = nn.BatchNorm(features)

    def forward(self, x):
        return self.norm(self.fc(x))


class Net(nn.Module):
    """Parameters by attribute, in layers within layers, and in a list; a buffer in each block."""

    def __init__(self):
        self.scale = nn.Parameter((3,), nn.ones)
        self.stem = Block(3)
        self.blocks = [Block(3), nn.Dropout(0.25), Block(3)]
        self.pair = (nn.Linear(3, 2, bias=False), "no layer")
        self.note = "configuration"

    def forward(self, x):
        x = self.stem(x * self.scale)
        for block in self.blocks:
            x = block(x)
        return self.pair[0](x)


def block_paths(prefix):
    return [f"{prefix}.{name}" for name in ("fc.weight", "fc.bias", "norm.gamma", "norm.beta", "norm.mean", "norm.var")]


def bits(model):
    return {path: (a.dtype, a.tobytes()) for path, a in model.state_dict().items()}


# Finding.


def test_parameters_and_buffers_are_found_by_attribute_and_in_lists_with_their_paths():
    net = Net()
    paths = ["scale", *block_paths("stem"), *block_paths("blocks.0"), *block_paths("blocks.2"), "pair.0.weight"]
    assert list(net.states()) == paths
    assert [s.path for s in net.states().values()] == paths


def test_parameters_leave_buffers_out_and_size_counts_numbers():
    net = Net()
    assert [p.path for p in net.parameters()] == [p for p in net.states() if not p.endswith(("mean", "var"))]
    assert all(p.requires_grad for p in net.parameters())
    assert not net.stem.norm.mean.requires_grad
    assert net.parameter_count == 3 + 3 * (9 + 3 + 3 + 3) + 6


def test_modules_and_children_are_gone_over_outermost_first():
    net = Net()
    assert [name for name, _ in net.children()] == ["stem", "blocks.0", "blocks.1", "blocks.2", "pair.0"]
    assert [path for path, _ in net.modules()][:4] == ["", "stem", "stem.fc", "stem.norm"]
    assert dict(net.modules())["blocks.2.norm"] is net.blocks[2].norm


def test_what_is_shared_appears_once():
    class Tied(nn.Module):
        def __init__(self):
            self.first = nn.Linear(3, 3)
            self.second = nn.Linear(3, 3)
            self.second.weight = self.first.weight
            self.again = self.first

    tied = Tied()
    assert len(tied.states()) == 3
    assert len(tied.parameters()) == 3
    assert tied.parameter_count == 9 + 3 + 3


def test_a_shared_parameter_gets_one_gradient_that_is_the_sum():
    class Twice(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(3, 3, bias=False)

        def forward(self, x):
            return self.inner(self.inner(x))

    model, x = Twice(), sample(2, 3).astype(np.float32)
    model(Tensor(x)).sum().backward()
    w, one = model.inner.weight.numpy(), np.ones((2, 3), np.float32)
    want = one.T @ (x @ w.T) + (one @ w).T @ x
    np.testing.assert_allclose(model.inner.weight.grad, want, rtol=1e-5)


def test_a_replaced_layer_is_found_in_place_of_the_old():
    net = Net()
    net.stem = nn.Linear(3, 3)
    assert [p for p in net.states() if p.startswith("stem")] == ["stem.weight", "stem.bias"]


class Holder(nn.Module):
    def __init__(self, parts):
        self.parts = parts


NESTED = {
    "a dict": (lambda fc: {"left": fc, 3: nn.Tanh()}, "parts.left"),
    "lists in a list": (lambda fc: [[nn.Tanh()], [fc]], "parts.1.0"),
    "a dict in a list in a tuple": (lambda fc: (1, ["no layer", {"left": fc}]), "parts.1.1.left"),
}


@pytest.mark.parametrize("name", NESTED)
def test_layers_in_nested_containers_are_found_trained_and_saved(name):
    make, path = NESTED[name]
    fc = nn.Linear(3, 2)
    holder = Holder(make(fc))
    assert list(holder.state_dict()) == [f"{path}.weight", f"{path}.bias"]
    assert holder.parameters() == [fc.weight, fc.bias]
    assert fc.path == path
    holder.eval()
    assert not fc.training


def test_parameters_in_lists_and_dicts_are_found():
    holder = Holder({"rows": [nn.Parameter((4, 4)), nn.Parameter((4,))], "mean": nn.Buffer((2,))})
    assert list(holder.states()) == ["parts.rows.0", "parts.rows.1", "parts.mean"]
    assert len(holder.parameters()) == 2


@pytest.mark.parametrize(
    "parts",
    [
        {nn.Tanh()},
        frozenset([nn.Parameter((2,))]),
        [deque([nn.Tanh()])],
        {"a": nn.Tanh()}.values(),
        {("a", 1): nn.Tanh()},
        {"a.b": nn.Tanh()},
    ],
    ids=["a set", "a frozenset", "a deque in a list", "values of a dict", "a tuple as key", "a key with a dot"],
)
def test_layers_that_could_not_be_found_are_refused_when_they_are_assigned(parts):
    holder = Holder(None)
    with pytest.raises(ConfigError, match="parts"):
        holder.parts = parts
    assert holder.parts is None


def test_sets_and_keys_without_layers_are_plain_attributes():
    parts = {"a.b": {1, 2}, ("a", 1): deque([3])}
    assert Holder(parts).parts is parts
    assert not Holder(parts).states()


def test_an_array_assigned_to_a_parameters_name_sets_its_values(backend):
    with use_backend(backend):
        layer = nn.Linear(3, 2)
    weight, values = layer.weight, sample(2, 3, seed=1)
    for array in (values, values.astype(np.float32), put(backend, values, np.float32)):
        layer.weight = np.zeros((2, 3), np.float32)
        layer.weight = array
        assert layer.weight is weight
        assert np.array_equal(weight.numpy(), values.astype(np.float32))
        assert weight.backend == backend
    layer.weight = Tensor(put(backend, 2 * values, np.float32))
    assert np.array_equal(weight.numpy(), (2 * values).astype(np.float32))
    assert list(layer.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.zeros((3, 2), np.float32), ShapeError),
        (np.zeros((2, 3), np.int64), DTypeError),
        (np.zeros((2, 3), np.complex64), DTypeError),
        ([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], DTypeError),
        (1.0, DTypeError),
    ],
    ids=["shape", "integers", "complex", "a list", "a number"],
)
def test_what_cannot_be_the_values_of_a_parameter_is_refused_and_changes_nothing(value, error):
    layer = nn.Linear(3, 2)
    before = layer.weight.numpy()
    with pytest.raises(error):
        layer.weight = value
    assert np.array_equal(layer.weight.numpy(), before)


def test_a_parameter_may_be_replaced_by_another_or_removed():
    layer, other = nn.Linear(3, 2), nn.Parameter((2, 3), nn.ones)
    layer.weight, layer.bias = other, None
    assert layer.parameters() == [other]


# Copies and pickles.


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
@pytest.mark.parametrize("made", [True, False])
def test_a_copy_has_equal_values_and_arrays_of_its_own(copied, made):
    net = Net().initialize(3).eval()
    net.shared = [net.stem.fc]
    if made:
        net(Tensor(sample(4, 3).astype(np.float32)))
    other = copied(net)
    before = bits(net)
    assert bits(other) == before
    assert modes(other) == {False}
    assert other.shared[0] is other.stem.fc is not net.stem.fc
    other.scale.data[...] = 7.0
    other.stem.fc.weight.data = other.stem.fc.weight.data * 0.0
    assert bits(net) == before


def test_a_copied_sequential_calls_its_own_layers():
    net = nn.Sequential(nn.Linear(3, 2, init=nn.constant(1.0)), nn.ReLU())
    x = Tensor(np.ones((1, 3), np.float32))
    net(x)
    other = copy.deepcopy(net)
    net[0].weight = np.zeros((2, 3))
    assert other(x).numpy().tolist() == [[3.0, 3.0]]


@pytest.mark.parametrize("init", [nn.constant(2.0), nn.normal(0.1), nn.uniform(), nn.he_normal, nn.zeros])
def test_every_initializer_is_pickled(init):
    layer = nn.Linear(3, 2, "augmented", init=init).initialize(5)
    other = pickle.loads(pickle.dumps(layer))
    assert np.array_equal(other.weight.numpy(), layer.weight.numpy())


def test_a_walk_over_a_model_allows_that_another_thread_adds_an_attribute():
    net = Net()
    names = [name for name, _ in Net().named_parts()]
    found = []
    for name, _ in net.named_parts():
        found.append(name)
        object.__setattr__(net, f"_{name}", None)
    assert found == names


def test_layers_appended_to_a_list_are_all_found():
    class Growing(nn.Module):
        def __init__(self):
            self.layers = []
            for _ in range(3):
                self.layers.append(nn.Linear(2, 2, bias=False))

    assert list(Growing().states()) == ["layers.0.weight", "layers.1.weight", "layers.2.weight"]


def test_a_module_prints_what_it_is_made_of():
    text = repr(nn.Sequential(fc=nn.Linear(3, 2), act=nn.LeakyReLU(0.2)))
    assert text.splitlines()[0].startswith("Sequential(")
    assert "fc: Linear(in_features=3, out_features=2" in text
    assert "act: LeakyReLU(slope=0.2" in text
    assert repr(nn.Sequential(fc=nn.Linear(3, 2)).eval().fc) == "Linear(in_features=3, out_features=2)"
    assert "weight: (2, 3)" in repr(nn.Linear(3, 2).weight)


def test_forward_and_cost_are_every_modules_own():
    with pytest.raises(NotImplementedError, match="Module"):
        nn.Module()(1)
    with pytest.raises(NotImplementedError, match="Net"):
        Net().cost((3,))


# Making, and moving.


def test_building_a_large_model_allocates_nothing():
    tracemalloc.start()
    try:
        model = nn.Sequential(fc=nn.Linear(12_000, 12_000), norm=nn.BatchNorm(12_000))
        assert model.parameter_count * 4 > 500e6
        assert model.cost((12_000,)).macs == 12_000**2
        assert repr(model)
        model.to(dtype="float32").train()
        assert (model.backend.name, tuple(model[0].weight.shape)) == ("numpy", (12_000, 12_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not any(state.made for state in model.states().values())
    assert peak < 1 << 20


def test_an_array_is_made_when_first_needed_and_stays():
    layer = nn.Linear(3, 2)
    assert not layer.weight.made
    first = layer.weight.data
    assert layer.weight.made
    assert layer.weight.data is first
    assert not layer.bias.made


def test_one_seed_gives_the_same_bits_on_every_backend(backend):
    reference = bits(Net().initialize(7))
    with use_backend(backend):
        net = Net().initialize(7)
        assert net.backend == backend
        assert bits(net) == reference
        assert all(s.data.dtype == backend.xp.float32 for s in net.states().values())
        assert all(s.backend == backend for s in net.states().values())


def test_another_seed_or_another_path_gives_other_bits():
    one, two = Net().initialize(7), Net().initialize(8)
    weights = [m.state_dict()[f"{path}.fc.weight"] for m in (one, two) for path in ("stem", "blocks.0", "blocks.2")]
    for i, w in enumerate(weights):
        assert not any(np.array_equal(w, other) for other in weights[:i])


def test_weights_come_from_the_seed_and_the_path():
    net = Net().initialize(7)
    want = nn.he_normal(Key(7, "init/blocks.2.fc.weight"), (3, 3))
    assert np.array_equal(net.blocks[2].fc.weight.numpy(), want)
    assert not net.blocks[2].fc.bias.numpy().any()


def _nested():
    body = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Dropout(0.5))
    return nn.Sequential(body=body, head=nn.Linear(4, 2))


LOOKS = {
    "a slice of a part": lambda m: m.body[:2].predict(np.ones((1, 4), np.float32)),
    "a slice": lambda m: m[:1].predict(np.ones((1, 4), np.float32)),
    "a part": lambda m: m.body.predict(np.ones((1, 4), np.float32)),
    "layers joined anew": lambda m: nn.Sequential(m.head, m.body[2]).states(),
    "a layer within another module": lambda m: nn.Sequential(x=nn.Sequential(m.body[0])).train(),
    "an item": lambda m: m[1].weight.numpy(),
    "names": lambda m: [m.body[1:].state_dict(), m.body.parameters(), repr(m)],
    "a copy": lambda m: copy.deepcopy(m.body).predict(np.ones((1, 4), np.float32)),
    "a backend": lambda m: m.body[:1].to("cpu", dtype="float32"),
}


@pytest.mark.parametrize("initialized", [False, True])
@pytest.mark.parametrize("look", LOOKS)
def test_first_weights_do_not_depend_on_which_part_is_used_first(look, initialized):
    model, looked_at = _nested(), _nested()
    if initialized:
        model.initialize(7), looked_at.initialize(7)
    LOOKS[look](looked_at)
    got = looked_at.state_dict()
    for name, value in model.state_dict().items():
        assert np.array_equal(got[name], value), name
    with random.use(random.StepContext(0, 0, 0)):
        want = model.body[3](Tensor(np.ones((9, 9), np.float32))).numpy()
    LOOKS[look](looked_at)
    with random.use(random.StepContext(0, 0, 0)):
        assert np.array_equal(looked_at.body[3](Tensor(np.ones((9, 9), np.float32))).numpy(), want)


@pytest.mark.parametrize("remake", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("initialized", [False, True])
def test_a_copy_has_the_first_weights_of_its_model(remake, initialized):
    model = _nested().initialize(7) if initialized else _nested()
    part = remake(model.body)
    assert np.array_equal(part[2].weight.numpy(), model.body[2].weight.numpy())
    whole = remake(_nested().initialize(7) if initialized else _nested())
    assert np.array_equal(nn.Sequential(whole.body[2]).predict(np.eye(4, dtype=np.float32)),
                          model.body[2].predict(np.eye(4, dtype=np.float32)))  # fmt: skip


def test_layers_that_were_appended_to_a_list_have_weights_of_their_own():
    model = nn.Module()
    model.layers = [nn.Linear(3, 3)]
    model.layers.append(nn.Linear(3, 3))
    one, two = (p.numpy() for p in model.parameters() if p.shape == (3, 3))
    assert not np.array_equal(one, two)


def test_initialize_brings_first_values_back_and_forgets_gradients():
    net = Net().initialize(3)
    before = bits(net)
    net.stem.norm.mean.data = net.stem.norm.mean.data + 1.0
    net.train()(Tensor(sample(4, 3).astype(np.float32))).sum().backward()
    assert bits(net) != before
    assert bits(net.initialize(3)) == before
    assert all(p.grad is None for p in net.parameters())


def test_without_a_seed_it_is_zero():
    assert bits(Net()) == bits(Net().initialize(0))


def test_a_model_moves_with_its_values_to_every_backend_and_back(backend):
    net = Net().initialize(5).eval()
    before = bits(net)
    assert net.to(backend) is net
    assert net.backend == backend
    assert bits(net) == before
    x = Tensor(put(backend, sample(4, 3), np.float32))
    net(x).sum().backward()
    assert net.scale.grad is not None
    assert bits(net.to("cpu")) == before
    assert net.backend.name == "numpy"
    assert all(type(s.data) is np.ndarray and s.grad is None for s in net.states().values())


def test_a_model_moved_before_it_is_made_is_made_there(backend):
    net = Net().initialize(5).to(backend)
    assert not net.scale.made
    assert net.backend == backend
    assert bits(net) == bits(Net().initialize(5))


def test_initialize_stays_on_the_backend_and_in_the_dtype_moved_to(backend):
    net = Net().to(backend, dtype="float64" if float64_ok(backend) else "float32")
    kind = net.scale.data.dtype
    net.initialize(1)
    assert (net.backend, net.scale.data.dtype) == (backend, kind)


def test_a_model_is_cast_whether_made_or_not(backend):
    if not float64_ok(backend):
        pytest.skip("the device has no float64")
    with use_backend(backend):
        net = Net().initialize(5)
        made = net.stem.fc.weight.numpy()
        net.to(dtype="float64")
        assert all(s.data.dtype == backend.xp.float64 for s in net.states().values())
        assert np.array_equal(net.stem.fc.weight.numpy(), made.astype(np.float64))
        y = net(Tensor(put(backend, sample(4, 3))))
        assert y.dtype == backend.xp.float64


def test_an_unknown_dtype_names_the_nearest_and_moves_nothing():
    net = Net()
    with pytest.raises(ConfigError, match=r"^to: expected a known dtype, got dtype 'flaot32'; did you mean 'float32'"):
        net.to("torch", dtype="flaot32")
    assert net.backend.name == "numpy"


def test_an_unknown_backend_moves_nothing():
    net = Net()
    with raises(ConfigError, "get_backend", "'tocrh'", "torch"):
        net.to("tocrh", dtype="float64")
    assert (net.backend.name, net.scale.dtype_) == ("numpy", "float32")


def test_a_move_that_runs_out_of_memory_moves_nothing():
    class Full(Backend):
        def from_numpy(self, array):
            if array.ndim > 1:
                raise MemoryError
            return super().from_numpy(array)

    net = Net().initialize(5)
    before = bits(net)
    with pytest.raises(MemoryError):
        net.to(Full("numpy", np, "cpu"), dtype="float64")
    assert bits(net) == before  # values and dtypes


def test_a_model_without_parameters_lives_on_the_default_backend(backend):
    assert nn.ReLU().backend.name == "numpy"
    with use_backend(backend):
        assert nn.ReLU().backend == backend


def test_no_input_moves_silently(backend):
    if backend.name == "numpy":
        pytest.skip("the input is at home")
    net = nn.Sequential(fc=nn.Linear(3, 2)).to(backend)
    for x in (sample(4, 3).astype(np.float32), Tensor(sample(4, 3).astype(np.float32))):
        with raises(DeviceError, "fc (linear)", "numpy", backend.name, "Module.to"):
            net(x)


# train and eval.


def modes(net):
    return {module.training for _, module in net.modules()}


def test_a_new_module_is_in_training_mode_and_train_and_eval_reach_every_layer():
    net = Net()
    assert modes(net) == {True}
    assert net.eval() is net
    assert modes(net) == {False}
    assert net.train() is net
    assert modes(net) == {True}


def test_every_module_is_in_evaluation_mode_within_inference():
    net = Net()
    net.stem.eval()
    with nn.inference():
        assert modes(net) == {False}
        with nn.inference():
            net.train()  # takes effect after the block
        assert modes(net) == {False}
    assert modes(net) == {True}


def test_inference_in_one_thread_leaves_other_threads_alone():
    net, seen = Net(), []
    with nn.inference():
        thread = threading.Thread(target=lambda: seen.append(modes(net)))
        thread.start()
        thread.join()
    assert seen == [{True}]


def test_inference_ends_with_an_error():
    net = Net()
    with contextlib.suppress(ZeroDivisionError), nn.inference():
        raise ZeroDivisionError
    assert modes(net) == {True}


# state_dict.


def test_a_state_dict_saved_on_numpy_loads_on_every_backend_and_back(backend):
    home = Net().initialize(5)
    with use_backend(backend):
        away = Net().initialize(6)
    saved = home.state_dict()
    away.load_state_dict(saved)
    assert bits(away) == bits(home)
    assert away.backend == backend
    back = Net().initialize(7)
    back.load_state_dict({path: state.data for path, state in away.states().items()})  # arrays of the other backend
    assert bits(back) == bits(home)
    assert back.backend.name == "numpy"


def test_a_state_dict_is_a_copy():
    net = Net()
    saved = net.state_dict()
    saved["scale"][:] = 7.0
    assert not (net.scale.numpy() == 7.0).any()
    other = Net()
    other.load_state_dict(saved)
    saved["scale"][:] = 8.0
    assert (other.scale.numpy() == 7.0).all()


def test_loading_keeps_the_models_dtype():
    net = Net().to(dtype="float64")
    net.load_state_dict(Net().initialize(5).state_dict())
    assert {s.data.dtype for s in net.states().values()} == {np.dtype("float64")}


BROKEN = {
    "a missing name": (lambda s: s.pop("stem.fc.weight"), ("missing ['stem.fc.weight']", "unknown none")),
    "an unknown name": (lambda s: s.update(other=np.ones(1)), ("missing none", "unknown ['other']")),
    "another shape": (lambda s: s.update(scale=np.ones(4)), ("scale", "(3,)", "shape (4,)")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_state_dict_of_another_model_is_refused_and_changes_nothing(name):
    spoil, values = BROKEN[name]
    net, saved = Net().initialize(1), Net().initialize(2).state_dict()
    before = bits(net)
    spoil(saved)
    with raises(CheckpointError, "load_state_dict", *values):
        net.load_state_dict(saved)
    assert bits(net) == before


def test_loading_values_that_are_no_real_numbers_changes_nothing():
    net, saved = Net().initialize(1), Net().initialize(2).state_dict()
    before, last = bits(net), list(saved)[-1]
    saved[last] = saved[last].astype(np.int64)
    with raises(DTypeError, last, "int64"):
        net.load_state_dict(saved)
    assert bits(net) == before


# Errors.


def test_an_error_names_the_path_of_the_layer_it_comes_from():
    class Inner(nn.Module):
        def __init__(self):
            self.conv1 = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.conv1(x)

    class Outer(nn.Module):
        def __init__(self):
            self.block = Inner()

        def forward(self, x):
            return self.block(x)

    with raises(ShapeError, "block.conv1 (conv2d)", "(1, 8, 8, 2)", "(4, 3, 3, 3)"):
        Outer()(Tensor(np.zeros((1, 8, 8, 2), np.float32)))


def test_an_error_of_a_layer_on_its_own_names_the_op():
    with raises(ShapeError, "linear", "(4, 5)", "(2, 3)"):
        nn.Linear(3, 2)(Tensor(np.zeros((4, 5), np.float32)))


def test_an_error_in_a_list_of_layers_names_the_place():
    with raises(ShapeError, "blocks.2.fc (linear)", "(5, 5)"):
        net = Net()
        net.blocks[2].fc = nn.Linear(5, 5)
        net(Tensor(np.zeros((4, 3), np.float32)))


def test_an_attribute_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="weights"):
        _ = nn.Linear(2, 2).weight.weights


def test_a_model_stays_on_the_backend_it_was_built_under(backend):
    with use_backend(backend):
        layer = nn.Linear(2, 2)
    assert not layer.weight.made
    assert layer.weight.backend == backend
    assert backend_of(layer.weight.data) == backend


# watch.


def small(backend):
    return nn.Sequential(
        hidden=nn.Linear(4, 3),
        act=nn.ReLU(),
        inner=nn.Residual(nn.Sequential(nn.Linear(3, 3), nn.Tanh())),
        scores=nn.Linear(3, 2),
    ).to(backend)


def test_each_layers_output_is_seen_by_its_path_and_in_order(backend):
    model = small(backend)
    x = Tensor(put(backend, sample(5, 4), np.float32))
    with nn.watch() as seen:
        y = model(x)
    assert list(seen) == ["hidden", "act", "inner.body.0", "inner.body.1", "inner.body", "inner", "scores", ""]
    assert seen["scores"] is y
    assert seen[""] is y


def test_the_sum_before_an_activation_is_seen_too(backend):
    model = small(backend)
    x = sample(5, 4)
    with nn.watch() as seen:
        y = model(Tensor(put(backend, x, np.float32)))
    weights = model.state_dict()
    sums = x @ weights["hidden.weight"].T.astype(np.float64) + weights["hidden.bias"]
    np.testing.assert_allclose(seen["hidden"].numpy(), sums, atol=1e-5)
    assert (sums < 0).any()
    np.testing.assert_allclose(seen["act"].numpy(), np.maximum(sums, 0), atol=1e-5)
    np.testing.assert_allclose(y.numpy(), model(Tensor(put(backend, x, np.float32))).numpy(), atol=1e-6)


def test_nothing_is_kept_outside_the_block_or_by_another_thread():
    model, x = small("numpy"), Tensor(sample(5, 4).astype(np.float32))
    with nn.watch() as seen:
        other = threading.Thread(target=model, args=(x,))
        other.start()
        other.join()
        assert seen == {}
    model(x)
    assert seen == {}


def test_a_watch_within_a_watch_takes_over_for_its_block():
    model, x = small("numpy"), Tensor(sample(5, 4).astype(np.float32))
    with nn.watch() as outer:
        with nn.watch() as inner:
            model(x)
        assert outer == {}
        model.hidden(x)
    assert list(outer) == ["hidden"]
    assert len(inner) == 8


def test_loading_copies_no_array_back_to_the_host(backend, monkeypatch):
    model = nn.Linear(2, 2).to(backend)
    values = model.state_dict()
    monkeypatch.setattr(type(backend), "to_numpy", lambda *_: pytest.fail("an array is copied to the host"))
    model.load_state_dict(values)


def test_first_values_that_memory_cannot_hold_are_named():
    with raises(DeviceError, "weight", "1,000,000,000,000", "out of memory"):
        _ = nn.Linear(10**6, 10**6).weight.data
    with raises(ConfigError, "Parameter", "sizes of at most 2,147,483,647"):
        nn.Linear(10**12, 2)


def test_loading_nan_is_said_once_with_the_first_array(caplog):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model.load_state_dict({path: np.full_like(value, np.nan) for path, value in model.state_dict().items()})
    assert [record.getMessage() for record in caplog.records] == [
        "load_state_dict: 0.weight holds NaN: the model's outputs will be NaN"
    ]
