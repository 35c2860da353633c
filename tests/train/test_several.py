"""Models of several inputs: a tuple or a dictionary of arrays goes through fit, evaluate and predict."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import few_on_jax, raises
from tests.train.fitting import InterruptAt, assert_same_state
from xpnet import data, nn
from xpnet.autograd import Tensor
from xpnet.errors import ConfigError, DataError, ShapeError, XpnetError
from xpnet.optim import SGD
from xpnet.train import Checkpoint, Trainer, read_checkpoint, write_checkpoint

N = 30
RANDOM = np.random.default_rng(3)
IMAGES = RANDOM.integers(0, 256, (N, 4, 4, 1), dtype=np.uint8)
TABLE = RANDOM.normal(size=(N, 3)).astype(np.float32)
AGE = RANDOM.uniform(size=N).astype(np.float32)
Y = (TABLE[:, 0] + AGE > 0.5).astype(np.int64)


class Two(nn.Module):
    """Images and a table."""

    def __init__(self):
        self.flatten = nn.Flatten()
        self.left, self.right = nn.Linear(16, 2), nn.Linear(3, 2)

    def forward(self, image, table):
        return self.left(self.flatten(image)) + self.right(table)


def fitted(x, backend="numpy", callbacks=(), epochs=2, **options) -> Trainer:
    model = Two().to(backend).initialize(1)
    trainer = Trainer(model, SGD(model.parameters(), lr=0.1), seed=2, callbacks=callbacks, **options)
    trainer.fit((x, Y), (x, Y), epochs=epochs, batch_size=8)
    return trainer


def reference() -> tuple[list[float], np.ndarray]:
    """The same training, in a loop over one array that both inputs are joined in."""
    mean, std = IMAGES.mean(), IMAGES.std()
    image = ((IMAGES.reshape(N, 16) - mean) / std).astype(np.float64)
    weights = {path: value.astype(np.float64) for path, value in Two().initialize(1).state_dict().items()}
    losses = []
    for epoch in range(2):
        from xpnet.random import Key, permutation

        order, total = permutation(Key(2, "shuffle", epoch), N), 0.0
        for start in range(0, N, 8):
            rows = order[start : start + 8]
            scores = image[rows] @ weights["left.weight"].T + weights["left.bias"]
            scores = scores + TABLE[rows] @ weights["right.weight"].T + weights["right.bias"]
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            total -= np.log(p[np.arange(len(rows)), Y[rows]]).sum()
            g = (p - np.eye(2)[Y[rows]]) / len(rows)
            for side, x in (("left", image[rows]), ("right", TABLE[rows])):
                weights[f"{side}.weight"] = weights[f"{side}.weight"] - 0.1 * g.T @ x
                weights[f"{side}.bias"] = weights[f"{side}.bias"] - 0.1 * g.sum(axis=0)
        losses.append(total / N)
    return losses, weights["right.weight"]


@pytest.mark.parametrize("form", [dict, tuple])
def test_a_fit_of_two_inputs_is_the_formula(backend, form):
    few_on_jax(backend, form is dict)
    x = {"table": TABLE, "image": IMAGES} if form is dict else (IMAGES, TABLE)
    losses, weight = reference()
    trainer = fitted(x, backend)
    assert [r["train_loss"] for r in trainer.history] == pytest.approx(losses, rel=1e-4)
    np.testing.assert_allclose(trainer.model.right.weight.numpy(), weight, rtol=1e-3, atol=1e-5)
    chances = trainer.predict(x)
    assert chances.shape == (N, 2)
    assert trainer.evaluate((x, Y))["accuracy"] == np.mean(chances.argmax(axis=1) == Y)


@pytest.mark.parametrize("options", [{"threads": 2, "capture": False}, {"accumulate": 2}, {"capture": True}])
def test_shards_parts_and_recordings_change_nothing(options):
    model = Two().initialize(1)
    trainer = Trainer(model, SGD(model.parameters(), lr=0.1), seed=2, **options)
    size = 4 if "accumulate" in options else 8
    model.across_batch = False
    for _, layer in model.modules():
        layer.across_batch = False
    trainer.fit(((IMAGES, TABLE), Y), epochs=2, batch_size=size)
    assert [r["train_loss"] for r in trainer.history] == pytest.approx(reference()[0], rel=1e-4)


def test_a_resume_within_an_epoch_is_bit_for_bit(tmp_path):
    x = {"image": IMAGES, "table": TABLE}
    whole, stopped = fitted(x), fitted(x, callbacks=[InterruptAt(1, 1)])
    assert stopped.interrupted
    write_checkpoint(tmp_path / "a.safetensors", stopped.checkpoint())
    resumed = Trainer(model := Two(), SGD(model.parameters(), lr=0.1))
    resumed.resume(read_checkpoint(tmp_path / "a.safetensors"))
    resumed.fit((x, Y), (x, Y), epochs=2, batch_size=8)
    assert_same_state(resumed.checkpoint(), whole.checkpoint())
    assert isinstance(resumed.checkpoint(), Checkpoint)
    assert np.array_equal(resumed.predict(x), whole.predict(x))


def test_x_and_y_may_be_two_arguments_and_a_part_held_out():
    trainer = Trainer(Two())
    history = trainer.fit({"image": IMAGES, "table": TABLE}, Y, validation=0.2, epochs=1)
    assert {"validation_loss", "validation_accuracy"} <= set(history[0])
    assert len(Trainer(Two()).fit((IMAGES, TABLE), Y, epochs=1)) == 1


def test_a_number_an_example_is_a_column():
    class Model(nn.Module):
        def __init__(self):
            self.scores = nn.Linear(4, 2)

        def forward(self, table, age):
            assert age.shape[1:] == (1,)
            both = table @ Tensor(np.eye(3, 4, dtype=np.float32)) + age @ Tensor(np.eye(4, dtype=np.float32)[3:])
            return self.scores(both)

    trainer = Trainer(Model())
    trainer.fit({"table": TABLE, "age": AGE}, Y, epochs=1)
    assert trainer.predict({"age": AGE.tolist(), "table": TABLE.tolist()}).shape == (N, 2)


def test_each_input_is_brought_to_its_own_scale():
    trainer = fitted((IMAGES, TABLE))
    want = trainer.predict((IMAGES, TABLE))
    np.testing.assert_allclose(trainer.predict((IMAGES / 255, TABLE)), want, rtol=1e-4, atol=1e-6)


def test_a_model_predicts_several_inputs():
    model = Two().initialize(1)
    x = (IMAGES / 255).astype(np.float32)
    whole = model.predict((x, TABLE))
    np.testing.assert_allclose(model.predict({"image": x, "table": TABLE}, batch_size=7), whole, rtol=1e-5, atol=1e-6)


def test_a_set_of_several_inputs_is_taken_and_split():
    both = data.from_arrays({"image": IMAGES, "table": TABLE}, Y)
    assert both.shape == {"image": (4, 4, 1), "table": (3,)}
    part = both.take([3, 1])
    assert np.array_equal(part.x["table"], TABLE[[3, 1]])
    assert len(both) == sum(map(len, both.split(0.5)))
    assert "image" in repr(both)


@pytest.mark.parametrize(
    ("x", "error"),
    [
        ((IMAGES, TABLE[:5]), DataError),
        ({"image": IMAGES}, ConfigError),
        ({"image": IMAGES, "tabel": TABLE}, ConfigError),
        ((IMAGES, TABLE, TABLE), ConfigError),
        ({}, DataError),
        ({"image": "a", "table": TABLE}, XpnetError),
        ((IMAGES, np.full((N, 3), np.nan)), DataError),
    ],
)
def test_inputs_that_the_model_does_not_take_are_one_error(x, error):
    with pytest.raises(error):
        Trainer(Two()).fit((x, Y), epochs=1)


@pytest.mark.parametrize("x", [IMAGES, (IMAGES,), {"image": IMAGES}, (IMAGES, TABLE, TABLE), (IMAGES, TABLE[:4])])
def test_other_inputs_than_those_fitted_on_are_not_predicted(x):
    trainer = fitted((IMAGES, TABLE), epochs=1)
    with raises(ShapeError, "predict", "inputs"):
        trainer.predict(x)


def test_an_input_with_channels_first_is_refused():
    image = RANDOM.normal(size=(N, 4, 2, 2)).astype(np.float32)
    trainer, other = fitted((image, TABLE)), (np.moveaxis(image, -1, 1), TABLE)
    for act in (trainer.predict, lambda x: trainer.predict(lambda: iter([(x, Y)])), lambda x: trainer.evaluate((x, Y))):
        with pytest.raises(ShapeError, match=r"an input \(4, 2, 2\), as the model was fitted on.*moveaxis"):
            act(other)
