"""Losses on tensors, against torch: values, and gradients through what comes before them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import agree, integers, put, raises, sample
from xpnet import nn
from xpnet.autograd import Tensor, backward
from xpnet.errors import ConfigError, DTypeError, ShapeError

N, K = 5, 4
LABELS = integers(N, high=K, seed=1)
SIGNS = 2 * integers(N, high=2, seed=2) - 1
SOFT = np.abs(sample(N, K, seed=3)) / np.abs(sample(N, K, seed=3)).sum(axis=1, keepdims=True)
WEIGHTS = sample(K, seed=4, low=0.5)


def F():
    return pytest.importorskip("torch").nn.functional


def hinge(z, t, reduction="mean", margin=1.0):
    if z.ndim == 1:
        each = (margin - t * z).clamp(min=0)
    else:
        own = z.gather(1, t[:, None])
        each = (z - own + margin).clamp(min=0).sum(dim=1) - margin
    return {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]


def perceptron(z, t, reduction="mean"):
    each = (-t * z).clamp(min=0) if z.ndim == 1 else z.max(dim=1).values - z.gather(1, t[:, None])[:, 0]
    return {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]


# name: our loss, torch's, the shape of the scores, the targets, options of ours, options of torch's
LOSSES = {
    "softmax_cross_entropy": (nn.softmax_cross_entropy, lambda *a, **k: F().cross_entropy(*a, **k), (N, K), LABELS, {}),
    "softmax_cross_entropy, soft": (
        nn.softmax_cross_entropy,
        lambda *a, **k: F().cross_entropy(*a, **k),
        (N, K),
        SOFT,
        {},
    ),
    "softmax_cross_entropy, smoothed": (
        nn.softmax_cross_entropy,
        lambda z, t, **k: F().cross_entropy(z, t, **k),
        (N, K),
        LABELS,
        {"label_smoothing": 0.3},
    ),
    "softmax_cross_entropy, weighted": (
        nn.softmax_cross_entropy,
        lambda z, t, class_weights, **k: F().cross_entropy(z, t, weight=class_weights, **k),
        (N, K),
        LABELS,
        {"class_weights": WEIGHTS},
    ),
    "binary_cross_entropy": (
        nn.binary_cross_entropy,
        lambda *a, **k: F().binary_cross_entropy_with_logits(*a, **k),
        (N, K),
        sample(N, K, seed=5, low=0.0, high=1.0),
        {},
    ),
    "mean_squared_error": (
        nn.mean_squared_error,
        lambda *a, **k: F().mse_loss(*a, **k),
        (N, K),
        sample(N, K, seed=6),
        {},
    ),
    "hinge_loss": (nn.hinge_loss, hinge, (N, K), LABELS, {"margin": 0.7}),
    "hinge_loss, two classes": (nn.hinge_loss, hinge, (N,), SIGNS, {}),
    "perceptron_loss": (nn.perceptron_loss, perceptron, (N, K), LABELS, {}),
    "perceptron_loss, two classes": (nn.perceptron_loss, perceptron, (N,), SIGNS, {}),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_gradient_are_torchs(backend, name, reduction):
    if backend.name == "jax" and reduction != "mean":
        pytest.skip("one reduction is enough where each is compiled anew")
    torch = pytest.importorskip("torch")
    ours, theirs, shape, target, options = LOSSES[name]
    z = sample(*shape, seed=7)
    t = Tensor(put(backend, z, np.float32), requires_grad=True)
    moved = {k: put(backend, v, np.float32) for k, v in options.items()}
    loss = ours(t * 2.0, put(backend, target, np.float32), reduction=reduction, **moved)

    u = torch.from_numpy(z).requires_grad_()
    given = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    want = theirs(u * 2.0, torch.from_numpy(target), reduction=reduction, **given)
    dy = sample(*want.shape, seed=8) if want.ndim else np.asarray(1.0)
    want.backward(torch.from_numpy(dy))

    agree(loss.numpy(), want.detach().numpy(), np.float32, 4 * N * K, "value")
    found = backward(loss, put(backend, dy, np.float32))
    assert set(found) == {t}
    agree(backend.to_numpy(found[t]), u.grad.numpy(), np.float32, 4 * N * K, "gradient")


def test_labels_may_be_tensors():
    z = Tensor(sample(N, K).astype(np.float32), requires_grad=True)
    plain, wrapped = nn.softmax_cross_entropy(z, LABELS), nn.softmax_cross_entropy(z, Tensor(LABELS))
    assert plain.item() == wrapped.item()
    assert set(backward(wrapped)) == {z}


def test_mean_squared_error_sends_a_gradient_to_its_target_too():
    y, target = (Tensor(sample(N, K, seed=s), requires_grad=True) for s in (1, 2))
    found = backward(nn.mean_squared_error(y, target))
    np.testing.assert_allclose(found[y], 2 * (y.data - target.data) / (N * K))
    np.testing.assert_allclose(found[target], -found[y])


Z = np.zeros((N, K), np.float32)
WRONG = {
    "labels of another batch": (
        nn.softmax_cross_entropy,
        ShapeError,
        "softmax_cross_entropy",
        Z,
        LABELS[:3],
        {},
        ("(5, 4)", "(3,)"),
    ),
    "soft labels of another K": (
        nn.softmax_cross_entropy,
        ShapeError,
        "softmax_cross_entropy",
        Z,
        Z[:, :2],
        {},
        ("(5, 4)", "(5, 2)"),
    ),
    "labels that are not integers": (
        nn.softmax_cross_entropy,
        DTypeError,
        "softmax_cross_entropy",
        Z,
        Z[:, 0],
        {},
        ("float32",),
    ),
    "smoothing beyond 1": (
        nn.softmax_cross_entropy,
        ConfigError,
        "softmax_cross_entropy",
        Z,
        LABELS,
        {"label_smoothing": 1.5},
        ("label_smoothing 1.5",),
    ),
    "an unknown reduction": (
        nn.mean_squared_error,
        ConfigError,
        "mean_squared_error",
        Z,
        Z,
        {"reduction": "maen"},
        ("'maen'", "'mean'"),
    ),
    "targets of another shape": (
        nn.binary_cross_entropy,
        ShapeError,
        "binary_cross_entropy",
        Z,
        Z[:, :3],
        {},
        ("(5, 4)", "(5, 3)"),
    ),
    "hinge labels": (nn.hinge_loss, ShapeError, "hinge_loss", Z, LABELS[:2], {}, ("(5, 4)", "(2,)")),
    "perceptron labels": (nn.perceptron_loss, DTypeError, "perceptron_loss", Z, Z[:, 0], {}, ("float32",)),
}


@pytest.mark.parametrize("name", WRONG)
def test_labels_and_options_that_do_not_fit_are_refused(name):
    loss, error, place, z, labels, options, values = WRONG[name]
    with raises(error, place, *values):
        loss(Tensor(z), labels, **options)
