"""The published networks against the same networks written by hand in torch, with copied weights, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import agree, sample
from xpnet import models, nn
from xpnet.autograd import Tensor, backward

torch = pytest.importorskip("torch")
F = torch.nn.functional


class Twin:
    """A model's parameters in torch, and the layers that take them by path. Images are (N, C, H, W) here."""

    def __init__(self, model):
        self.training = model.training
        self.values = {k: torch.from_numpy(v) for k, v in model.state_dict().items()}
        for p in model.parameters():
            self.values[p.path].requires_grad_()

    def conv(self, path, x, **options):
        weight = self.values[f"{path}.weight"].permute(0, 3, 1, 2)  # (F, C/G, KH, KW)
        return F.conv2d(x, weight, self.values.get(f"{path}.bias"), **options)

    def norm(self, path, x):
        gamma, beta, mean, var = (self.values[f"{path}.{part}"] for part in ("gamma", "beta", "mean", "var"))
        return F.batch_norm(x, mean, var, gamma, beta, training=self.training, momentum=0.1, eps=1e-5)

    def linear(self, path, x):
        return F.linear(x, self.values[f"{path}.weight"], self.values[f"{path}.bias"])

    def block(self, path, x, stride, shortcut):
        y = self.norm(f"{path}.body.norm1", self.conv(f"{path}.body.conv1", x, stride=stride, padding=1))
        y = self.norm(f"{path}.body.norm2", self.conv(f"{path}.body.conv2", F.relu(y), padding=1))
        return F.relu(y + shortcut(x))


def rows(x):
    """Images (N, C, H, W) as rows that hold height, width, channel."""
    return x.permute(0, 2, 3, 1).flatten(1)


def alexnet(twin, x):
    def respond(x):  # torch's sum is multiplied by alpha / size
        return F.local_response_norm(x, 5, alpha=5 * 1e-4, beta=0.75, k=2.0)

    x = F.max_pool2d(respond(F.relu(twin.conv("conv1", x, stride=4))), 3, 2)
    x = F.max_pool2d(respond(F.relu(twin.conv("conv2", x, padding=2, groups=2))), 3, 2)
    x = F.relu(twin.conv("conv3", x, padding=1))
    x = F.relu(twin.conv("conv4", x, padding=1, groups=2))
    x = rows(F.max_pool2d(F.relu(twin.conv("conv5", x, padding=1, groups=2)), 3, 2))
    return twin.linear("fc8", F.relu(twin.linear("fc7", F.relu(twin.linear("fc6", x)))))


def vgg16(twin, x):
    for stage, depth in enumerate((2, 2, 3, 3, 3), 1):
        for i in range(1, depth + 1):
            x = F.relu(twin.conv(f"conv{stage}_{i}", x, padding=1))
        x = F.max_pool2d(x, 2)
    x = rows(x)
    return twin.linear("fc8", F.relu(twin.linear("fc7", F.relu(twin.linear("fc6", x)))))


def resnet18(twin, x):
    x = F.max_pool2d(F.relu(twin.norm("norm1", twin.conv("conv1", x, stride=2, padding=3))), 3, 2, padding=1)
    for stage in (1, 2, 3, 4):
        first, second = (f"stage{stage}.block{i}" for i in (1, 2))
        stride = 1 if stage == 1 else 2

        def project(x, path=f"{first}.shortcut"):
            return twin.norm(f"{path}.norm", twin.conv(f"{path}.conv", x, stride=2))

        x = twin.block(first, x, stride, project if stage > 1 else lambda x: x)
        x = twin.block(second, x, 1, lambda x: x)
    return twin.linear("scores", x.mean((2, 3)))


def resnet20(twin, x):
    x = F.relu(twin.norm("norm1", twin.conv("conv1", x, padding=1)))
    for stage in (1, 2, 3):
        for i in (1, 2, 3):
            smaller = stage > 1 and i == 1

            def direct(x, smaller=smaller):
                return torch.cat([x[:, :, ::2, ::2], torch.zeros_like(x[:, :, ::2, ::2])], 1) if smaller else x

            x = twin.block(f"stage{stage}.block{i}", x, 2 if smaller else 1, direct)
    return twin.linear("scores", x.mean((2, 3)))


# name: the network in torch, the images, how many classes, and the builder's options
TWINS = {
    "alexnet": (alexnet, (2, 67, 83, 3), 5, {"hidden": 40}),
    "vgg16": (vgg16, (2, 33, 32, 1), 5, {"hidden": 40}),
    "resnet18": (resnet18, (3, 37, 33, 3), 7, {}),
    "resnet20": (resnet20, (3, 11, 8, 3), 7, {}),
}


def built(name):
    """A model in float64, its weights such that all gradients show; scales and variances are positive."""
    _, (_, *shape), classes, options = TWINS[name]
    model = models.MODELS[name].build(tuple(shape), classes, **options).to("numpy", dtype="float64")
    for seed, (path, state) in enumerate(model.states().items()):
        width = np.sqrt(6.0 / np.prod(state.shape[1:])) if len(state.shape) > 1 else 0.5
        center = 1.0 if path.endswith((".gamma", ".var")) else 0.0
        state.data = center + np.random.default_rng(seed).uniform(-width, width, state.shape)
    return model


@pytest.mark.parametrize("name", TWINS)
def test_scores_and_gradients_are_those_of_the_network_written_in_torch(name):
    network, (n, *shape), _, _ = TWINS[name]
    model = built(name).train(name.startswith("resnet"))  # batch norm by the batch, but no dropout
    x, labels = sample(n, *shape, seed=3), np.arange(n)
    twin = Twin(model)
    scores = network(twin, torch.from_numpy(x).permute(0, 3, 1, 2))
    F.cross_entropy(scores, torch.from_numpy(labels)).backward()

    found = model(Tensor(x))
    agree(found.numpy(), scores.detach().numpy(), np.float64, 10_000, "scores")
    gradients = backward(nn.softmax_cross_entropy(found, labels))
    assert set(gradients) == set(model.parameters())
    for p, g in gradients.items():
        assert np.any(g), p.path
        some = slice(None, None, 1 + g.size // 100_000)  # each of a small one, some of a large one
        agree(g.ravel()[some], twin.values[p.path].grad.numpy().ravel()[some], np.float64, 100_000, p.path)
    for path, state in model.states().items():
        if path.endswith((".mean", ".var")):  # the running averages moved alike
            agree(state.numpy(), twin.values[path].numpy(), np.float64, 10_000, path)


@pytest.mark.parametrize("name", ["resnet18", "resnet20"])
def test_a_resnet_infers_by_its_running_averages(name):
    network, (n, *shape), _, _ = TWINS[name]
    model = built(name).train()
    for seed in range(3):
        model(Tensor(sample(n, *shape, seed=seed)))  # moves the averages
    x = sample(n, *shape, seed=9)
    model.eval()
    want = network(Twin(model), torch.from_numpy(x).permute(0, 3, 1, 2))
    got = model(Tensor(x)).numpy()
    agree(got, want.detach().numpy(), np.float64, 10_000, name)
    assert np.ptp(got) > 0.1
