from __future__ import annotations

import re
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xpnet.backend import use_cores
from xpnet.data import load, load_image
from xpnet.errors import DataError


def picture(path: Path, value: object = 0, size: tuple[int, int] = (6, 4), mode: str = "L", **options: object) -> Path:
    """A picture of one colour, size = (width, height)."""
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


def test_images_of_another_size_get_the_most_frequent_one_and_a_warning_says_so(cats_and_dogs):
    picture(cats_and_dogs / "cat" / "large.png", 77, size=(12, 12))
    picture(cats_and_dogs / "dog" / "small.png", 78, size=(3, 2))
    with pytest.warns(UserWarning, match="2 of 12 images are resized to 4 x 6, the most frequent size") as caught:
        train, test = load(str(cats_and_dogs))
    assert len(caught) == 1
    assert {77, 78} <= set(np.concatenate([train.x, test.x])[:, 0, 0, 0].tolist())


def test_images_of_one_size_bring_no_warning(cats_and_dogs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(str(cats_and_dogs))


def test_other_files_are_passed_over(cats_and_dogs):
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


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"gone: the folder or file exists"):
        load(str(tmp_path / "gone"))


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(
        DataError, match=re.escape(f"{tmp_path}: the folder has one sub-folder of images a class, got ")
    ):
        load(str(tmp_path))


def test_images_without_class_folders_are_an_error(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    with pytest.raises(DataError, match="one sub-folder of images a class, got found 2 files"):
        load(str(tmp_path))


def test_one_class_is_an_error(tmp_path):
    picture(tmp_path / "cat" / "0.png")
    with pytest.raises(DataError, match=r"there are at least 2 classes, one a sub-folder, got classes \['cat'\]"):
        load(str(tmp_path))


def test_a_class_without_images_is_an_error(cats_and_dogs):
    (cats_and_dogs / "emu").mkdir()
    with pytest.raises(DataError, match=r"emu: the folder of a class holds images, got images 0; they end in \.bmp"):
        load(str(cats_and_dogs))


def test_a_test_class_that_is_not_trained_is_an_error(tmp_path):
    for folder in ("train/cat", "train/dog", "test/cow"):
        picture(tmp_path / folder / "0.png")
    with pytest.raises(DataError, match=r"each class of test is one of train, got test cow, train cat, dog"):
        load(str(tmp_path))


def test_an_empty_test_folder_is_an_error(tmp_path):
    for folder in ("train/cat", "train/dog"):
        picture(tmp_path / folder / "0.png")
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=r"test: the folder has one sub-folder of images a class, got found no sub"):
        load(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_an_unreadable_image_is_named(cats_and_dogs, content):
    path = cats_and_dogs / "dog" / "broken.png"
    if content is None:  # a good header, and pixels that are cut short
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8))
        noise.save(path)
        content = path.read_bytes()[:50]
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{path}: the image can be read, got problem ")) as caught:
        load(str(cats_and_dogs))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("size", "found"), [((1, 4), "height 4, width 1"), ((6, 1), "height 1, width 6")])
def test_an_image_of_one_pixel_is_refused(cats_and_dogs, size, found):
    path = picture(cats_and_dogs / "dog" / "line.png", size=size)
    with pytest.raises(DataError, match=re.escape(f"{path}: an image is at least 2 pixels high and wide, got {found}")):
        load(str(cats_and_dogs))


def test_a_16_bit_image_keeps_its_upper_bits(tmp_path):
    deep = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(load_image(tmp_path / "deep.png", (4, 6, 1))[..., 0], deep >> 8)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_transparent_image_is_laid_on_white(tmp_path, mode):
    clear = (0, 0, 0, 0) if mode == "RGBA" else (0, 0)
    path = picture(tmp_path / "clear.png", clear, mode=mode)
    assert load_image(path, (4, 6, 1)).min() == 255


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
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
def test_load_image_takes_every_kind_of_picture(tmp_path, mode, value, channels):
    path = tmp_path / "picture.tif"
    image = Image.new(mode, (12, 8), value)
    if mode == "P":
        image.putpalette([255, 255, 255] * 256)
    image.save(path)
    x = load_image(str(path), (4, 6, channels))
    assert x.shape == (4, 6, channels)
    assert x.dtype == np.uint8
    assert x.min() == 255


def test_load_image_keeps_rows_rows_and_columns_columns(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(load_image(tmp_path / "a.png", (4, 6, 1))[..., 0], pixels)


def test_a_resized_image_keeps_left_left_and_top_top(tmp_path):
    pixels = np.zeros((8, 12), dtype=np.uint8)
    pixels[:4, :6] = 255
    Image.fromarray(pixels).save(tmp_path / "corner.png")
    small = load_image(tmp_path / "corner.png", (4, 6, 1))[..., 0]
    assert small[0, 0] == 255
    assert small[0, -1] == small[-1, 0] == small[-1, -1] == 0


def test_load_image_says_what_it_cannot_read(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: the image exists, got problem No such file"):
        load_image(tmp_path / "none.png", (4, 6, 1))
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"text\.png: the image can be read, got problem UnidentifiedImageError"):
        load_image(tmp_path / "text.png", (4, 6, 1))
    with pytest.raises(DataError, match=r"dot\.png: an image is at least 2 pixels .* got height 1, width 1"):
        load_image(picture(tmp_path / "dot.png", size=(1, 1)), (4, 6, 1))
    with pytest.raises(DataError, match=r"decoded to \(H, W, C\), C 1 or 3, got shape \(4, 6, 2\)"):
        load_image(picture(tmp_path / "good.png"), (4, 6, 2))
    with pytest.raises(DataError, match=r"an image has 1, 8 or 16 bits a channel, got mode F"):
        load_image(picture(tmp_path / "deep.tif", 0.5, mode="F"), (4, 6, 1))
    with pytest.raises(DataError, match=r"the image can be read, got problem IsADirectoryError"):
        load_image(tmp_path, (4, 6, 1))


# Threads.


def test_as_many_threads_decode_as_there_are_cores(cats_and_dogs, monkeypatch):
    found: set[int] = set()
    meeting = threading.Barrier(3)

    def decode(file: Path, shape: tuple[int, int, int]) -> np.ndarray:
        if threading.get_ident() not in found:
            found.add(threading.get_ident())
            if len(found) <= 3:
                meeting.wait(timeout=30)
        return np.zeros(shape, np.uint8)

    monkeypatch.setattr("xpnet.data.folder._decode", decode)
    with use_cores(3):
        load(str(cats_and_dogs))
    assert len(found) == 3
    assert threading.get_ident() not in found


@pytest.mark.parametrize("cores", [1, 3])
def test_no_thread_is_left_when_an_image_is_damaged(cats_and_dogs, cores):
    (cats_and_dogs / "cat" / "2.png").write_bytes((cats_and_dogs / "cat" / "1.png").read_bytes()[:-30])
    before = threading.active_count()
    with use_cores(cores), pytest.raises(DataError, match=r"2.png: the image can be read"):
        load(str(cats_and_dogs))
    assert threading.active_count() == before


def test_no_thread_is_left_when_whoever_is_told_of_progress_gives_up(cats_and_dogs):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with use_cores(3), pytest.raises(KeyboardInterrupt):
        load(str(cats_and_dogs), progress=stop)
    assert threading.active_count() == before


# Photographs that are much larger than wanted.


def photograph(path: Path, size: tuple[int, int], turned: int = 1) -> np.ndarray:
    """Hills of colour under grain, saved as a camera does; returns its pixels, as they are to be seen."""
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


@pytest.mark.parametrize("turned", [1, 6], ids=["upright", "on its side"])
@pytest.mark.parametrize("size", [(1200, 800), (640, 480)], ids=["large", "not so large"])
def test_a_large_photograph_keeps_its_pixels_to_two_levels(tmp_path, size, turned):
    whole = photograph(tmp_path / "photo.jpg", size, turned)
    wide, high = (150, 100) if turned == 1 else (100, 150)
    want = np.asarray(Image.fromarray(whole).resize((wide, high), Image.Resampling.BILINEAR)).astype(int)
    off = np.abs(load_image(tmp_path / "photo.jpg", (high, wide, 3)) - want)
    assert off.max() <= 2
    assert off.mean() < 0.4


def test_a_photograph_is_decoded_in_part_only_where_four_times_too_large(tmp_path, monkeypatch):
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
