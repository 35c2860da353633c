"""A network that somebody else trained and published: its file gives the accuracy here that it has in torch.

The package digit-recognizer-py 0.1.0 (MIT) holds it; nothing of the package is imported.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os

import numpy as np
import pytest

pytest.importorskip("torch")

import xpnet
from xpnet import data, nn

SHA256 = "325e0773529babe8ebb6adf35a82c64e57c5f3518c2adb975865355c74bc4786"


@pytest.fixture
def weights():
    try:
        files = importlib.metadata.files("digit-recognizer-py") or ()
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("digit-recognizer-py is not installed")
    path = next(file.locate() for file in files if file.suffix == ".pth")
    with open(path, "rb") as file:
        if hashlib.sha256(file.read()).hexdigest() != SHA256:
            pytest.skip("another version of digit-recognizer-py is installed")
    return str(path)


def test_the_published_network_reads_mnist_as_well_as_in_torch(weights):
    if not os.environ.get("XPNET_DATA_DIR"):
        pytest.skip("XPNET_DATA_DIR is not set: it names the folder that holds the four files of MNIST")
    layers, channels = [], 1
    for filters in (32, 64, 128):
        layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = filters
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(1152, 256), nn.ReLU(), nn.Linear(256, 10))
    loaded = xpnet.load_torch(model, weights, verbose=False)
    assert [a.layout for a in loaded.arrays if "fc_layers.0.weight" in a.source] == ["CHW to HWC, C = 128"]
    _, test = data.load("mnist")
    x = (np.asarray(test.x[:], np.float32) / 255 - 0.1307) / 0.3081  # as it was trained
    correct = model.predict(x).argmax(axis=1) == test.y
    assert 9904 <= np.sum(correct) <= 9908  # 9906 in torch; on another machine a sum may be rounded to the other side
