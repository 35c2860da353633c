"""One folder with every kind of trouble that folders of photos have."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.harness import raises
from xpnet.data import LoadOptions, load, splits
from xpnet.errors import DataError

RAMP = np.linspace(0, 255, 40 * 30).reshape(30, 40).astype(np.uint8)
GOOD = 15  # images of each class that can be read


def colour() -> Image.Image:
    return Image.fromarray(np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1))


def saved(path: Path, image: Image.Image, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


@pytest.fixture(scope="module")
def troubles(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("my photos ü") / "Tiere & Co"
    sideways = Image.Exif()
    sideways[0x0112] = 6
    for name in ("Äffchen", "red panda"):
        place = root / name
        saved(place / "gray.png", Image.fromarray(RAMP))
        saved(place / "colour.jpg", colour())
        saved(place / "UPPER.JPEG", colour())
        saved(place / "rgba.png", Image.fromarray(np.dstack([np.asarray(colour()), RAMP])))
        saved(place / "palette.gif", colour().quantize(16))
        saved(place / "palette.png", colour().quantize(16))
        saved(place / "cmyk.jpg", colour().convert("CMYK"))
        saved(place / "deep.png", Image.fromarray(RAMP.astype(np.uint16) * 257))
        saved(place / "deep.tif", Image.fromarray(RAMP.astype(np.uint16) * 257))
        saved(place / "bits.png", Image.fromarray(RAMP > 128))
        saved(place / "turned.jpg", colour().rotate(90, expand=True), exif=sideways)
        saved(place / "with space.webp", colour())
        saved(place / "日本.bmp", colour())
        saved(place / "progressive.jpg", colour(), progressive=True)
        saved(place / "deeper" / "still" / "in.png", colour())
        (place / "pixel.png").parent.mkdir(exist_ok=True)
        saved(place / "pixel.png", Image.new("RGB", (1, 1)))
        (place / "notes.txt").write_text("x")
        (place / ".DS_Store").write_bytes(b"x")
        (place / "._gray.png").write_bytes(b"x")
        (place / ".hidden.png").write_bytes(b"x")
        saved(root / "__MACOSX" / name / "._gray.png", colour())
        (place / "empty.jpg").write_bytes(b"")
        content = saved(place / "cut.jpg", colour(), quality=95).read_bytes()
        (place / "cut.jpg").write_bytes(content[: len(content) // 2])
        (place / "text.png").write_text("no picture")
    (root / "Äffchen" / "circle").symlink_to(root)
    (root / "Äffchen" / "gone.png").symlink_to(root / "nowhere.png")
    return root


def test_a_damaged_image_is_named(troubles):
    with raises(DataError, str(troubles / "red panda" / "cut.jpg"), "cannot read the image", "skip_damaged leaves"):
        load(troubles)


def test_all_that_can_be_read_is_and_the_rest_is_counted_by_reason(troubles):
    seen = []
    parts = splits(troubles, validation=0, options=LoadOptions(skip_damaged=True), progress=lambda *n: seen.append(n))
    assert parts.test is not None
    assert len(parts.train) + len(parts.test) == 2 * GOOD
    assert parts.train.classes == ("red panda", "Äffchen")
    assert parts.train.shape == (30, 40, 3)
    assert parts.note[0] == "Tiere & Co: 24 training and 6 test images of 2 classes: red panda 15, Äffchen 15"
    assert parts.note[1] == "sizes (height x width): all 30 x 40; colour"
    left_out = parts.note[2]
    assert left_out.startswith("left out: 19 (")
    for text in ("2 hidden, such as", "2 with another suffix", "9 damaged", "5 of the system", "1 linked in a circle"):
        assert text in left_out, left_out
    assert seen[-1] == (30, 30)


def test_each_kind_of_image_looks_like_the_others(troubles):
    kinds = sorted(p.name for p in (troubles / "red panda").iterdir() if p.is_file())
    parts = splits(troubles, validation=0, options=LoadOptions(skip_damaged=True))
    assert parts.test is not None
    x, y = (np.concatenate([getattr(p, name) for p in (parts.train, parts.test)]) for name in "xy")
    assert kinds
    expected = np.asarray(colour()).astype(int)
    close = [
        min(np.abs(image.astype(int) - other).mean() for other in (expected, RAMP[..., None])) for image in x[y == 0]
    ]
    assert sum(c < 12 for c in close) >= GOOD - 3  # all but RGBA on white, one bit and 16 colours


def test_a_fifo_is_named_at_once(tmp_path):
    for name in ("ant", "bee"):
        saved(tmp_path / name / "0.png", colour())
    os.mkfifo(tmp_path / "ant" / "pipe.png")
    with raises(DataError, str(tmp_path / "ant" / "pipe.png"), "regular file", "FIFO"):
        load(tmp_path)
