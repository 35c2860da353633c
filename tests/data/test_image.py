from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.harness import raises
from xpnet.data import load_image
from xpnet.errors import ConfigError, DataError


def picture(path: Path, value: object = 0, size: tuple[int, int] = (6, 4), mode: str = "L", **options: object) -> Path:
    """Save an image of one colour, size = (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)  # type: ignore[arg-type]
    return path


def test_a_16_bit_image_keeps_its_upper_bits(tmp_path):
    deep = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(load_image(tmp_path / "deep.png", (4, 6, 1))[..., 0], deep >> 8)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_transparent_image_is_placed_on_white(tmp_path, mode):
    clear = (0, 0, 0, 0) if mode == "RGBA" else (0, 0)
    path = picture(tmp_path / "clear.png", clear, mode=mode)
    assert load_image(path, (4, 6, 1)).min() == 255


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
        (".", (4, 6, 1), "kind folder"),
    ):
        with raises(DataError, str(tmp_path / name), value):
            load_image(tmp_path / name, shape)


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
    off = np.abs(load_image(tmp_path / "photo.jpg", (high, wide, 3), fit="stretch") - want)
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


# Values.

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def tiff(pixels: bytes, bits: int, photometric: int = 1, sample_format: int = 1) -> bytes:
    """A gray TIFF of 16 x 16 pixels in one strip."""
    tags = {256: 16, 257: 16, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 16, 279: len(pixels)}
    tags[339] = sample_format
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag == 279 else 3, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


def packed(values: np.ndarray) -> bytes:
    """12 bits a value, two in three bytes."""
    bits = np.unpackbits(values.astype(">u2").view(np.uint8)).reshape(-1, 16)[:, 4:]
    return np.packbits(bits).tobytes()


def saved(image: Any, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of rows that each begin with their filter, 0."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    all_chunks = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in all_chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def rows(values: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in values)


DEEP = RAMP.astype(np.uint16) * 257
RGB = np.stack([RAMP, RAMP.T, RAMP[::-1]], axis=-1)

# A file's name and content, and its gray or RGB pixels as they should appear.
RIGHT = {
    "16-bit PNG": ("a.png", saved(DEEP, "PNG"), RAMP),
    "16-bit TIFF": ("a.tif", saved(DEEP, "TIFF"), RAMP),
    "16-bit TIFF, 0 is white": ("a.tif", tiff(DEEP.astype("<u2").tobytes(), 16, photometric=0), 255 - RAMP),
    "12-bit TIFF": ("a.tif", tiff(packed(RAMP.astype(np.uint16) << 4), 12), RAMP),
    "12-bit PGM": ("a.pgm", b"P5 16 16 4095 " + (RAMP.astype(np.uint32) * 4095 // 255).astype(">u2").tobytes(), RAMP),
    "16-bit RGB PNG": ("a.png", png(16, 16, 16, 2, rows((RGB.astype(np.uint16) * 257).astype(">u2"))), RGB),
    "8-bit TIFF, 0 is white": ("a.tiff", tiff(RAMP.tobytes(), 8, photometric=0), 255 - RAMP),
    "1-bit TIFF": ("a.tif", saved(RAMP > 99, "TIFF"), np.where(RAMP > 99, 255, 0)),
    "1-bit PNG": ("a.png", saved(RAMP > 99, "PNG"), np.where(RAMP > 99, 255, 0)),
    "2-bit PNG": ("a.png", png(16, 16, 2, 0, b"\0\x1b\x1b\x1b\x1b" * 16), np.tile([0, 85, 170, 255], (16, 4))),
    "palette PNG": ("a.png", saved(Image.fromarray(RGB // 128 * 255).convert("P"), "PNG"), RGB // 128 * 255),
    "palette GIF": ("a.gif", saved(Image.fromarray(RGB // 128 * 255).convert("P"), "GIF"), RGB // 128 * 255),
    "CMYK TIFF": ("a.tif", saved(Image.fromarray(RGB).convert("CMYK"), "TIFF"), RGB),
    "lossless WebP": ("a.webp", saved(RGB, "WEBP", lossless=True), RGB),
    "upper-case suffix": ("A.PNG", saved(RAMP, "PNG"), RAMP),
    "a fully transparent half": (
        "a.png",
        saved(np.dstack([RGB, np.where(RAMP < 128, 0, 255).astype(np.uint8)]), "PNG"),
        np.where(RAMP[..., np.newaxis] < 128, 255, RGB),
    ),
}


@pytest.mark.parametrize(("name", "content", "pixels"), RIGHT.values(), ids=RIGHT.keys())
def test_pixels_are_those_of_the_file(tmp_path, name, content, pixels):
    (tmp_path / name).write_bytes(content)
    got = load_image(tmp_path / name, (16, 16, 3 if pixels.ndim == 3 else 1))
    assert np.array_equal(got if pixels.ndim == 3 else got[..., 0], pixels)


def many_scans() -> bytes:
    data = saved(np.zeros((4000, 4000), np.uint8), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 60 + b"\xff\xd9"


def damaged_pixels() -> bytes:
    data = bytearray(saved(np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8), "PNG"))
    data[150] ^= 4
    return bytes(data)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"
NOISE = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)

# A file's name and content, and what the error says.
REFUSED = {
    "int32 TIFF": ("a.tif", saved(RAMP.astype(np.int32), "TIFF"), ["mode I"]),
    "int16 TIFF": ("a.tif", tiff(RAMP.astype("<i2").tobytes(), 16, sample_format=2), ["mode I"]),
    "int8 TIFF": ("a.tif", tiff(RAMP.tobytes(), 8, sample_format=2), ["without sign"]),
    "float TIFF": ("a.tif", saved(RAMP.astype(np.float32), "TIFF"), ["mode F"]),
    "8 bits in 16, TIFF": ("a.tif", saved(RAMP.astype(np.uint16), "TIFF"), ["largest 255"]),
    "12 bits in 16, PNG": ("a.png", saved(RAMP.astype(np.uint16) * 16, "PNG"), ["largest 4080"]),
    "12 bits in 16, PGM": ("a.pgm", b"P5 16 16 65535 " + (RAMP * np.uint16(16)).astype(">u2").tobytes(), ["largest"]),
    "12 bits in 16, RGB": ("a.png", png(16, 16, 16, 2, rows((RGB * np.uint16(16)).astype(">u2"))), ["largest 3840"]),
    "16 bits, transparent colour": (
        "a.png",
        png(16, 16, 16, 0, rows(DEEP.astype(">u2")), (b"tRNS", b"\1\1")),
        ["tran"],
    ),
    "LAB": ("a.tif", saved(Image.merge("LAB", [Image.fromarray(RAMP)] * 3), "TIFF"), ["LAB"]),
    "EPS as PNG": ("a.png", EPS, ["content PostScript"]),
    "EPS as JPEG": ("a.jpg", EPS, ["content PostScript"]),
    "EPS behind a header": ("a.tif", bytes(4) + EPS, ["cannot read"]),
    "EPS": ("a.eps", EPS, ["suffix '.eps'"]),
    "no suffix": ("a", saved(RAMP, "PNG"), ["suffix ''"]),
    "GIF as PNG": ("a.png", saved(RAMP, "GIF"), ["content GIF"]),
    "PNG as JPEG": ("a.jpg", saved(RAMP, "PNG"), ["content PNG"]),
    "a flipped bit": ("a.png", damaged_pixels(), ["checksum"]),
    "no end": ("a.png", saved(RAMP, "PNG")[:-12], ["truncated"]),
    "many scans": ("a.jpg", many_scans(), ["scans 66"]),
    "60000 x 60000 PNG": ("a.png", png(60000, 60000, 8, 0, b""), ["100,000,000 pixels", "max_pixels"]),
    "9000 x 9000 PNG": ("a.png", png(9000, 9000, 8, 2, b""), ["67,108,864 bytes", "XPNET_MAX_PIXELS"]),
    "65535 x 65535 GIF": (
        "a.gif",
        b"GIF89a" + b"\xff" * 4 + bytes(3) + b"," + bytes(4) + b"\xff" * 4 + b"\0;",
        ["65535"],
    ),
    "99999 x 99999 PGM": ("a.pgm", b"P5 99999 99999 255\n", ["height 99999"]),
    "2**30 x 2**30 BMP": (
        "a.bmp",
        b"BM" + bytes(8) + struct.pack("<IIiiHHIIiiII", 54, 40, 2**30, 2**30, 1, 24, *[0] * 6),
        ["height 1073741824"],
    ),
    **{
        f"half a {kind}": (f"a.{suffix}", (whole := saved(NOISE, kind))[: len(whole) // 2], ["cannot read"])
        for kind, suffix in (
            ("JPEG", "jpg"),
            ("BMP", "bmp"),
            ("GIF", "gif"),
            ("TIFF", "tif"),
            ("WEBP", "webp"),
            ("PPM", "ppm"),
        )
    },
}


@pytest.mark.parametrize(("name", "content", "values"), REFUSED.values(), ids=REFUSED.keys())
def test_an_image_that_would_be_misread_is_refused(tmp_path, monkeypatch, name, content, values):
    def run(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a program was started: {arguments}")

    for door in ("subprocess.Popen", "os.system"):
        monkeypatch.setattr(door, run)
    (tmp_path / name).write_bytes(content)
    with raises(DataError, str(tmp_path / name), *values):
        load_image(tmp_path / name, (4, 6, 1))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_of_several_frames_the_first_is_used_with_a_warning(tmp_path, kind):
    path = tmp_path / f"a.{kind.lower()}"
    frames = [Image.fromarray(np.roll(RAMP, 3 * i)) for i in range(3)]
    options = {"lossless": True} if kind == "WEBP" else {}
    path.write_bytes(saved(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    with pytest.warns(UserWarning, match="the first of several frames is used"):
        assert np.array_equal(load_image(path, (16, 16, 1))[..., 0], RAMP)


def test_a_larger_image_is_read_if_asked_for(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(saved(np.full((30, 40), 7, np.uint8), "PNG"))
    monkeypatch.setenv("XPNET_MAX_PIXELS", "1000")
    with raises(DataError, str(tmp_path / "a.png"), "at most 1,000 pixels"):
        load_image(tmp_path / "a.png", (4, 6, 1))
    assert load_image(tmp_path / "a.png", (4, 6, 1), max_pixels=1200).max() == 7
    monkeypatch.setenv("XPNET_MAX_PIXELS", "many")
    with raises(ConfigError, "XPNET_MAX_PIXELS", "value many"):
        load_image(tmp_path / "a.png", (4, 6, 1))


def test_an_unknown_orientation_changes_nothing(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 9
    (tmp_path / "a.png").write_bytes(saved(RAMP[:4], "PNG", exif=exif))
    assert np.array_equal(load_image(tmp_path / "a.png", (4, 16, 1))[..., 0], RAMP[:4])


# Other aspect ratios.


def bars(tmp_path, width=60, height=20):
    """A wide picture: a left third of 0, a middle of 100, a right third of 200."""
    pixels = np.repeat(np.repeat(np.uint8([[0, 100, 200]]), width // 3, axis=1), height, axis=0)
    Image.fromarray(pixels).save(tmp_path / "bars.png")
    return tmp_path / "bars.png"


def test_by_default_the_centre_is_cropped(tmp_path):
    found = load_image(bars(tmp_path), (10, 10, 1))
    assert np.all(found[:, 1:-1] == 100)


def test_padding_shows_all_between_black_bars(tmp_path):
    found = load_image(bars(tmp_path), (30, 30, 1), fit="pad")[..., 0]
    assert found.shape == (30, 30)
    assert not found[:10].any()
    assert not found[20:].any()
    assert found[15, [2, 15, 27]].tolist() == [0, 100, 200]


def test_stretching_shows_all_at_another_ratio(tmp_path):
    found = load_image(bars(tmp_path), (30, 30, 1), fit="stretch")[..., 0]
    assert np.array_equal(found[0], found[-1])
    assert found[0, [2, 15, 27]].tolist() == [0, 100, 200]


@pytest.mark.parametrize("turned", [1, 6], ids=["upright", "rotated"])
def test_a_crop_of_a_large_photograph_is_the_centre_of_a_full_decode(tmp_path, turned):
    whole = Image.fromarray(photograph(tmp_path / "photo.jpg", (1200, 800), turned))
    wide, high = (150, 100) if turned == 1 else (100, 150)
    left, top = (wide - 100) // 2, (high - 100) // 2
    want = whole.resize((wide, high), Image.Resampling.BILINEAR).crop((left, top, left + 100, top + 100))
    off = np.abs(load_image(tmp_path / "photo.jpg", (100, 100, 3)) - np.asarray(want).astype(int))
    assert off.mean() < 0.4
    assert off.max() <= 2


def test_an_unknown_fit_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'crop'"):
        load_image(bars(tmp_path), (10, 10, 1), fit="corp")
