"""Files that are written whole, and their locks."""

from __future__ import annotations

import os
import threading

import pytest

from tests.harness import raises
from xpnet.errors import CheckpointError
from xpnet.writing import FileLock, append, remove_parts, write_atomically

needs_links = pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")


@needs_links
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_in_the_place_of_a_file_is_replaced_and_its_target_stays(tmp_path, dangling):
    target, file = tmp_path / "target", tmp_path / "file"
    if not dangling:
        target.write_text("precious")
    file.symlink_to(target)
    write_atomically(file, b"new")
    assert file.read_bytes() == b"new"
    assert not file.is_symlink()
    assert target.exists() != dangling
    assert dangling or target.read_text() == "precious"


@pytest.fixture(params=[True, False], ids=["O_NOFOLLOW", "none"])
def flags(request, monkeypatch):
    """Systems that can refuse to open links, and others."""
    if not request.param:
        monkeypatch.delattr(os, "O_NOFOLLOW")


@needs_links
def test_a_link_is_not_appended_through(tmp_path, flags):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with raises(CheckpointError, str(tmp_path / "link"), "cannot be written"):
        append(tmp_path / "link", b"line")
    assert not (tmp_path / "target").exists()


@needs_links
def test_a_link_under_the_temporary_name_or_that_of_the_lock_is_not_followed(tmp_path, monkeypatch, flags):
    target = tmp_path / "target"
    target.write_text("precious")
    monkeypatch.setattr("secrets.token_hex", lambda size: "0" * 16)  # as if it could be foreseen
    (tmp_path / ".file.0000000000000000.part").symlink_to(target)
    with raises(CheckpointError, str(tmp_path / "file"), "cannot be written"):
        write_atomically(tmp_path / "file", b"new")
    (tmp_path / ".file.lock").symlink_to(target)
    with raises(CheckpointError, str(tmp_path), "cannot be written"):
        FileLock(tmp_path / "file").acquire()
    assert target.read_text() == "precious"
    assert not (tmp_path / "file").exists()


def test_the_temporary_name_cannot_be_foreseen_and_the_mode_is_a_new_files(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        os, "replace", lambda part, path: seen.append(os.stat(part).st_mode & 0o777) or seen.append(part)
    )
    for _ in range(2):
        write_atomically(tmp_path / "file", b"")
    (tmp_path / "plain").touch()
    assert seen[1] != seen[3]
    assert seen[0] == (tmp_path / "plain").stat().st_mode & 0o777


def test_what_killed_writers_left_is_removed_and_other_files_stay(tmp_path):
    old = (".config.json.0123456789abcdef.part", "config.json.4711.part")
    for name in (*old, "mine.part", ".other.0123456789abcdef.part", "config.json.part"):
        (tmp_path / name).touch()
    remove_parts(tmp_path, ("config.json",))
    assert {p.name for p in tmp_path.iterdir()} == {"mine.part", ".other.0123456789abcdef.part", "config.json.part"}


def test_a_lock_has_one_holder_until_it_is_released(tmp_path):
    with FileLock(tmp_path / "file"):
        with raises(CheckpointError, str(tmp_path / "file"), "another process"):
            FileLock(tmp_path / "file").acquire()
        FileLock(tmp_path / "other").acquire()
    with FileLock(tmp_path / "file"):
        pass
    assert not list(tmp_path.glob(".file*"))


def test_of_many_threads_one_at_a_time_holds_a_lock(tmp_path):
    inside, worst, refused = [], [], []

    def work() -> None:
        for _ in range(100):
            try:
                with FileLock(tmp_path / "file"):
                    inside.append(1)
                    worst.append(len(inside))
                    inside.pop()
            except CheckpointError:
                refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(worst) == 1
    assert len(worst) + len(refused) == 400


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_holder_leaves_no_lock(tmp_path):
    read, write = os.pipe()
    if not (child := os.fork()):
        held = FileLock(tmp_path / "file")
        held.acquire()
        os.write(write, b"x")
        os.read(os.pipe()[0], 1)  # until it is killed
    try:
        os.read(read, 1)
        with raises(CheckpointError, str(tmp_path / "file"), "another process"):
            FileLock(tmp_path / "file").acquire()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    FileLock(tmp_path / "file").acquire()
