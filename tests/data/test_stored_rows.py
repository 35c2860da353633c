"""Arrays larger than a limit stay in their files, and give the same examples as in memory."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.harness import raises
from xpnet import nn
from xpnet.data import LoadOptions, idx, load, several
from xpnet.data.lazy import Lazy
from xpnet.data.stored_rows import StoredRows
from xpnet.errors import DataError
from xpnet.train import Trainer

RNG = np.random.default_rng(3)
Y = np.arange(90) % 3
BYTES = RNG.integers(0, 256, (90, 5, 4, 3), dtype=np.uint8)
SMALL = LoadOptions(cache_images=0)
ARRAYS = {
    "colour": BYTES,
    "gray": BYTES[..., 0].copy(),
    "floats": (BYTES / 255).astype(np.float32),
    "big-endian": (BYTES / 255).astype(">f8"),
    "gray floats": BYTES[..., 1] / 255,
    "sequences": RNG.normal(size=(90, 6, 4)).astype(np.float32),
    "rows": RNG.normal(size=(90, 7)),
    "rows of bytes": BYTES.reshape(90, -1),
    "integers": RNG.integers(0, 17, (90, 8, 8)),
}


@pytest.mark.parametrize("x", ARRAYS.values(), ids=ARRAYS.keys())
def test_examples_that_stay_in_an_archive_are_those_that_are_read(tmp_path, x):
    path = tmp_path / "set.npz"
    np.savez(path, x=x, y=Y)
    for stored, read in zip(load(str(path), options=SMALL), load(str(path)), strict=True):
        assert isinstance(stored.x, Lazy)
        assert isinstance(read.x, np.ndarray)
        assert (stored.x.dtype, stored.x.shape, stored.white) == (read.x.dtype, read.x.shape, read.white)
        assert np.array_equal(stored.x[:], read.x)
        assert np.array_equal(stored.x[[5, 3, 4, 9]], read.x[[5, 3, 4, 9]])
        assert np.array_equal(stored.y, read.y)
        for found in (pickle.loads(pickle.dumps(stored.x)), copy.deepcopy(stored.x)):
            assert np.array_equal(found[:], read.x)


def test_parts_and_several_inputs_stay_there_too(tmp_path):
    path = tmp_path / "set.npz"
    parts = {"y_train": Y[:60], "y_test": Y[60:], "x_train": BYTES[:60], "x_test": BYTES[60:]}
    np.savez(path, **parts)
    train, test = load(str(path), options=SMALL)
    assert isinstance(train.x, Lazy)
    assert np.array_equal(train.x[:], BYTES[:60])
    assert np.array_equal(test.x[:], BYTES[60:])
    np.savez(path, x_a=BYTES, x_b=RNG.normal(size=(90, 4)), y=Y)
    stored, read = (load(str(path), options=options)[0] for options in (SMALL, None))
    assert all(isinstance(x, Lazy) for x in several.each(stored.x))
    for a, b in zip(several.each(stored.x), several.each(read.x), strict=True):
        assert np.array_equal(a[:], b)


@pytest.mark.parametrize("kind", ["compressed", "in Fortran order", "small", "of one axis"])
def test_what_is_not_plain_is_read_into_memory(tmp_path, kind):
    path, options = tmp_path / "set.npz", SMALL
    if kind == "compressed":
        np.savez_compressed(path, x=BYTES, y=Y)
    elif kind == "in Fortran order":
        np.savez(path, x=np.asfortranarray(BYTES), y=Y)
    elif kind == "small":
        np.savez(path, x=BYTES, y=Y)
        options = LoadOptions(cache_images=1 << 20)
    else:
        np.savez(path, x_a=np.arange(90.0), x_b=np.asfortranarray(RNG.normal(size=(90, 4))), y=Y)
    found = several.each(load(str(path), options=options)[0].x)
    assert all(isinstance(x, np.ndarray) for x in found)


def test_training_on_a_file_has_the_bits_of_training_in_memory(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=BYTES.astype(np.float32) / 255, y=Y)
    found = []
    for options in (SMALL, None):
        model = nn.Sequential(nn.Flatten(), nn.Linear(60, 3)).initialize(1)
        trainer = Trainer(model)
        train, test = load(str(path), options=options)
        trainer.fit(train, test, epochs=2, batch_size=16)
        found.append((model.parameters()[0].numpy().tobytes(), trainer.evaluate(test)["loss"]))
    assert found[0] == found[1]


def write_idx(folder: Path) -> dict[str, np.ndarray]:
    arrays = {"train": BYTES[:60, ..., 0], "t10k": BYTES[60:, ..., 0]}
    for name, x in arrays.items():
        head = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in x.shape)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + x.tobytes())
        labels = Y[: len(x)].astype(np.uint8)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(
            bytes([0, 0, 8, 1]) + len(x).to_bytes(4, "big") + labels.tobytes()
        )
    return arrays


def test_large_idx_files_stay_where_they_are(tmp_path, monkeypatch):
    arrays = write_idx(tmp_path)
    monkeypatch.setattr(idx, "LARGE", 100)
    train, test = load("mnist", str(tmp_path))
    assert isinstance(train.x, Lazy)
    assert train.shape == (5, 4, 1)
    assert np.array_equal(train.x[:][..., 0], arrays["train"])
    assert np.array_equal(test.x[[3, 1]][..., 0], arrays["t10k"][[3, 1]])
    with open(tmp_path / "train-images-idx3-ubyte", "ab") as file:
        file.write(b"x")
    with raises(DataError, f"{tmp_path}/train-images-idx3-ubyte", "a file of 1216 bytes", "bytes 1217"):
        load("mnist", str(tmp_path))


CHANGES = {
    "truncated": lambda path: os.truncate(path, 1000),
    "longer": lambda path: path.open("ab").write(b"x"),
    "written to": lambda path: os.utime(path, ns=(1, 1)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_file_that_is_changed_meanwhile_is_one_line(tmp_path, change):
    path = tmp_path / "set.npz"
    np.savez(path, x=BYTES, y=Y)
    train, _ = load(str(path), options=SMALL)
    change(path)
    with raises(DataError, str(path), "the file was changed while its examples were read"):
        Trainer(nn.Sequential(nn.Flatten(), nn.Linear(60, 3)).initialize(1)).fit(train, epochs=1)


def test_a_file_that_takes_the_name_of_an_open_one_is_not_read(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=BYTES, y=Y)
    train, _ = load(str(path), options=LoadOptions(cache_images=0))
    np.savez(tmp_path / "other.npz", x=BYTES[:1], y=Y[:1])
    before = train.x[:]
    os.replace(tmp_path / "other.npz", path)
    assert np.array_equal(train.x[:], before)


def test_a_file_that_is_shorter_than_its_array_is_an_error(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(bytes(100))
    assert StoredRows(path, 4, (12, 8), np.uint8).lazy()[11].tolist() == [0] * 8
    with raises(DataError, str(path), "a file of 101 bytes", "bytes 100"):
        StoredRows(path, 5, (12, 8), np.uint8)


TRAINING = """
    import resource, sys
    import numpy as np
    from xpnet import data, nn
    from xpnet.train import Trainer

    def memory():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

    train, test = data.load(sys.argv[1], options=data.LoadOptions(cache_images="100MB"))
    model = nn.Sequential(nn.AvgPool2d(64), nn.Flatten(), nn.Linear(12, 2)).initialize(0)
    trainer = Trainer(model)
    few = train.take(np.arange(64)), test.take(np.arange(64))
    trainer.fit(*few, epochs=1, batch_size=32)
    before = memory()
    trainer.fit(train, test, epochs=2, batch_size=32)
    trainer.predict(test.x)
    print(len(train) + len(test), memory() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the units of a process's memory are Linux's")
def test_training_on_300_mb_takes_a_tenth_of_it(tmp_path):
    path = tmp_path / "large.npz"
    write_sparse(path, (6400, 128, 128, 3))
    command = [sys.executable, "-c", textwrap.dedent(TRAINING), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    count, taken = map(int, done.stdout.split())
    assert count == 6400
    assert taken < 40


def write_sparse(path: Path, shape: tuple[int, ...]) -> None:
    """Write an archive of zeros, which take no place on the disk, with y beside."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
    y = io.BytesIO()
    np.save(y, np.arange(shape[0]) % 2)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("y.npy", y.getvalue())
        archive.writestr("x.npy", head.getvalue())
    size = int(np.prod(shape))
    raw = bytearray(path.read_bytes())
    place = raw.index(b"PK\x01\x02")  # the directory, after the last array
    directory = raw[place:]
    whole = len(head.getvalue()) + size
    at = directory.index(b"x.npy") - 46
    for offset in (20, 24):
        directory[at + offset : at + offset + 4] = whole.to_bytes(4, "little")
    end = directory.index(b"PK\x05\x06")
    directory[end + 16 : end + 20] = (place + size).to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(raw[:place])
        file.seek(place + size)
        file.write(directory)
