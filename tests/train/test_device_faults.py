"""A device that is lost while it trains, two devices in one op, and files of a device that another machine lacks."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
from emulator import NAMESPACE

from tests.conftest import problem
from tests.harness import raises
from tests.train.fitting import assert_same_state, some_digits, trainer
from xpnet import ops
from xpnet.backend import get_backend, is_device_lost, register_backend, registry
from xpnet.errors import DeviceError, DeviceLostError
from xpnet.train import Callback, RunConfig, read_checkpoint, scoring, train_run, write_checkpoint
from xpnet.train.step import Step

needs_emulator = pytest.mark.skipif(bool(problem("emulator")), reason=problem("emulator") or "the emulator is here")


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


ILLEGAL = "cudaErrorIllegalAddress: an illegal memory access was encountered"


def lose_the_device_at(monkeypatch, step: int, text: str = ILLEGAL) -> None:
    real, calls = Step.compute, []

    def compute(self, *arguments, **options):
        calls.append(1)
        if len(calls) >= step:
            raise CUDARuntimeError(text)
        return real(self, *arguments, **options)

    monkeypatch.setattr(Step, "compute", compute)


@pytest.mark.parametrize(
    "text",
    [
        ILLEGAL,
        "cudaErrorLaunchFailure: unspecified launch failure",
        "cudaErrorECCUncorrectable: uncorrectable ECC error encountered",
        "CUDA_ERROR_ILLEGAL_ADDRESS",
        "CUDA_ERROR_LAUNCH_FAILED",
        "CUDA error: device-side assert triggered",
        "Unable to determine the device handle for GPU: GPU is lost. Reboot the system",
    ],
)
def test_errors_after_which_a_device_does_nothing_more_are_known(text):
    assert is_device_lost(CUDARuntimeError(text))


@pytest.mark.parametrize("text", ["cudaErrorMemoryAllocation: out of memory", "shapes do not match", ""])
def test_other_errors_do_not_say_that_a_device_is_lost(text):
    assert not is_device_lost(RuntimeError(text))


def test_a_device_lost_in_mid_training_is_one_clear_error_and_callbacks_end(monkeypatch):
    ended = []

    class End(Callback):
        def on_end(self, trainer):
            ended.append(trainer.step)

    lose_the_device_at(monkeypatch, 6)
    with raises(DeviceLostError, "fit", "CUDARuntimeError", "cudaErrorIllegalAddress", "last checkpoint"):
        trainer("mlp", callbacks=[End()], capture=False).fit(some_digits(96), epochs=3, batch_size=32)
    assert ended == [2]


def test_a_callback_that_reads_the_lost_device_at_the_end_does_not_hide_what_happened(monkeypatch):
    class Read(Callback):
        def on_end(self, trainer):
            raise CUDARuntimeError(ILLEGAL)

    lose_the_device_at(monkeypatch, 2)
    with raises(DeviceLostError, "fit", "cudaErrorIllegalAddress"):
        trainer("mlp", callbacks=[Read()]).fit(some_digits(96), epochs=1, batch_size=32)


@pytest.mark.parametrize("call", ["evaluate", "predict"])
def test_a_device_lost_in_an_evaluation_is_the_same_error(monkeypatch, call):
    fit = trainer("mlp")
    monkeypatch.setattr(scoring.scaling, "converted", lambda *x: (_ for _ in ()).throw(CUDARuntimeError(ILLEGAL)))
    few = some_digits(32)
    with raises(DeviceLostError, call, "cudaErrorIllegalAddress"):
        fit.evaluate(few) if call == "evaluate" else fit.predict(few.x)


def test_a_run_whose_device_is_lost_names_the_checkpoint_to_go_on_with(monkeypatch, tmp_path):
    config = RunConfig("softmax", epochs=3, batch_size=500)
    with monkeypatch.context() as patch:
        lose_the_device_at(patch, 5)  # three steps an epoch: in the second
        with raises(DeviceLostError, "fit", f"xpnet train --resume {tmp_path / 'run'}"):
            train_run(config, tmp_path / "run")
    assert train_run(config, resume=tmp_path / "run")["epochs"] == 3
    with monkeypatch.context() as patch:
        lose_the_device_at(patch, 2)
        with raises(DeviceLostError, "fit", "nothing was saved yet"):
            train_run(config, tmp_path / "other")


# Two devices of one library.


@pytest.fixture
def two_devices():
    pytest.importorskip("array_api_strict")
    return [get_backend(f"array-api-strict:{name}") for name in ("CPU_DEVICE", "device1")]


def test_arrays_on_two_devices_of_one_library_are_refused_with_both_named(two_devices):
    x, w = (b.from_numpy(np.ones((2, 2), np.float32)) for b in two_devices)
    for op, arguments in ((ops.add, (x, w)), (ops.linear, (x, w)), (ops.matmul, (x, w))):
        with raises(DeviceError, op.__name__, "array-api-strict:CPU_DEVICE", "array-api-strict:device1"):
            op(*arguments)


@needs_emulator
def test_a_kernel_is_not_given_arrays_of_two_devices():
    first, second = (get_backend(f"emulator:emulated:{i}") for i in (0, 1))
    x, w = first.from_numpy(np.ones((2, 3), np.float32)), second.from_numpy(np.ones((4, 3), np.float32))
    with raises(DeviceError, "linear", "emulated:0", "emulated:1"):
        ops.linear(x, w)


@needs_emulator
def test_the_second_device_trains_as_the_first_and_keeps_all_of_its_own():
    few, found = some_digits(100), []
    for place in ("emulator:emulated:0", "emulator:emulated:1"):
        fit = trainer("lenet5", place)
        fit.fit(few, few, epochs=3, batch_size=32)
        found.append((fit.checkpoint(), fit.predict(few.x)))
        assert fit.model.backend.spec == place
        assert {p.data.device for p in fit.model.parameters()} == {place.partition(":")[2]}
    assert_same_state(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])


def test_devices_are_not_compared_while_one_alone_is_open(monkeypatch):
    class One(type(get_backend("numpy"))):
        pass

    monkeypatch.setattr(registry, "CHECKED", set())
    monkeypatch.setattr(registry, "_opened", {})
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    xp = SimpleNamespace(empty=lambda n, device: np.empty(n))
    register_backend("one", lambda device: One("one", xp, device or "a"))
    get_backend("one")
    assert np.ndarray not in registry.CHECKED
    get_backend("one:b")
    assert np.ndarray in registry.CHECKED


# A checkpoint of a device that is not there.


@needs_emulator
def test_a_checkpoint_of_a_device_opens_on_a_machine_without_it(tmp_path):
    fit = trainer("lenet5", "emulator", "adam", 0.01)
    few = some_digits(96)
    fit.fit(few, epochs=2, batch_size=32)
    write_checkpoint(tmp_path / "there.safetensors", fit.checkpoint())
    np.savez(tmp_path / "want.npz", fit.predict(few.x), few.x)
    assert NAMESPACE.__name__ == "emulator"
    script = f"""
        import sys
        import numpy as np
        sys.modules["cupy"] = None  # importing it raises ImportError
        from xpnet import models, optim
        from xpnet.train import Trainer, read_checkpoint
        net = models.build("lenet5", (8, 8, 1), 10)
        fit = Trainer(net, optim.Adam(net.parameters(), lr=0.01))
        fit.resume(read_checkpoint({str(tmp_path / "there.safetensors")!r}))
        want, x = np.load({str(tmp_path / "want.npz")!r}).values()
        assert net.backend.name == "numpy"
        assert "emulator" not in sys.modules
        assert np.allclose(fit.predict(x), want, atol=1e-5)
        assert fit.epoch == 2 and fit.optimizer.steps == 6
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120)
    assert read_checkpoint(tmp_path / "there.safetensors").meta["progress"]["epoch"] == 2
