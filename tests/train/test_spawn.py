"""Models, optimizers and trainers reach processes that are started without a fork, and come back trained."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from xpnet import data, models
from xpnet.train import Trainer


def continued(trainer: Trainer) -> Trainer:
    """Train one more epoch, in a process of its own."""
    train, _ = data.load("digits")
    trainer.fit(train.take(np.arange(200)), epochs=2, progress=False)
    return trainer


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_trainer_is_continued_in_another_process_as_it_would_be_here(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    train, test = data.load("digits")
    trainer = Trainer(models.build("softmax", train.shape, 10), seed=0)
    trainer.fit(train.take(np.arange(200)), epochs=1, progress=False)
    with multiprocessing.get_context(method).Pool(1) as pool:
        found = pool.apply(continued, (trainer,))
    here = continued(trainer)
    assert found.optimizer.steps == here.optimizer.steps
    for name, value in here.model.state_dict().items():
        np.testing.assert_allclose(found.model.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.predict(test.x[:5]), here.predict(test.x[:5]), rtol=1e-4, atol=1e-5)
