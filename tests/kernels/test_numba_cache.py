"""numba's cache on disk: what is wrong with it costs a compilation, and a line in the log."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

import numba
from numba.core import caching, config

from xpnet.kernels.numba import cache
from xpnet.writing import FileLock


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(config, "CACHE_DIR", str(folder))
    monkeypatch.setattr(cache, "_logged", set())
    return folder


def make_loop():
    """A new dispatcher of one function, as a new process has it."""

    def double(x):
        return x * 2

    loop = numba.njit(double)
    cache.keep_on_disk(loop, double)
    return loop


def test_a_loop_is_compiled_once_and_read_by_the_next_process(folder):
    first, second = make_loop(), make_loop()
    assert first(3) == second(3) == 6
    assert (sum(first.stats.cache_misses.values()), sum(second.stats.cache_hits.values())) == (1, 1)
    written = [p for p in folder.rglob("*") if p.is_dir()]
    assert [p.stat().st_mode & 0o777 for p in written] == [0o700]


COMPILING = """
import sys
import numba
from numba.core import config
from xpnet.kernels.numba import cache

config.CACHE_DIR = sys.argv[1]


def double(x):
    return x * 2


loop = numba.njit(double)
cache.keep_on_disk(loop, double)
print("ready", flush=True)
sys.stdin.readline()
assert loop(3) == 6
print(sum(loop.stats.cache_misses.values()))
"""


def test_of_processes_that_need_a_loop_at_once_one_compiles_it(folder):
    (script := folder / "script.py").write_text(COMPILING)
    command = [sys.executable, str(script), str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sorted(int(process.communicate(timeout=120)[0]) for process in processes) == [0, 0, 1]
    assert not list(folder.rglob("*.lock"))


def test_a_process_that_compiles_for_ever_is_not_waited_for(folder, monkeypatch):
    make_loop()(3)
    (file,) = folder.rglob("*.nbc")
    file.unlink()
    monkeypatch.setattr(cache, "_PATIENCE", 0.05)
    with FileLock(file):
        assert make_loop()(3) == 6
    assert file.exists()


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda d: b"", lambda d: d[: len(d) // 2], lambda d: b"x" * 100, flip, lambda d: d[:-1], lambda d: d[:1]],
    ids=["empty", "half", "text", "flipped", "cut", "one byte"],
)
def test_a_damaged_file_is_replaced_with_one_line_in_the_log(folder, caplog, damage):
    make_loop()(3)
    (file,) = folder.rglob("*.nbc")
    file.write_bytes(damage(file.read_bytes()))
    with caplog.at_level(logging.INFO, "xpnet"):
        assert make_loop()(3) == 6
    assert len(caplog.records) == 1
    third = make_loop()
    assert third(3) == 6
    assert sum(third.stats.cache_hits.values()) == 1  # what was damaged is sound again


def test_forms_of_another_version_are_passed_over_and_removed_without_a_word(folder, caplog, monkeypatch):
    make_loop()(3)
    new = make_loop()
    monkeypatch.setattr(numba, "__version__", "1000")
    newer = make_loop()
    with caplog.at_level(logging.INFO, "xpnet"):
        assert newer(3) == new(3) == 6  # new: as a process of the old version, which runs on
        assert newer(3.5) == 7.0
    assert not caplog.records
    assert sum(newer.stats.cache_hits.values()) == 0


def test_files_of_numba_itself_and_of_older_versions_are_passed_over(folder, caplog):
    loop = make_loop()
    loop._cache = caching.FunctionCache(loop.py_func)
    loop(3)
    with caplog.at_level(logging.INFO, "xpnet"):
        assert make_loop()(3) == 6
    assert not caplog.records


def test_processes_that_write_several_forms_at_once_read_their_own(folder, caplog, monkeypatch):
    first, second = make_loop(), make_loop()
    with caplog.at_level(logging.INFO, "xpnet"):
        assert first(np.float32(1.5)) == 3.0
        with monkeypatch.context() as patch:  # second had read what there was before first wrote
            patch.setattr(cache._Files, "_load_index", lambda self: {})
            assert second(np.array([1, 2])).tolist() == [2, 4]
        third = make_loop()
        assert third(np.float32(1.5)) == 3.0
        assert third(np.array([1, 2])).tolist() == [2, 4]
    assert sum(third.stats.cache_hits.values()) == 2
    assert not caplog.records


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_can_write_is_not_read(folder, caplog, mode):
    make_loop()(3)
    (inner,) = (p for p in folder.rglob("*") if p.is_dir())
    (data,) = inner.glob("*.nbc")
    os.chmod(inner, mode)
    data.write_bytes(b"not to be read")
    with caplog.at_level(logging.INFO, "xpnet"):
        loop = make_loop()
        assert loop(3) == 6
    assert str(inner) not in str(loop.stats.cache_path)
    assert [str(inner) in r.getMessage() for r in caplog.records] == [True]


def test_a_parent_that_all_can_write_is_refused_unless_sticky(tmp_path):
    inner = tmp_path / "open" / "mine"
    inner.mkdir(parents=True)
    inner.chmod(0o700)
    inner.parent.chmod(0o777)
    assert str(inner.parent) in cache.refusal(inner)
    inner.parent.chmod(0o1777)
    assert not cache.refusal(inner)


def test_a_full_disk_leaves_the_loop_in_memory(folder, caplog, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache._Files, "_save_data", full)
    with caplog.at_level(logging.INFO, "xpnet"):
        assert make_loop()(3) == 6
    assert ["No space left" in r.getMessage() for r in caplog.records] == [True]


def test_without_any_folder_a_loop_is_compiled_in_memory(tmp_path, caplog, monkeypatch):
    blocker = tmp_path / "file"
    blocker.write_text("no folder")
    monkeypatch.setattr(cache, "_logged", set())
    monkeypatch.setattr(config, "CACHE_DIR", str(blocker))
    monkeypatch.setattr(cache._Implementation, "_locator_classes", cache._Implementation._locator_classes[:1])
    with caplog.at_level(logging.INFO, "xpnet"):
        assert make_loop()(3) == 6
    assert len(caplog.records) == 1


def test_every_loop_of_xpnet_is_kept_this_way():
    from xpnet.kernels.numba import compiling

    assert compiling._loops
    assert all(isinstance(loop._cache, cache._Cache) for loop, _ in compiling._loops)
    assert np.all([Path(loop._cache.cache_path).is_dir() for loop, _ in compiling._loops])
