"""Which kernels serve an array: folders in their order, and what happens where numba is absent, broken or read-only."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from xpnet import kernels, ops
from xpnet.backend import Program, Unsupported

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


def test_numba_then_numpy_serve_numpy_arrays_and_all_their_kernels_are_recordable():
    pytest.importorskip("numba")
    table = kernels.table(np.ndarray)
    served = {name: [k.folder for k in row] for name, row in table.items()}
    for name in ("conv2d", "linear", "max_pool2d", "batch_norm", "local_response_norm", "softmax_cross_entropy"):
        assert served[name] == ["numba", "numpy"]
    assert served["avg_pool2d"] == ["numpy"]
    assert served[ops.gelu.__name__] == []
    assert all(k.recordable for row in table.values() for k in row)


class _Array(np.ndarray):
    """A type of array with other kernels."""


@pytest.fixture
def served(monkeypatch):
    """An array, and the op "sign" that "first" and "second" serve: the first leaves negative numbers to the second."""
    for name in ("_kernels", "_references", "_serving"):
        monkeypatch.setattr(kernels, name, {})
    monkeypatch.setattr(kernels, "_folders", {_Array: ("first", "second")})
    kernels.register("sign", "first", recordable=True)(lambda x, n: NotImplemented if n < 0 else "first")
    kernels.register("sign", "second")(lambda x, n: "second" if n > -2 else NotImplemented)
    kernels.register("only", "second")(lambda x: "second")
    return np.zeros(1).view(_Array), kernels.op("sign")(lambda x, n: "reference")


def test_a_case_goes_to_the_first_kernel_that_takes_it_and_last_to_the_reference(served):
    x, sign = served
    assert [sign(x, n) for n in (1, -1, -2)] == ["first", "second", "reference"]
    assert sign(np.zeros(1), 1) == "reference"
    assert sign(x, n=1) == sign(x=x, n=1) == "first"


def test_folders_can_be_disabled_one_by_one(served):
    x, sign = served
    with kernels.disable("first"):
        assert sign(x, 1) == "second"
        with kernels.disable("second"):
            assert sign(x, 1) == "reference"
        assert sign(x, 1) == "second"
    with kernels.disable():
        assert sign(x, 1) == "reference"
        assert kernels.find("only", x) is None
        with kernels.disable("first"):
            assert sign(x, 1) == "reference"
    assert sign(x, 1) == "first"


def test_blocks_that_overlap_disable_folders_until_the_last_of_them_ends(served):
    x, sign = served
    first, every = kernels.disable("first"), kernels.disable()
    first.__enter__()
    every.__enter__()
    first.__exit__(None, None, None)
    assert (sign(x, 1), kernels.disabled()) == ("reference", None)
    every.__exit__(None, None, None)
    assert (sign(x, 1), kernels.disabled()) == ("first", frozenset())


def test_a_table_worked_out_while_kernels_are_disabled_is_not_used_afterwards(served, monkeypatch):
    x, sign = served
    worked_out, ended, table = threading.Event(), threading.Event(), kernels.table

    def slow(kind):
        result = table(kind)
        worked_out.set()
        assert ended.wait(10)
        return result

    monkeypatch.setattr(kernels, "table", slow)
    thread = threading.Thread(target=sign, args=(x, 1))
    with kernels.disable():
        thread.start()
        assert worked_out.wait(10)
    ended.set()
    thread.join()
    assert sign(x, 1) == "first"


def test_the_table_lists_the_kernels_of_each_op_and_service_in_their_order(served):
    x, _ = served
    rows = {name: [(k.folder, k.recordable) for k in row] for name, row in kernels.table(x).items()}
    assert rows == {"only": [("second", False)], "sign": [("first", True), ("second", False)]}
    assert kernels.table(_Array) == kernels.table(x)
    with kernels.disable("first"):
        assert [k.folder for k in kernels.table(x)["sign"]] == ["second"]
    assert kernels.table(np.zeros(1)) == {"sign": []}


def test_a_kernel_that_does_not_launch_its_work_stops_a_recording_where_it_takes_the_case(served):
    x, sign = served
    with Program().recording():
        assert sign(x, 1) == "first"
        with pytest.raises(Unsupported, match="sign"):
            sign(x, -1)


def test_a_reference_is_replayed_by_calling_it_anew(served):
    x, program = np.arange(3.0), Program()
    double = kernels.op("double")(lambda x: (2.0 * x, lambda dy, needs: (x * dy if needs[0] else None,)))
    with program.recording():
        y, vjp = double(x)
        (dx,) = vjp(y, (True,))
        assert vjp(y, (False,)) == (None,)
    x[...] = [5.0, 6.0, 7.0]
    program()
    np.testing.assert_array_equal(y, [10.0, 12.0, 14.0])
    np.testing.assert_array_equal(dx, [50.0, 72.0, 98.0])


def test_a_service_is_replayed_with_what_it_writes_in_place(served):
    @kernels.service("count")
    def count(total, x):
        total += 1
        return total, total + x

    total, x, program = np.zeros(()), np.ones(()), Program()
    with program.recording():
        kept, y = count(total, x)
    assert kept is total
    x[...] = 5.0
    program()
    assert (float(total), float(y)) == (2.0, 7.0)
