"""What each task answers, computed by ops."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import data
from xpnet.autograd import Tensor
from xpnet.train.tasks import TASKS

SCORES = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
NORMALIZE = data.Normalize((0.2, 0.3, 0.4), (0.5, 0.6, 0.7), 255.0)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "custom"])
def test_the_answer_of_a_tensor_is_that_of_an_array(name, backend):
    task = TASKS[name]()
    if name == "regression":
        task.mean, task.deviation = np.linspace(-50, 90, 6).reshape(2, 3), np.linspace(1, 9, 6).reshape(2, 3)
    shape = (2, 1, 3) if name == "reconstruction" else (9,)
    expected = task.answer(SCORES, NORMALIZE, shape)
    found = task.answer_tensor(Tensor(backend.from_numpy(SCORES)), NORMALIZE, shape).numpy()
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_one_number_an_example_is_answered_too(name):
    task = TASKS[name]()
    if name == "regression":
        task.mean, task.deviation = np.float64(7), np.float64(3)
    expected = task.answer(SCORES[:, :1])
    found = task.answer_tensor(Tensor(SCORES[:, :1])).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6)
