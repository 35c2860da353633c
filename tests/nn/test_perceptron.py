"""The perceptron against Rosenblatt's rule written as a loop, against Novikoff's bound, and where it must fail."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import put, raises, sample
from xpnet import nn, optim
from xpnet.autograd import Tensor, backward
from xpnet.backend import use_backend
from xpnet.errors import ConfigError, DataError, DTypeError, ShapeError

N, D, K = 24, 3, 4
XOR = np.asarray([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.asarray([0, 1, 1, 0])


def eighths(*shape, seed):
    """Multiples of 1/8: sums of their products are exact in float32, in whatever order a library adds."""
    return (np.random.default_rng(seed).integers(-16, 17, shape) / 8).astype(np.float32)


def rosenblatt(x, labels, neurons, lr, passes):
    """The rule, one number after the other, in float64: weights, biases, and the mistakes of each pass."""
    w, b = [[0.0] * len(x[0]) for _ in range(neurons)], [0.0] * neurons
    mistakes = []
    for _ in range(passes):
        wrong = 0
        for row, label in zip(x.tolist(), labels.tolist(), strict=True):
            missed = False
            for k in range(neurons):
                total = b[k]
                for weight, value in zip(w[k], row, strict=True):
                    total += weight * value
                said = 1 if total > 0 else 0
                target = label if neurons == 1 else int(label == k)
                if said != target:
                    missed = True
                    w[k] = [weight + lr * (target - said) * value for weight, value in zip(w[k], row, strict=True)]
                    b[k] += lr * (target - said)
            wrong += missed
        mistakes.append(wrong)
    return w, b, mistakes


def apart(seed, gap):
    """Examples that a line of known (w, b), of length 1, separates with a margin; and R, the longest (x, 1)."""
    u = np.asarray([4, -8, 1]) / 9
    x = np.random.default_rng(seed).uniform(-1, 1, (400, 2))
    sums = x @ u[:2] + u[2]
    x, sums = x[np.abs(sums) >= gap], sums[np.abs(sums) >= gap]
    return x.astype(np.float32), (sums > 0).astype(np.int64), float(np.sqrt((x**2).sum(axis=1) + 1).max())


@pytest.mark.parametrize(("neurons", "lr"), [(1, 1.0), (1, 0.25), (K, 0.5)], ids=str)
def test_learning_is_rosenblatts_rule_to_the_last_bit(backend, neurons, lr):
    x = eighths(N, D, seed=1)
    labels = np.random.default_rng(2).integers(0, max(2, neurons), N)
    with use_backend(backend):
        model = nn.Perceptron(D, neurons)
    w, b, mistakes = rosenblatt(x, labels, neurons, lr, 3)
    assert [model.learn(x, labels, lr) for _ in range(3)] == mistakes
    assert model.weight.numpy().tolist() == w
    assert model.bias.numpy().tolist() == b
    assert model.backend == backend
    assert min(mistakes) > 0


def test_an_example_that_several_neurons_answer_wrongly_is_one_mistake():
    model = nn.Perceptron(1, 3)
    model.load_state_dict({"weight": np.zeros((3, 1), np.float32), "bias": np.asarray([-1, 1, 1], np.float32)})
    x, labels = np.zeros((2, 1), np.float32), np.asarray([0, 0])
    assert model(Tensor(x)).numpy().tolist() == [[0, 1, 1]] * 2
    assert model.learn(x, labels) == 2
    assert model.bias.numpy().tolist() == [1, 0, 0]  # the first example left the sums at 0, 0, 0


@pytest.mark.parametrize("gap", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_a_line_separates_is_learned_within_novikoffs_bound(seed, gap):
    x, labels, longest = apart(seed, gap)
    assert 20 < labels.sum() < len(labels) - 20
    for lr in (1.0, 1 / 16):
        model, mistakes = nn.Perceptron(2), []
        while not mistakes or mistakes[-1]:
            mistakes.append(model.learn(x, labels, lr))
            assert sum(mistakes) <= (longest / gap) ** 2
        assert sum(mistakes) > 1
        assert np.array_equal(model.predict(x), labels)


def test_what_a_line_separates_is_learned_on_every_backend(backend):
    x, labels, longest = apart(3, gap=0.3)
    x, labels = x[:60], labels[:60]
    with use_backend(backend):
        model = nn.Perceptron(2)
    mistakes = [model.learn(x, labels)]
    while mistakes[-1]:
        mistakes.append(model.learn(x, labels))
        assert sum(mistakes) <= (longest / 0.3) ** 2
    assert np.array_equal(model.predict(x), labels)


def test_xor_is_never_learned(backend):
    with use_backend(backend):
        model = nn.Perceptron(2)
    mistakes = [model.learn(*XOR) for _ in range(12)]
    assert min(mistakes) > 0
    assert not np.array_equal(model.predict(XOR[0]), XOR[1])


def test_xor_is_not_learned_by_a_neuron_for_each_class_either():
    model = nn.Perceptron(2, 2)
    assert min(model.learn(*XOR) for _ in range(200)) > 0


def test_without_a_bias_a_line_cannot_leave_the_origin():
    x, labels = np.asarray([[1, 1], [2, 2], [3, 3]], np.float32), np.asarray([0, 1, 1])
    free, bound = nn.Perceptron(2), nn.Perceptron(2, bias=False)
    assert bound.bias is None
    assert [p.shape for p in bound.parameters()] == [(1, 2)]
    assert min(bound.learn(x, labels) for _ in range(50)) > 0
    mistakes = [free.learn(x, labels) for _ in range(50)]
    assert mistakes[0] > 0
    assert mistakes[-1] == 0


def test_the_rule_is_a_gradient_step_of_the_squared_error(backend):
    x, labels = eighths(1, D, seed=3), np.asarray([2])
    with use_backend(backend):
        taught, stepped = nn.Perceptron(D, K), nn.Perceptron(D, K)
    state = {"weight": eighths(K, D, seed=4), "bias": eighths(K, seed=5)}
    taught.load_state_dict(state)
    stepped.load_state_dict(state)
    assert taught.learn(x, labels, lr=0.5) == 1
    error = stepped(Tensor(put(backend, x, np.float32))) - Tensor(put(backend, np.eye(K)[labels], np.float32))
    optim.SGD(stepped.parameters(), lr=0.5).step(backward((error * error).sum() * 0.5))
    for path, want in stepped.state_dict().items():
        assert np.array_equal(taught.state_dict()[path], want)
        assert not np.array_equal(state[path], want)


def test_for_two_classes_it_is_the_perceptron_loss_one_example_at_a_time():
    x, labels = sample(40, D, seed=6).astype(np.float32), np.arange(40) % 2
    taught, linear = nn.Perceptron(D), nn.Linear(D, 1)
    linear.initialize(1)
    taught.load_state_dict(linear.state_dict())
    optimizer = optim.SGD(linear.parameters(), lr=0.5)
    for row, label in zip(x, labels, strict=True):
        score = linear(Tensor(row[None])).reshape(1)
        optimizer.step(backward(nn.perceptron_loss(score, np.asarray([2 * label - 1]))))
    assert taught.learn(x, labels, lr=0.5) > 5
    for path, want in linear.state_dict().items():
        np.testing.assert_allclose(taught.state_dict()[path], want, rtol=1e-6)


def test_answers_are_zeros_and_ones_and_the_class_is_the_highest_sum(backend):
    with use_backend(backend):
        model = nn.Perceptron(2, 3)
    weights, bias = np.asarray([[1, 0], [0, 1], [0, 1]], np.float32), np.asarray([0, -1, -1], np.float32)
    model.load_state_dict({"weight": weights, "bias": bias})
    x = np.asarray([[1, 4], [3, 2], [-1, 0], [-2, -1]], np.float32)  # sums (1, 3, 3), (3, 1, 1), (-1, -1, -1), ...
    answers = model(Tensor(put(backend, x, np.float32)))
    assert answers.numpy().tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]]
    said = model.predict(x)
    assert type(said) is np.ndarray
    assert (said.dtype, said.tolist()) == (np.int64, [1, 0, 0, 0])


def test_one_neuron_says_class_0_or_1(backend):
    with use_backend(backend):
        model = nn.Perceptron(1)
    model.load_state_dict({"weight": np.ones((1, 1), np.float32), "bias": np.zeros(1, np.float32)})
    said = model.predict(np.asarray([[-1], [0], [2]], np.float32))
    assert (said.dtype, said.tolist()) == (np.int64, [0, 0, 1])


def test_arrays_of_the_models_backend_are_taken_as_those_of_the_host_are(backend):
    x, labels = eighths(N, D, seed=1), np.random.default_rng(2).integers(0, K, N)
    with use_backend(backend):
        here, there = nn.Perceptron(D, K), nn.Perceptron(D, K)
    moved = put(backend, x, np.float32)
    assert here.learn(x, labels) == there.learn(moved, put(backend, labels))
    assert np.array_equal(here.weight.numpy(), there.weight.numpy())
    assert np.array_equal(here.predict(x), there.predict(moved))
    assert np.array_equal(backend.to_numpy(moved), x)


def test_host_arrays_are_cast_to_the_models_precision():
    model = nn.Perceptron(D)
    model.learn(np.arange(2 * D).reshape(2, D), np.asarray([1, 0]))
    assert model.weight.numpy().dtype == np.float32
    model = nn.Perceptron(D).to(dtype="float64")
    model.learn(eighths(2, D, seed=1), np.asarray([1, 0]))
    assert model.weight.numpy().dtype == model.bias.numpy().dtype == np.float64


def test_no_examples_are_no_mistakes():
    model = nn.Perceptron(D)
    assert model.learn(np.zeros((0, D), np.float32), np.zeros(0, np.int64)) == 0
    assert model.predict(np.zeros((0, D), np.float32)).shape == (0,)


def test_the_cost_counts_every_weight_once_and_the_input_kept():
    output, macs, saved, *_ = nn.Perceptron(D, K).cost((D,))
    assert (output, macs, saved) == ((K,), K * D, D)
    output, macs, saved, *_ = nn.Perceptron(D, K).cost((5, D))
    assert (output, macs, saved) == ((5, K), 5 * K * D, 5 * D)


@pytest.mark.parametrize("sizes", [(0, 1), (3, 0), (-1, 2)], ids=str)
def test_sizes_under_one_are_an_error(sizes):
    with raises(ConfigError, "Perceptron", "in_features" if sizes[0] < 1 else "neurons", str(min(sizes))):
        nn.Perceptron(*sizes)


@pytest.mark.parametrize("shape", [(N, D + 1), (N,), (N, D, 1), ()], ids=str)
def test_examples_of_another_shape_are_an_error(shape):
    for where, use in (("learn", lambda m, x: m.learn(x, np.zeros(N, np.int64))), ("predict", nn.Perceptron.predict)):
        with raises(ShapeError, f"Perceptron.{where}", f"D = {D}", f"x {shape}"):
            use(nn.Perceptron(D), np.zeros(shape, np.float32))


def test_a_call_with_other_features_is_an_error_that_names_the_layer():
    with raises(ShapeError, "first (linear)", (5, 2), (K, D)):
        nn.Sequential(first=nn.Perceptron(D, K))(Tensor(np.zeros((5, 2), np.float32)))
    with raises(ShapeError, "first", "D = 3", (2,)):
        nn.Sequential(first=nn.Perceptron(D, K)).cost((2,))


def test_a_list_is_no_array():
    with raises(DTypeError, "Perceptron.learn", "list"):
        nn.Perceptron(D).learn([[1.0, 2.0, 3.0]], np.asarray([1]))


@pytest.mark.parametrize(
    "labels", [np.zeros(N + 1, np.int64), np.zeros((N, 1), np.int64), np.zeros(N)], ids=["too many", "columns", "float"]
)
def test_labels_of_another_kind_are_an_error(labels):
    with raises(ShapeError, "Perceptron.learn", f"N = {N}", labels.shape, labels.dtype):
        nn.Perceptron(D).learn(np.zeros((N, D), np.float32), labels)


@pytest.mark.parametrize(("neurons", "label"), [(1, 2), (1, -1), (2, 2), (K, K), (K, -1)], ids=str)
def test_a_label_that_is_no_class_is_an_error_and_nothing_is_learned(backend, neurons, label):
    with use_backend(backend):
        model = nn.Perceptron(D, neurons)
    labels = np.ones(N, np.int64)
    labels[-1] = label
    with raises(DataError, "Perceptron.learn", f"label {label}"):
        model.learn(eighths(N, D, seed=1), labels)
    assert not model.weight.numpy().any()


@pytest.mark.parametrize("lr", [0.0, -1.0, float("inf"), float("nan")], ids=str)
def test_a_rate_out_of_range_is_an_error(lr):
    with raises(ConfigError, "Perceptron.learn", f"lr {lr}"):
        nn.Perceptron(D).learn(np.zeros((N, D), np.float32), np.zeros(N, np.int64), lr)
