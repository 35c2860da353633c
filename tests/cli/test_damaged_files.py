"""Damaged and hostile files, through the commands that read them: the right values, or one line and exit code 2.

XPNET_FUZZ=50 tries over 100 times as many files; ci/test-long does.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import resource
import shutil
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import mutations
import numpy as np
import pytest
from hypothesis import strategies as st

from xpnet import cli
from xpnet.train import read_checkpoint, write_checkpoint

MOST_BYTES, MOST_SECONDS = 300_000_000, 60
FORMATS = ("png", "jpg", "bmp", "gif", "tif", "pgm", "webp")
EXAMPLES = 75 * int(os.environ["XPNET_FUZZ"]) if "XPNET_FUZZ" in os.environ else 30


def trials(factor: float = 1) -> Callable[[Any], Any]:
    phases = (hypothesis.Phase.generate, hypothesis.Phase.shrink)  # to explain a failure takes minutes
    return hypothesis.settings(max_examples=int(EXAMPLES * factor), phases=phases)


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Within a with-block the process may take 300 MB of further memory; what hangs is ended."""

    def end(*_: object) -> None:
        raise AssertionError(f"more than {MOST_SECONDS} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES, before[1]))
    handler = signal.signal(signal.SIGALRM, end)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def controls(character: str) -> bool:
    """Whether a character controls a terminal: it breaks a line, reverses the direction, or is no character."""
    turns = unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return turns or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def command(*words: object) -> Any:
    """Run a command within the limits; return its JSON, or None where it refused in one line."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["xpnet", *map(str, words)]
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            limits(),
            pytest.raises(SystemExit) as end,
        ):
            cli.main()
    finally:
        sys.argv = before
    lines = [line for line in err.getvalue().splitlines() if not line.startswith("xpnet: warning: ")]
    assert end.value.code in (0, 2), (end.value.code, lines)
    if end.value.code == 2:
        assert lines, "exit code 2 without a line"
        assert lines[-1].startswith("xpnet: "), lines
        assert sum(line.startswith("xpnet: ") for line in lines) == 1, lines
        assert not any(map(controls, lines[-1])), lines
        assert len(lines[-1]) < 1000, lines
        assert "memory" not in lines[-1], lines
        return None
    return json.loads(out.getvalue().splitlines()[-1], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def used(*words: object) -> Any:
    """Run a command that must not refuse: where it does, what is damaged is not what is refused."""
    result = command(*words)
    assert result is not None
    return result


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small valid files of each kind, and runs on them: npz-run, mnist-run and cifar10-run."""
    import PIL.Image

    folder = tmp_path_factory.mktemp("base")
    draw = np.random.default_rng(0)
    y = np.arange(20) % 2
    x = draw.integers(0, 60, (20, 6, 6, 1), dtype=np.uint8) + np.uint8(180) * y[:, None, None, None].astype(np.uint8)
    arrays = {"x_train": x, "y_train": y, "x_test": x[:10], "y_test": y[:10], "classes": ["dark", "bright"]}
    np.savez(folder / "small.npz", **arrays)
    np.savez_compressed(folder / "packed.npz", **arrays)
    for suffix in FORMATS:
        PIL.Image.fromarray(x[1, ..., 0]).save(folder / f"image.{suffix}")
    (folder / "idx").mkdir()
    (folder / "packed-idx").mkdir()
    for part, n in (("train", 20), ("t10k", 10)):
        for kind, shape, top in (("images-idx3", (n, 6, 6), 256), ("labels-idx1", (n,), 10)):
            raw = bytes([0, 0, 8, len(shape)]) + b"".join(s.to_bytes(4, "big") for s in shape)
            raw += draw.integers(0, top, shape, dtype=np.uint8).tobytes()
            (folder / "idx" / f"{part}-{kind}-ubyte").write_bytes(raw)
            (folder / "packed-idx" / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(raw, mtime=0))
    _write_cifar10(folder / "cifar10", draw)
    once, kept = ("--epochs", 1, "--batch-size", 8), ("--val", 0.2, "--best")
    options = ("--ema", 0.9, "--class-weights", "dark=2", *once, *kept)
    used("train", "softmax", "--data", folder / "small.npz", "--out", folder / "npz-run", "--json", *options)
    rows = [f"{i % 7},{'ab'[i % 2]},{'' if i == 3 else i / 2},{3 * i + 1}" for i in range(20)]
    (folder / "table.csv").write_text("\n".join(["size,kind,age,price", *rows]))
    table = (
        "--data",
        folder / "table.csv",
        "--target",
        "price",
        "--task",
        "regression",
        "--out",
        folder / "table-run",
        "--json",
        "--schedule",
        "constant",  # one that may be resumed for longer
        *once,
        *kept,
    )
    used("train", "mlp", *table)
    for name, files in (("mnist", "idx"), ("cifar10", "cifar10")):
        options = ("--data-dir", folder / files, "--out", folder / f"{name}-run", "--json", *once)
        used("train", "softmax", "--data", name, *options)
    return folder


def _write_cifar10(folder: Path, draw: np.random.Generator) -> None:
    import tarfile

    folder.mkdir()
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
            records = draw.integers(0, 256, (2, 3073), dtype=np.uint8)
            records[:, 0] %= 10
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = records.size
            archive.addfile(member, io.BytesIO(records.tobytes()))


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no curves and no report: a second each."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def each_mutation(source: Path, use: Callable[[bytes], None], factor: float = 1) -> None:
    """Call a function with many mutations of a file."""

    @trials(factor)
    @hypothesis.given(mutations.mutated_bytes(source.read_bytes()))
    def check(content):
        use(content)

    check()


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_damaged_image_is_predicted_or_refused(base, here, suffix):
    def predict(content):
        (here / f"image.{suffix}").write_bytes(content)
        command("predict", base / "npz-run", here / f"image.{suffix}", "--json")

    used("predict", base / "npz-run", base / f"image.{suffix}", "--json")
    each_mutation(base / f"image.{suffix}", predict, 0.4)


@pytest.mark.parametrize("name", ["small.npz", "packed.npz"])
def test_a_damaged_npz_archive_gives_the_same_values_or_is_refused(base, here, name):
    right = used("evaluate", base / "npz-run", "--data", base / name, "--json")

    def evaluate(content):
        (here / name).write_bytes(content)
        got = command("evaluate", base / "npz-run", "--data", here / name, "--json")
        assert got is None or got["confusion"] == right["confusion"]

    each_mutation(base / name, evaluate)


@pytest.mark.parametrize(
    ("name", "files", "is_checked"),
    [("mnist", "idx", False), ("mnist", "packed-idx", True), ("cifar10", "cifar10", True)],
)
def test_damaged_data_sets_give_the_same_values_or_are_refused(base, here, name, files, is_checked):
    run, folder = base / f"{name}-run", here / "files"
    right = used("evaluate", run, "--data", name, "--data-dir", base / files, "--json")

    @trials()
    @hypothesis.given(st.data())
    def check(data):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base / files, folder)
        path = data.draw(st.sampled_from(sorted(folder.iterdir())))
        path.write_bytes(data.draw(mutations.mutated_bytes(path.read_bytes())))
        got = command("evaluate", run, "--data", name, "--data-dir", folder, "--json")
        assert got is None or not is_checked or got["confusion"] == right["confusion"]

    check()


@pytest.fixture
def run(base, here) -> Callable[..., Path]:
    """Make a fresh copy of a run."""

    def copy(name: str = "npz-run") -> Path:
        shutil.rmtree(here / "run", ignore_errors=True)
        return Path(shutil.copytree(base / name, here / "run"))

    return copy


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "best.safetensors"])
def test_a_damaged_checkpoint_is_refused(base, run, name):
    data_set = ("--data", base / "small.npz", "--json")
    right = used("evaluate", run(), *data_set)

    def evaluate(content):
        folder = run()
        (folder / name).write_bytes(content)
        got = command("evaluate", folder, *data_set)
        assert got is None or got == right

    each_mutation(base / "npz-run" / name, evaluate)


@pytest.mark.parametrize(("name", "files"), [("npz-run", ("image.png", "small.npz")), ("table-run", ["table.csv"] * 2)])
def test_a_checkpoint_with_other_metadata_is_used_or_refused(base, run, name, files):
    whole = read_checkpoint(run(name) / "checkpoint.safetensors")

    used("train", "--resume", run(name), "--epochs", 2, "--json")
    lost = st.sampled_from([None] * len(whole.optimizer) + [*whole.optimizer])

    @trials(1.5)
    @hypothesis.given(mutations.mutated_json(whole.meta), st.sampled_from(("evaluate", "predict", "train")), lost)
    def check(meta, verb, lost):
        folder = run(name)
        arrays = {name: array for name, array in whole.optimizer.items() if name != lost}
        write_checkpoint(folder / "checkpoint.safetensors", replace(whole, optimizer=arrays, meta=meta))
        if verb == "train":
            command("train", "--resume", folder, "--epochs", 2, "--json")
        else:
            words = [base / files[0]] if verb == "predict" else ["--data", base / files[1]]
            command(verb, folder, *words, "--json")

    check()


def test_a_configuration_with_other_values_is_used_or_refused(run):
    whole = json.loads((run() / "config.json").read_text())
    used("train", "--resume", run(), "--epochs", 2, "--json")

    @trials(2)
    @hypothesis.given(mutations.mutated_json(whole))
    def check(config):
        folder = run()
        (folder / "config.json").write_text(mutations.as_text(config))
        command("train", "--resume", folder, "--epochs", 2, "--json")

    check()


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "result.json"])
def test_a_run_with_a_damaged_text_is_listed_and_resumed_or_refused(base, run, name):
    def use(content):
        folder = run()
        (folder / name).write_bytes(content)
        assert len(command("runs", folder, "--json") or [None]) == 1
        command("train", "--resume", folder, "--epochs", 2, "--json")

    used("train", "--resume", run(), "--epochs", 2, "--json")
    each_mutation(base / "npz-run" / name, use)
