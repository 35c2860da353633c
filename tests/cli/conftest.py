"""The command line in this process, in an empty folder, without network and without data sets of the machine."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from xpnet import cli


class Result(NamedTuple):
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder in which commands run."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no network in tests")

    monkeypatch.setattr("requests.get", refuse)
    for name in ("XPNET_DATA_DIR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def xpnet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run a command: xpnet("train", "mlp", epochs=2, json=True)."""

    def run(*arguments: object, **options: object) -> Result:
        words = [str(a) for a in arguments]
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        monkeypatch.setattr(sys, "argv", ["xpnet", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            cli.main()
        return Result(int(exit.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def refused(xpnet: Callable[..., Result], here: Path) -> Callable[..., str]:
    """Run a command that must be refused; check its line for values, and that no file was made or changed."""

    def files() -> dict[Path, int]:
        return {p: p.lstat().st_mtime_ns for p in here.rglob("*")}

    def run(words: str | list[Any], *values: object) -> str:
        before = files()
        result = xpnet(*(words.split() if isinstance(words, str) else words))
        assert result.code == 2, result
        assert result.out == ""
        *warnings, line = result.err.splitlines()
        assert all(text.startswith("xpnet: warning: ") for text in warnings), result.err
        assert line.startswith("xpnet: "), result.err
        for value in values:
            assert str(value) in result.err, f"{value} is not in: {result.err}"
        assert files() == before
        return result.err

    return run


@pytest.fixture
def write_idx(tmp_path: Path) -> Callable[..., Path]:
    """Write four IDX files as MNIST has them, of random images; return their folder."""

    def write(images: int = 40, labels: int | None = None, size: int = 6, change: Callable[..., bytes] | None = None):
        folder, draw = tmp_path / "idx", np.random.default_rng(0)
        folder.mkdir(exist_ok=True)
        for part, n in (("train", images), ("t10k", 10)):
            m = n if labels is None or part == "t10k" else labels
            for kind, shape, top in (("images-idx3", (n, size, size), 256), ("labels-idx1", (m,), 10)):
                raw = bytes([0, 0, 8, len(shape)]) + b"".join(s.to_bytes(4, "big") for s in shape)
                raw += draw.integers(0, top, shape, dtype=np.uint8).tobytes()
                name = f"{part}-{kind}-ubyte"
                (folder / name).write_bytes(change(name, raw) if change else raw)
        return folder

    return write


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder of images by class, dark ones and bright ones; return it."""

    def write(classes: tuple[str, ...] = ("dark", "bright"), each: int = 8, size: int = 6) -> Path:
        import PIL.Image

        draw = np.random.default_rng(0)
        for k, name in enumerate(classes):
            folder = tmp_path / "photos" / name
            folder.mkdir(parents=True)
            for i in range(each):
                pixels = draw.integers(0, 60, (size, size), dtype=np.uint8) + np.uint8(180 * (k % 2))
                PIL.Image.fromarray(pixels).save(folder / f"{i}.png")
        (tmp_path / "photos").mkdir(exist_ok=True)
        return tmp_path / "photos"

    return write


@pytest.fixture(scope="session")
def kept() -> dict[str, tuple[Result, Path]]:
    """Runs that were trained, by their options: what the command left, and a copy of the folder."""
    return {}


@pytest.fixture
def trained(xpnet: Any, here: Path, kept: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """Train softmax regression on the digits into the folder "run"; the second time, copy the first run."""

    def train(**options: object) -> Result:
        if str(options) in kept:
            shutil.copytree(kept[str(options)][1], here / "run")
        else:
            result = xpnet("train", "softmax", **options, out="run")
            assert result.code == 0
            kept[str(options)] = result, shutil.copytree(here / "run", tmp_path_factory.mktemp("kept") / "run")
        return kept[str(options)][0]

    return train


@pytest.fixture
def run(trained: Callable[..., Result]) -> Result:
    """A run of softmax regression on the digits, two epochs, in the folder "run"."""
    return trained(epochs=2, json=True)


@pytest.fixture(autouse=True)
def _sketched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write pictures and reports without drawing them: tests/viz draws; so do tests that take the fixture `drawn`."""
    if "drawn" not in request.fixturenames and importlib.util.find_spec("matplotlib"):
        curves = importlib.import_module("xpnet.viz.curves")  # xpnet.viz has a function of that name
        monkeypatch.setattr("xpnet.viz.report", lambda *_, **__: "a report")
        monkeypatch.setattr(curves, "save_curves", lambda history, path: path.write_bytes(b"a picture"))


@pytest.fixture
def drawn() -> None:
    """Pictures and reports of runs are drawn."""
