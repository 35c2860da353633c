from __future__ import annotations

import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.harness import raises
from xpnet.backend import use_cores
from xpnet.data import load, load_image
from xpnet.errors import DataError


def picture(path: Path, value: object = 0, size: tuple[int, int] = (6, 4), mode: str = "L", **options: object) -> Path:
    """Save an image of one colour, size = (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)  # type: ignore[arg-type]
    return path


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


def test_images_are_resized_to_the_most_frequent_size_with_a_warning(cats_and_dogs):
    picture(cats_and_dogs / "cat" / "large.png", 77, size=(12, 12))
    picture(cats_and_dogs / "dog" / "small.png", 78, size=(3, 2))
    with pytest.warns(UserWarning, match="2 of 12 images are resized to 4 x 6, the most frequent size") as caught:
        train, test = load(str(cats_and_dogs))
    assert len(caught) == 1
    assert {77, 78} <= set(np.concatenate([train.x, test.x])[:, 0, 0, 0].tolist())


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
    assert seen == [(i, 10) for i in range(1, 11)]


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


def test_a_16_bit_image_keeps_its_upper_bits(tmp_path):
    deep = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(load_image(tmp_path / "deep.png", (4, 6, 1))[..., 0], deep >> 8)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_transparent_image_is_placed_on_white(tmp_path, mode):
    clear = (0, 0, 0, 0) if mode == "RGBA" else (0, 0)
    path = picture(tmp_path / "clear.png", clear, mode=mode)
    assert load_image(path, (4, 6, 1)).min() == 255


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


@pytest.mark.parametrize(("mode", "value"), [("P", 0), ("1", 1), ("RGB", (255, 255, 255)), ("CMYK", (0, 0, 0, 0))])
@pytest.mark.parametrize("channels", [1, 3])
def test_load_image_reads_every_kind_of_image(tmp_path, mode, value, channels):
    path = tmp_path / "picture.tif"
    image = Image.new(mode, (12, 8), value)
    if mode == "P":
        image.putpalette([255, 255, 255] * 256)
    image.save(path)
    x = load_image(str(path), (4, 6, channels))
    assert x.shape == (4, 6, channels)
    assert x.dtype == np.uint8
    assert x.min() == 255


def test_load_image_keeps_the_order_of_rows_and_columns(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(load_image(tmp_path / "a.png", (4, 6, 1))[..., 0], pixels)


def test_a_resized_image_keeps_its_orientation(tmp_path):
    pixels = np.zeros((8, 12), dtype=np.uint8)
    pixels[:4, :6] = 255
    Image.fromarray(pixels).save(tmp_path / "corner.png")
    small = load_image(tmp_path / "corner.png", (4, 6, 1))[..., 0]
    assert [small[0, 0], small[0, -1], small[-1, 0], small[-1, -1]] == [255, 0, 0, 0]


def test_load_image_names_what_it_cannot_read(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    picture(tmp_path / "dot.png", size=(1, 1))
    picture(tmp_path / "good.png")
    picture(tmp_path / "deep.tif", 0.5, mode="F")
    for name, shape, value in (
        ("none.png", (4, 6, 1), "no such image"),
        ("text.png", (4, 6, 1), "cannot read the image"),
        ("dot.png", (4, 6, 1), "height 1, width 1"),
        ("good.png", (4, 6, 2), "shape (4, 6, 2)"),
        ("deep.tif", (4, 6, 1), "mode F"),
        (".", (4, 6, 1), "a folder"),
    ):
        with raises(DataError, str(tmp_path / name), value):
            load_image(tmp_path / name, shape)


# Threads.


def test_as_many_threads_decode_as_there_are_cores(cats_and_dogs, monkeypatch):
    found: set[int] = set()
    meeting = threading.Barrier(3)

    def decode(file: Path, shape: tuple[int, int, int], max_pixels: int | None) -> np.ndarray:
        if threading.get_ident() not in found:
            found.add(threading.get_ident())
            if len(found) <= 3:
                meeting.wait(timeout=30)
        return np.zeros(shape, np.uint8)

    monkeypatch.setattr("xpnet.data.folder.decode", decode)
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


# Photographs that are much larger than needed.


def photograph(path: Path, size: tuple[int, int], turned: int = 1) -> np.ndarray:
    """Save a smooth, noisy photograph with its EXIF orientation; return the pixels as they should appear."""
    rng = np.random.default_rng(0)
    hills = rng.integers(0, 256, (size[1] // 40, size[0] // 40, 3), dtype=np.uint8)
    smooth = Image.fromarray(hills).resize(size, Image.Resampling.BICUBIC)
    grain = rng.integers(-12, 13, (size[1], size[0], 3))
    exif = Image.Exif()
    exif[0x0112] = turned
    pixels = np.clip(np.asarray(smooth).astype(int) + grain, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=90, exif=exif)
    seen = np.asarray(Image.open(path).convert("RGB"))
    return np.rot90(seen, -1) if turned == 6 else seen


@pytest.mark.parametrize("turned", [1, 6], ids=["upright", "rotated"])
@pytest.mark.parametrize("size", [(1200, 800), (640, 480)], ids=["large", "not so large"])
def test_a_large_photograph_differs_by_at_most_two_levels_from_a_full_decode(tmp_path, size, turned):
    whole = photograph(tmp_path / "photo.jpg", size, turned)
    wide, high = (150, 100) if turned == 1 else (100, 150)
    want = np.asarray(Image.fromarray(whole).resize((wide, high), Image.Resampling.BILINEAR)).astype(int)
    off = np.abs(load_image(tmp_path / "photo.jpg", (high, wide, 3)) - want)
    assert off.max() <= 2
    assert off.mean() < 0.4


def test_a_photograph_is_decoded_at_a_lower_scale_only_if_four_times_too_large(tmp_path, monkeypatch):
    from PIL import JpegImagePlugin

    sizes: list[tuple[int, int]] = []
    real = JpegImagePlugin.JpegImageFile.load

    def load(self):
        sizes.append(self.size)
        return real(self)

    photograph(tmp_path / "photo.jpg", (1200, 800))
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", load)
    for high, wide in ((800, 1200), (201, 301), (200, 300), (200, 150), (50, 75)):
        sizes.clear()
        load_image(tmp_path / "photo.jpg", (high, wide, 3))
        assert sizes[0] == {800: (1200, 800), 201: (1200, 800), 200: (600, 400), 50: (150, 100)}[high]
    photograph(tmp_path / "turned.jpg", (1200, 800), turned=6)
    sizes.clear()
    load_image(tmp_path / "turned.jpg", (300, 200, 3))
    assert sizes[0] == (600, 400)
