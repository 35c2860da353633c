"""Processes that differ in versions, data, model or options are named, in one line that all of them raise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from distributed.threaded import Threaded, run

import xpnet
from xpnet import models, nn
from xpnet.backend import get_backend
from xpnet.data import Dataset, from_arrays
from xpnet.data.lazy import Lazy
from xpnet.distributed.facts import check_agreement, data_facts, model_facts, version_facts
from xpnet.errors import ConfigError

SAME = {"seed": "3", "data": "100 samples, checksum 12"}


def errors(*facts: dict[str, str]) -> list[str]:
    """What each process raises."""

    def work(communicator: Threaded) -> str:
        try:
            check_agreement(communicator, facts[communicator.rank])
        except ConfigError as error:
            return str(error)
        return ""

    return run(len(facts), work)


def test_processes_that_agree_go_on() -> None:
    assert errors(SAME, SAME, dict(reversed(SAME.items()))) == ["", "", ""]


def test_who_differs_is_named_in_the_same_line_everywhere() -> None:
    other = {**SAME, "seed": "4"}
    found = errors(SAME, SAME, other, SAME, SAME)
    assert len(set(found)) == 1
    assert found[0] == (
        "check_agreement: the processes differ in seed: seed 3 on ranks 0-1, 3-4 and 4 on rank 2; "
        "start all of them with the same versions, data and options"
    )


def test_a_fact_that_one_process_lacks_is_named() -> None:
    (line, _) = errors({"seed": "3", "crop": "4\nx"}, {"seed": "3"})
    assert "the processes differ in crop: crop 4 x on rank 0 and nothing on rank 1;" in line


def test_of_many_facts_some_are_named() -> None:
    line = errors({str(i): "a" for i in range(9)}, {str(i): "b" for i in range(9)})[0]
    assert line.startswith("check_agreement: the processes differ in 0, 1, 2, 3 and 5 more: 0 a on rank 0 and b on")


def test_facts_that_are_no_mapping_are_an_error() -> None:
    with pytest.raises(ConfigError, match="check_agreement: expected facts"):
        run(1, lambda communicator: check_agreement(communicator, ["seed"]))  # type: ignore[arg-type]


def some(n: int = 600) -> Dataset:
    rng = np.random.default_rng(2)
    return from_arrays(rng.random((n, 5)).astype(np.float32), rng.integers(0, 3, n), name="numbers")


def changed(data: Dataset, **what: Any) -> str:
    return data_facts("data", replace(data, **what))["data"]


def test_the_same_data_has_the_same_checksum_and_other_data_another() -> None:
    data = some()
    fact = data_facts("training data", data)["training data"]
    assert fact == data_facts("data", some())["data"] == changed(data, name="another")
    assert fact.startswith("600 samples, checksum ")
    y, x = data.y.copy(), data.x.copy()
    y[77], x[0, 4] = (y[77] + 1) % 3, 0.5
    others = [
        changed(data, y=y),
        changed(data, x=x),
        changed(data, x=x[::-1].copy()),
        changed(data, classes=("a", "b", "c")),
        changed(data, white=3.0),
        changed(data, weights=np.ones(600, np.float32)),
        changed(data, files=np.array([f"a/{i}.png" for i in range(600)], object)),
        data_facts("data", some(599))["data"],
    ]
    assert len({fact, *others}) == len(others) + 1


def test_files_count_by_their_names_and_not_by_their_folders() -> None:
    paths = [np.array([f"{folder}/{i}.png" for i in range(600)], object) for folder in ("/a", "/b/c", "d")]
    assert len({changed(some(), files=files) for files in paths}) == 1
    assert changed(some(), files=paths[0][::-1].copy()) != changed(some(), files=paths[0])


def test_of_a_set_in_files_few_samples_are_read() -> None:
    read: list[int] = []

    def fill(rows: np.ndarray, out: np.ndarray) -> None:
        read.extend(rows)
        out[...] = rows[:, None, None, None] % 251

    data = Dataset(Lazy((100_000, 8, 8, 3), fill), np.arange(100_000) % 2, ("a", "b"))
    fact = data_facts("data", data)["data"]
    assert 1 < len(read) <= 16
    assert {0, 99_999} <= set(read)
    assert fact == data_facts("data", data)["data"]


def test_what_is_no_set_is_known_by_its_kind() -> None:
    assert data_facts("data", iter([])) == {"data": "list_iterator"}


def test_a_model_is_known_by_its_parameters_and_buffers() -> None:
    def fact(model: nn.Module) -> str:
        return model_facts(model)["model"]

    assert fact(models.mlp((4,), 3).initialize(1)) == fact(models.mlp((4,), 3).initialize(1))
    norm = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm(3)).initialize(1)
    before = fact(norm)
    norm[1].mean.data = norm[1].mean.data + 1  # type: ignore[union-attr]
    others = [fact(models.mlp((4,), 3).initialize(2)), fact(models.mlp((4,), 2).initialize(1)), fact(norm), before]
    assert len(set(others)) == 4


def test_versions_are_those_of_this_process() -> None:
    facts = version_facts(get_backend("cpu"))
    assert facts["xpnet version"] == xpnet.__version__
    assert facts["backend"] == f"numpy {np.__version__}"
