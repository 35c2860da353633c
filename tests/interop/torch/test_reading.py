"""Files that are damaged, hostile or of another kind: one line, nothing executed, and the model as it was."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import xpnet  # noqa: E402
from xpnet import nn  # noqa: E402
from xpnet.errors import CheckpointError, ConfigError, XpnetError  # noqa: E402


def model():
    return nn.Sequential(fc=nn.Linear(3, 2))


ARRAYS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


def saved(values=ARRAYS, **options):
    buffer = io.BytesIO()
    torch.save(values, buffer, **options)
    return buffer.getvalue()


def safetensors(values=ARRAYS):
    from safetensors.torch import save

    return save(values)


def load(path_or_values, **options):
    """Load into a model, which has the new values, or after an error of one line all of the old ones."""
    net = model()
    before = net.state_dict()
    try:
        xpnet.load_torch(net, path_or_values, verbose=False, **options)
    except XpnetError as error:
        same = all(np.array_equal(before[name], value) for name, value in net.state_dict().items())
        if not same or "\n" in str(error):
            raise AssertionError("the model has changed, or the error has several lines") from error
        raise
    return net.state_dict()


def loaded(tmp_path, data):
    path = tmp_path / "weights.bin"
    path.write_bytes(data)
    return load(path)


@pytest.mark.parametrize(
    "data",
    [saved(), saved(_use_new_zipfile_serialization=False), safetensors(), saved({"epoch": 3, "model": ARRAYS})],
    ids=["torch", "torch before 1.6", "safetensors", "checkpoint"],
)
def test_a_file_is_read_by_its_content(tmp_path, data):
    assert loaded(tmp_path, data)["fc.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_bfloat16_and_float16_and_float64_are_read(tmp_path):
    for kind in (torch.bfloat16, torch.float16, torch.float64):
        values = {name: value.to(kind) for name, value in ARRAYS.items()}
        for data in (saved(values), safetensors(values)):
            assert loaded(tmp_path, data)["fc.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("write", [saved, safetensors], ids=["torch", "safetensors"])
def test_a_truncated_file_is_an_error(tmp_path, write):
    data = write()
    for size in [*range(40), *range(40, len(data), 61), len(data) - 1]:
        with pytest.raises(CheckpointError):
            loaded(tmp_path, data[:size])


def test_each_changed_byte_of_a_tensor_of_torch_is_an_error(tmp_path):
    data = saved()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = [part for part in archive.infolist() if "/data/" in part.filename or part.filename.endswith("data.pkl")]
    assert len(parts) == 3
    for part in parts:
        start = data.index(archive_name(part), part.header_offset) + len(part.filename)
        start += struct.unpack("<H", data[part.header_offset + 28 : part.header_offset + 30])[0]
        for place in range(start, start + part.file_size, 7):
            changed = bytearray(data)
            changed[place] ^= 64
            with pytest.raises(CheckpointError, match="checksum is another"):
                loaded(tmp_path, bytes(changed))


def archive_name(part):
    return part.filename.encode()


class _Hostile:
    """What runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_file_is_not_executed(tmp_path):
    target = tmp_path / "executed"
    hostile = _Hostile(str(target))
    for data in (
        saved({**ARRAYS, "x": hostile}),
        saved({**ARRAYS, "x": hostile}, _use_new_zipfile_serialization=False),
        pickle.dumps({**ARRAYS, "x": hostile}),
        pickle.dumps(hostile),
    ):
        with pytest.raises(CheckpointError, match="without executing code"):
            loaded(tmp_path, data)
    assert not target.exists()


@pytest.mark.filterwarnings("ignore")  # both are on their way out of torch
def test_a_module_in_a_file_is_code(tmp_path):
    with pytest.raises(CheckpointError, match=r"torch\.save\(model\.state_dict\(\), file\)"):
        loaded(tmp_path, saved(torch.nn.Linear(3, 2)))
    torch.jit.trace(torch.nn.Linear(3, 2), torch.ones(1, 3)).save(str(tmp_path / "script.pt"))
    with pytest.raises(CheckpointError, match="TorchScript"):
        load(tmp_path / "script.pt")


def test_an_archive_that_expands_is_an_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(80 << 20))
    with pytest.raises(CheckpointError, match="at most"):
        load(tmp_path / "bomb.pth")


@pytest.mark.parametrize(
    "data",
    [b"", b"hello, weights", b"\x89HDF\r\n\x1a\n" + bytes(99), bytes(64), b"PK\x03\x04" + bytes(60), b"\x80\x02."],
    ids=["empty", "text", "hdf5", "zeros", "zip", "pickle"],
)
def test_another_kind_of_file_is_an_error(tmp_path, data):
    with pytest.raises(CheckpointError):
        loaded(tmp_path, data)


def test_a_model_of_xpnet_is_read_by_load(tmp_path):
    model().save(tmp_path / "own.safetensors")
    with pytest.raises(CheckpointError, match=r"xpnet\.load"):
        load(tmp_path / "own.safetensors")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"fc.weight": 3}, "a dictionary from name to array"),
        ({3: torch.ones(2)}, "a dictionary from name to array"),
        ({**ARRAYS, "fc.weight": torch.ones(2, 3).to_sparse()}, "sparse"),
        ({**ARRAYS, "fc.weight": torch.empty(2, 3, device="meta")}, "meta"),
        ({**ARRAYS, "fc.weight": torch.ones(2, 3, dtype=torch.complex64)}, "real floating"),
        ({**ARRAYS, "fc.weight": np.array([["a"] * 3] * 2)}, "real floating"),
        ({"a": ARRAYS, "b": ARRAYS}, "several state dictionaries"),
        ({}, "an empty dictionary"),
    ],
    ids=["number", "key", "sparse", "meta", "complex", "text", "several", "empty"],
)
def test_a_dictionary_of_other_things_is_an_error(values, words):
    with pytest.raises(CheckpointError, match=words):
        load(values)


@pytest.mark.filterwarnings("ignore")
def test_a_quantized_tensor_is_an_error():
    quantized = torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.qint8)
    with pytest.raises(CheckpointError, match="quantized"):
        load({**ARRAYS, "fc.weight": quantized})


def test_a_tensor_that_needs_a_gradient_or_is_a_view_is_read():
    weight = torch.arange(6.0).reshape(3, 2).T.requires_grad_()
    assert load({"fc.weight": weight, "fc.bias": torch.ones(1).expand(2)})["fc.weight"].tolist() == [
        [0, 2, 4],
        [1, 3, 5],
    ]


@pytest.mark.parametrize("source", [None, 3, "", [ARRAYS], b"x"], ids=["None", "number", "empty", "list", "bytes"])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(ConfigError, match="source"):
        load(source)
