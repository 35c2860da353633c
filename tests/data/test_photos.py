from __future__ import annotations

import copy
import math
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.data.test_image import picture
from tests.harness import raises
from xpnet import nn
from xpnet.backend import get_backend
from xpnet.data import Dataset, Feed, Lazy, LoadOptions, load, splits
from xpnet.data.lazy import is_resident
from xpnet.data.photos import Photos
from xpnet.errors import DataError
from xpnet.train import Trainer

SHAPE = (4, 6, 1)
SIZE = 24  # bytes of an image


@pytest.fixture
def pets(tmp_path) -> Path:
    for i in range(10):
        picture(tmp_path / "pets" / ("cat" if i < 5 else "dog") / f"{i}.png", 20 * i)
    return tmp_path / "pets"


@pytest.fixture
def lazily(monkeypatch):
    """No set is small enough to be decoded at once."""
    monkeypatch.setattr("xpnet.data.folder._RESIDENT", 0)


def files(pets: Path) -> list[str]:
    return [str(path) for path in sorted(pets.rglob("*.png"))]


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that are decoded, in order."""
    from xpnet.data import photos

    names: list[str] = []
    real = photos.decode

    def decode(path, *more):
        names.append(path.name)
        return real(path, *more)

    monkeypatch.setattr(photos, "decode", decode)
    return names


def test_a_set_that_is_not_decoded_at_once_has_the_same_images(pets, lazily, monkeypatch):
    parts = load(pets)
    assert all(isinstance(part.x, Lazy) for part in parts)
    found = [(part.x[:], part.y, part.classes, part.name) for part in parts]
    monkeypatch.undo()
    for (x, y, classes, name), part in zip(found, load(pets), strict=True):
        assert is_resident(part.x)
        assert np.array_equal(x, part.x)
        assert np.array_equal(y, part.y)
        assert (classes, name) == (part.classes, part.name)


def test_nothing_is_decoded_before_it_is_asked_for(pets, lazily, decoded):
    train, _ = load(pets)
    assert not decoded
    train.x[2:4]
    assert len(decoded) == 2


def test_images_are_kept_in_the_order_of_first_use_up_to_the_limit(pets, decoded):
    photos = Photos(files(pets), SHAPE, LoadOptions(cache_images=3 * SIZE, workers=1))
    x = photos.lazy()
    for _ in range(2):
        assert x[[7, 2, 7, 5, 0]][:, 0, 0, 0].tolist() == [140, 40, 140, 100, 0]
    assert decoded.count("7.png") <= 2
    decoded.clear()
    assert x[:][:, 0, 0, 0].tolist() == [20 * i for i in range(10)]
    assert sorted(decoded) == [f"{i}.png" for i in (0, 1, 3, 4, 6, 8, 9)]


def test_without_room_all_are_decoded_each_time(pets, decoded):
    x = Photos(files(pets), SHAPE, LoadOptions(cache_images=0)).lazy()
    x[:3], x[:3]
    assert len(decoded) == 6


def test_several_threads_may_read_at_once(pets):
    x = Photos(files(pets), SHAPE, LoadOptions(cache_images=5 * SIZE, workers=3)).lazy()
    wrong = []

    def read() -> None:
        for _ in range(5):
            if x[:][:, 0, 0, 0].tolist() != [20 * i for i in range(10)]:
                wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_batches_are_the_same_whatever_is_kept_and_wherever_an_epoch_begins(pets):
    def fed(start, **options):
        x = Photos(files(pets), SHAPE, LoadOptions(**options)).lazy()
        data = Dataset(x, np.arange(10) % 2, ("a", "b"), "set")
        return [x.copy() for x, _ in Feed(data, 3, get_backend("cpu"), shuffle=True).epoch(1, start)]

    whole = fed(0, cache_images=0)
    for one, other in zip(whole[2:], fed(2, cache_images="1MB", workers=2), strict=True):
        assert np.array_equal(one, other)


def test_an_image_damaged_after_the_start_is_named_when_it_is_reached(pets, lazily):
    train, test = load(pets)
    (pets / "cat" / "3.png").write_bytes(b"gone")
    with pytest.raises(DataError, match=r"3\.png.*skip_damaged"):
        train.x[:], test.x[:]


def test_damaged_images_are_looked_for_first_where_they_are_to_be_left_out(pets, lazily):
    (pets / "cat" / "3.png").write_bytes(b"gone")
    parts = splits(pets, validation=0, options=LoadOptions(skip_damaged=True))
    assert parts.test is not None
    assert parts.note[2] == "left out: 1 (1 damaged, such as cat/3.png)"
    values = np.concatenate([parts.train.x[:], parts.test.x[:]])[:, 0, 0, 0]
    assert sorted(values.tolist()) == [20 * i for i in range(10) if i != 3]


def test_if_all_are_damaged_that_is_an_error(pets):
    for path in files(pets):
        Path(path).write_bytes(b"x")
    with pytest.raises(DataError, match="cannot read the image"):
        load(pets, options=LoadOptions(skip_damaged=True))


def test_a_colour_image_among_gray_ones_is_said_once(pets, caplog):
    for i in (1, 2):
        picture(pets / "cat" / f"{i}.png", (9, 9, 200), mode="RGB")
    Photos(files(pets), SHAPE, LoadOptions()).lazy()[:]
    assert sum("is in colour" in record.message for record in caplog.records) == 1


def test_a_cache_on_disk_is_made_once_and_anew_when_a_file_changes(pets, tmp_path, decoded):
    options = LoadOptions(cache_folder=tmp_path / "cache")
    train, test = load(pets, options=options)
    assert len(decoded) == 10
    first = np.concatenate([train.x[:], test.x[:]])
    train, test = load(pets, options=options)
    assert len(decoded) == 10
    assert np.array_equal(first, np.concatenate([train.x[:], test.x[:]]))
    picture(pets / "cat" / "0.png", 255)
    os.utime(pets / "cat" / "0.png", (1, 1))
    train, test = load(pets, options=options)
    assert len(decoded) == 20
    assert 255 in np.concatenate([train.x[:], test.x[:]])
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_cache_that_cannot_be_written_is_an_error(pets, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cache of images cannot be written"):
        load(pets, options=LoadOptions(cache_folder=tmp_path / "file" / "cache"))


def test_a_damaged_image_leaves_no_part_of_a_cache(pets, tmp_path):
    (pets / "cat" / "3.png").write_bytes(b"x")
    with raises(DataError, str(pets / "cat" / "3.png"), "cannot read"):
        load(pets, options=LoadOptions(cache_folder=tmp_path / "cache", image_size=4))
    assert not (tmp_path / "cache").exists() or not os.listdir(tmp_path / "cache")


@pytest.mark.parametrize("resident", [True, False])
def test_each_example_has_its_file(pets, request, resident):
    if not resident:
        request.getfixturevalue("lazily")
    parts = splits(pets, validation=0.3)
    assert parts.validation is not None
    assert parts.test is not None
    for part in (parts.train, parts.validation, parts.test, parts.train.joined(parts.test), parts.train.take([2, 0])):
        assert part.files is not None
        numbers = [int(Path(file).stem) for file in part.files]
        assert (part.x[:][:, 0, 0, 0] // 20).tolist() == numbers


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
@pytest.mark.parametrize("cached", [True, False])
def test_a_set_of_photos_is_copied_and_pickled(pets, tmp_path, lazily, copied, cached):
    train, _ = load(pets, options=LoadOptions(cache_folder=tmp_path / "cache" if cached else None))
    again = copied(train)
    assert np.array_equal(again.x[:], train.x[:])
    assert again.files.tolist() == train.files.tolist()


def test_evaluation_reads_in_a_thread_ahead(pets, lazily):
    train, _ = load(pets, options=LoadOptions(image_size=4))
    model = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(train.shape), 2))
    trainer = Trainer(model)
    trainer.fit(train, epochs=1, progress=False)
    threads: set[str] = set()

    def read(rows, out):
        if len(rows) == 3:  # not the sample that is measured
            threads.add(threading.current_thread().name)
        out[...] = train.x[:][rows]

    lazy = Lazy(train.x.shape, read)
    assert np.array_equal(trainer.predict(lazy, batch_size=3), trainer.predict(train.x[:], batch_size=3))
    assert threads == {"xpnet-feed"}


DAMAGE = {
    "changed": lambda path: path.write_bytes(path.read_bytes()[:10] + b"\7" + path.read_bytes()[11:]),
    "empty": lambda path: path.write_bytes(b""),
    "of zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "a link": lambda path: (path.rename(path.with_name("other")), path.symlink_to("other")),
    "a FIFO": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_cache_on_disk_that_does_not_fit_is_not_believed(pets, tmp_path, kind):
    options = LoadOptions(cache_folder=tmp_path / "cache")
    first = load(pets, options=options)[0].x[:]
    DAMAGE[kind](next((tmp_path / "cache").iterdir()))
    assert np.array_equal(load(pets, options=options)[0].x[:], first)


def test_a_cache_on_disk_that_is_cut_while_it_is_read_is_not_believed(pets, tmp_path, caplog):
    train, _ = load(pets, options=LoadOptions(cache_folder=tmp_path / "cache"))
    first = train.x[:]
    path = next((tmp_path / "cache").iterdir())
    os.truncate(path, 5)
    assert np.array_equal(train.x[:], first)
    assert np.array_equal(train.x[[2, 1]], first[[2, 1]])
    assert sum("is damaged" in record.message for record in caplog.records) == 1


def test_caches_that_killed_processes_left_unfinished_are_removed(pets, tmp_path):
    folder = tmp_path / "cache"
    options = LoadOptions(cache_folder=folder)
    load(pets, options=options)
    path = next(folder.iterdir())
    old, new = (folder / f".{path.name}.{digit * 16}.part" for digit in "ab")
    for part in (old, new):
        part.write_bytes(b"x")
    os.utime(old, (1, 1))
    path.unlink()
    load(pets, options=options)
    assert sorted(folder.iterdir()) == sorted([path, new])
