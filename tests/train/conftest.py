"""No test of this folder sees the network or, unless it asks for them, data sets of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.train.stepping import Counts
from xpnet.backend import shut_down_workers
from xpnet.capture import Captured


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
    """How often steps were recorded, verified and replayed."""
    found = Counts()

    def counting(name: str, way: Any) -> Any:
        def run(self: Any, *arguments: Any) -> Any:
            if self.where == "fit":
                setattr(found, name, getattr(found, name) + 1)
            return way(self, *arguments)

        return run

    for name, method in (("recorded", "_record"), ("verified", "_verify"), ("replayed", "_replay")):
        monkeypatch.setattr(Captured, method, counting(name, getattr(Captured, method)))
    return found
