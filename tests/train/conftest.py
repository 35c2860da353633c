"""No test of this folder sees the network or, unless it asks for them, data sets of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.train.planning import Counts
from xpnet.backend import shut_down_workers
from xpnet.train.planned import PlannedStep


@pytest.fixture(autouse=True)
def no_data_dir(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "mnist" not in request.fixturenames:
        monkeypatch.delenv("XPNET_DATA_DIR", raising=False)


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    """Let threads that computed together end with each test."""
    yield
    shut_down_workers()


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """How often steps were noted, proven and replayed."""
    found = Counts()

    def counting(name: str, way: Any) -> Any:
        def run(self: Any, *arguments: Any) -> Any:
            setattr(found, name, getattr(found, name) + 1)
            return way(self, *arguments)

        return run

    for name, method in (("noted", "_note"), ("proven", "_prove"), ("replayed", "_replay")):
        monkeypatch.setattr(PlannedStep, method, counting(name, getattr(PlannedStep, method)))
    return found
