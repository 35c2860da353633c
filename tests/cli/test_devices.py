"""xpnet devices: backends, devices and kernels."""

from __future__ import annotations

import numpy as np


def test_devices_lists_every_backend_and_how_to_install_the_absent(xpnet):
    result = xpnet("devices", json=True, kernels=True)
    assert result.code == 0
    found = {b["name"]: b for b in result.json}
    assert {"numpy", "cupy", "torch", "jax"} <= found.keys()
    assert found["numpy"]["version"] == np.__version__
    assert found["numpy"]["devices"] == ["cpu"]
    assert found["numpy"]["records"]
    assert found["numpy"]["kernels"]["conv2d"][-1] == {"folder": "numpy", "recordable": True}
    assert found["numpy"]["kernels"]["exp"] == []
    assert any(line.split()[0] == "conv2d" and "numpy" in line for line in result.err.splitlines() if line.strip())
    for b in found.values():
        assert bool(b["problem"]) != bool(b["devices"])
        assert b["name"] in result.err
        if b["problem"]:
            assert "pip install" in b["install"]
