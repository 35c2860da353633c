from __future__ import annotations

import gzip
import os
import socket
from pathlib import Path

import pytest

from tests.harness import raises
from xpnet.data import load, load_image
from xpnet.data.opening import Gunzip, open_file
from xpnet.errors import DataError


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # the address has room for about 100 bytes
        server.bind(path.name)
        os.chdir(here)


def nothing(path: Path) -> None:
    pass


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


KINDS = {
    "FIFO": (fifo, "kind FIFO"),
    "folder": (folder, "kind folder"),
    "device": (device, "kind device"),
    "socket": (a_socket, "kind socket"),
    "nothing": (nothing, "no such"),
    "dangling link": (dangling, "no such"),
}
IDX = "train-images-idx3-ubyte"
READERS = {
    "an image": ("a.png", lambda path: load_image(path, (4, 6, 1))),
    "an .npz file": ("a.npz", lambda path: load(str(path))),
    "a file of MNIST": (IDX, lambda path: load("mnist", str(path.parent))),
    "a file of CIFAR-10": ("data_batch_1.bin", lambda path: load("cifar10", str(path.parent))),
    "the archive of CIFAR-10": ("cifar-10-binary.tar.gz", lambda path: load("cifar10", str(path.parent))),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, reader, kind):
    name, read = READERS[reader]
    make, problem = KINDS[kind]
    if kind == "nothing" and ("MNIST" in reader or "CIFAR" in reader):
        problem = "failed"  # what is missing is downloaded, and tests have no network
    if kind == "folder" and name == "a.npz":
        problem = "one sub-folder"
    for other in ("train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        if problem != "failed":
            (tmp_path / other).touch()
    make(tmp_path / name)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert problem == "failed" or str(caught.value).startswith(f"{tmp_path / name}: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize("path", ["a\0.png", "x" * 5000 + ".png", "/dev/null/a.png"])
def test_an_impossible_path_is_a_data_error(path):
    with raises(DataError, path.replace("\0", r"\x00")), open_file(path):
        pass


def test_a_file_that_must_not_be_read_is_a_data_error(tmp_path, monkeypatch):
    def refuse(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied", "a.npz")

    (tmp_path / "a.npz").touch()
    monkeypatch.setattr(os, "open", refuse)
    with raises(DataError, str(tmp_path / "a.npz"), "error Permission denied"):
        load(str(tmp_path / "a.npz"))


def unzipped(path: Path, content: bytes, *counts: int, most: int | None = None) -> list[bytes]:
    path.write_bytes(content)
    with open_file(path) as file:
        source = Gunzip(file, "here", most)
        return [bytes(source.read(count)) for count in counts]


def test_gzip_content_is_read_piece_by_piece(tmp_path):
    text = os.urandom(200_000) + bytes(3_000_000)
    pieces = unzipped(tmp_path / "a.gz", gzip.compress(text), 5, 1_000_000, 4_000_000, 1)
    assert b"".join(pieces) == text
    assert [len(piece) for piece in pieces] == [5, 1_000_000, 2_199_995, 0]


DAMAGE = {
    "cut": lambda raw: raw[:-9],
    "without its checksum": lambda raw: raw[:-8],
    "of another checksum": lambda raw: raw[:-8] + bytes(4) + raw[-4:],
    "followed by bytes": lambda raw: raw + b"!",
    "followed by another": lambda raw: raw + raw,
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_gzip_file_that_is_damaged_is_an_error_once_its_end_is_read(tmp_path, change):
    with raises(DataError, "here", "truncated or damaged"):
        unzipped(tmp_path / "a.gz", change(gzip.compress(b"hello")), 5, 1)


def test_gzip_content_has_a_limit(tmp_path, monkeypatch):
    bomb = gzip.compress(bytes(1 << 20))
    with raises(DataError, "here", "at most 1,000 bytes"):
        unzipped(tmp_path / "a.gz", bomb, 1001, most=1000)
    monkeypatch.setattr("xpnet.data.opening._FREE", 1 << 19)
    with raises(DataError, "here", "at most 524,288 bytes of content in a file of "):
        unzipped(tmp_path / "a.gz", bomb, 1 << 20)
