from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from xpnet import data, nn, optim
from xpnet.errors import DataError, ShapeError
from xpnet.train import Trainer, scoring

rng = np.random.default_rng(0)
X = (rng.normal(size=(60, 1)) * [1, -2, 0.5, 3] + 5).astype(np.float32)  # a line in four dimensions
IMAGES = np.clip(rng.normal(128, 60, size=(40, 1, 1, 2)) + np.zeros((1, 4, 4, 1)), 0, 255).astype(np.uint8)


def fitted(x=X, width: int = 4, epochs: int = 60, **options) -> Trainer:
    model = nn.Sequential(nn.Flatten(), nn.Linear(width, 3), nn.Linear(3, width)).initialize(0)
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.02), task="reconstruction", **options)
    trainer.fit(x, epochs=epochs, batch_size=20)
    return trainer


def test_an_autoencoder_gives_back_its_inputs():
    trainer = fitted()
    assert np.abs(trainer.predict(X) - X).mean() < 0.2
    figures = trainer.evaluate(X)
    assert figures["mse"] == pytest.approx(np.mean((trainer.predict(X) - X) ** 2), rel=1e-4)
    wrong = (trainer.predict(X) - X) / X.std(axis=0)  # columns that are not standardized are
    assert figures["loss"] == pytest.approx(np.mean(wrong**2), rel=1e-2)


def test_images_come_back_in_their_own_shape_and_scale():
    trainer = fitted(IMAGES, 32, epochs=80)
    back = trainer.predict(IMAGES)
    assert back.shape == IMAGES.shape
    assert np.abs(back - IMAGES).mean() < 20
    figures = trainer.evaluate((IMAGES, None))
    assert figures["mse"] == pytest.approx(np.mean((back - IMAGES.astype(float)) ** 2), rel=1e-4)
    assert figures["each"].shape == (40,)
    assert figures["loss"] == pytest.approx(
        np.mean(((back - IMAGES) / trainer.normalize.white / trainer.normalize.std) ** 2), rel=1e-3
    )


def test_images_on_another_scale_come_back_on_that_scale():
    trainer = fitted(IMAGES, 32, epochs=5)
    ones = trainer.predict((IMAGES / 255).astype(np.float32), white=1)
    assert ones == pytest.approx(trainer.predict(IMAGES) / 255, abs=1e-3)


def test_labels_of_a_set_are_not_looked_at():
    labelled = data.from_arrays(IMAGES, np.arange(40) % 2)
    assert (
        fitted(labelled, 32, epochs=1).evaluate(labelled)["mse"] == fitted(IMAGES, 32, epochs=1).evaluate(IMAGES)["mse"]
    )


def test_a_test_set_is_measured_after_each_epoch():
    model = nn.Linear(4, 4).initialize(0)
    history = Trainer(model, task="reconstruction").fit(X[:40], X[40:], epochs=1)
    assert {"test_loss", "test_mse"} <= set(history[-1])


def test_a_model_of_another_number_of_outputs_is_an_error():
    with raises(ShapeError, "fit", "4 numbers", "(20, 3)", "(20, 4)"):
        Trainer(nn.Linear(4, 3), task="reconstruction").fit(X, epochs=1, batch_size=20)


def test_several_inputs_are_not_reconstructed():
    both = data.from_arrays({"a": X, "b": X}, np.arange(60) % 2)
    with raises(DataError, "fit", "one array", "inputs 2"):
        Trainer(nn.Linear(4, 4), task="reconstruction").fit(both)


def test_augmented_images_are_their_own_targets():
    seen = []

    class Same(nn.Module):
        def __init__(self):
            self.scale = nn.Linear(1, 1)

        def forward(self, x):
            return x * 1.0 + 0.0 * self.scale.weight.sum()

    def loss(y, target):
        seen.append(float(np.abs(y.numpy() - target).max()))
        return ((y - target) * (y - target)).mean()

    Trainer(Same(), task="reconstruction", loss=loss, capture=False).fit(
        IMAGES, epochs=1, augment=data.Augment(shift=2)
    )
    assert max(seen) == 0


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_mixed_precision_reconstructs(precision):
    assert fitted(precision=precision, epochs=40).evaluate(X)["mse"] < 2


def test_backends_reconstruct_alike(backend):
    model = nn.Linear(4, 4).to(backend).initialize(0)
    trainer = Trainer(model, task="reconstruction", capture=False)
    trainer.fit(X, epochs=1)
    other = Trainer(nn.Linear(4, 4).initialize(0), task="reconstruction", capture=False)
    other.fit(X, epochs=1)
    assert trainer.predict(X) == pytest.approx(other.predict(X), rel=1e-2, abs=1e-2)


def test_scores_of_images_beyond_memory_are_measured_in_parts(monkeypatch):
    trainer = fitted(IMAGES, 32, epochs=2)
    lazy = data.Lazy(IMAGES.shape, lambda rows, out: np.take(IMAGES, rows, axis=0, out=out))
    monkeypatch.setattr(scoring, "_KEPT", 1)
    want = trainer.evaluate((IMAGES, None), batch_size=7)
    got = trainer.evaluate(data.Dataset(lazy, np.zeros(len(IMAGES), np.float32)), batch_size=7)
    assert got["mse"] == pytest.approx(want["mse"], rel=1e-6)
    assert got["loss"] == want["loss"]
    np.testing.assert_allclose(got["each"], want["each"])
    np.testing.assert_array_equal(got["scores"], want["scores"][:7])
