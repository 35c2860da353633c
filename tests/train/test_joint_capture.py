"""Captured steps of several processes, which are threads here: the exchange is part of what is recorded and replayed.

On the emulated device the threads' communicator is as strict as NCCL: a call is captured by all of them or by none.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from emulator import NAMESPACE, TAPE
from emulator.array import call

from tests.conftest import problem
from tests.distributed import threaded
from tests.distributed.threaded import Threaded, run
from tests.train.stepping import Counts
from tests.train.test_joint import batch, net, trained, without_norm
from xpnet import nn, random
from xpnet.autograd import Tensor
from xpnet.distributed import single
from xpnet.optim import SGD, Adam
from xpnet.train import Callback, Step, Trainer, fitting

WHERE = ["cpu", "emulator"]


@pytest.fixture(params=WHERE)
def where(request: pytest.FixtureRequest) -> str:
    if request.param == "emulator" and (text := problem("emulator")):
        pytest.skip(text)
    return request.param


def same(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


SIZES = (16, 16, 16, 16, 16, 5, 5, 5, 5, 2, 2, 2, 2, 16)  # of 2 examples, two of four processes have none


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("shards", [1, 8])
def test_a_captured_step_gives_the_bits_of_an_eager_one_and_with_shards_those_of_one_process(
    where: str, processes: int, shards: int, counts: Counts
) -> None:
    how: dict[str, Any] = {"make": without_norm, "sizes": SIZES, "shards": shards}
    eager = run(processes, lambda each: trained(each, where, capture=False, **how))
    want = trained(single(), where, capture=False, **how) if shards > 1 else eager[0]
    assert counts.all == (0, 0, 0)
    captured = run(processes, lambda each: trained(each, where, capture=True, **how))
    for got in (*eager, *captured):
        same(got, want)
    assert counts.recorded == 3 * processes
    assert counts.replayed >= 5 * processes


@pytest.mark.parametrize("sizes", [(16,) * 6, (3,) * 6], ids=["rows", "a process without rows"])
def test_layers_that_see_the_whole_batch_are_captured_on_a_device_where_each_process_has_a_shard(
    sizes: tuple[int, ...], counts: Counts
) -> None:
    if text := problem("emulator"):
        pytest.skip(text)
    how: dict[str, Any] = {"make": net, "sizes": sizes, "shards": 4}
    want = trained(single(), "emulator", capture=False, **how)
    for got in run(4, lambda each: trained(each, "emulator", capture=True, **how)):
        same(got, want)
    assert counts.replayed == 3 * 4  # three are warm, one is recorded and replayed at once


def fitted(communicator: Any, where: str, callbacks: Any = (), **how: Any) -> dict[str, np.ndarray]:
    model = without_norm().to(where).initialize(2)
    trainer = Trainer(
        model, Adam(model.parameters(), 0.01), seed=5, communicator=communicator, callbacks=callbacks, **how
    )
    trainer.fit(batch(0, 50), batch(1, 20), epochs=3, batch_size=16)
    figures = [record[name] for record in trainer.history for name in ("train_loss", "test_loss")]
    return {**model.state_dict(), **trainer.optimizer.state_dict()[0], "losses": np.asarray(figures)}


def test_a_trainer_replays_whole_steps_of_which_the_host_reads_nothing(where: str, counts: Counts) -> None:
    """4 steps an epoch, of 16 and 2 examples. On a device step, draws and rate are counted there."""
    want = fitted(single(), where, shards=8, capture=False)
    for got in run(2, lambda each: fitted(each, where, shards=8, capture=True)):
        same(got, want)
    assert counts.recorded == 2 * 2
    assert counts.replayed > 0


@pytest.mark.parametrize("processes", [1, 2])
def test_gradients_of_many_parameters_are_captured(
    processes: int, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CuPy joins up to eight arrays while it captures: of more it copies the addresses from the host."""
    if text := problem("emulator"):
        pytest.skip(text)

    def concat(arrays: Any, **options: Any) -> Any:
        assert not TAPE.open or len(arrays) <= 8
        return call(np.concat, arrays, **options)

    def deep() -> nn.Sequential:
        return nn.Sequential(*(nn.Linear(6, 6) for _ in range(9)), nn.Linear(6, 3))

    monkeypatch.setattr(NAMESPACE, "concat", concat, raising=False)
    run(processes, lambda each: trained(each, "emulator", deep, sizes=(8,) * 5, shards=4, capture=True))
    assert counts.replayed == 2 * processes


# Where processes differ.


def steps(
    communicator: Threaded, where: str, between: Callable[[Step, int], None], make: Any = without_norm, n: int = 12
) -> tuple[dict[str, np.ndarray], list[bool]]:
    """Steps of 16 examples; what the weights became, and after which steps a recording was there."""
    model = make().to(where).initialize(1).train()
    step = Step(model, nn.softmax_cross_entropy, SGD(model.parameters(), 0.1), communicator=communicator, shards=4)
    there = []
    for i in range(n):
        x, y = (model.backend.from_numpy(a[slice(*step.processes.part.rows(16))]) for a in batch(i, 16))
        between(step, i)
        with random.use(random.StepContext(4, 0, i)):
            step(x, y, 16)
        there.append(any(r.is_verified for r in step.captured.recordings.values()))
    return model.state_dict(), there


def nothing(step: Step, i: int) -> None:
    pass


def test_a_hook_in_one_process_lets_all_run_eagerly_and_keeps_the_recordings(where: str) -> None:
    def work(communicator: Threaded) -> Any:
        def hook(step: Step, i: int) -> None:
            step.gradient_hook = (lambda gradients: None) if i in (6, 9) and communicator.rank == 1 else None

        return steps(communicator, where, hook)

    want = run(2, lambda each: steps(each, where, nothing))
    found = run(2, work)
    for (got, there), (state, known) in zip(found, want, strict=True):
        same(got, state)
        assert there == known
        assert there[-1]


def test_a_recording_that_one_process_drops_is_dropped_by_all_and_made_again(where: str) -> None:
    def work(communicator: Threaded) -> Any:
        def drop(step: Step, i: int) -> None:
            if i == 6 and communicator.rank == 0:
                step.captured.recordings.clear()

        return steps(communicator, where, drop)

    (one, there), (two, others) = run(2, work)
    same(one, two)
    same(one, run(2, lambda each: steps(each, where, nothing))[0][0])
    assert there == others
    assert there[5]
    assert not there[6]
    assert there[-1]


class ReadsIn(nn.Module):
    """Passes examples on; in one process the host reads one."""

    across_batch = False

    def __init__(self, rank: int = 0) -> None:
        self.reads = rank == 1

    def forward(self, x: Tensor) -> Tensor:
        if self.reads:
            float(x.data[0, 0])
        return x


def test_a_step_that_one_process_cannot_record_is_replayed_by_none(caplog: pytest.LogCaptureFixture) -> None:
    if text := problem("emulator"):
        pytest.skip(text)

    def work(communicator: Threaded) -> Any:
        def make() -> nn.Sequential:
            return nn.Sequential(first=nn.Linear(6, 5), reads=ReadsIn(communicator.rank), scores=nn.Linear(5, 3))

        return steps(communicator, "emulator", nothing, make)

    with caplog.at_level(logging.INFO, "xpnet"):
        (one, there), (two, others) = run(2, work)
    same(one, two)
    assert not any((*there, *others))
    assert [text for text in caplog.messages if "cannot be recorded" in text] == [
        "fit runs eagerly: it cannot be recorded (CaptureError: operation not permitted when stream is capturing)"
    ]


def test_a_replay_that_fails_in_one_process_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it to compute eagerly, the others would not answer: they replay."""
    monkeypatch.setattr(threaded, "SECONDS", 2)
    ended: list[int] = []

    def work(communicator: Threaded) -> None:
        def fail(step: Step, i: int) -> None:
            if i == 2 and communicator.rank == 0:  # its recording is verified

                def replay() -> None:
                    raise RuntimeError("no memory")

                (recording,) = step.captured.recordings.values()
                recording.replay = replay

        try:
            steps(communicator, "cpu", fail)
        except RuntimeError:
            ended.append(communicator.rank)
            raise

    with pytest.raises(RuntimeError, match="no memory"):
        run(2, work)
    assert ended == [0]


class Half(nn.Module):
    """Two layers, of which each process uses one, and a third that none uses."""

    across_batch = False

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.first, self.second, self.unused = nn.Linear(6, 3), nn.Linear(6, 3), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(x) if self.rank else self.first(x)


def test_what_some_process_has_a_gradient_of_is_updated_in_all_and_nothing_else(where: str) -> None:
    """With weight decay a gradient of zeros would change the unused layer."""

    def work(communicator: Threaded) -> Any:
        model = Half(communicator.rank).to(where).initialize(1).train()
        optimizer = SGD(model.parameters(), 0.1, weight_decay=0.5)
        step = Step(model, nn.softmax_cross_entropy, optimizer, communicator=communicator, shards=2, capture=True)
        before = model.state_dict()
        for i in range(6):
            x, y = (model.backend.from_numpy(a[slice(*step.processes.part.rows(8))]) for a in batch(i, 8))
            step(x, y, 8)
        assert any(r.is_verified for r in step.captured.recordings.values())
        return before, model.state_dict()

    (before, one), (_, two) = run(2, work)
    same(one, two)
    changed = {name for name, value in before.items() if not np.array_equal(one[name], value)}
    assert changed == {"first.weight", "first.bias", "second.weight", "second.bias"}


def test_eight_processes_have_the_bits_of_one_in_every_loss() -> None:
    """The losses of the shards are summed along the tree, too: in the order of the processes they are others."""
    how: dict[str, Any] = {"make": without_norm, "sizes": (40,) * 8, "shards": 8}
    want = trained(single(), "cpu", **how)
    for got in run(8, lambda each: trained(each, "cpu", **how)):
        same(got, want)


# Signals.


@pytest.mark.parametrize("capture", [None, False], ids=["captured", "eager"])
def test_a_signal_to_one_process_is_known_to_all_after_the_next_step(where: str, capture: bool | None) -> None:
    def work(communicator: Threaded) -> list[int]:
        model, seen = without_norm().to(where).initialize(1).train(), []
        how: Any = {"communicator": communicator, "shards": 4, "capture": capture}
        step = Step(model, nn.softmax_cross_entropy, SGD(model.parameters(), 0.1), **how)
        assert step.joint is not None
        for i in range(9):
            if i == 7 and communicator.rank == 1:
                step.joint.own_signal = lambda: 15
            x, y = (model.backend.from_numpy(a[slice(*step.processes.part.rows(16))]) for a in batch(i, 16))
            step(x, y, 16)
            seen.append(step.joint.signal)
        return seen

    assert run(3, work) == [[0] * 7 + [15, 15]] * 3


def test_a_trainer_that_is_interrupted_in_one_process_stops_in_all_after_the_same_step(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads get no signals, so each has an object that is asked as by one."""
    own = threading.local()

    class Asked:
        asked = 0

        def __enter__(self) -> Any:
            own.interrupt = self
            return self

        def __exit__(self, *error: object) -> None:
            pass

    class Ask(Callback):
        def on_step(self, trainer: Any) -> None:
            if (trainer.epoch, trainer.step) == (1, 1) and trainer.processes.communicator.rank == 1:
                own.interrupt.asked = 2

    def work(communicator: Threaded) -> tuple[int, int, int]:
        model = without_norm().to(where).initialize(2)
        how: Any = {"communicator": communicator, "shards": 4, "callbacks": [Ask()]}
        trainer = Trainer(model, SGD(model.parameters(), 0.1), seed=5, **how)
        trainer.fit(batch(0, 50), epochs=3, batch_size=16)
        return trainer.interrupted, trainer.epoch, trainer.step

    monkeypatch.setattr(fitting, "Interrupt", Asked)
    assert run(2, work) == [(2, 1, 2)] * 2
