"""Losses."""

from __future__ import annotations

import numpy as np
import pytest

from tests import oracles
from tests.harness import check_op, few_on_jax, integers, kernel_sets, put, raises, sample
from xpnet import ops
from xpnet.backend import get_backend
from xpnet.errors import ConfigError, DTypeError, ShapeError

N, K = 5, 4
Z, LABELS = sample(N, K), integers(N, high=K)
SOFT = np.exp(oracles.log_softmax(sample(N, K, seed=3))).astype(np.float32).astype(np.float64)
WEIGHTS = sample(K, seed=5, low=0.5, high=3)
SIGNS = 2 * integers(7, high=2) - 1
REDUCTIONS = ["mean", "sum", "none"]
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)


def batch_of(reduction, *inputs):
    """The mean of no samples is not a number, so N=0 and N=1 are tried with the other reductions."""
    return () if reduction == "mean" else inputs


def _torch_cross_entropy(z, labels, label_smoothing=0.0, class_weights=None, reduction="mean"):
    from torch.nn.functional import cross_entropy

    return cross_entropy(z, labels, class_weights, reduction=reduction, label_smoothing=label_smoothing)


@reductions
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("labels", [LABELS, SOFT], ids=["labels", "soft targets"])
def test_cross_entropy_agrees_with_its_definition_and_with_autograd(backend, labels, weights, smoothing, reduction):
    few_on_jax(backend, reduction == "mean")
    options = {"label_smoothing": smoothing, "class_weights": weights, "reduction": reduction}
    check_op(
        ops.softmax_cross_entropy,
        [Z, labels],
        options,
        backend,
        oracle=oracles.softmax_cross_entropy,
        torch_oracle=_torch_cross_entropy,
        differentiable=[0],
        batch=batch_of(reduction, 0, 1),
        length=20,
    )


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint8])
def test_labels_may_be_any_integers(backend, kind):
    loss, vjp = ops.softmax_cross_entropy(put(backend, Z, np.float32), backend.from_numpy(LABELS.astype(kind)))
    np.testing.assert_allclose(backend.to_numpy(loss), oracles.softmax_cross_entropy(Z, LABELS), rtol=1e-6)
    dz, dlabels = vjp(put(backend, np.array(1.0), np.float32), (True, True))
    assert tuple(dz.shape) == (N, K)
    assert dlabels is None


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_labels_may_be_narrower_than_the_number_of_classes(backend, kind):
    """Class 300 does not exist for a uint8, and must not become class 44."""
    z, labels = sample(2, 301), np.array([44, 3])
    x = put(backend, z, np.float32)
    for loss, oracle in [
        (ops.softmax_cross_entropy, oracles.softmax_cross_entropy),
        (ops.hinge_loss, oracles.hinge_loss),
        (ops.perceptron_loss, oracles.perceptron_loss),
    ]:
        got, _ = loss(x, backend.from_numpy(labels.astype(kind)))
        np.testing.assert_allclose(backend.to_numpy(got), oracle(z, labels), rtol=1e-5)


@pytest.mark.parametrize("classes", [4, 40])
def test_cross_entropy_of_float16_scores_stays_in_float16(backend, classes):
    if not hasattr(backend.xp, "float16"):
        pytest.skip(f"{backend.spec} has no float16")
    z, labels = sample(N, classes).astype(np.float16), integers(N, high=classes)
    loss, vjp = ops.softmax_cross_entropy(backend.from_numpy(z), put(backend, labels))
    dz, _ = vjp(backend.from_numpy(np.array(1.0, np.float16)), (True, False))
    assert loss.dtype == dz.dtype == backend.xp.float16
    want = oracles.softmax_cross_entropy(z.astype(np.float64), labels)
    np.testing.assert_allclose(backend.to_numpy(loss), want, rtol=0.005)
    share = np.exp(oracles.log_softmax(z.astype(np.float64)))
    share[np.arange(N), labels] -= 1
    np.testing.assert_allclose(backend.to_numpy(dz), share / N, rtol=0, atol=0.001)


def test_cross_entropy_of_huge_logits_is_finite(backend):
    z = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]])
    loss, vjp = ops.softmax_cross_entropy(put(backend, z, np.float32), put(backend, np.array([0, 0])))
    np.testing.assert_allclose(backend.to_numpy(loss), 1e4)
    dz, _ = vjp(put(backend, np.array(1.0), np.float32), (True, False))
    np.testing.assert_allclose(backend.to_numpy(dz), [[0, 0, 0], [-0.5, 0.5, 0]], atol=1e-30)


def test_binary_cross_entropy_of_huge_logits_is_finite(backend):
    z, t = np.array([1e4, -1e4, 1e4, -1e4]), np.array([1.0, 0.0, 0.0, 1.0])
    with np.errstate(over="raise", invalid="raise"):
        loss, vjp = ops.binary_cross_entropy(put(backend, z, np.float32), put(backend, t, np.float32), reduction="none")
        dz, _ = vjp(put(backend, np.ones(4), np.float32), (True, False))
    assert backend.to_numpy(loss).tolist() == [0, 0, 1e4, 1e4]
    np.testing.assert_allclose(backend.to_numpy(dz), [0, 0, 1, -1], atol=1e-30)


def _torch_binary(z, t, reduction="mean"):
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(z, t, reduction=reduction)


@reductions
@pytest.mark.parametrize("shape", [(7,), (5, 3)], ids=str)
def test_binary_cross_entropy_agrees_with_its_definition_and_with_autograd(backend, shape, reduction):
    arrays = [sample(*shape), sample(*shape, seed=1, low=0, high=1)]
    check_op(
        ops.binary_cross_entropy,
        arrays,
        {"reduction": reduction},
        backend,
        oracle=oracles.binary_cross_entropy,
        torch_oracle=_torch_binary,
        differentiable=[0],
        batch=batch_of(reduction, 0, 1),
        length=20,
    )


def _torch_mse(y, target, reduction="mean"):
    from torch.nn.functional import mse_loss

    return mse_loss(y, target, reduction=reduction)


@reductions
@pytest.mark.parametrize("shape", [(7,), (5, 3), (2, 5, 3)], ids=str)
def test_mean_squared_error_agrees_with_its_definition_and_with_autograd(backend, shape, reduction):
    arrays = [sample(*shape), sample(*shape, seed=1)]
    check_op(
        ops.mean_squared_error,
        arrays,
        {"reduction": reduction},
        backend,
        oracle=oracles.mean_squared_error,
        torch_oracle=_torch_mse,
        batch=batch_of(reduction, 0, 1),
        length=30,
    )


@reductions
@pytest.mark.parametrize("margin", [0.93, 0.31])  # the scores differ by multiples of 0.2: not on a kink
@pytest.mark.parametrize("scores", [Z, sample(7)], ids=["classes", "signs"])
def test_hinge_loss_agrees_with_its_definition(backend, scores, margin, reduction):
    labels = LABELS if scores.ndim == 2 else SIGNS
    check_op(
        ops.hinge_loss,
        [scores, labels],
        {"margin": margin, "reduction": reduction},
        backend,
        oracle=oracles.hinge_loss,
        batch=batch_of(reduction, 0, 1),
        length=20,
    )


@reductions
@pytest.mark.parametrize("scores", [Z, sample(7)], ids=["classes", "signs"])
def test_perceptron_loss_agrees_with_its_definition(backend, scores, reduction):
    labels = LABELS if scores.ndim == 2 else SIGNS
    check_op(
        ops.perceptron_loss,
        [scores, labels],
        {"reduction": reduction},
        backend,
        oracle=oracles.perceptron_loss,
        batch=batch_of(reduction, 0, 1),
        length=20,
    )


def test_a_sample_classified_with_margin_has_no_hinge_gradient(backend):
    scores, labels = np.array([[3.0, 0.5, 1.0], [0.0, 0.5, 3.0]]), np.array([0, 1])
    loss, vjp = ops.hinge_loss(put(backend, scores, np.float32), backend.from_numpy(labels), reduction="none")
    assert backend.to_numpy(loss).tolist() == [0, 4]
    ds, _ = vjp(put(backend, np.array([1.0, 10.0]), np.float32), (True, False))
    assert backend.to_numpy(ds).tolist() == [[0, 0, 0], [10, -20, 10]]


def test_a_sample_classified_right_has_no_perceptron_gradient(backend):
    scores, labels = np.array([[3.0, 0.5, 1.0], [0.0, 0.5, 3.0]]), np.array([0, 1])
    loss, vjp = ops.perceptron_loss(put(backend, scores, np.float32), backend.from_numpy(labels), reduction="none")
    assert backend.to_numpy(loss).tolist() == [0, 2.5]
    ds, _ = vjp(put(backend, np.array([1.0, 10.0]), np.float32), (True, False))
    assert backend.to_numpy(ds).tolist() == [[0, 0, 0], [0, -10, 10]]


LABELLED = {
    "plain": (ops.softmax_cross_entropy, Z, {}),
    "smoothed": (ops.softmax_cross_entropy, Z, {"label_smoothing": 0.3}),
    "weighted": (ops.softmax_cross_entropy, Z, {"class_weights": WEIGHTS}),
    "both": (ops.softmax_cross_entropy, Z, {"label_smoothing": 0.3, "class_weights": WEIGHTS}),
    "hinge": (ops.hinge_loss, Z, {}),
    "hinge of signs": (ops.hinge_loss, sample(N), {}),
    "perceptron": (ops.perceptron_loss, Z, {}),
    "perceptron of signs": (ops.perceptron_loss, sample(N), {}),
}


def run(backend, loss, scores, labels, options):
    """The loss and the gradient of the scores, in float32 on a backend, as host arrays."""
    moved = {name: put(backend, value, np.float32) for name, value in options.items()}
    y, vjp = loss(put(backend, scores, np.float32), backend.from_numpy(labels), **moved)
    dz, _ = vjp(put(backend, np.ones(y.shape), np.float32), (True, False))
    return backend.to_numpy(y), backend.to_numpy(dz)


@pytest.mark.parametrize("kind", LABELLED)
def test_a_label_that_is_no_class_makes_its_example_nan_and_no_other(backend, kind):
    """One rule on every backend, in every kernel, for every reduction; the mean divides by the same number in both."""
    loss, scores, options = LABELLED[kind]
    labels = (LABELS if scores.ndim == 2 else 2 * integers(N, high=2) - 1).astype(np.int32)
    known, weights = np.arange(N) != 2, options.get("class_weights")
    divisor = N if weights is None else weights[labels[known]].sum()
    oracle = getattr(oracles, loss.__name__)
    each = oracle(scores[known], labels[known], **options, reduction="none")
    part, vjp = loss(scores[known], labels[known], **options, reduction="sum")
    slope, _ = vjp(np.ones_like(part), (True, False))
    for bad in (-1, K, 1000) if scores.ndim == 2 else (0, 2, -3):
        labels[2] = bad
        for reduction in REDUCTIONS:
            for kernel_set in kernel_sets(loss, backend):
                with kernel_set:
                    y, dz = run(backend, loss, scores, labels, {**options, "reduction": reduction})
                what = f"label {bad}, {reduction}"
                assert np.isnan(dz[2]).all(), what
                want = slope / (divisor if reduction == "mean" else 1)
                np.testing.assert_allclose(dz[known], want, rtol=2e-5, atol=1e-6, err_msg=what)
                if reduction == "none":
                    np.testing.assert_allclose(y[known], each, rtol=1e-5, err_msg=what)
                    y = y[2]
                assert np.isnan(y), what


MASKED = np.array([[-np.inf, 1, 2], [-np.inf, 0, 0.5], [3e38, -3e38, -3e38]])


@pytest.mark.parametrize("kind", LABELLED)
def test_a_class_of_probability_zero_that_is_not_the_target_adds_nothing(backend, kind):
    loss, _, options = LABELLED[kind]
    if "signs" in kind or "label_smoothing" in options:
        pytest.skip("no class is without a target")
    options = {name: value[:3] for name, value in options.items()}
    labels, weights = np.array([1, 2, 0], np.int32), options.get("class_weights", np.ones(3))
    each = {
        "softmax_cross_entropy": np.array([np.log1p(np.e), np.log1p(np.exp(-0.5)), 0]) * weights[labels],
        "hinge_loss": np.array([2, 0.5, 0]),
        "perceptron_loss": np.array([1, 0, 0]),
    }[loss.__name__]
    divisor = weights[labels].sum()
    for reduction, want in [("none", each), ("sum", each.sum()), ("mean", each.sum() / divisor)]:
        for kernel_set in kernel_sets(loss, backend):
            with kernel_set, np.errstate(over="ignore"):
                y, dz = run(backend, loss, MASKED, labels, {**options, "reduction": reduction})
            np.testing.assert_allclose(y, want, rtol=1e-6, err_msg=reduction)
            assert np.isfinite(dz).all(), reduction
            assert not dz[:2, 0].any(), reduction
            np.testing.assert_allclose(dz.sum(1), 0, atol=1e-6)


@reductions
def test_soft_targets_and_smoothing_pass_over_a_class_whose_target_or_weight_is_zero(backend, reduction):
    soft = np.array([[0, 0.25, 0.75], [0, 1, 0]])
    log_p = oracles.log_softmax(MASKED[:2, 1:])
    want = oracles.reduced(-(soft[:, 1:] * log_p).sum(1), reduction)
    z, targets = put(backend, MASKED[:2], np.float32), put(backend, soft, np.float32)
    y, vjp = ops.softmax_cross_entropy(z, targets, reduction=reduction)
    np.testing.assert_allclose(backend.to_numpy(y), want, rtol=1e-6)
    dz, _ = vjp(put(backend, np.ones(y.shape), np.float32), (True, False))
    assert np.isfinite(backend.to_numpy(dz)).all()
    weights = put(backend, np.array([0.0, 1, 1]), np.float32)
    labels = backend.from_numpy(np.array([1, 2], np.int32))
    y, _ = ops.softmax_cross_entropy(z, labels, label_smoothing=0.3, class_weights=weights, reduction=reduction)
    assert np.isfinite(backend.to_numpy(y)).all()


def test_a_target_of_probability_zero_has_an_infinite_loss_and_a_finite_gradient(backend):
    for kernel_set in kernel_sets(ops.softmax_cross_entropy, backend):
        with kernel_set:
            y, dz = run(backend, ops.softmax_cross_entropy, MASKED[:2], np.array([0, 1], np.int32), {})
        assert y == np.inf
        assert np.isfinite(dz).all()


def test_binary_cross_entropy_of_infinite_logits_is_right_where_they_agree_with_the_target(backend):
    z, t = np.array([-np.inf, np.inf, 3e38, -3e38, -20]), np.array([0.0, 1, 1, 0, 0])
    y, dz = run(backend, lambda z, _, **options: ops.binary_cross_entropy(
        z, put(backend, t, np.float32), **options), z, np.zeros(1, np.int32), {"reduction": "none"})  # fmt: skip
    np.testing.assert_allclose(y, [0, 0, 0, 0, np.exp(-20)], rtol=1e-5)
    np.testing.assert_allclose(dz, [0, 0, 0, 0, np.exp(-20)], rtol=1e-5)


@pytest.mark.parametrize("kind", LABELLED)
@pytest.mark.parametrize("integer", [np.int32, np.uint8])
def test_losses_of_labels_need_no_64_bit_integers(kind, integer):
    array_api_strict = pytest.importorskip("array_api_strict")
    loss, scores, options = LABELLED[kind]
    labels = (LABELS if scores.ndim == 2 else np.ones(N)).astype(integer)
    with array_api_strict.ArrayAPIStrictFlags(api_version="2025.12"):
        for reduction in REDUCTIONS:
            y, dz = run(
                get_backend("array-api-strict:no_x64"), loss, scores, labels, {**options, "reduction": reduction}
            )
            want, slope = run(get_backend("numpy"), loss, scores, labels, {**options, "reduction": reduction})
            np.testing.assert_allclose(y, want, rtol=1e-5)
            np.testing.assert_allclose(dz, slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "hinge_loss", "perceptron_loss"])
@pytest.mark.parametrize("n", [0, 3])
def test_scores_of_no_class_are_an_error(backend, name, n):
    with raises(ShapeError, name, (n, 0)):
        getattr(ops, name)(put(backend, np.zeros((n, 0)), np.float32), backend.from_numpy(np.zeros(n, np.int32)))


ALL = {
    "softmax_cross_entropy": (Z, LABELS),
    "binary_cross_entropy": (Z, SOFT),
    "mean_squared_error": (Z, SOFT),
    "hinge_loss": (Z, LABELS),
    "perceptron_loss": (Z, LABELS),
}


@pytest.mark.parametrize("name", ALL)
def test_the_default_reduction_is_the_mean(name):
    loss = getattr(ops, name)
    assert loss(*ALL[name])[0] == loss(*ALL[name], reduction="mean")[0]


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_reduction_is_an_error(name):
    with raises(ConfigError, name, "'average'"):
        getattr(ops, name)(*ALL[name], reduction="average")


@pytest.mark.parametrize("name", ALL)
def test_a_batch_of_another_size_than_its_labels_is_an_error(name):
    scores, labels = ALL[name]
    with raises(ShapeError, name, (5, 4), labels[:3].shape):
        getattr(ops, name)(scores, labels[:3])


@pytest.mark.parametrize("name", ALL)
def test_a_loss_of_integer_scores_is_an_error(backend, name):
    labels = put(backend, ALL[name][1], np.float32)
    with raises(DTypeError, name, "int64"):
        getattr(ops, name)(backend.from_numpy(integers(N, K, high=9)), labels)


@pytest.mark.parametrize("name", ["hinge_loss", "perceptron_loss"])
def test_labels_that_are_not_integers_are_an_error(name):
    with raises(DTypeError, name, "float64"):
        getattr(ops, name)(Z, LABELS.astype(np.float64))


def test_one_dimensional_labels_of_cross_entropy_that_are_not_integers_are_an_error():
    with raises(DTypeError, "softmax_cross_entropy", "float64"):
        ops.softmax_cross_entropy(Z, LABELS.astype(np.float64))


def test_soft_targets_of_another_precision_are_an_error():
    with raises(DTypeError, "softmax_cross_entropy", "float32", "float64"):
        ops.softmax_cross_entropy(Z, SOFT.astype(np.float32))


@pytest.mark.parametrize("smoothing", [-0.1, 1.5])
def test_label_smoothing_outside_0_to_1_is_an_error(smoothing):
    with raises(ConfigError, "softmax_cross_entropy", smoothing):
        ops.softmax_cross_entropy(Z, LABELS, label_smoothing=smoothing)


@pytest.mark.parametrize("value", ["0.1", None, np.nan, [0.1], True], ids=repr)
def test_settings_that_are_no_numbers_are_an_error(value):
    with raises(ConfigError, "softmax_cross_entropy", "label_smoothing"):
        ops.softmax_cross_entropy(Z, LABELS, label_smoothing=value)
    with raises(ConfigError, "hinge_loss", "margin"):
        ops.hinge_loss(Z, LABELS, margin=value)
    with raises(ConfigError, "leaky_relu", "slope"):
        ops.leaky_relu(Z, slope=value)


@pytest.mark.parametrize("loss", [ops.softmax_cross_entropy, ops.hinge_loss, ops.perceptron_loss])
def test_labels_that_are_no_array_are_an_error(loss):
    with raises(DTypeError, loss.__name__, "list"):
        loss(Z, LABELS.tolist())


def test_class_weights_of_another_length_are_an_error():
    with raises(ShapeError, "softmax_cross_entropy", (3,), (5, 4)):
        ops.softmax_cross_entropy(Z, LABELS, class_weights=np.ones(3))


def test_logits_of_another_rank_are_an_error():
    with raises(ShapeError, "softmax_cross_entropy", (5, 4, 1)):
        ops.softmax_cross_entropy(Z[..., None], LABELS)
