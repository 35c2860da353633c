"""scikit-learn's own checks of an estimator, in a process where its Array API support is switched on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NAMESPACES = ("numpy", "array_api_strict device1 float32", "array_api_strict CPU_DEVICE float64", "torch cpu float32")


@pytest.mark.parametrize("name", ["NetClassifier", "NetRegressor"])
def test_every_check_of_scikit_learn_passes_with_array_api_support_switched_on(name, capsys):
    script = Path(__file__).with_name("every_check.py")
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, script, name], env=environment, capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in run.stdout.splitlines()]
    by_status = {s: [r for r in results if r["status"] == s] for s in ("passed", "failed", "skipped")}
    with capsys.disabled():
        print(f"\n{name}: " + ", ".join(f"{len(found)} {status}" for status, found in by_status.items()))
    assert not by_status["failed"], "\n".join(f"{r['check']}: {r['message']}" for r in by_status["failed"])
    passed = [r["check"] for r in by_status["passed"]]
    assert len(passed) >= 60
    assert any(check.startswith("check_array_api_same_namespace") for check in passed)
    assert any(check.startswith("check_sample_weight_equivalence_on_dense_data") for check in passed)
    for words in NAMESPACES:
        inputs = [check for check in passed if check.startswith("check_array_api_input")]
        assert any(all(word in check for word in words.split()) for check in inputs), words
