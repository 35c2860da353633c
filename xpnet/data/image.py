"""One image file, decoded by Pillow: the one place where xpnet opens images."""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xpnet import arguments
from xpnet.data.image_format import FIRST_BYTES, SUFFIXES, Encoded, open_image
from xpnet.data.opening import check_expansion
from xpnet.errors import ConfigError, DataError, XpnetError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

__all__ = ["FITS", "Encoded", "Header", "decode", "load_image", "read_header"]

FITS = ("crop", "pad", "stretch")

_DEEP_GRAY = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_GRAY = ("1", "L", "LA", "La", *_DEEP_GRAY)
_ORIENTATION = 0x0112  # the EXIF tag; values 5 to 8 exchange height and width
_PHOTOMETRIC, _SAMPLE_FORMAT = 262, 339  # TIFF tags; 0: white is zero, 1: without sign
_PART = 1 << 16  # bytes of a chunk of a PNG that are read at a time
_MAX_PIXELS = 100_000_000
_SCANS = 10  # of a progressive JPEG of that many pixels; each scan takes time for the whole image


class Header(NamedTuple):
    """What is known of an image before its pixels: its size, and whether it is grayscale and of several frames."""

    height: int
    width: int
    gray: bool
    frames: bool


def load_image(
    path: str | os.PathLike[str], shape: Sequence[int], *, fit: str = "crop", max_pixels: int | None = None
) -> np.ndarray:
    """Decode one image to the size and channels a model was trained with.

    Args:
        path: a BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file with the suffix of its format.
        shape: (H, W, C), C 1 or 3; an image of another size is resized.
        fit: how one of another aspect ratio is: "crop" its centre, "pad" it with black, or "stretch" it.
        max_pixels: the largest image to decode; by default the environment variable XPNET_MAX_PIXELS, else 100 million,
            and less where the file is far too small for its image.
    Returns:
        uint8, (H, W, C), full brightness 255.
    Raises:
        DataError: the file is missing, not an image or not of its suffix's format; the image is damaged, too large, has
            a height or width of 1 pixel, or values that 8 bits cannot hold; or C is neither 1 nor 3.
    Cost: a JPEG at least 4 times as high and wide is decoded at a half, quarter or eighth of its size, which stays at
        least twice the wanted size, and then resized: a third of the time for 12 megapixels. Pixels (0 to 255) then
        differ by about 0.2 from a full decode, and by at most 2 where that was measured.
    """
    path = arguments.path("load_image", "path", path).expanduser()
    shape = arguments.shape("load_image", "shape", shape, 1)
    arguments.choice("load_image", "fit", fit, FITS)
    arguments.optional(arguments.count)("load_image", "max_pixels", max_pixels)
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError(str(path), "shape (H, W, C) with C 1 or 3", shape=tuple(shape))
    if read_header(path, max_pixels).frames:
        warnings.warn(f"{path}: the first of several frames is used", stacklevel=2)
    return decode(path, (shape[0], shape[1], shape[2]), max_pixels, fit)


def read_header(path: Path, max_pixels: int | None = None) -> Header:
    """Read what is known of an image before its pixels."""
    with _opened(path, max_pixels) as (image, _):
        width, height = image.size
        gray, frames = image.mode in _GRAY, bool(getattr(image, "is_animated", False))
        known = image.format != "PNG" or "exif" in image.info  # Pillow decodes a PNG to look for it behind the pixels
        if known and _is_sideways(image):
            width, height = height, width
    _check_sides(str(path), height, width)
    return Header(height, width, gray, frames)


def decode(
    path: Path | Encoded,
    shape: tuple[int, int, int],
    max_pixels: int | None = None,
    fit: str = "crop",
    on_colour: Callable[[Any], None] | None = None,
    on_frames: Callable[[Any], None] | None = None,
) -> np.ndarray:
    """Decode the pixels to (H, W, C) uint8, as load_image.

    Args:
        path: of the file, or the file in memory; shape, max_pixels, fit: as of load_image.
        on_colour: called with the path of a colour image that becomes gray; on_frames: of one of several frames, the
            first of which is decoded.
    """
    import PIL.Image
    import PIL.ImageOps

    height, width, channels = shape
    with _opened(path, max_pixels) as (opened, file):
        image: Image = opened
        if image.format == "PNG":
            _check_chunks(file)
        if image.info.get("progressive"):
            _check_scans(image, str(path), file)
        if on_colour is not None and channels == 1 and image.mode not in _GRAY:
            on_colour(path)
        if on_frames is not None and getattr(image, "is_animated", False):
            on_frames(path)
        unpacked, tags = str(opened.tile), getattr(image, "tag_v2", {})
        sideways = _is_sideways(image)
        across, down = image.size[::-1] if sideways else image.size
        _check_sides(str(path), down, across)
        full = _scaled(across, down, width, height, fit)
        double = [2 * side for side in (full[::-1] if sideways else full)]
        image.draft(None, (double[0], double[1]))  # decode a much larger JPEG at a lower scale
        PIL.ImageOps.exif_transpose(image, in_place=True)
        _check_depth(image, str(path), unpacked, tags)
        if image.mode in _DEEP_GRAY:
            image = PIL.Image.fromarray(_upper_bits(image, unpacked, tags))
        elif image.has_transparency_data:
            image = image if image.mode == "RGBA" else image.convert("RGBA")
            below = PIL.Image.new("RGB", image.size, "white")
            below.paste(image, mask=image)
            image = below
        mode = "L" if channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        return np.asarray(_fitted(image, width, height, fit)).reshape(shape)


def _scaled(across: int, down: int, width: int, height: int, fit: str) -> tuple[int, int]:
    """Return the size that the whole of an image, across x down, gets in one of width x height."""
    if fit == "stretch":
        return width, height
    scale = (max if fit == "crop" else min)(width / across, height / down)
    return max(1, round(across * scale)), max(1, round(down * scale))


def _fitted(image: Image, width: int, height: int, fit: str) -> Image:
    """Resize an image to width x height; crop its centre, or pad it with black, unless it is to be stretched."""
    import PIL.Image

    if image.size == (width, height):
        return image
    method = PIL.Image.Resampling.BILINEAR
    if fit == "pad":
        inner = image.resize(_scaled(*image.size, width, height, fit), method)
        outer = PIL.Image.new(image.mode, (width, height))
        outer.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
        return outer
    if fit == "stretch":
        return image.resize((width, height), method)
    scale = max(width / image.width, height / image.height)
    left, upper = (image.width - width / scale) / 2, (image.height - height / scale) / 2
    box = (
        max(0.0, left),
        max(0.0, upper),
        min(image.width, image.width - left),
        min(image.height, image.height - upper),
    )
    return image.resize((width, height), method, box=box)


def _check_sides(where: str, height: int, width: int) -> None:
    if min(height, width) < 2:
        raise DataError(where, "an image at least 2 pixels high and wide", height=height, width=width)


@contextmanager
def _opened(path: Path | Encoded, max_pixels: int | None) -> Iterator[tuple[ImageFile, BufferedReader]]:
    """Open an image whose size has been checked, and its file."""
    where = str(path)
    with open_image(path) as (file, stored):
        reader = SUFFIXES.get(path.suffix.lower())
        if reader is None and isinstance(path, Encoded):
            formats = ", ".join(sorted({name.upper() for name in SUFFIXES.values()}))
            first = arguments.shown(path.content[:8].decode("latin-1"))
            raise DataError(where, f"an image of one of {formats}", first=first, bytes=f"{len(path.content):,}")
        if reader is None:
            raise DataError(where, f"an image that ends in {', '.join(sorted(SUFFIXES))}", suffix=repr(path.suffix))
        content = next((name for first, name in FIRST_BYTES.items() if file.peek(4).startswith(first)), "")
        if content and content.upper() != reader.upper():
            do = "convert it, or name it after its content"
            raise DataError(where, f"a {reader.upper()} image, as its suffix says", do, content=content)
        try:
            plugin = import_module(f"PIL.{reader}ImagePlugin")
            with getattr(plugin, f"{reader}ImageFile")(file) as image:
                _check_size(image, where, stored, max_pixels)
                yield image, file
        except XpnetError:
            raise
        except Exception as error:  # Pillow raises whatever its decoders do: OSError, SyntaxError, struct.error, ...
            problem = f"{type(error).__name__} ({error})".replace("\n", " ")
            do = "it is damaged or of an unknown format: remove or replace it"
            raise DataError.event(where, "cannot read the image", do, error=problem) from error


def _check_size(image: Image, where: str, stored: int, max_pixels: int | None) -> None:
    given = max_pixels if max_pixels is not None else os.environ.get("XPNET_MAX_PIXELS")
    try:
        limit = _MAX_PIXELS if given is None else int(given)
        if limit < 1:
            raise ValueError
    except ValueError:
        raise ConfigError("XPNET_MAX_PIXELS", "a number of pixels >= 1", value=given) from None
    (width, height), do = image.size, "to read it anyway, set max_pixels or XPNET_MAX_PIXELS"
    if width * height > limit:
        raise DataError(where, f"an image of at most {limit:,} pixels", do, height=height, width=width)
    if given is None:
        check_expansion(where, width * height * (1 if image.mode in ("1", "L", "P") else 4), stored, do)


def _check_scans(image: Image, where: str, file: BufferedReader) -> None:
    file.seek(0)
    scans = file.read().count(b"\xff\xda")  # inside a scan, 0xff is followed by 0 or a restart marker
    if scans * image.width * image.height > _SCANS * _MAX_PIXELS:
        raise DataError(where, f"at most {_SCANS * _MAX_PIXELS:,} pixels in the scans of a JPEG", scans=scans)


def _check_chunks(file: BufferedReader) -> None:
    """Raise OSError where a checksum of a PNG is not that of its chunk; while it decodes, Pillow compares some only.

    Its own verify() leaves an image that cannot be read, so that the file would be opened twice.
    """
    at = file.tell()
    file.seek(8)
    kind = b""
    while kind != b"IEND":
        head = file.read(8)
        left, kind = int.from_bytes(head[:4], "big"), head[4:]
        checksum = zlib.crc32(kind)
        while left and (part := file.read(min(left, _PART))):
            left, checksum = left - len(part), zlib.crc32(part, checksum)
        found = file.read(4)
        if len(found) < 4:
            raise OSError("the file is truncated")
        if found != checksum.to_bytes(4, "big"):
            raise OSError(f"broken PNG file (bad checksum of {kind.decode('latin-1')!r})")
    file.seek(at)


def _check_depth(image: Image, where: str, unpacked: str, tags: Any) -> None:
    """Refuse values that would be cut, or that no full brightness is known of."""
    do = "convert it to 8 bits a channel"
    whole = image.mode not in ("F", "I") or image.format == "PPM"  # Pillow scales a PPM to its own largest value
    if not whole or any(kind != 1 for kind in tags.get(_SAMPLE_FORMAT, ())):
        rule = "1, 8, 12 or 16 bits a channel, without sign"
        raise DataError(where, rule, do, mode=image.mode, bits=tags.get(258, ""))
    if ";16" not in unpacked and image.mode != "I":
        return
    if "transparency" in image.info:
        raise DataError(where, "no transparent colour in an image of 16 bits", do, mode=image.mode)
    gray = image.mode in _DEEP_GRAY
    largest = int(np.max(image.getextrema() if gray else image.getextrema()[:3]))  # pyright: ignore[reportIndexIssue, reportArgumentType]
    largest = largest if gray else largest << 8
    if largest < 1 << 14 and (largest or not gray):
        rule = "16-bit values that reach 2**14, for the upper 8 bits are kept"
        raise DataError(where, rule, f"{do}, or scale it to 0..65535", largest=largest)


def _upper_bits(image: Image, unpacked: str, tags: Any) -> np.ndarray:
    deep = np.asarray(image)
    bits = 12 if ";12" in unpacked else 16
    if tags.get(_PHOTOMETRIC) == 0:
        deep = (1 << bits) - 1 - deep
    return (deep >> (bits - 8)).astype(np.uint8)


def _is_sideways(image: Image) -> bool:
    """Whether height and width are exchanged when the EXIF orientation is applied."""
    return image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
