"""No test of this folder sees the network or, unless it asks for them, data sets of the machine."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_data_dir(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no data folder of the machine, except those that ask for it, and never the network."""
    if "real_data" not in request.fixturenames:
        monkeypatch.delenv("XPNET_DATA_DIR", raising=False)

    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no network in tests")

    monkeypatch.setattr("requests.get", refuse)
    monkeypatch.setattr("requests.head", refuse)
