from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

import xpnet.data
from tests.harness import raises
from xpnet.data import DATASETS, load
from xpnet.errors import ConfigError, DataError, XpnetError


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mnits", "did you mean 'mnist'?"),
        ("fashion", "did you mean 'fashion-mnist'?"),
        ("zzz", "choose one of blobs, cifar10, circles, digits, fashion-mnist, mnist, moons, spirals, xor"),
        ("", "choose one of"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest_names(name, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with raises(ConfigError, "data", f"data {name!r}", hint):
        load(name)


@pytest.mark.parametrize(
    ("name", "error", "hint"),
    [
        ("iris.cvs", DataError, "no such folder or file; did you mean 'iris.csv'?"),
        ("irsi.csv", DataError, "no such file; did you mean 'iris.csv'?"),
        ("deep/Fotos/", DataError, "no such folder or file; did you mean 'deep/photos'?"),
        ("./mnits", DataError, "no such folder or file; check the path"),
        ("deep/zzz.csv", DataError, "no such file"),
        ("none/iris.csv", DataError, "no such file"),
        (
            "photos",
            ConfigError,
            "choose one of blobs, cifar10, circles, digits, fashion-mnist, mnist, moons, spirals, xor",
        ),
        ("photos.csv", DataError, "no such file"),
        ("photos.cvs", DataError, "no such folder or file; check the path"),
        ("flwers", ConfigError, "did you mean 'flowers'?"),
        (
            "zzz",
            ConfigError,
            "choose one of blobs, cifar10, circles, digits, fashion-mnist, mnist, moons, spirals, xor",
        ),
    ],
)
def test_a_mistyped_path_is_answered_with_what_is_beside_it(name, error, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iris.csv").touch()
    (tmp_path / "photos.py").touch()  # holds no data
    (tmp_path / "flowers").mkdir()
    (tmp_path / "deep" / "photos").mkdir(parents=True)
    with pytest.raises(error) as caught:
        load(name)
    assert str(caught.value).endswith(hint)


def test_a_file_of_another_kind_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("1,2")
    with raises(DataError, str(tmp_path / "a.txt"), "suffix .txt"):
        load(str(tmp_path / "a.txt"))


def test_a_folder_named_like_a_data_set_is_reached_by_a_dot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert len(load("digits")[1]) == 360
    with raises(DataError, "digits", "files 0"):
        load("./digits")


def test_a_name_that_is_also_a_folder_of_classes_here_is_warned_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    with warnings.catch_warnings(action="error"):
        load("digits")  # without sub-folders it holds no classes
    (tmp_path / "digits" / "seven").mkdir()
    with pytest.warns(UserWarning, match=r"^digits is the data set of that name; write \./digits for the folder here$"):
        train, _ = load("digits")
    assert len(train) == 1437


def test_a_path_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "set.npz", x=np.zeros((5, 3)), y=np.array([0, 1, 0, 1, 1]))
    assert len(load("~/set.npz")[0]) == 4


def test_all_documented_names_exist():
    assert DATASETS[:4] == ("digits", "mnist", "fashion-mnist", "cifar10")
    assert DATASETS[4:] == ("moons", "circles", "spirals", "xor", "blobs")
    assert all(hasattr(xpnet.data, name) for name in xpnet.data.__all__)


def test_importing_the_package_loads_no_heavy_module():
    code = "import sys, xpnet.data; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "numpy" in loaded
    assert not loaded & {"PIL", "pooch", "rich", "requests", "torch", "jax", "cupy", "tarfile", "matplotlib", "typer"}


@pytest.mark.parametrize("path", ["~nobody-here/x", "~nobody-here/x.npz", "/" + "x" * 5000, "/dev/zero"])
def test_an_impossible_path_is_a_data_error(path):
    with pytest.raises(DataError, match=r"no such|cannot read|\.npz file"):
        load(path)
    with pytest.raises(DataError, match="data_dir: no such folder"):
        load("mnist", path)


@pytest.mark.parametrize("path", ["a\0/b", "a\0.npz"])
def test_a_path_with_a_null_character_is_refused(path):
    with pytest.raises(XpnetError, match=r"path|cannot read|no such"):
        load(path)
    with pytest.raises(XpnetError, match="data_dir that is a path"):
        load("mnist", path)


@pytest.mark.parametrize("name", ["digits", "moons", "table.npz"])
def test_a_target_for_data_that_has_no_columns_is_an_error(name):
    with raises(ConfigError, "target", "a table"):
        load(name, options=xpnet.data.LoadOptions(target="price"))
