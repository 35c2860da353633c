"""Standard streams that are full, closed, or of another encoding: nothing ends with a traceback, and no run is lost."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import xpnet as package
from xpnet import cli
from xpnet.train import read_checkpoint

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")

TRAIN = ("train", "softmax", "--epochs", "2", "--out", "run")


def closed_pipe() -> Any:
    """The writing end of a pipe that nobody reads any more, as after | head -1."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def closed() -> Any:
    stream = open(os.devnull, "w")  # noqa: SIM115
    stream.close()
    return stream


BROKEN = {"full": lambda: open("/dev/full", "w"), "pipe": closed_pipe, "closed": closed, "none": lambda: None}  # noqa: SIM115


@pytest.fixture
def run_with(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run a command with other streams: run_with(words, stdout=...) -> exit code, and what the others got."""
    opened: list[Any] = []

    def run(words: Any, **streams: Any) -> tuple[int, str, str]:
        streams = {"stdout": io.StringIO(), "stderr": io.StringIO()} | streams
        for name, stream in streams.items():
            monkeypatch.setattr(sys, name, stream)
            opened.append(stream)
        monkeypatch.setattr(sys, "argv", ["xpnet", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        monkeypatch.undo()
        out, err = (s.getvalue() if isinstance(s, io.StringIO) else "" for s in streams.values())
        return int(end.value.code or 0), out, err

    yield run
    for stream in filter(None, opened):
        with contextlib.suppress(OSError):
            stream.close()


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_run_is_trained_and_saved_whatever_becomes_of_a_stream(run_with, here, name, broken):
    here = here.absolute()
    code, out, err = run_with([*TRAIN, "--out", here / "run"], **{name: BROKEN[broken]()})
    assert code == 0
    assert "Traceback" not in out + err
    assert read_checkpoint(here / "run" / "checkpoint.safetensors").meta["progress"]["epoch"] == 2
    assert (here / "run" / "result.json").exists()
    if (name, broken) == ("stdout", "full"):
        assert err.splitlines()[-1] == "xpnet: standard output: cannot be written: No space left on device"


@pytest.mark.parametrize("broken", BROKEN)
def test_a_command_that_only_prints_fails_in_one_line_where_its_output_is_lost_unless_nobody_reads_it(run_with, broken):
    code, _, err = run_with(["summary", "softmax"], stdout=BROKEN[broken]())
    if broken == "pipe" or broken == "none":
        assert (code, err) == (0, "")
    else:
        assert code == 2
        assert err.startswith("xpnet: standard output: cannot be written: ")
        assert err.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_characters_that_a_stream_lacks_are_escaped(run_with, here, write_images, encoding):
    write_images(("chat", "猫"))
    here = here.absolute()
    raw = io.BytesIO()
    streams = {name: io.TextIOWrapper(raw, encoding) for name in ("stdout", "stderr")}
    words = ["train", "softmax", "--data", here.parent / "photos", "--epochs", 1, "--out", here / "run"]
    code, _, _ = run_with(words, **streams)
    assert code == 0
    streams["stdout"].flush()
    assert rb"\u732b 8" in raw.getvalue()  # images of it
    assert b"cannot be written" not in raw.getvalue()


CLOSED = """
import os, sys
for number in (0, 1, 2):
    os.close(number)
sys.stdin = sys.stdout = sys.stderr = None
sys.argv = ["xpnet", "--version"]
from xpnet.cli import main
try:
    main()
finally:
    os._exit(sum(os.fstat(n).st_rdev != os.stat(os.devnull).st_rdev for n in (0, 1, 2)))
"""


def test_no_file_gets_the_number_of_a_stream_that_is_closed():
    env = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", CLOSED], env=env, timeout=120).returncode == 0
