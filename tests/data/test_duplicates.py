from __future__ import annotations

import os

import numpy as np
import pytest

from xpnet.data import duplicates
from xpnet.data.duplicates import same_examples, same_files


@pytest.fixture
def files(tmp_path):
    """a = c, b and d of a's size, e empty, f empty, g missing, h a FIFO."""
    content = {
        "a": b"x" * 100_000,
        "b": b"x" * 99_999 + b"y",
        "c": b"x" * 100_000,
        "d": b"y" * 100_000,
        "e": b"",
        "f": b"",
    }
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "h")
    return [str(tmp_path / name) for name in "abcdefgh"]


def test_files_of_the_same_bytes_are_found(files):
    found = same_files(files)
    assert found.groups == ((0, 2), (4, 5))
    assert found.complete
    assert found.extra == 2


def test_a_difference_behind_the_first_bytes_is_seen(files):
    assert same_files(files[:2]).groups == ()


def test_only_files_of_one_size_are_opened(files, monkeypatch):
    opened = []
    real = duplicates.open_file

    def spy(path):
        opened.append(path)
        return real(path)

    monkeypatch.setattr(duplicates, "open_file", spy)
    same_files([files[0], files[4]])
    assert opened == []


def test_reading_is_limited_and_that_is_said(files, monkeypatch):
    monkeypatch.setattr(duplicates, "_MOST", 150_000)
    found = same_files(files[:3])
    assert not found.complete
    assert found.groups == ()


def test_progress_counts_the_files_that_are_compared(files):
    steps = []
    same_files(files[:4], lambda done, total: steps.append((done, total)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_examples_are_numbered_on_through_the_parts():
    x = np.arange(12.0).reshape(4, 3)
    assert same_examples([x, x[[1, 3]], x[:0], x[[1]]]).groups == ((1, 4, 6), (3, 5))
    assert same_examples([x[:, ::-1], x[:, ::-1][:1]]).groups == ((0, 4),)
