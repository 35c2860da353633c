"""The suite of estimators: turns, figures, and what a worker measures."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest


class Fits:
    """A fake worker: scikit-learn takes three times as long and its accuracy is one percent lower."""

    asked: list[tuple[str, int]]

    def __init__(self, module: str, environment: dict[str, str], patience: float) -> None: ...

    def ask(self, *, library: str, seed: int, **request: Any) -> dict[str, Any]:
        self.asked.append((library, seed))
        slow = library == "sklearn"
        return {"wall": 1.0 + 2.5 * slow, "cpu": 1.0 + slow, "accuracy": seed - 3.0 - slow, "epochs": 9, "mb": 1.0}

    def __enter__(self) -> Fits:
        return self

    def __exit__(self, *error: object) -> None: ...


def test_estimators_take_turns_and_both_times_and_the_accuracy_are_compared(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = bench("estimators")
    monkeypatch.setattr(suite, "Worker", Fits)
    monkeypatch.setattr(Fits, "asked", [], raising=False)
    results = suite.estimators(Namespace(only="digits", seeds=2, json=None, data_dir=None))
    assert not results.failed
    assert Fits.asked == [("xpnet", 100), ("sklearn", 100), ("sklearn", 101), ("xpnet", 101)]
    printed = bench("tables").markdown(results.facts)
    assert "| digits | 1 s | 3.5 s, 3.50x | 3.50x of 3x scikit-learn, met |" in printed
    assert "| digits | 1 s | 2 s, 2.00x | 2.00x of 3x scikit-learn, **missed** |" in printed
    assert "| digits | 97.00, 98.00 %; mean 97.50 % | 96.00, 97.00 %; mean 96.50 % | at least 96.50 %: met |" in printed
    assert "deviation 0.50 / 0.50 %, epochs 9 / 9" in printed


@pytest.mark.parametrize("library", ["xpnet", "sklearn"])
def test_a_worker_fits_digits_and_says_how_long_and_how_well(bench: Any, library: str) -> None:
    pytest.importorskip("sklearn")
    found = bench("estimator_fit").measure({"library": library, "data": "digits", "seed": 3})
    assert found["accuracy"] > 95
    assert found["wall"] > 0
    assert found["cpu"] > 0
    assert found["epochs"] > 5
