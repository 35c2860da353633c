"""Freed memory: kept by the process for its next step on request, unless the environment configures malloc."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Eight arrays of 4 MiB are allocated and freed, as in a step; prints the pages that the system supplied to ten steps.
STEPS = """
import resource, sys
import numpy as np
from xpnet.backend import get_backend, keep_freed_memory

get_backend("cpu")
kept = len(sys.argv) > 1 and keep_freed_memory()

def step():
    arrays = [np.ones(1 << 20, np.float32) for _ in range(8)]

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def steps(*arguments: str, **environment: str) -> tuple[bool, int]:
    """Whether a new process keeps freed memory, and how many pages its last steps got from the system."""
    plain = {name: value for name, value in os.environ.items() if "MALLOC" not in name and name != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-c", STEPS, *arguments], env={**plain, "NUMPY_MADVISE_HUGEPAGE": "0", **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    kept, pages = done.stdout.split()
    return kept == "True", int(pages)


@glibc
def test_steps_use_the_memory_of_earlier_steps_once_asked_and_opening_a_backend_changes_nothing():
    assert steps()[1] > 10_000
    kept, pages = steps("keep")
    assert kept
    assert pages < 100


@glibc
@pytest.mark.parametrize(
    "setting",
    [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}],
    ids=["variable", "tunable"],
)
def test_an_environment_that_configures_malloc_takes_precedence(setting):
    kept, pages = steps("keep", **setting)
    assert not kept
    assert pages > 10_000
