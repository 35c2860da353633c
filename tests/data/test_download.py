from __future__ import annotations

import gzip
import hashlib
import io
import logging
from pathlib import Path

import numpy as np
import pooch
import pytest
import requests

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
    """What the server has; asked for anything else, it answers 404."""
    files = {URL: BODY}

    def get(url, **kwargs):
        response = requests.Response()
        response.status_code, response.reason, response.url = (
            (200, "OK", url) if url in files else (404, "Not Found", url)
        )
        body = files.get(url, b"")
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
    found = hashlib.sha256(BODY + b"!").hexdigest()
    with pytest.raises(
        DataError, match=rf"file\.bin: the checksum .* got expected {SHA}, found {found}, url {URL}; try"
    ):
        fetch(URL, SHA)
    assert not list(cache.iterdir())


def test_without_a_network_the_error_says_the_way_out(cache):
    with pytest.raises(DataError) as caught:
        fetch(URL, SHA)
    assert str(caught.value) == (
        "file.bin: the file can be downloaded, got problem ConnectionError (no network in tests), "
        f"url {URL}; put file.bin in a folder and name that with --data-dir or XPNET_DATA_DIR"
    )


def test_a_long_problem_is_told_by_its_kind_in_one_line(cache, monkeypatch):
    def get(url, **kwargs):
        raise requests.exceptions.ConnectTimeout("x\n" * 200)

    monkeypatch.setattr("requests.get", get)
    with pytest.raises(DataError, match=r"got problem ConnectTimeout, url"):
        fetch(URL, SHA)


def test_a_file_the_server_lacks_is_a_data_error(cache, served):
    with pytest.raises(
        DataError, match=r"other\.bin: the file can be downloaded, got problem HTTPError \(404 .*Not Found"
    ):
        fetch(URL.replace("file", "other"), SHA)


def test_a_cache_that_cannot_be_written_is_a_data_error(tmp_path, served, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "file" / project)
    with pytest.raises(DataError, match=r"file\.bin: the file can be downloaded, got problem "):
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


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("mnist", "https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte.gz"),
        (
            "fashion-mnist",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
            "train-images-idx3-ubyte.gz",
        ),
        ("cifar10", "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"),
    ],
)
def test_a_set_that_is_neither_there_nor_reachable_names_its_address(cache, name, url, tmp_path):
    with pytest.raises(DataError, match=rf"got problem ConnectionError .*, url {url}; put "):
        load(name, str(tmp_path))
