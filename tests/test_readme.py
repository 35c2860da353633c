"""The README's Python blocks, run in order in one process, and the examples, each in one of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(p.name for p in (ROOT / "examples").glob("*.py"))


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readmes_python_runs_as_printed():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    pytest.importorskip("torch")
    run("-c", "\n".join(blocks))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_and_holds_what_it_asserts(name: str):
    if "torch" in (ROOT / "examples" / name).read_text():
        pytest.importorskip("torch")
    assert run(f"examples/{name}").strip()
