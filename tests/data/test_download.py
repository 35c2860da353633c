from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
from pathlib import Path

import numpy as np
import pooch
import pytest
import requests

from tests.harness import raises
from xpnet.data import idx, load
from xpnet.data.download import fetch
from xpnet.errors import DataError

URL = "https://example.invalid/set/file.bin"
BODY = bytes(range(256)) * 10
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    return tmp_path / "xpnet"


@pytest.fixture
def served(monkeypatch) -> dict[str, bytes]:
    """The files of the server; requests for others get 404."""
    files = {URL: BODY}

    def get(url, **kwargs):
        response = requests.Response()
        body = files.get(url, b"")
        response.status_code, response.reason = (200, "OK") if url in files else (404, "Not Found")
        response.url = url
        response.raw, response.headers["content-length"] = io.BytesIO(body), str(len(body))
        return response

    monkeypatch.setattr("requests.get", get)
    return files


def test_a_download_is_kept_and_not_fetched_again(cache, served):
    path = fetch(URL, SHA)
    assert path.read_bytes() == BODY
    assert path.parent == cache
    served.clear()
    assert fetch(URL, SHA) == path


def test_progress_counts_the_bytes_up_to_the_whole(cache, served):
    seen: list[tuple[int, int]] = []
    fetch(URL, SHA, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (2560, 2560)
    assert all(0 < done <= total == 2560 for done, total in seen)


def test_without_a_terminal_nothing_is_printed(cache, served, capfd):
    fetch(URL, SHA)
    out = capfd.readouterr()
    assert (out.out, out.err) == ("", "")


def test_on_a_terminal_a_bar_names_the_file(cache, served, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    fetch(URL, SHA)
    out = capfd.readouterr()
    assert out.out == ""
    assert "file.bin" in out.err


def test_a_checksum_that_does_not_match_is_an_error_and_leaves_nothing(cache, served):
    served[URL] = BODY + b"!"
    with raises(DataError, "file.bin", SHA, hashlib.sha256(BODY + b"!").hexdigest(), f"url {URL}"):
        fetch(URL, SHA)
    assert not list(cache.iterdir())


def test_without_a_network_the_error_says_what_to_do(cache):
    do = "put file.bin in a folder and set data_dir or XPNET_DATA_DIR to it"
    with raises(DataError, "file.bin", "failed", "ConnectionError (no network in tests)", f"url {URL}", do):
        fetch(URL, SHA)


def test_a_long_reason_is_shortened_to_its_type(cache, monkeypatch):
    def get(url, **kwargs):
        raise requests.exceptions.ConnectTimeout("x\n" * 200)

    monkeypatch.setattr("requests.get", get)
    with raises(DataError, "file.bin", "ConnectTimeout, url"):
        fetch(URL, SHA)


def test_a_file_that_the_server_does_not_have_is_a_data_error(cache, served):
    with raises(DataError, "other.bin", "HTTPError (404"):
        fetch(URL.replace("file", "other"), SHA)


def test_a_cache_that_cannot_be_written_is_a_data_error(tmp_path, served, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "file" / project)
    with raises(DataError, "file.bin", "failed"):
        fetch(URL, SHA)


def test_the_logger_of_pooch_is_left_as_it_was(cache, served, monkeypatch):
    monkeypatch.setattr(pooch.get_logger(), "level", logging.INFO)
    fetch(URL, SHA)
    assert pooch.get_logger().level == logging.INFO


def test_mnist_without_a_folder_is_downloaded_file_by_file(cache, served, monkeypatch):
    shas = []
    for file in idx._FILES:
        array = np.zeros((4, 3, 2), np.uint8) if "images" in file else np.arange(4, dtype=np.uint8)
        body = gzip.compress(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes())
        served[f"https://storage.googleapis.com/cvdf-datasets/mnist/{file}.gz"] = body
        shas.append(hashlib.sha256(body).hexdigest())
    monkeypatch.setattr(idx, "_MNIST", idx._MNIST._replace(sha256=tuple(shas)))
    train, test = load("mnist")
    assert train.x.shape == test.x.shape == (4, 3, 2, 1)
    assert len(list(cache.iterdir())) == 4


def test_mnist_and_fashion_mnist_do_not_share_files_in_the_cache(cache, served):
    other = URL.replace("/set/", "/other/")
    served[other] = BODY[::-1]
    assert fetch(URL, SHA) != fetch(other, hashlib.sha256(BODY[::-1]).hexdigest())
    assert fetch(URL, SHA).read_bytes() == BODY


URLS = {
    "mnist": "https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte.gz",
    "fashion-mnist": "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
    "train-images-idx3-ubyte.gz",
    "cifar10": "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
}


@pytest.mark.parametrize(("name", "url"), URLS.items(), ids=URLS.keys())
def test_a_set_that_cannot_be_downloaded_is_an_error_with_its_address(cache, name, url, tmp_path):
    with raises(DataError, url.rpartition("/")[2], "ConnectionError", f"url {url}; "):
        load(name, str(tmp_path))


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/null")], ids=["FIFO", "folder", "link"]
)
def test_what_is_no_regular_file_in_the_cache_is_refused(cache, served, make):
    cache.mkdir()
    make(cache / f"{SHA[:8]}-file.bin")
    with raises(DataError, str(cache / f"{SHA[:8]}-file.bin"), "no regular file"):
        fetch(URL, SHA)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, requests.exceptions.ConnectionError, OSError(28, "No space left")]
)
def test_an_interrupted_download_leaves_nothing(cache, served, error):
    def stop(done: int, total: int) -> None:
        raise error

    with pytest.raises((KeyboardInterrupt, DataError)):
        fetch(URL, SHA, stop)
    assert not list(cache.iterdir())


def test_a_kept_file_that_changed_is_downloaded_again(cache, served):
    path = fetch(URL, SHA)
    path.write_bytes(BODY[:-1])
    assert fetch(URL, SHA).read_bytes() == BODY
