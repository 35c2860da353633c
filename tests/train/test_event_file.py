"""Event files: framing, checksums, names, and what a full disk leaves."""

from __future__ import annotations

import errno
import io
import os

import numpy as np
import PIL.Image
import pytest

from tests.train.event_files import read, records, scalars, slow_crc32c
from xpnet.train import event_file
from xpnet.train.event_file import EventFile, crc32c


def test_the_checksum_is_that_of_the_standards_examples():
    """RFC 3720, appendix B.4."""
    assert crc32c(bytes(32)) == slow_crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(bytes(range(31, -1, -1))) == 0x113FDB5C


@pytest.mark.parametrize("size", [0, 1, 2, 3, 8, 301])
def test_the_checksum_of_any_length_is_that_of_the_slow_way(size):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    assert crc32c(data) == slow_crc32c(data)


def test_each_record_has_its_length_and_both_checksums(tmp_path):
    file = EventFile(tmp_path, 0)
    file.scalar("a", 1.5, 3)
    file.text("t", "ä|" * 40, 1 << 40)
    file.histogram("h", np.arange(5.0), 300)
    file.flush()
    file.close()
    assert len(records(file.path.read_bytes())) == 5  # the version and the start before them
    found = read(tmp_path)
    assert [(e.step, e.value) for e in found.Scalars("a")] == [(3, 1.5)]
    assert [(e.step, e.tensor_proto.string_val[0].decode()) for e in found.Tensors("t")] == [(1 << 40, "ä|" * 40)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e39, -0.5, 1e-46])
def test_numbers_are_written_in_float32_also_those_that_are_none(value, tmp_path):
    file = EventFile(tmp_path, 0)
    file.scalar("loss", value, 1)
    file.flush()
    file.close()
    with np.errstate(over="ignore"):
        want = np.float32(value)
    np.testing.assert_array_equal(scalars(tmp_path, "loss")[1], want)


@pytest.mark.parametrize(
    "values",
    [np.linspace(-3, 5, 1001) ** 3, np.full(7, 2.5), np.array([1.0, 1 + 2e-16]), np.array([-3e38, 3e38], np.float32)],
    ids=["spread", "equal", "too near", "the largest"],
)
def test_a_histogram_counts_each_value_in_bins_that_join(values, tmp_path):
    file = EventFile(tmp_path, 0)
    file.histogram("w", np.append(values, [np.nan, np.inf]), 1)
    file.flush()
    file.close()
    (event,) = read(tmp_path).Histograms("w")
    found = event.histogram_value
    wide = values.astype(np.float64)
    assert found.num == sum(found.bucket) == len(values)
    assert (found.min, found.max) == (wide.min(), wide.max())
    np.testing.assert_allclose([found.sum, found.sum_squares], [wide.sum(), (wide**2).sum()])
    limits = np.array(found.bucket_limit)
    below = np.array([(wide < limit).sum() for limit in limits[:-1]])  # a limit belongs to the bin above
    np.testing.assert_array_equal(np.cumsum(found.bucket)[:-1], below)
    assert limits[-1] >= wide.max()
    np.testing.assert_allclose(np.diff(limits), limits[-1] - limits[-2]) if len(limits) > 1 else None


def test_a_histogram_of_nothing_is_empty(tmp_path):
    file = EventFile(tmp_path, 0)
    file.histogram("w", np.array([np.nan, np.inf]), 1)
    file.flush()
    file.close()
    assert read(tmp_path).Histograms("w")[0].histogram_value.num == 0


def test_an_image_has_its_size(tmp_path):
    content = io.BytesIO()
    PIL.Image.new("RGB", (7, 300)).save(content, "PNG")
    file = EventFile(tmp_path, 0)
    file.image("picture", content.getvalue(), 2)
    file.flush()
    file.close()
    (event,) = read(tmp_path).Images("picture")
    assert (event.step, event.width, event.height) == (2, 7, 300)
    assert event.encoded_image_string == content.getvalue()


def test_two_files_of_one_second_have_names_in_the_order_in_which_they_were_made(tmp_path, monkeypatch):
    monkeypatch.setattr(event_file.time, "time", lambda: 1234567890.5)
    monkeypatch.setattr(event_file.socket, "gethostname", lambda: "a/b c")
    files = [EventFile(tmp_path, 0) for _ in range(3)]
    names = [file.path.name for file in files]
    assert names[0] == f"events.out.tfevents.1234567890.a_b_c.{os.getpid()}"
    assert sorted(set(names)) == names
    (tmp_path / "events.out.tfevents.1234567899.z.1").touch()  # of another machine
    files.append(EventFile(tmp_path, 0))
    assert max(p.name for p in tmp_path.iterdir()) == files[-1].path.name
    for file in files:
        file.close()


def test_a_name_that_another_writer_takes_meanwhile_is_left_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(event_file.time, "time", lambda: 10.0)
    first = EventFile(tmp_path, 0)
    monkeypatch.setattr(event_file, "_NAME", event_file.re.compile("no file"))  # it is not seen yet
    second = EventFile(tmp_path, 0)
    assert second.path != first.path
    for file in (first, second):
        file.close()


def test_where_the_disk_is_full_the_file_ends_with_a_whole_record(tmp_path, monkeypatch):
    file, real = EventFile(tmp_path, 0), os.write
    file.scalar("a", 1, 1)
    file.flush()
    size = file.path.stat().st_size

    def write(descriptor, data):
        if file.path.stat().st_size > size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:7])

    file.scalar("a", 2, 2)
    monkeypatch.setattr(event_file.os, "write", write)
    with pytest.raises(OSError, match="No space"):
        file.flush()
    monkeypatch.undo()
    file.close()
    assert len(records(file.path.read_bytes())) == 3
    assert scalars(tmp_path, "a") == {1: 1.0}
