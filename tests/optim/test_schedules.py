"""Schedules against torch.optim.lr_scheduler and closed forms."""

from __future__ import annotations

import dataclasses
import doctest
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import raises
from xpnet.errors import ConfigError
from xpnet.optim import constant, cosine, inverse_decay, one_cycle, schedules, step_decay, warmup


def pytorch(lr: float, steps: int, make: Callable[[Any, Any], Any]) -> list[float]:
    """The rates of a PyTorch scheduler, step by step."""
    torch = pytest.importorskip("torch")

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a scheduler warns of the optimizer that does not step
        scheduler = make(torch.optim.lr_scheduler, optimizer)
        rates = [scheduler.get_last_lr()[0]]
        for _ in range(steps - 1):
            scheduler.step()
            rates.append(scheduler.get_last_lr()[0])
    return rates


@pytest.mark.parametrize(
    ("ours", "steps", "theirs"),
    [
        (constant(0.3), 5, lambda s, o: s.ConstantLR(o, factor=1.0)),
        (step_decay(0.3, 4, 0.5), 20, lambda s, o: s.StepLR(o, 4, 0.5)),
        (step_decay(0.3, 7), 20, lambda s, o: s.StepLR(o, 7)),
        (inverse_decay(0.3, 4), 9, lambda s, o: s.LambdaLR(o, lambda t: 4 / (4 + t))),
        (cosine(0.3, 11), 12, lambda s, o: s.CosineAnnealingLR(o, 11)),
        (cosine(0.3, 11, floor=0.1), 12, lambda s, o: s.CosineAnnealingLR(o, 11, 0.1)),
        (warmup(0.3, 4), 9, lambda s, o: s.LinearLR(o, 1 / 5, total_iters=4)),
        (
            warmup(cosine(0.3, 8), 4),
            13,
            lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 1 / 5, total_iters=4), s.CosineAnnealingLR(o, 8)], [4]),
        ),
        (one_cycle(0.3, 20), 20, lambda s, o: s.OneCycleLR(o, 0.3, 20)),
        (
            one_cycle(0.3, 37, 0.45, 7, 50),
            37,
            lambda s, o: s.OneCycleLR(o, 0.3, 37, pct_start=0.45, div_factor=7, final_div_factor=50),
        ),
    ],
    ids=lambda value: repr(value) if dataclasses.is_dataclass(value) else "",
)
def test_every_rate_is_pytorchs(ours: Callable[[int], float], steps: int, theirs: Callable[..., Any]) -> None:
    assert [ours(step) for step in range(steps)] == pytest.approx(pytorch(0.3, steps, theirs), rel=1e-12, abs=1e-15)


def test_cosine_is_half_way_down_half_way_through_and_then_stays() -> None:
    schedule = cosine(0.9, 10, floor=0.1)
    assert schedule(0) == 0.9
    assert math.isclose(schedule(5), 0.5)
    assert schedule(10) == schedule(999) == 0.1


def test_warmup_rises_in_equal_steps_from_above_zero() -> None:
    rates = [warmup(constant(1.0), 4)(step) for step in range(6)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert warmup(0.5, 0)(0) == 0.5


def test_one_cycle_stays_at_its_end() -> None:
    schedule = one_cycle(1.0, 10, start_divisor=4.0, end_divisor=5.0)
    assert schedule(0) == 0.25
    assert max(schedule(step) for step in range(10)) == 1.0
    assert schedule(9) == pytest.approx(0.05)
    assert schedule(99) == schedule(9)


def test_a_cycle_too_short_to_rise_starts_at_its_peak() -> None:
    assert one_cycle(1.0, 2)(0) == 1.0
    assert one_cycle(1.0, 2)(1) == pytest.approx(1 / 25e4)


def test_a_schedule_prints_as_its_call_and_cannot_be_changed() -> None:
    schedule = warmup(step_decay(0.1, every=30), 5)
    assert repr(schedule) == "warmup(after=step_decay(lr=0.1, every=30, factor=0.1), steps=5)"
    assert schedule == warmup(step_decay(lr=0.1, every=30, factor=0.1), 5)
    with pytest.raises(AttributeError):
        schedule.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "place", "value"),
    [
        (lambda: constant(-1), "constant", "lr -1"),
        (lambda: constant("a"), "constant", "lr 'a'"),
        (lambda: step_decay(0.1, 0), "step_decay", "every 0"),
        (lambda: step_decay(0.1, 2.5), "step_decay", "every 2.5"),
        (lambda: step_decay(0.1, 2, 0.0), "step_decay", "factor 0.0"),
        (lambda: step_decay(float("nan"), 2), "step_decay", "lr nan"),
        (lambda: cosine(0.1, 0), "cosine", "steps 0"),
        (lambda: cosine(-0.1, 3), "cosine", "lr -0.1"),
        (lambda: cosine(0.1, 3, -1), "cosine", "floor -1"),
        (lambda: cosine(0.1, 3, 0.2), "cosine", "floor 0.2, lr 0.1"),
        (lambda: warmup(0.1, -1), "warmup", "steps -1"),
        (lambda: warmup(-0.1, 1), "warmup", "after -0.1"),
        (lambda: one_cycle(-1, 10), "one_cycle", "peak -1"),
        (lambda: one_cycle(1, 1), "one_cycle", "steps 1"),
        (lambda: one_cycle(1, 10, warm=1.0), "one_cycle", "warm 1.0"),
        (lambda: one_cycle(1, 10, warm=0), "one_cycle", "warm 0"),
        (lambda: one_cycle(1, 10, start_divisor=0.5), "one_cycle", "start_divisor 0.5"),
        (lambda: one_cycle(1, 10, end_divisor=0.5), "one_cycle", "end_divisor 0.5"),
    ],
)
def test_a_number_outside_its_range_is_refused(make: Callable[[], Any], place: str, value: str) -> None:
    with raises(ConfigError, place, value):
        make()


def test_the_examples_in_the_documentation_run() -> None:
    result = doctest.testmod(schedules)
    assert result.attempted > 0
    assert result.failed == 0
