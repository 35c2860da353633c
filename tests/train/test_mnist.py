"""MNIST for real: one epoch on NumPy, with the command line's own settings, above a floor of test accuracy.

Measured with seeds 0 to 2: softmax regression 91.5 to 91.7 %, mlp 96.2 to 96.6 %, LeNet-5 97.4 to 97.8 %. LeCun et al.
(1998) report 88.0, 95.3 and 99.05 % for a linear classifier, a two-layer network and LeNet-5, trained to the end.
"""

from __future__ import annotations

import os

import pytest

from xpnet import data
from xpnet.train import RunConfig, train_run


@pytest.fixture(scope="module")
def mnist():
    """The real data set, loaded once, from the folder that XPNET_DATA_DIR names."""
    if not os.environ.get("XPNET_DATA_DIR"):
        pytest.skip("XPNET_DATA_DIR is not set: it names the folder that holds the four files of MNIST")
    return data.load("mnist")


def test_mnist_has_its_published_sizes(mnist):
    train, test = mnist
    assert (len(train), len(test), train.shape) == (60_000, 10_000, (28, 28, 1))


@pytest.mark.parametrize(("model", "floor"), [("softmax", 0.905), ("mlp", 0.95), ("lenet5", 0.965)])
def test_one_epoch_reaches_its_floor(mnist, model, floor, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *args, **options: mnist)
    result = train_run(RunConfig(model, "mnist", epochs=1), tmp_path / "run")
    assert result["test_accuracy"] >= floor
