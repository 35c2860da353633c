"""Convolution by cuDNN, on a stand-in that checks and runs its graphs."""

from __future__ import annotations

import numpy as np
import pytest
from emulator.cudnn_frontend import Graph
from emulator.tape import TAPE

from tests import oracles
from tests.harness import agree, check_op, put, sample
from tests.kernels.convolving import B, W, X, convolve, step
from tests.ops.test_conv import CASES, torch_conv2d
from xpnet.backend import current_precision, use_precision
from xpnet.kernels.cuda import cudnn as by_cudnn
from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.cudnn_graphs import Problem


def check(emulated, x, w, b, **options):
    linear = () if "activation" in options else (0, 1) if b is None else (0, 1, 2)
    length = max(w[0].size + 1, x.size // x.shape[3])
    check_op(convolve, [x, w, b], options, emulated, oracle=oracles.conv2d, torch_oracle=torch_conv2d, linear=linear,
             batch=[0], length=length)  # fmt: skip


def plans(cudnn):
    return [graph.plan for graph in cudnn.built]


# The numbers.


@pytest.mark.parametrize("case", CASES)
def test_each_geometry_agrees_with_its_definition_and_with_autograd(emulated, cudnn, log, case):
    shape, options = CASES[case]
    check(emulated, X, sample(*shape, seed=1), sample(shape[0], seed=2), **options)
    assert {op for graph, _, _ in cudnn.executed for op in graph.operations} >= {
        "conv_fprop",
        "conv_dgrad",
        "conv_wgrad",
    }
    assert log() == []


def test_a_convolution_without_a_bias_agrees_with_its_definition(emulated, cudnn):
    check(emulated, X, sample(4, 3, 2, 3, seed=1), None, stride=2, padding=1)
    assert all("bias" not in graph.operations for graph in cudnn.built)


def test_each_group_of_filters_sees_its_own_channels(emulated, cudnn):
    check(emulated, sample(2, 5, 4, 6), sample(9, 2, 3, 2, seed=1), sample(9, seed=2), groups=3, stride=(2, 1))
    assert cudnn.executed


def test_relu_is_fused_with_the_convolution_and_its_bias(emulated, cudnn):
    check(emulated, X, W, B, activation="relu")
    forward = {tuple(graph.operations) for graph, _, _ in cudnn.executed if "conv_fprop" in graph.operations}
    assert forward == {("conv_fprop", "bias", "relu")}


def test_a_fused_relu_keeps_nan(emulated, cudnn):
    x = X.copy()
    x[0, 0, 0, 0] = np.nan
    y = step(emulated, x, activation="relu")[0]
    assert np.isnan(y[0, 0, 0]).all()
    assert not np.isnan(y[1]).any()


def test_float16_numbers_are_summed_in_float32(emulated, cudnn):
    x, w, b = (a.astype(np.float16).astype(np.float64) for a in (sample(2, 9, 9, 16), sample(4, 3, 3, 16, seed=1), B))
    y, dx, dw, _ = step(emulated, x, w, b, np.float16)
    assert y.dtype == dx.dtype == dw.dtype == np.float16
    agree(y, oracles.conv2d(x, w, b), np.float16, 0, "forward in float16")
    assert plans(cudnn) == ["half inputs"] * 3  # the first that neither hurries nor sums in float16


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "leaky_relu"])
def test_other_activations_follow_in_one_pass_with_the_bias(emulated, cudnn, activation):
    check(emulated, X, W, B, activation=activation)
    assert {tuple(graph.operations) for graph in cudnn.built} == {("conv_fprop",), ("conv_dgrad",), ("conv_wgrad",)}


def test_an_activation_whose_gradient_needs_more_than_y_is_left_to_the_op(emulated, cudnn):
    check(emulated, X, W, B, activation="gelu")
    assert {tuple(graph.operations) for graph in cudnn.built} >= {("conv_fprop", "bias")}
    assert all("relu" not in graph.operations for graph in cudnn.built)


def test_float64_is_not_cudnns(emulated, cudnn):
    step(emulated, dtype=np.float64)
    assert not cudnn.built


def test_arrays_at_odd_addresses_are_moved_before_cudnn_reads_them(emulated, cudnn):
    flat = put(emulated, np.zeros(1 + W.size), np.float32)
    flat[1:] = put(emulated, W.reshape(-1), np.float32)
    w = emulated.xp.reshape(flat[1:], W.shape)
    assert driver.current().pointer(w) % 16
    y, _ = convolve(put(emulated, X, np.float32), w)
    agree(emulated.to_numpy(y), oracles.conv2d(X, W), np.float32, W[0].size, "w at an odd address")
    assert cudnn.executed


# Precision, and the same bits again.


def test_strict_float32_never_meets_a_tensor_core(emulated, cudnn):
    assert current_precision() == "fp32"
    step(emulated)
    assert plans(cudnn) == ["plain"] * 3


def test_tf32_rounds_products_and_is_a_plan_of_its_own(emulated, cudnn):
    strict = step(emulated)[0]
    with use_precision("tf32"):
        rounded = step(emulated)[0]
    assert plans(cudnn) == ["plain"] * 3 + ["tensor cores"] * 3
    assert 0 < np.max(np.abs(strict - rounded)) < 0.05


def test_float32_numbers_stay_strict_in_a_run_of_float16(emulated, cudnn):
    with use_precision("fp16"):
        step(emulated)
    assert plans(cudnn) == ["plain"] * 3


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_a_step_run_again_gives_the_same_bits(emulated, cudnn, precision):
    with use_precision(precision):
        first, second = step(emulated), step(emulated)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


# Plans in memory.


def test_a_plan_is_built_once_for_each_piece_of_work(emulated, cudnn):
    for _ in range(3):
        step(emulated)
    assert [graph.operations[0] for graph in cudnn.built] == ["conv_fprop", "conv_dgrad", "conv_wgrad"]
    assert len(cudnn.executed) == 9


OTHERS = {
    "batch": {"x": X[:1]},
    "height": {"x": X[:, :4]},
    "filters": {"w": W[:2], "b": B[:2]},
    "kernel": {"w": sample(4, 3, 2, 3, seed=1)},
    "no bias": {"b": None},
    "relu": {"activation": "relu"},
    "stride": {"stride": (1, 2)},
    "padding": {"padding": (0, 1)},
    "dilation": {"dilation": (1, 2)},
    "groups": {"x": sample(2, 5, 7, 6), "groups": 2},
    "dtype": {"dtype": np.float16},
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_problem_gets_a_plan_of_its_own(emulated, cudnn, other):
    step(emulated)
    step(emulated, **OTHERS[other])
    built = len(cudnn.built)
    assert built == (4 if other in ("no bias", "relu") else 6)  # the gradients are the same ones then
    step(emulated)
    step(emulated, **OTHERS[other])
    assert len(cudnn.built) == built


def test_the_text_of_a_problem_says_all_that_sets_it_apart():
    one = Problem("forward", (2, 5, 7, 3), (4, 2, 3, 3), (2, 4, 5, 4), (1, 1), (0, 0), (1, 1), "float32", False)
    changes = {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 2), "dtype": "float16", "tf32": True, "bias": True}
    texts = {str(one), *(str(one._replace(**{name: value})) for name, value in changes.items())}
    assert len(texts) == 1 + len(changes)


# Streams and workspaces.


def test_the_stream_is_told_only_when_it_changes(emulated, cudnn):
    step(emulated)
    driver.current().on_stream = 8
    step(emulated)
    step(emulated)
    driver.current().on_stream = 7
    step(emulated)
    assert cudnn.streams == [7, 8, 7]
    assert [stream for _, stream, _ in cudnn.executed] == [7] * 3 + [8] * 6 + [7] * 3


def test_each_device_has_a_handle_and_plans_of_its_own(emulated, cudnn, monkeypatch):
    step(emulated)
    monkeypatch.setattr(type(driver.current()), "device", lambda self: 1)
    step(emulated)
    assert cudnn.streams == [7, 7]
    assert len(cudnn.executed) == 6
    assert len({id(graph) for graph, _, _ in cudnn.executed}) == 6


def test_a_workspace_is_made_once_for_each_stream(emulated, cudnn):
    with use_precision("tf32"):
        step(emulated)
        step(emulated, X[:1])
        assert len(cudnn.workspaces) == 1
        driver.current().on_stream = 8
        step(emulated)
    by_stream = {(stream, workspace) for _, stream, workspace in cudnn.executed}
    assert len(by_stream) == len(cudnn.workspaces) == 2


def test_a_workspace_that_became_too_small_is_kept_for_recorded_steps(emulated, cudnn, monkeypatch):
    sizes = {"conv_fprop": 100, "conv_dgrad": 150, "conv_wgrad": 500}
    monkeypatch.setattr(Graph, "get_workspace_size", lambda graph: sizes[graph.operations[0]])
    step(emulated)
    step(emulated)
    assert sorted(cudnn.workspaces.values()) == [100, 200, 500]
    (handle,) = by_cudnn._library(driver.current())._handles.values()
    assert [made.size for workspaces in handle._workspaces.values() for made in workspaces] == [100, 200, 500]


# Captured.


def test_a_captured_convolution_gives_the_eager_bits_for_each_new_batch(emulated, cudnn):
    with use_precision("tf32"):  # the plan that needs a workspace
        x, w, b = (put(emulated, a, np.float32) for a in (X, W, B))
        dy = put(emulated, sample(2, 4, 5, 4, seed=77), np.float32)

        def work():
            y, vjp = convolve(x, w, b, activation="relu")
            return y, *vjp(dy, (True, True, False))

        work()
        built, workspaces = len(cudnn.built), len(cudnn.workspaces)
        results, replay = emulated.recorder().record(work)
        for seed in (5, 6):
            x[...] = put(emulated, sample(*X.shape, seed=seed), np.float32)
            reads = TAPE.reads
            replay()
            assert TAPE.reads == reads
            got = [emulated.to_numpy(a) for a in results[:3]]
            want = [emulated.to_numpy(a) for a in work()[:3]]
            assert all(np.array_equal(g, e) for g, e in zip(got, want, strict=True))
    assert (len(cudnn.built), len(cudnn.workspaces)) == (built, workspaces)


def test_while_a_step_is_captured_no_plan_is_built(emulated, cudnn):
    x, w = put(emulated, X, np.float32), put(emulated, W, np.float32)
    TAPE.begin()
    try:
        convolve(x, w)
    finally:
        TAPE.end()
    assert not cudnn.built
    convolve(x, w)
    assert len(cudnn.built) == 1
