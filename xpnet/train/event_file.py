"""Event files, which TensorBoard draws: protocol buffers in TFRecord framing, encoded without its library.

    a record: length (8 bytes), checksum of these 8 bytes (4), content, checksum of the content (4); little-endian

Sources: TensorFlow's core/util/event.proto, core/framework/summary.proto and core/lib/io/record_writer.h; RFC 3720,
appendix B.4, for CRC-32C.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import time
from functools import cache
from pathlib import Path

import numpy as np

__all__ = ["EventFile", "crc32c", "histogram"]

_POLYNOMIAL = 0x82F63B78  # of Castagnoli, its bits reversed
_NAME = re.compile(r"events\.out\.tfevents\.(\d+)\..*")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_START, _STRING = 1, 7  # SessionLog.START, DataType.DT_STRING


@cache
def _table() -> list[int]:
    """What a byte changes in a checksum: 256 numbers."""
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = (crc >> 1) ^ (crc & 1) * np.uint32(_POLYNOMIAL)
    return crc.tolist()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of bytes. Cost: about 60 ns a byte, of a picture a few milliseconds."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _framed(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _masked(length) + content + _masked(content)


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _field(number: int, value: int | float | bytes | str | np.float32) -> bytes:
    """One field of a message: an int as varint, a float as double, a np.float32 as float, others as bytes."""
    if isinstance(value, np.generic):
        return _varint(number << 3 | 5) + value.astype("<f4").tobytes()
    if isinstance(value, float):
        return _varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def histogram(values: np.ndarray, bins: int = 64) -> bytes:
    """Count the finite values in bins of equal width from the least to the greatest, as a HistogramProto."""
    values = values.astype(np.float64).reshape(-1)
    values = values[np.isfinite(values)]
    if not values.size:
        return b"".join(_field(i, 0.0) for i in range(1, 6)) + _field(6, _doubles([0.0])) + _field(7, _doubles([0.0]))
    try:
        counts, edges = np.histogram(values, bins)
    except ValueError:  # the values are too close for so many bins
        counts, edges = np.histogram(values, 1)
    facts = (values.min(), values.max(), values.size, values.sum(), values @ values)
    return b"".join(_field(i, float(x)) for i, x in enumerate(facts, 1)) + (
        _field(6, _doubles(edges[1:])) + _field(7, _doubles(counts))
    )


def _doubles(values: np.ndarray | list[float]) -> bytes:
    return np.asarray(values, "<f8").tobytes()


class EventFile:
    """A new event file, to which events are added; it is written by flush.

    Args:
        folder: where it is made; the folder too.
        first: the step at which it takes over: of earlier files in the folder, TensorBoard shows the steps before.
    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._events: list[bytes] = []
        self._written = 0  # bytes
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self._descriptor = _new_file(folder)
        self._add(0, _field(3, "brain.Event:2"))
        self._add(first, _field(7, _field(1, _START)))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a number, in float32; NaN and infinities as they are."""
        with np.errstate(over="ignore"):
            self._summary(tag, step, _field(2, np.float32(value)))

    def histogram(self, tag: str, values: np.ndarray, step: int) -> None:
        """Add how often which finite values occur."""
        self._summary(tag, step, _field(5, histogram(values)))

    def image(self, tag: str, png: bytes, step: int) -> None:
        """Add a picture, a PNG."""
        width, height = struct.unpack(">II", png[16:24])  # of its first chunk, IHDR
        self._summary(tag, step, _field(4, _field(1, height) + _field(2, width) + _field(3, 4) + _field(4, png)))

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Add a text in Markdown."""
        tensor = _field(1, _STRING) + _field(2, _field(2, _field(1, 1))) + _field(8, markdown)
        self._summary(tag, step, _field(9, _field(1, _field(1, "text"))) + _field(8, tensor))

    def _summary(self, tag: str, step: int, value: bytes) -> None:
        self._add(step, _field(5, _field(1, _field(1, tag) + value)))

    def _add(self, step: int, what: bytes) -> None:
        self._events.append(_framed(_field(1, time.time()) + _field(2, step) + what))

    def flush(self) -> None:
        """Write the events that were added; where the disk is full, the file ends with a whole event.

        Raises:
            OSError: the file cannot be written.
        """
        data = memoryview(b"".join(self._events))
        self._events.clear()
        end = self._written
        try:
            while data:
                n = os.write(self._descriptor, data)
                data, end = data[n:], end + n
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(self._descriptor, self._written)
            raise
        self._written = end

    def close(self) -> None:
        """Close the file; what was not flushed is lost."""
        os.close(self._descriptor)


def _new_file(folder: Path) -> tuple[Path, int]:
    """Make a file whose name sorts after those of the folder's event files: TensorBoard reads them in that order."""
    host = re.sub(r"[^\w.-]", "_", socket.gethostname()) or "host"
    found = [int(match[1]) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    second = max(int(time.time()), *(last + 1 for last in found)) if found else int(time.time())
    while True:
        path = folder / f"events.out.tfevents.{second:010d}.{host}.{os.getpid()}"
        try:
            return path, os.open(path, _NEW, 0o666)
        except FileExistsError:
            second += 1
