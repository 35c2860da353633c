"""Event files as TensorBoard's own reader and as an independent, slow reader see them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest


def read(folder: Path) -> Any:
    """What TensorBoard has read of a folder, all of it."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    kinds = ("scalars", "histograms", "images", "tensors", "compressedHistograms")
    found = module.EventAccumulator(str(folder), size_guidance=dict.fromkeys(kinds, 0))
    return found.Reload()


def scalars(folder: Path, tag: str) -> dict[int, float]:
    """The values of a tag by step, each step once."""
    events = read(folder).Scalars(tag)
    assert len({e.step for e in events}) == len(events)
    return {e.step: e.value for e in events}


def slow_crc32c(data: bytes) -> int:
    """Bit by bit, by division with the polynomial 0x1EDC6F41, which no table helps with."""
    register = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            top = (register >> 31) ^ (byte >> bit & 1)
            register = (register << 1) & 0xFFFFFFFF ^ (0x1EDC6F41 if top else 0)
    return int(f"{register:032b}"[::-1], 2) ^ 0xFFFFFFFF


def records(data: bytes) -> list[bytes]:
    """The contents of the records of a file, whose checksums are right and which leave no rest."""
    found = []
    while data:
        length, check = struct.unpack("<QI", data[:12])
        content, after = data[12 : 12 + length], data[12 + length : 16 + length]
        for part, checksum in ((data[:8], check), (content, struct.unpack("<I", after)[0])):
            crc = slow_crc32c(part)
            assert checksum == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
        found.append(content)
        data = data[16 + length :]
    return found
