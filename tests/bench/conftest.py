"""Modules of ci/bench by name, as run.py imports them, and stand-ins for its worker processes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "ci" / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of ci/bench, or one of its workers, by name."""
    monkeypatch.syspath_prepend(str(BENCH / "workers"))
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


class FakeWorker:
    """Answers as a worker does. ms: milliseconds a step by module and process, counted from 0; absent: cannot open."""

    ms: dict[str, list[float]]
    started: list[FakeWorker]
    parameters: dict[str, int]

    def __init__(self, module: str, environment: dict[str, str], patience: float = 300.0, processes: int = 1) -> None:
        self.module, self.environment, self.patience, self.processes = module, environment, patience, processes
        self.requests: list[dict[str, Any]] = []
        self.started.append(self)

    def ask(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        if request["do"] == "open":
            self.name = self.module + request.get("layout", "") + request.get("mode", "")
            self.name += "-numpy" if not request.get("fast", True) else ""
            if self.name not in self.ms:
                raise importlib.import_module("turns").WorkerError(f"{self.module}: out of luck")
            return {"parameters": self.parameters.get(self.module, 7), "loss": 2.3}
        if request["do"] == "memory":
            return {"peak_mb": 100.0}
        same = [w for w in self.started if getattr(w, "name", "") == self.name and len(w.requests) > 1]
        times = self.ms[self.name]
        return {"ms": times[min(same.index(self), len(times) - 1)], "loss": 2.3}

    def close(self) -> None: ...

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(self, *error: object) -> None: ...


@pytest.fixture
def workers(bench: Any, monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    """The runner's workers are stand-ins."""
    monkeypatch.setattr(bench("runner"), "Worker", FakeWorker)
    times = {"xpnet_steps": [2.0], "xpnet_steps-numpy": [4.0], "torch_steps": [3.0], "torch_stepschannels last": [2.5]}
    for name, value in (("ms", {**times, "jax_steps": [8.0]}), ("started", []), ("parameters", {})):
        monkeypatch.setattr(FakeWorker, name, value, raising=False)
    return FakeWorker
