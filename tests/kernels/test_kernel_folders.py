"""Which kernels serve an array: folders in their order, and what happens where numba is absent, broken or read-only."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from xpnet import kernels
from xpnet.kernels import register

STEP = """
import logging
logging.basicConfig(level=logging.{level}, format="%(levelname)s %(message)s")
import numpy as np
from xpnet import ops
y, vjp = ops.conv2d(np.ones((2, 5, 5, 1), np.float32), np.ones((3, 3, 3, 1), np.float32))
assert (y == 9).all() and y.shape == (2, 3, 3, 3)
assert vjp(y, (True, True, False))[1].shape == (3, 3, 3, 1)
"""


def _run(before="", level="WARNING", **environment):
    """Run a convolution in a process of its own; return what it logged."""
    script = textwrap.dedent(before) + STEP.format(level=level)
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if "kernels/" in line or "loops" in line]


def test_without_numba_numpy_serves_and_only_those_who_ask_hear_of_it():
    hidden = "import sys; sys.modules['numba'] = None"
    assert _run(hidden) == []
    (line,) = _run(hidden, level="INFO")
    assert line == "INFO kernels/numba is left out: numba is not installed"


def test_a_broken_numba_is_left_out_with_one_warning(tmp_path):
    (tmp_path / "numba.py").write_text("raise RuntimeError('no such LLVM\\nand more')\n")
    (line,) = _run(PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert line == "WARNING kernels/numba is left out: RuntimeError (no such LLVM)"


def test_where_nothing_can_be_kept_on_disk_loops_are_compiled_with_one_warning():
    pytest.importorskip("numba")
    nowhere = """
    import numba.core.caching as caching
    caching.CacheImpl._locator_classes = []
    """
    (line,) = _run(nowhere)
    assert line.startswith("WARNING compiled loops cannot be kept for the next start: cannot cache function")


def test_prepare_compiles_every_loop_in_a_thread_for_the_types_it_is_called_with():
    pytest.importorskip("numba")
    script = """
    import numpy as np
    from xpnet import kernels
    kernels.prepare(np.zeros(1))
    from xpnet.kernels.numba import compiling
    compiling._preparing.join()
    print(*(loop.__name__ for loop, _ in compiling._loops if len(loop.signatures) != 1))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("\n", 0), done.stderr


class _Array(np.ndarray):
    """A type of array with kernels of its own."""


@pytest.fixture
def lent(monkeypatch):
    """Two folders, "first" and "second", that serve _Array; the first leaves negative numbers to the second."""
    monkeypatch.setattr(kernels, "_FOLDERS", {})
    monkeypatch.setattr(kernels, "_serving", {})
    monkeypatch.setattr(kernels, "_LENT", {_Array: ("first", "second")})
    register("sign", "first")(lambda x, n: NotImplemented if n < 0 else "first")
    register("sign", "second")(lambda x, n: "second" if n > -2 else NotImplemented)
    register("only", "second")(lambda x: "second")
    return np.zeros(1).view(_Array)


def test_a_case_goes_to_the_first_folder_that_takes_it(lent):
    assert [kernels.attempt("sign", lent, n) for n in (1, -1)] == ["first", "second"]
    assert kernels.attempt("sign", lent, -2) is NotImplemented
    assert kernels.attempt("only", lent) == "second"
    assert kernels.attempt("other", lent) is NotImplemented


def test_folders_can_be_left_out_one_by_one(lent):
    with kernels.disable("first"):
        assert kernels.attempt("sign", lent, 1) == "second"
        with kernels.disable("second"):
            assert kernels.find("sign", lent) is None
        assert kernels.attempt("sign", lent, 1) == "second"
    with kernels.disable():
        assert kernels.find("only", lent) is None
        with kernels.disable("first"):
            assert kernels.find("only", lent) is None
    assert kernels.attempt("sign", lent, 1) == "first"
