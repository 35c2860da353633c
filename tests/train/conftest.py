"""No test of this folder sees the network or, unless it asks for them, data sets of the machine."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_data_dir(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "mnist" not in request.fixturenames:
        monkeypatch.delenv("XPNET_DATA_DIR", raising=False)
