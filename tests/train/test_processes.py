"""Which process computes what of a batch: the arguments of a Trainer for several processes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness import raises
from xpnet import models
from xpnet.data.part import WHOLE, Part
from xpnet.distributed import Communicator, single
from xpnet.distributed.communicator import Single
from xpnet.distributed.launched import SHARDS
from xpnet.errors import ConfigError
from xpnet.train import Trainer
from xpnet.train.processes import Processes, read_processes


class Pretended(Single):
    """The communicator of one of several processes, which never speaks."""

    name = "pretended"

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


def trainer(**options: Any) -> Trainer:
    return Trainer(models.build("softmax", (8, 8, 1), 10), **options)


def test_a_plain_run_is_one_process_without_virtual_shards() -> None:
    assert trainer().processes == Processes(single(), None, "sync")
    assert not trainer().processes.virtual
    assert trainer().processes.part == WHOLE


def test_a_run_of_a_launcher_has_eight_shards_also_where_it_is_one_process() -> None:
    found = trainer(communicator=Pretended(0, 1)).processes
    assert (found.shards, SHARDS, found.part) == (8, 8, Part(8, 0, 8))


@pytest.mark.parametrize(("rank", "part"), [(0, Part(8, 0, 2)), (1, Part(8, 2, 5)), (2, Part(8, 5, 8))])
def test_each_process_has_consecutive_shards(rank: int, part: Part) -> None:
    assert trainer(communicator=Pretended(rank, 3)).processes.part == part


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_without_virtual_shards_each_process_has_a_part_of_the_batch(rank: int) -> None:
    processes = trainer(communicator=Pretended(rank, 3), shards=1).processes
    assert (processes.virtual, processes.part) == (False, Part(3, rank, rank + 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": 0}, "Trainer: expected a whole number shards >= 1, got shards 0"),
        ({"batch_norm": "some"}, "Trainer: expected a known batch_norm, got batch_norm 'some'"),
        ({"communicator": 3}, "Trainer: expected communicator that is a string, got communicator 3"),
    ],
)
def test_arguments_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        trainer(**options)
    assert str(error.value).startswith(message)


def test_more_processes_than_shards_are_an_error() -> None:
    with raises(ConfigError, "Trainer", "at most as many processes as shards", "shards 2, processes 3"):
        read_processes("Trainer", Pretended(0, 3), 2, "sync")
    communicator: Communicator = Pretended(0, 3)
    assert read_processes("Trainer", communicator, 3, "sync").part == Part(3, 0, 1)
