"""The README: its Python blocks run in order in one process, its figures are those measured, its files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = ["README.md", "examples/README.md", ".github/CONTRIBUTING.md", "ci/bench/results/TABLES.md"]


def test_the_readmes_python_runs_as_printed():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 4
    pytest.importorskip("torch")
    program = [sys.executable, "-c", "\n".join(blocks)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_the_readmes_times_are_those_of_the_results():
    rows = re.findall(r"^\| (.*), (?:training|inference) \| (.*) \|$", README, re.MULTILINE)
    assert len(rows) >= 5
    results = (ROOT / "ci/bench/results/TABLES.md").read_text().splitlines()
    for label, cells in rows:
        measured = [line for line in results if line.startswith(f"| {label} |")]
        assert any(all(f" {cell} ms" in line for cell in cells.split(" | ")) for line in measured), label


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r'(?:\]\(|src=")([^)"]+)', text) if "://" not in link]
    assert page == ".github/CONTRIBUTING.md" or links
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_reading_path_names_files():
    table = README.partition("| what it teaches |")[2].partition("\n\n")[0]
    files = re.findall(r"`([a-z_/]+\.py)`", table)
    assert len(files) >= 12
    assert [file for file in files if not (ROOT / "xpnet" / file).exists()] == []
