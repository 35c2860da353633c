"""Normalization layers and dropout: against torch, running averages, masks."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tests.harness import agree, put, raises, sample
from tests.nn.folding import filled
from xpnet import nn, random
from xpnet.autograd import Tensor, backward
from xpnet.backend import use_backend
from xpnet.errors import ShapeError
from xpnet.random import StepContext
from xpnet.train import Trainer

IMAGES, ROWS = (2, 7, 5, 4), (3, 6)


def host(backend, array):
    return np.asarray(backend.to_numpy(array), np.float64)


def test_layer_norm_makes_each_row_of_mean_0_and_variance_1(backend):
    with use_backend(backend):
        layer = nn.LayerNorm(6)
    y = layer(Tensor(put(backend, 5.0 + 3.0 * sample(*ROWS, seed=1), np.float32))).numpy()
    np.testing.assert_allclose(y.mean(axis=1), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(y.var(axis=1), np.ones(3), rtol=1e-4)


def test_batch_norm_over_three_batches_is_torchs(backend):
    torch = pytest.importorskip("torch")
    with use_backend(backend):
        ours = filled(nn.BatchNorm(4, eps=1e-3, momentum=0.3))
    theirs = torch.nn.BatchNorm2d(4, eps=1e-3, momentum=0.3).double()
    names = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}
    for our, their in names.items():
        getattr(theirs, their).data = torch.from_numpy(host(backend, getattr(ours, our).data))

    def both(x):
        t = Tensor(put(backend, x, np.float32), requires_grad=True)
        u = torch.from_numpy(x).permute(0, 3, 1, 2).requires_grad_()
        return t, u, ours(t), theirs(u).permute(0, 2, 3, 1)

    for seed in range(3):
        x = sample(*IMAGES, seed=seed) * (1.0 + seed) + seed
        t, u, y, z = both(x)
        agree(y.numpy(), z.detach().numpy(), np.float32, 70, f"batch {seed}")
        dy = sample(*IMAGES, seed=9)
        theirs.zero_grad()
        z.backward(torch.from_numpy(dy))
        found = backward(y, put(backend, dy, np.float32))
        agree(host(backend, found[t]), u.grad.permute(0, 2, 3, 1).numpy(), np.float32, 140, "dx")
        agree(host(backend, found[ours.gamma]), theirs.weight.grad.numpy(), np.float32, 140, "dgamma")
        agree(host(backend, found[ours.beta]), theirs.bias.grad.numpy(), np.float32, 140, "dbeta")
        for name in ("mean", "var"):
            got = host(backend, getattr(ours, name).data)
            agree(got, getattr(theirs, names[name]).numpy(), np.float32, 140, name)
    ours.eval()
    theirs.eval()
    before = ours.state_dict()
    _, _, y, z = both(sample(*IMAGES, seed=4))
    agree(y.numpy(), z.detach().numpy(), np.float32, 70, "inference")
    assert all(np.array_equal(a, before[name]) for name, a in ours.state_dict().items())


def test_running_averages_keep_dtype_backend_and_no_tape(backend):
    with use_backend(backend):
        layer = nn.BatchNorm(3)
    layer(Tensor(put(backend, sample(4, 3), np.float32), requires_grad=True))
    for buffer in (layer.mean, layer.var):
        assert buffer.data.dtype == backend.xp.float32
        assert buffer.backend == backend
        assert buffer.node is None


def test_local_response_norm_that_averages_is_torchs(backend):
    torch = pytest.importorskip("torch")
    layer = nn.LocalResponseNorm(3, alpha=1.7, beta=0.6, k=1.2, average=True)
    x = sample(2, 3, 4, 7, seed=1)
    u = torch.from_numpy(x).permute(0, 3, 1, 2).requires_grad_()
    z = torch.nn.LocalResponseNorm(3, alpha=1.7, beta=0.6, k=1.2)(u).permute(0, 2, 3, 1)
    t = Tensor(put(backend, x, np.float32), requires_grad=True)
    y, dy = layer(t), sample(2, 3, 4, 7, seed=2)
    z.backward(torch.from_numpy(dy))
    agree(y.numpy(), z.detach().numpy(), np.float32, 8, "forward")
    g = host(backend, backward(y, put(backend, dy, np.float32))[t])
    agree(g, u.grad.permute(0, 2, 3, 1).numpy(), np.float32, 32, "dx")


@pytest.mark.parametrize("layer", [nn.BatchNorm(3), nn.BatchNorm(3).eval(), nn.LayerNorm(3)])
def test_another_number_of_channels_is_refused(layer):
    model = nn.Sequential(norm=layer)
    with raises(ShapeError, f"norm ({'layer' if isinstance(layer, nn.LayerNorm) else 'batch'}_norm)", "(2, 4)", "(3,)"):
        model(Tensor(np.zeros((2, 4), np.float32)))


def test_a_refused_batch_leaves_the_running_averages_alone():
    layer = nn.BatchNorm(3)
    with pytest.raises(ShapeError):
        layer(Tensor(np.ones((2, 4), np.float32)))
    assert not layer.mean.numpy().any()


# Running averages are updated in place: a step that is recorded and replayed updates them too.


def layer_on(backend):
    with use_backend(backend):
        return nn.BatchNorm(3, momentum=0.25)


def batch(backend, seed):
    return Tensor(put(backend, seed + sample(7, 3, seed=seed), np.float32))


def test_training_keeps_the_arrays_of_the_averages(backend):
    if backend.name == "jax":
        pytest.skip("arrays of jax cannot be written")
    layer = layer_on(backend)
    layer(batch(backend, 1))
    mean, var = layer.mean.data, layer.var.data
    before = layer.state_dict()
    layer(batch(backend, 2))
    assert layer.mean.data is mean
    assert layer.var.data is var
    assert not np.allclose(backend.to_numpy(mean), before["mean"])
    assert not np.allclose(backend.to_numpy(var), before["var"])


def test_training_a_copy_leaves_the_averages_of_the_original_alone(backend):
    layer = layer_on(backend)
    layer(batch(backend, 1))
    before = layer.state_dict()
    twin = copy.deepcopy(layer)
    loaded = layer_on(backend)
    loaded.load_state_dict(before)
    for other in (twin, loaded):
        other(batch(backend, 2))
    assert all(np.array_equal(a, before[path]) for path, a in layer.state_dict().items())
    assert all(np.array_equal(a, twin.state_dict()[path]) for path, a in loaded.state_dict().items())


def test_a_replayed_step_updates_the_averages(backend):
    recorder = backend.recorder()
    if recorder is None:
        pytest.skip(f"work on {backend.spec} is not recorded")
    recorded, eager, x = layer_on(backend), layer_on(backend), batch(backend, 1)
    with recorder.warm():
        recorded(x)
    _, replay = recorder.record(lambda: recorded(x))
    eager.load_state_dict(recorded.state_dict())
    for _ in range(3):
        replay()
        eager(x)
    for path, want in eager.state_dict().items():
        assert np.array_equal(recorded.state_dict()[path], want), path


def test_averages_of_float16_are_updated_by_moments_of_float32(backend):
    if not hasattr(backend.xp, "float16"):
        pytest.skip(f"{backend.spec} has no float16")
    layer = layer_on(backend).to(dtype="float16")
    x = sample(7, 3).astype(np.float16)
    layer(Tensor(backend.from_numpy(x)))
    assert layer.mean.data.dtype == layer.var.data.dtype == backend.xp.float16
    np.testing.assert_allclose(layer.mean.numpy(), 0.25 * x.astype(np.float64).mean(0), rtol=1e-3, atol=1e-3)
    want = 0.75 + 0.25 * x.astype(np.float64).var(0, ddof=1)
    np.testing.assert_allclose(layer.var.numpy(), want, rtol=1e-3)


# Dropout's masks depend on their key alone, not on what was drawn before.

CONTEXT = StepContext(seed=5, epoch=2, step=7)
SHAPE = (8, 3, 5)


def kept(layer, backend=None, rows=slice(None), context=CONTEXT, shape=SHAPE):
    """Which elements of rows a layer keeps in a step."""
    x = np.ones(shape, np.float32)[rows]
    with random.use(context):
        y = layer(Tensor(x if backend is None else put(backend, x, np.float32)))
    return y.numpy() != 0


def test_in_evaluation_and_with_rate_zero_dropout_returns_its_input():
    x = Tensor(np.ones(SHAPE, np.float32))
    assert nn.Dropout(0.5).eval()(x) is x
    assert nn.Dropout(0.0)(x) is x
    with nn.inference():
        assert nn.Dropout(0.5)(x) is x


def test_what_is_kept_is_scaled_and_so_is_its_gradient(backend):
    layer, x = nn.Dropout(0.75), sample(*SHAPE, seed=1)
    t = Tensor(put(backend, x, np.float32), requires_grad=True)
    with random.use(CONTEXT):
        y = layer(t)
    mask = kept(layer, backend)
    assert 0 < mask.sum() < mask.size
    np.testing.assert_allclose(y.numpy(), np.where(mask, 4.0 * x, 0.0), rtol=1e-6)
    g = backend.to_numpy(backward(y.sum())[t])
    assert np.array_equal(g, np.where(mask, np.float32(4.0), np.float32(0.0)))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_the_share_kept_and_the_expectation_are_the_rates(rate):
    n = 200_000
    layer = nn.Dropout(rate)
    with random.use(CONTEXT):
        y = layer(Tensor(np.ones((n, 1), np.float32))).numpy()
    error = 5 * (rate * (1 - rate) / n) ** 0.5  # five standard deviations of a share
    assert abs((y != 0).mean() - (1 - rate)) < error
    assert abs(y.mean() - 1.0) < error / (1 - rate)


def test_masks_are_equal_on_every_backend(backend):
    layer = nn.Dropout(0.5)
    assert np.array_equal(kept(layer, backend), kept(layer))


def test_a_step_has_one_mask_however_often_it_is_drawn():
    layer, other = nn.Dropout(0.5), nn.Dropout(0.5)
    first = kept(layer)
    kept(layer, context=CONTEXT._replace(step=8))
    assert np.array_equal(kept(layer), first)
    assert np.array_equal(kept(other), first)


@pytest.mark.parametrize("change", [{"seed": 6}, {"epoch": 3}, {"step": 8}])
def test_another_seed_epoch_or_step_gives_another_mask(change):
    layer = nn.Dropout(0.5)
    assert not np.array_equal(kept(layer), kept(layer, context=CONTEXT._replace(**change)))


def test_rows_of_a_shard_are_the_rows_of_the_whole_batch(backend):
    layer = nn.Dropout(0.5)
    whole = kept(layer, backend)
    for start, stop in ((0, 3), (3, 8), (5, 6)):
        part = kept(layer, backend, slice(start, stop), CONTEXT._replace(row=start))
        assert np.array_equal(part, whole[start:stop])


def test_a_layer_called_twice_in_a_step_draws_two_masks(backend):
    layer, x = nn.Dropout(0.5), Tensor(put(backend, np.ones((50, 40)), np.float32))
    with random.use(CONTEXT):
        one, two = (layer(x).numpy() != 0 for _ in range(2))
    assert 0.4 < np.mean(one == two) < 0.6
    assert np.array_equal(one, kept(layer, shape=(50, 40)))  # the first of a step is what it always was


def test_dropouts_that_no_path_tells_apart_draw_other_masks():
    one, two = nn.Dropout(0.5), nn.Dropout(0.5)
    x = Tensor(np.ones((50, 40), np.float32))
    with random.use(CONTEXT):
        assert 0.4 < np.mean((one(x).numpy() != 0) == (two(x).numpy() != 0)) < 0.6


def test_layers_at_other_paths_draw_other_masks():
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    one, two = (kept(layer) for layer in model)
    assert not np.array_equal(one, two)


def test_outside_of_a_trainer_each_call_draws_the_next_mask():
    layer, again = nn.Dropout(0.5), nn.Dropout(0.5)
    x = Tensor(np.ones(SHAPE, np.float32))
    masks = [layer(x).numpy() for _ in range(3)]
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[1], masks[2])
    assert all(np.array_equal(again(x).numpy(), mask) for mask in masks)


# Batches without a variance.


@pytest.mark.parametrize("shape", [(1, 2), (1, 1, 1, 2), (0, 2), (0, 3, 3, 2)])
def test_batch_norm_takes_its_averages_for_a_batch_without_a_variance(backend, shape):
    layer = nn.BatchNorm(2, momentum=0.5).to(backend).train()
    layer(Tensor(put(backend, sample(9, 2, seed=3), np.float32)))
    before, x = layer.state_dict(), Tensor(put(backend, np.full(shape, 2.0), np.float32), requires_grad=True)
    y = layer(x)
    for name, value in layer.state_dict().items():
        assert np.array_equal(value, before[name]), name
    with nn.inference():
        assert np.array_equal(y.numpy(), layer(x).numpy())
    gradient = backend.to_numpy(backward(y.sum())[x])
    assert gradient.shape == shape
    assert gradient.all()


def test_batch_norm_trains_whatever_the_last_batch_of_an_epoch_holds():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(33, 4)).astype(np.float32), rng.integers(0, 2, 33)
    losses = {}
    for size in (32, 1):
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm(8, momentum=0.5), nn.ReLU(), nn.Linear(8, 2)).initialize(0)
        trainer = Trainer(model, seed=0)
        trainer.fit((x, y), (x, y), epochs=3, batch_size=size)
        losses[size] = trainer.history[-1]["test_loss"]
        assert model.state_dict()["1.var"].min() > 1e-3
    assert all(loss < 1 for loss in losses.values()), losses
