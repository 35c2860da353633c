"""Freed memory: kept by the process for its next step, unless its user says how malloc should behave."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Eight arrays of 4 MiB come and go, as in a step; prints the pages that the last ten steps had to be given.
STEPS = """
import resource
import numpy as np
from xpnet.backend import get_backend
from xpnet.backend.heap import keep_freed

get_backend("cpu")

def step():
    arrays = [np.ones(1 << 20, np.float32) for _ in range(8)]

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(keep_freed(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def steps(**environment: str) -> tuple[bool, int]:
    """Whether freed memory is kept in a process of its own, and how many pages its last steps were given."""
    plain = {name: value for name, value in os.environ.items() if "MALLOC" not in name and name != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-c", STEPS], env={**plain, "NUMPY_MADVISE_HUGEPAGE": "0", **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    kept, pages = done.stdout.split()
    return kept == "True", int(pages)


@glibc
def test_a_step_is_given_no_memory_anew():
    kept, pages = steps()
    assert kept
    assert pages < 100


@glibc
@pytest.mark.parametrize(
    "setting",
    [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}],
    ids=["variable", "tunable"],
)
def test_what_the_environment_says_of_malloc_stays(setting):
    kept, pages = steps(**setting)
    assert not kept
    assert pages > 10_000
