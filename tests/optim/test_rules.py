"""The rules by themselves; test_optimizers compares them with PyTorch."""

from __future__ import annotations

import doctest

import pytest

from xpnet.backend import Backend
from xpnet.optim import rules
from xpnet.optim.rules import remaining


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999, 0.999999])
def test_the_weight_of_a_decaying_mean_is_exact_in_single_precision(backend: Backend, beta: float) -> None:
    for t in (1, 2, 1000):
        got = remaining(beta, backend.xp.asarray(t, dtype=backend.xp.float32, device=backend.device))
        assert float(got) == pytest.approx(1 - beta**t, rel=2.0**-21)
        assert remaining(beta, t) == 1 - beta**t


def test_the_examples_in_the_documentation_run() -> None:
    result = doctest.testmod(rules)
    assert result.attempted > 0
    assert result.failed == 0
