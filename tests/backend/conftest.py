"""A registry of backends that a test may change."""

from __future__ import annotations

import pytest

from xpnet.backend import registry as backends


@pytest.fixture
def registry(monkeypatch):
    """Undo a test's additions to the registry, and to what is known of types of arrays."""
    for name in ("REGISTRY", "_opened", "_libraries"):
        monkeypatch.setattr(backends, name, dict(getattr(backends, name)))
