"""cuDNN's own frontend and library, where they are installed: as far as they go without a GPU, and on one."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from emulator.cudnn_frontend import CuDNN, Graph

from tests import oracles
from tests.harness import sample
from tests.kernels.convolving import step
from xpnet.backend import get_backend, use_precision
from xpnet.errors import XpnetError
from xpnet.kernels.cuda import cudnn, cudnn_graphs
from xpnet.kernels.cuda.cudnn_graphs import Problem

PROBLEMS = {
    "forward": Problem("forward", (2, 5, 7, 6), (4, 2, 3, 3), (2, 2, 5, 4), (2, 1), (0, 1), (1, 2), "float32", False),
    "AlexNet's second": Problem(
        "forward", (128, 27, 27, 96), (256, 5, 5, 48), (128, 27, 27, 256), (1, 1), (2, 2), (1, 1), "float32", True
    ),
    "LeNet-5's first": Problem(
        "forward", (64, 28, 28, 1), (6, 5, 5, 1), (64, 28, 28, 6), (1, 1), (2, 2), (1, 1), "float16", False
    ),
}
WORK = {
    "forward": {"work": "forward"},
    "with bias": {"work": "forward", "bias": True},
    "with bias and relu": {"work": "forward", "bias": True, "relu": True},
    "input gradient": {"work": "input gradient"},
    "filter gradient": {"work": "filter gradient"},
}

# As cuDNN describes the device to itself, for plans made where there is none.
H100 = {
    "deviceName": "NVIDIA H100 80GB HBM3", "cudaDeviceId": 0, "pciDeviceId": 0, "deviceVer": 900, "driverVer": 13000,
    "multiProcessorCount": 132, "warpSize": 32, "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048,
    "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536,
    "maxRegistersPerSM": 65536, "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448,
    "reservedSharedMemoryPerBlock": 1024, "oversizedSharedMemoryPerBlock": 0, "totalGlobalMem": 85017493504,
    "memoryBusWidth": 5120, "l2CacheSize": 52428800, "smClockRateKHz": 1980000, "memClockRateKHz": 2619000,
    "isTccDriver": 0, "supportCoopLaunch": 1,
}  # fmt: skip


@pytest.fixture
def frontend():
    if importlib.util.find_spec("cudnn") is None:
        pytest.skip("cuDNN's frontend is not installed: pip install 'xpnet[cudnn]'")
    return importlib.import_module("cudnn")


@pytest.fixture
def loaded(frontend):
    """The frontend, where it finds its library."""
    try:
        frontend.backend_version()
    except RuntimeError as error:
        pytest.skip(f"cuDNN's library does not load: {error}")
    return frontend


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_real_frontend_takes_the_graphs(loaded, problem, work):
    graph = cudnn_graphs.describe(loaded, None, PROBLEMS[problem]._replace(**WORK[work]))
    graph.validate()


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_real_library_has_plans_for_an_h100(loaded, problem, work):
    try:
        device = loaded.create_device_properties(json.dumps(H100))
    except RuntimeError as error:  # its engines want libcuda, which the GPU's driver brings
        pytest.skip(f"cuDNN's engines do not load: {error}")

    class Described:
        """The module, making graphs for a device that is described instead of a handle's."""

        def __getattr__(self, name):
            return getattr(loaded, name)

        def pygraph(self, handle, **options):
            return loaded.pygraph(device_property=device, sm_version=90, sm_count=132, **options)

    graph = cudnn_graphs.build(Described(), None, PROBLEMS[problem]._replace(**WORK[work]))
    assert graph.get_workspace_size() <= 1 << 30
    assert len(bytes(graph.serialize())) > 1000


def test_the_names_that_are_asked_of_the_module_are_the_real_ones(frontend):
    fake = CuDNN()
    for kind in ("data_type", "heur_mode", "numerical_note"):
        for member in getattr(fake, kind):
            assert hasattr(getattr(frontend, kind), member.name), member
    for name in ("backend_version", "create_handle", "set_stream", "pygraph", "__version__"):
        assert hasattr(frontend, name), name
    for name in [n for n in vars(Graph) if not n.startswith("_") and n not in ("operations", "nodes")]:
        assert hasattr(frontend.pygraph, name), name


@pytest.mark.parametrize(
    ("precision", "dtype", "error"), [("fp32", "float32", 2e-6), ("tf32", "float32", 2e-3), ("fp16", "float16", 2e-3)]
)
@pytest.mark.parametrize("groups", [1, 2])
def test_on_a_gpu_each_precision_is_as_exact_as_it_says_and_repeats_its_bits(
    loaded, cache, log, groups, precision, dtype, error
):
    try:
        cuda = get_backend("cuda")
    except XpnetError as missing:
        pytest.skip(str(missing))
    shapes = (4, 9, 8, 16), (24, 3, 3, 16 // groups), (24,)
    x, w, b = (sample(*shape, seed=i).astype(dtype).astype(np.float64) for i, shape in enumerate(shapes))
    options = {"groups": groups, "padding": 1, "stride": (2, 1)}
    with use_precision(precision):
        rectified = step(cuda, x, w, b, np.dtype(dtype), activation="relu", **options)[0]
        first, second = (step(cuda, x, w, b, np.dtype(dtype), **options) for _ in range(2))
    assert cudnn.available()
    assert log() == []
    y = oracles.conv2d(x, w, b, **options)
    gradients = step(get_backend("numpy"), x, w, b, np.float64, **options)[1:]
    for got, right in zip([rectified, *first], [np.maximum(y, 0), y, *gradients], strict=True):
        assert np.max(np.abs(got - right)) <= error * np.max(np.abs(right))
    assert all(np.array_equal(a, c) for a, c in zip(first, second, strict=True))
