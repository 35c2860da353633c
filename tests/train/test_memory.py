"""Models are freed when the last reference to them is dropped, without Python's cycle collector."""

from __future__ import annotations

import gc
import os
import weakref

import numpy as np
import pytest

from xpnet import nn, optim
from xpnet.autograd import Tensor
from xpnet.backend import get_backend, use_cores
from xpnet.train import Callback, Trainer
from xpnet.train.step import Step

LONG = "XPNET_FUZZ" in os.environ  # ci/test-long
X = np.random.default_rng(0).random((24, 8, 8, 1), np.float32)
Y = np.arange(24) % 3


def make():
    block = nn.Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm(4), nn.ReLU()))
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), block, nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 3)
    )


def make_plain(width=8):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 3))


class Keeps(Callback):
    def on_start(self, trainer):
        self.trainer = weakref.ref(trainer)

    def on_gradients(self, trainer, gradients):
        pass


def fit(model, callbacks=(), **options):
    trainer = Trainer(model, callbacks=callbacks, **options)
    trainer.fit((X, Y), (X, Y), epochs=3, batch_size=8)
    trainer.predict(X)
    return trainer


def step(model):
    step = Step(model, nn.softmax_cross_entropy, optim.Adam(model.parameters()))
    for _ in range(6):
        step(X, Y)
    return step


def use_errors(model):
    with pytest.raises(ValueError, match=r"inear|onv"):
        model.predict(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="batch_size"):
        Trainer(model).fit((X, Y), epochs=1, batch_size=0)


USES = {
    "nothing": lambda model: None,
    "states": lambda model: (model.initialize(1), model.state_dict(), model.eval().train()),
    "call": lambda model: model(Tensor(X)),
    "backward": lambda model: (model(Tensor(X)) ** 2).mean().backward(),
    "predict": lambda model: [model.predict(X) for _ in range(5)],
    "optimizer": lambda model: optim.SGD(model.parameters(), momentum=0.5),
    "fit": fit,
    "fit eagerly": lambda model: fit(model, capture=False),
    "fit with callbacks": lambda model: fit(model, [Keeps()]),
    "steps": step,
    "summary": lambda model: model.cost((8, 8, 1)),
    "fold": nn.fold,
    "errors": use_errors,
}


@pytest.mark.parametrize("build", [make, make_plain])
@pytest.mark.parametrize("use", USES)
def test_a_model_is_freed_when_it_is_dropped(use, build):
    if use == "fold" and build is make_plain:
        pytest.skip("nothing to fold")
    gc.collect()
    gc.disable()
    try:
        model = build()
        kept = USES[use](model)
        seen = weakref.ref(model), weakref.ref(model.parameters()[0])
        del kept, model
        assert [s() for s in seen] == [None, None]
    finally:
        gc.enable()


def test_a_model_that_was_trained_in_shards_is_freed():
    gc.collect()
    gc.disable()
    try:
        with use_cores(2):
            model = make_plain()
            trainer = Trainer(model, threads=2)
            trainer.fit((X, Y), epochs=2, batch_size=8)
            seen = weakref.ref(model), weakref.ref(trainer)
            del model, trainer
            assert [s() for s in seen] == [None, None]
    finally:
        gc.enable()


def test_models_that_are_trained_and_dropped_take_no_memory():
    sizes = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(200 if LONG else 8):
            fit(make_plain(4000))  # some MB each
            sizes.append(get_backend("cpu").memory().used)
        assert sizes[-1] - sizes[len(sizes) // 4] < 8 << 20
    finally:
        gc.enable()


@pytest.mark.parametrize("threads", [1, 2])
def test_recordings_of_many_batch_sizes_are_limited_in_number_and_in_bytes(threads):
    model, most = make_plain(), 300 if LONG else 60
    with use_cores(threads):
        step = Step(model, nn.softmax_cross_entropy, optim.SGD(model.parameters()), threads=threads)
        for n in range(1, most):
            for _ in range(4):
                step(X[:1].repeat(n, 0), Y[:1].repeat(n))
                model.predict(X[:1].repeat(n, 0))
    assert sum(r.nbytes for r in step.captured.recordings.values()) < 32 << 20
    assert len(step.captured.recordings) <= 16
    assert len(vars(model)["_predictor"]._captured.recordings) <= 16
