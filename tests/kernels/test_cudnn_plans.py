"""Convolution where cuDNN cannot, is not there, or finds its plans damaged."""

from __future__ import annotations

import emulator
import numpy as np
import pytest
from emulator.cudnn_frontend import CuDNN, DriverWithCuDNN

from tests import oracles
from tests.harness import agree, put
from tests.kernels.convolving import B, W, X, convolve, next_process, step
from xpnet.backend import use_precision
from xpnet.kernels.cuda import cudnn as by_cudnn
from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.cudnn_plans import PlanFile

# What cuDNN cannot do.


@pytest.mark.parametrize("stage", ["build", "support", "plan plain", "execute"])
def test_a_forward_pass_that_fails_is_unrolled_and_said_once(emulated, cudnn, log, stage):
    cudnn.refuses = lambda at, graph: "no engine\nfor that" if at == stage else None
    for _ in range(2):
        y, dx, dw, db = step(emulated, activation="relu")
        agree(y, oracles.conv2d(X, W, B, activation="relu"), np.float32, W[0].size, "unrolled")
    warnings = [text for level, text in log() if level == "WARNING"]
    assert len(warnings) == 1
    assert "forward, x (2, 5, 7, 3), w (4, 2, 3, 3)" in warnings[0]
    assert "no engine for that" in warnings[0]
    assert "\n" not in warnings[0]
    assert dx.shape == X.shape
    assert dw.shape == W.shape
    assert db.shape == B.shape


def test_a_shape_that_fails_leaves_the_others_to_cudnn(emulated, cudnn):
    cudnn.refuses = lambda at, graph: "odd height" if at == "support" and graph.tensors[0].dim[3] == 7 else None
    convolve(put(emulated, X, np.float32), put(emulated, W, np.float32))
    assert not cudnn.executed
    step(emulated, X[:, :, :6])
    assert len(cudnn.executed) == 3


@pytest.mark.parametrize("stage", ["support", "execute"])
@pytest.mark.parametrize("work", ["conv_dgrad", "conv_wgrad"])
def test_a_gradient_that_fails_is_unrolled_alone(emulated, cudnn, log, work, stage):
    want = step(emulated)
    before = len(cudnn.executed)
    with driver.use_driver(
        DriverWithCuDNN(CuDNN(lambda at, graph: "no" if (at, graph.operations[0]) == (stage, work) else None))
    ):
        for _ in range(2):
            got = step(emulated)
            for i, (a, b) in enumerate(zip(got, want, strict=True)):
                agree(a, b, np.float32, 70, f"result {i}")
        executed = driver.current().cudnn().executed
    assert len(executed) == 4
    assert before == 3
    (line,) = log()
    assert {"conv_dgrad": "input gradient", "conv_wgrad": "filter gradient"}[work] in line[1]


def test_what_cannot_be_fused_is_done_after_the_convolution(emulated, cudnn, log):
    cudnn.refuses = lambda at, graph: "no fusion" if at == "support" and "bias" in graph.operations else None
    for _ in range(2):
        y = step(emulated, activation="relu")[0]
    agree(y, oracles.conv2d(X, W, B, activation="relu"), np.float32, W[0].size, "not fused")
    assert ["conv_fprop"] in [graph.operations for graph, _, _ in cudnn.executed]
    assert [level for level, _ in log()] == ["INFO"]


def test_too_little_memory_for_the_workspace_leaves_it_to_unrolled_columns(emulated, cudnn, log, monkeypatch):
    empty = DriverWithCuDNN.empty

    def full(self, shape, dtype):
        if np.dtype(dtype) == np.uint8 and shape[0] < 1 << 20:  # not the products' own
            raise MemoryError("out of memory")
        return empty(self, shape, dtype)

    monkeypatch.setattr(DriverWithCuDNN, "empty", full)
    x, w, b = (np.round(3 * a) for a in (X, W, B))  # exact in TF32
    with use_precision("tf32"):  # the plan that needs a workspace
        y = step(emulated, x, w, b)[0]
    agree(y, oracles.conv2d(x, w, b), np.float32, W[0].size, "unrolled")
    assert "MemoryError: out of memory" in log()[-1][1]


def test_no_images_at_all_are_not_cudnns(emulated, cudnn):
    y, _, dw, _ = step(emulated, X[:0])
    assert y.shape == (0, 4, 5, 4)
    assert not np.any(dw)
    assert not cudnn.built


def test_without_the_extra_convolutions_are_unrolled_and_nobody_is_warned(emulated, log):
    with driver.use_driver(emulator.EmulatedDriver()):
        step(emulated)
        step(emulated)
        assert not by_cudnn.available()
    ((level, text),) = log()
    assert level == "INFO"
    assert "pip install 'xpnet[cudnn]'" in text


def test_a_frontend_without_its_library_is_said_once(emulated, log):
    class Without(CuDNN):
        def backend_version(self):
            raise RuntimeError("Unable to find symbol cudnnGetVersion")

    with driver.use_driver(DriverWithCuDNN(Without())):
        step(emulated)
        step(emulated)
    ((level, text),) = log()
    assert level == "WARNING"
    assert "cudnnGetVersion" in text


def test_a_library_that_is_too_old_is_said_once(emulated, log):
    with driver.use_driver(DriverWithCuDNN(CuDNN(version=8907))):
        step(emulated)
        step(emulated)
    ((level, text),) = log()
    assert level == "WARNING"
    assert "8907" in text


# Plans on disk.


def test_plans_are_kept_on_disk_for_the_next_process(emulated, cache):
    first, second = next_process(emulated), next_process(emulated)
    assert (len(first.built), len(first.read)) == (3, 0)
    assert (len(second.built), len(second.read)) == (0, 3)
    assert [graph.plan for graph, _, _ in second.executed] == ["plain"] * 3
    assert (
        len(list((cache / "xpnet" / "cudnn").glob("*.plan"))) == len(list((cache / "xpnet" / "cudnn").iterdir())) == 3
    )


def test_plans_of_another_version_or_device_are_not_taken(emulated, monkeypatch):
    next_process(emulated)
    assert len(next_process(emulated, version=92900).built) == 3
    monkeypatch.setattr(CuDNN, "__version__", "1.23.0")
    assert len(next_process(emulated).built) == 3
    monkeypatch.setattr(emulator.EmulatedDriver, "model", lambda self: "another")
    assert len(next_process(emulated).built) == 3


@pytest.mark.parametrize("damage", ["cut short", "one byte", "empty", "of another problem"])
def test_a_damaged_plan_is_made_anew(emulated, cache, log, damage):
    next_process(emulated)
    files = sorted((cache / "xpnet" / "cudnn").iterdir())
    whole = [file.read_bytes() for file in files]
    for i, file in enumerate(files):
        flipped = whole[i][:-2] + bytes([whole[i][-2] ^ 1]) + whole[i][-1:]
        file.write_bytes({"cut short": whole[i][:-9], "one byte": flipped, "empty": b""}.get(damage, whole[i - 1]))
    stages = []
    assert len(next_process(emulated, refuses=lambda at, graph: stages.append(at)).built) == 3
    assert "deserialize" not in stages  # cuDNN never sees it
    assert [file.read_bytes() for file in files] == whole
    assert log() == []


def test_a_plan_that_cudnn_does_not_read_back_is_made_anew(emulated, log):
    next_process(emulated)
    fake = next_process(emulated, refuses=lambda at, graph: "no" if at == "deserialize" else None)
    assert len(fake.built) == 3
    assert log() == []


def test_a_plan_from_disk_that_does_not_run_is_built_again(emulated, log):
    next_process(emulated)
    fake = CuDNN()
    fake.refuses = lambda at, graph: "no" if at == "execute" and graph in fake.read else None
    with driver.use_driver(DriverWithCuDNN(fake)):
        y = step(emulated)[0]
    agree(y, oracles.conv2d(X, W, B), np.float32, W[0].size, "after the second build")
    assert (len(fake.read), len(fake.built), len(fake.executed)) == (3, 3, 3)
    assert log() == []


def test_a_cache_that_cannot_be_written_changes_nothing_else(emulated, cache, monkeypatch, log):
    (cache / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    fake = next_process(emulated)
    assert len(fake.executed) == 3
    assert log() == []


def test_a_plan_that_is_not_written_whole_leaves_no_file(emulated, cache, monkeypatch):
    def cut(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", cut)
    assert len(next_process(emulated).executed) == 3
    assert list((cache / "xpnet" / "cudnn").iterdir()) == []


def test_the_folder_of_plans_is_in_the_cache_of_the_operating_system(cache):
    assert cache / "xpnet" / "cudnn" == PlanFile(("1.28.0", 92801, "emulated", 1)).path.parent
