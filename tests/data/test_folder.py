from __future__ import annotations

import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.test_image import picture
from tests.harness import raises
from xpnet.backend import use_cores
from xpnet.data import load, load_image, splits
from xpnet.errors import DataError


@pytest.fixture
def cats_and_dogs(tmp_path: Path) -> Path:
    """Ten gray pictures, 6 wide and 4 high: cats of value 0..4, dogs of value 100..104."""
    for i in range(5):
        picture(tmp_path / "pets" / "cat" / f"{i}.png", i)
        picture(tmp_path / "pets" / "dog" / f"{i}.png", 100 + i)
    return tmp_path / "pets"


def test_sub_folders_are_classes_and_a_fifth_is_held_out(cats_and_dogs):
    train, test = load(str(cats_and_dogs))
    assert (len(train), len(test)) == (8, 2)
    assert train.shape == (4, 6, 1)
    assert train.classes == ("cat", "dog")
    assert train.name == "pets"
    for part in (train, test):
        assert np.array_equal(part.x[:, 0, 0, 0] >= 100, part.y == 1)
    values = sorted([*train.x[:, 0, 0, 0].tolist(), *test.x[:, 0, 0, 0].tolist()])
    assert values == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]


def test_the_held_out_images_are_the_same_every_time(cats_and_dogs):
    assert np.array_equal(load(str(cats_and_dogs))[1].x, load(str(cats_and_dogs))[1].x)


def test_train_and_test_folders_are_kept_apart(tmp_path):
    for i in range(3):
        picture(tmp_path / "train" / "cat" / f"{i}.png", i)
        picture(tmp_path / "train" / "dog" / f"{i}.png", 10 + i)
    picture(tmp_path / "test" / "dog" / "0.png", 50)
    train, test = load(str(tmp_path))
    assert train.x[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 12]
    assert train.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert test.x[:, 0, 0, 0].tolist() == [50]
    assert test.y.tolist() == [1]


def test_two_classes_may_be_called_train_and_test(tmp_path):
    for i in range(5):
        picture(tmp_path / "train" / f"{i}.png", i)
        picture(tmp_path / "test" / f"{i}.png", i)
    assert load(str(tmp_path))[0].classes == ("test", "train")


def test_one_image_in_colour_makes_all_rgb(cats_and_dogs):
    picture(cats_and_dogs / "cat" / "colour.png", (10, 20, 30), mode="RGB")
    train, test = load(str(cats_and_dogs))
    assert train.shape == (4, 6, 3)
    pixels = np.concatenate([train.x, test.x])[:, 0, 0].tolist()
    assert [10, 20, 30] in pixels
    assert [104, 104, 104] in pixels


def test_images_of_one_size_give_no_warning(cats_and_dogs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(str(cats_and_dogs))


def test_other_files_are_ignored(cats_and_dogs):
    (cats_and_dogs / "readme.txt").write_text("x")
    (cats_and_dogs / "cat" / "notes.txt").write_text("x")
    (cats_and_dogs / "cat" / ".hidden.png").write_text("x")
    (cats_and_dogs / ".git").mkdir()
    train, test = load(str(cats_and_dogs))
    assert len(train) + len(test) == 10


def test_progress_counts_images(cats_and_dogs):
    seen: list[tuple[int, int]] = []
    load(str(cats_and_dogs), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(5, 0), (10, 0), *((i, 10) for i in range(1, 11))]


def test_hundreds_of_images_keep_their_labels(tmp_path):
    for i in range(150):
        picture(tmp_path / str(i % 3) / f"{i}.png", i, size=(3, 2))
    for part in load(str(tmp_path)):
        assert np.array_equal(part.x[:, 0, 0, 0] % 3, part.y)


# A tree of folders and images, the folder that the error names, and what it says.
BAD_FOLDERS = {
    "none": ([], "gone", ["no such folder or file"]),
    "empty": (["set/"], "set", ["one sub-folder of images per class", "files 0"]),
    "no sub-folders": (["set/a.png", "set/b.png"], "set", ["files 2"]),
    "one class": (["set/cat/0.png"], "set", ["at least 2 classes", "classes ['cat']"]),
    "a class without images": (["set/cat/0.png", "set/emu/"], "set/emu", ["no images", ".bmp"]),
    "a new class in test": (
        ["set/train/cat/0.png", "set/train/dog/0.png", "set/test/cow/0.png"],
        "set/test/cow",
        ["test cow", "train cat, dog"],
    ),
    "no classes in test": (["set/train/cat/0.png", "set/train/dog/0.png", "set/test/"], "set/test", ["sub_folders 0"]),
}


@pytest.mark.parametrize(("tree", "place", "values"), BAD_FOLDERS.values(), ids=BAD_FOLDERS.keys())
def test_a_folder_that_cannot_be_learned_from_is_an_error(tmp_path, tree, place, values):
    for name in tree:
        if name.endswith("/"):
            (tmp_path / name).mkdir(parents=True)
        else:
            picture(tmp_path / name)
    with raises(DataError, str(tmp_path / place), *values):
        load(str(tmp_path / place.partition("/")[0]))


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_an_unreadable_image_is_an_error_that_names_it(cats_and_dogs, content):
    path = cats_and_dogs / "dog" / "broken.png"
    if content is None:  # a valid header, and truncated pixels
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8)).save(path)
        content = path.read_bytes()[:50]
    path.write_bytes(content)
    with raises(DataError, str(path), "cannot read"):
        load(str(cats_and_dogs))


@pytest.mark.parametrize(("size", "found"), [((1, 4), "height 4, width 1"), ((6, 1), "height 1, width 6")])
def test_an_image_of_one_pixel_is_an_error(cats_and_dogs, size, found):
    path = picture(cats_and_dogs / "dog" / "line.png", size=size)
    with raises(DataError, str(path), found):
        load(str(cats_and_dogs))


def test_a_photograph_is_rotated_as_its_exif_orientation_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    left_dark = Image.fromarray(np.repeat(np.uint8([[0] * 16 + [255] * 16]), 16, axis=0))
    left_dark.save(tmp_path / "photo.png", exif=exif)
    for folder in ("a", "b"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        left_dark.save(tmp_path / "set" / folder / "0.png", exif=exif)
    turned = load_image(tmp_path / "photo.png", (32, 16, 1))
    assert turned[0].max() == 0
    assert turned[-1].min() == 255
    assert load(str(tmp_path / "set"))[0].shape == (32, 16, 1)


# Threads.


def test_as_many_threads_decode_as_there_are_cores(cats_and_dogs, monkeypatch):
    found: set[int] = set()
    meeting = threading.Barrier(3)

    def decode(file: Path, shape: tuple[int, int, int], *more: object) -> np.ndarray:
        if threading.get_ident() not in found:
            found.add(threading.get_ident())
            if len(found) <= 3:
                meeting.wait(timeout=30)
        return np.zeros(shape, np.uint8)

    monkeypatch.setattr("xpnet.data.photos.decode", decode)
    with use_cores(3):
        load(str(cats_and_dogs))
    assert len(found) == 3
    assert threading.get_ident() not in found


@pytest.mark.parametrize("cores", [1, 3])
def test_no_thread_is_left_when_an_image_is_damaged(cats_and_dogs, cores):
    (cats_and_dogs / "cat" / "2.png").write_bytes((cats_and_dogs / "cat" / "1.png").read_bytes()[:-30])
    before = threading.active_count()
    with use_cores(cores), pytest.raises(DataError, match=r"2\.png: cannot read"):
        load(str(cats_and_dogs))
    assert threading.active_count() == before


def test_no_thread_is_left_when_the_progress_function_raises(cats_and_dogs):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with use_cores(3), pytest.raises(KeyboardInterrupt):
        load(str(cats_and_dogs), progress=stop)
    assert threading.active_count() == before


# What is left out, and what the parts are called.


def warned(root: Path) -> tuple[int, str]:
    """The number of images that are read, and the text of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = sum(map(len, load(str(root))))
    return count, " ".join(str(w.message).replace(str(root), "") for w in caught)


LEFT_OUT = {
    "another suffix": (["cat/a.heic", "dog/b.jfif"], "2 with another suffix, such as cat/a.heic"),
    "no suffix": (["cat/a"], "1 with another suffix"),
    "hidden": (["cat/.a.png"], "1 hidden, such as cat/.a.png"),
    "beside": (["a.png", "b.png"], "2 beside the classes, such as a.png"),
    "several": (["cat/a.heic", "a.png", "cat/more/b.heic"], "files left out: 3 (1 beside"),
    "none": (["cat/.DS_Store", "cat/Thumbs.db", "cat/._0.png", "readme.txt", ".git/config"], ""),
}


@pytest.mark.parametrize(("files", "text"), LEFT_OUT.values(), ids=LEFT_OUT.keys())
def test_pictures_left_out_are_counted_in_one_warning(cats_and_dogs, files, text):
    for name in files:
        (cats_and_dogs / name).parent.mkdir(parents=True, exist_ok=True)
        (cats_and_dogs / name).write_bytes(b"x")
    count, said = warned(cats_and_dogs)
    assert count == 10
    assert (text in said) if text else not said


def test_upper_case_suffixes_and_links_are_read(cats_and_dogs):
    (cats_and_dogs / "cat" / "0.png").rename(cats_and_dogs / "cat" / "0.PNG")
    (cats_and_dogs / "cat" / "link.png").symlink_to(cats_and_dogs / "cat" / "1.png")
    (cats_and_dogs / "emu").symlink_to(cats_and_dogs / "dog")
    assert warned(cats_and_dogs) == (16, "")


def test_a_loop_of_links_ends(cats_and_dogs):
    (cats_and_dogs / "cat" / "loop").symlink_to(cats_and_dogs)
    assert warned(cats_and_dogs) == (10, ": files left out: 1 (1 linked in a circle, such as cat/loop)")


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation", "Testing", None])
@pytest.mark.parametrize("train", ["train", "Training"])
def test_the_parts_may_have_other_usual_names(tmp_path, train, test):
    for i in range(5):
        picture(tmp_path / train / "cat" / f"{i}.png", i)
        picture(tmp_path / train / "dog" / f"{i}.png", 10 + i)
    picture(tmp_path / "other" / "emu" / "0.png")
    if test:
        picture(tmp_path / test / "dog" / "0.png", 50)
    with pytest.warns(UserWarning, match="files left out: 1 .1 beside the classes"):
        parts = load(str(tmp_path))
    assert [len(part) for part in parts] == ([10, 1] if test else [8, 2])
    assert parts[0].classes == ("cat", "dog")


def test_with_test_and_val_there_are_three_parts(tmp_path):
    for part, count in (("train", 2), ("test", 3), ("val", 4)):
        for name in ("cat", "dog"):
            for i in range(count):
                picture(tmp_path / part / name / f"{i}.png")
    assert warned(tmp_path) == (10, "")
    parts = splits(tmp_path)
    assert [len(part) for part in parts[:3]] == [4, 8, 6]
    assert parts.note[0] == f"{tmp_path.name}: 4 training, 8 validation and 6 test images of 2 classes: cat 9, dog 9"


def test_a_fifth_of_each_class_is_held_out(tmp_path):
    for name, n in (("ant", 40), ("bee", 15), ("cat", 5), ("dog", 1)):
        for i in range(n):
            picture(tmp_path / name / f"{i}.png", i, size=(2, 2))
    train, test = load(str(tmp_path))
    assert np.bincount(test.y, minlength=4).tolist() == [9, 3, 1, 0]
    assert np.bincount(train.y, minlength=4).tolist() == [31, 12, 4, 1]


BAD_NAMES = {"escape": "a\x1b[31m", "newline": "a\nb", "not UTF-8": os.fsdecode(b"a\xff")}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
def test_a_class_whose_name_cannot_be_printed_is_an_error_that_quotes_it(cats_and_dogs, name):
    (cats_and_dogs / "cat").rename(cats_and_dogs / name)
    with raises(DataError, str(cats_and_dogs), f"name {name!a}"):
        load(str(cats_and_dogs))


def test_a_picture_whose_name_is_not_utf_8_is_read(cats_and_dogs):
    (cats_and_dogs / "cat" / "0.png").rename(cats_and_dogs / "cat" / os.fsdecode(b"\xff.png"))
    assert warned(cats_and_dogs) == (10, "")


def test_a_folder_that_must_not_be_listed_is_a_data_error(cats_and_dogs, monkeypatch):
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    with raises(DataError, str(cats_and_dogs), "cannot read the folder", "Permission denied"):
        load(str(cats_and_dogs))


def test_small_files_of_large_images_are_refused_before_memory_is_allocated(cats_and_dogs, monkeypatch):
    monkeypatch.setattr("xpnet.data.opening._FREE", 20)
    monkeypatch.setattr("xpnet.data.opening._RATIO", 0)
    with raises(
        DataError, str(cats_and_dogs / "cat" / "0.png"), "at most 20 bytes of content", "bytes 24", "max_pixels"
    ):
        load(str(cats_and_dogs))
    assert sum(map(len, load(str(cats_and_dogs), max_pixels=24))) == 10
    with raises(DataError, str(cats_and_dogs / "cat" / "0.png"), "at most 23 pixels"):
        load(str(cats_and_dogs), max_pixels=23)


def test_frames_of_animations_are_counted(cats_and_dogs):
    for i in range(3):
        frames = [Image.new("L", (6, 4), v) for v in (i, 9, 99)]
        frames[0].save(cats_and_dogs / "cat" / f"{i}.gif", save_all=True, append_images=frames[1:])
    count, said = warned(cats_and_dogs)
    assert count == 13
    assert "3 of 13 images have several frames, such as /cat/0.gif" in said


def test_an_empty_folder_of_a_class_is_named_in_a_warning(cats_and_dogs):
    (cats_and_dogs / "birds").mkdir()
    with pytest.warns(UserWarning, match="hold no images, which are left out: birds"):
        train, test = load(str(cats_and_dogs))
    assert train.classes == test.classes == ("cat", "dog")


def test_empty_folders_that_leave_one_class_are_an_error(cats_and_dogs):
    for image in (cats_and_dogs / "dog").iterdir():
        image.unlink()
    with raises(DataError, str(cats_and_dogs / "dog"), "holds no images"):
        load(str(cats_and_dogs))
