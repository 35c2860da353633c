"""Processes share the work on the rows of an array, such as the photos that are decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from tests.distributed.threaded import Threaded, run
from xpnet import data
from xpnet.data import LoadOptions
from xpnet.distributed import single
from xpnet.distributed.sharing import sharing
from xpnet.errors import DataError
from xpnet.train import RunConfig
from xpnet.train.runs import evaluation, training


@pytest.mark.parametrize("n", [0, 2, 7])
def test_each_row_is_filled_by_one_process_and_all_get_the_whole(n: int) -> None:
    wanted = np.arange(n * 6, dtype=np.int16).reshape(n, 2, 3)

    def work(communicator: Threaded) -> tuple[np.ndarray, list[int]]:
        out, own = np.full((n, 2, 3), -1, np.int16), []

        def fill(start: int, stop: int) -> None:
            own.extend(range(start, stop))
            out[start:stop] = wanted[start:stop]

        share = sharing(communicator)
        assert share is not None
        share(fill, out)
        return out, own

    found = run(3, work)
    assert all(np.array_equal(out, wanted) for out, _ in found)
    assert [row for _, own in found for row in own] == list(range(n))
    assert n < 3 or all(own for _, own in found)


def test_an_error_of_some_processes_is_that_of_the_first_of_them_in_all() -> None:
    def work(communicator: Threaded) -> str:
        def fill(start: int, stop: int) -> None:
            if communicator.rank:
                raise DataError.event(f"{communicator.rank}.png", "the file ends early", "remove it", bytes=3)

        share = sharing(communicator)
        assert share is not None
        with pytest.raises(DataError) as error:
            share(fill, np.zeros(6))
        return str(error.value)

    assert run(3, work) == ["1.png: the file ends early: bytes 3; remove it"] * 3


def test_photos_that_are_decoded_by_three_processes_are_those_of_one(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for i in range(11):
        folder = tmp_path / f"class{i % 2}"
        folder.mkdir(exist_ok=True)
        PIL.Image.fromarray(draw.integers(0, 255, (6, 5), dtype=np.uint8)).save(folder / f"{i}.png")
    alone = data.splits(str(tmp_path), validation=0)

    def work(communicator: Threaded) -> tuple[Any, list[tuple[int, int]]]:
        seen: list[tuple[int, int]] = []
        found = data.splits(
            str(tmp_path),
            validation=0,
            progress=lambda done, total: seen.append((done, total)),
            options=LoadOptions(share=sharing(communicator)),
        )
        return found, seen

    for found, seen in run(3, work):
        assert np.array_equal(found.train.x, alone.train.x)
        assert np.array_equal(found.test.x, alone.test.x)
        assert seen[-1] == (11, 11)


def test_a_run_that_several_processes_train_or_evaluate_shares_its_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(Exception):
        pass

    def stop(*given: Any) -> None:
        raise Stop([option.share for option in given if isinstance(option, LoadOptions)])

    monkeypatch.setattr(training, "load_parts", stop)
    for communicator in (single(), Threaded(0, [[], []], None, True)):  # type: ignore[arg-type]
        monkeypatch.setattr(training, "get_communicator", lambda found=communicator: found)
        with pytest.raises(Stop) as error:
            training.train_run(RunConfig())
        (share,) = error.value.args[0]
        assert (share is None) == (communicator.size == 1)
    monkeypatch.setattr(evaluation, "load_data", stop)
    meta = {"data": "digits", "shape": (8, 8, 1), "classes": ["0", "1"]}
    with pytest.raises(Stop) as error:
        evaluation.test_part(meta, None, None, None, None, False, share)
    assert error.value.args[0] == [share]
