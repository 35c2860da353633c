"""The formats of image files: the readers that are used, by suffix and by first bytes; files on disk or in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import NamedTuple

from xpnet.data.opening import disk_size, open_file

__all__ = ["FIRST_BYTES", "SUFFIXES", "Encoded", "open_image"]

# The readers of Pillow that are used, by the suffix of the file; no other is tried, whatever the content.
_READERS = {
    "Bmp": (".bmp",),
    "Gif": (".gif",),
    "Jpeg": (".jpg", ".jpeg"),
    "Png": (".png",),
    "Ppm": (".pgm", ".ppm"),
    "Tiff": (".tif", ".tiff"),
    "WebP": (".webp",),
}
SUFFIXES = {suffix: reader for reader, suffixes in _READERS.items() for suffix in suffixes}
FIRST_BYTES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"RIFF": "WebP",
    b"%!PS": "PostScript",
}


_SUFFIX_OF = {
    first: suffixes[0]
    for first, name in FIRST_BYTES.items()
    for reader, suffixes in _READERS.items()
    if reader.upper() == name.upper()
}


class Encoded(NamedTuple):
    """An image file in memory.

    Args:
        name: of the file, in messages.
        content: its bytes, of any of the formats that load_image reads.
    """

    name: str
    content: bytes

    @property
    def suffix(self) -> str:
        """The suffix of its format, by its first bytes; "" where they are of none."""
        if self.content[:1] == b"P" and self.content[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6"):
            return ".ppm"
        return next((suffix for first, suffix in _SUFFIX_OF.items() if self.content.startswith(first)), "")

    def __str__(self) -> str:
        return self.name


@contextmanager
def open_image(path: Path | Encoded) -> Iterator[tuple[BufferedReader, int]]:
    """Open an image file, on disk or in memory; yield it and the number of its stored bytes."""
    if isinstance(path, Encoded):
        yield BufferedReader(BytesIO(path.content)), len(path.content)  # pyright: ignore[reportArgumentType]
    else:
        with open_file(path, "image") as file:
            yield file, disk_size(file)
