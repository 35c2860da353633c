"""Checkpoint files: what is in them, what is not accepted, and that none is ever half-written."""

from __future__ import annotations

import json
import math
import os
import struct

import numpy as np
import pytest

from tests.harness import raises
from tests.train.fitting import assert_same_state, noisy_net, some_digits, trainer
from xpnet import models, nn
from xpnet.errors import CheckpointError, DivergedError
from xpnet.optim import SGD
from xpnet.train import Checkpoint, SaveCheckpoint, Trainer, read_checkpoint, write_checkpoint
from xpnet.train.checkpoint import FORMAT_VERSION
from xpnet.train.runs.config import read_config


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A trained network, and its file."""
    fit = trainer(noisy_net(), optimizer="adam", lr=0.01)
    fit.fit(some_digits(64), epochs=1, batch_size=32)
    file = tmp_path_factory.mktemp("saved") / "checkpoint.safetensors"
    write_checkpoint(file, fit.checkpoint(note="näive ☃"))
    return fit, file


def parsed(raw: bytes) -> tuple[dict[str, np.ndarray], dict]:
    """A safetensors file as its specification has it: header length, JSON header, then the numbers; no more."""
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    meta, body, arrays = json.loads(header.pop("__metadata__")["xpnet"]), raw[8 + length :], {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        assert start == end
        dtype = {"F32": "<f4", "F64": "<f8"}[entry["dtype"]]
        arrays[name] = np.frombuffer(body[start:stop], dtype).reshape(entry["shape"])
        end = stop
    assert end == len(body)
    return arrays, meta


def test_a_file_is_safetensors_with_json_and_nothing_else(saved):
    fit, file = saved
    arrays, meta = parsed(file.read_bytes())
    state, (slots, scalars) = fit.model.state_dict(), fit.optimizer.state_dict()
    want = {f"model.{k}": v for k, v in state.items()} | {f"optimizer.{k}": v for k, v in slots.items()}
    assert arrays.keys() == want.keys()
    for name, values in want.items():
        assert np.array_equal(arrays[name], values), name
    assert meta["format_version"] == FORMAT_VERSION
    assert meta["optimizer"] == scalars
    assert meta["note"] == "näive ☃"
    assert meta["history"] == fit.history


def test_what_is_read_is_what_was_written(saved):
    fit, file = saved
    assert_same_state(read_checkpoint(file), fit.checkpoint())


def test_reading_unpickles_nothing(saved, monkeypatch):
    import pickle

    def refuse(*args, **kwargs):
        raise AssertionError("a checkpoint was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    read_checkpoint(saved[1])


def test_a_truncated_file_is_refused_at_any_length(saved, tmp_path):
    raw, cut = saved[1].read_bytes(), tmp_path / "cut"
    (header,) = struct.unpack("<Q", raw[:8])
    lengths = [*range(12), *range(12, 8 + header, 37), *range(7 + header, 10 + header)]
    for length in [*lengths, *range(10 + header, len(raw), len(raw) // 60), len(raw) - 4, len(raw) - 1]:
        cut.write_bytes(raw[:length])
        with raises(CheckpointError, str(cut), "truncated"):
            read_checkpoint(cut)


def test_bytes_after_the_end_are_refused(saved, tmp_path):
    (tmp_path / "long").write_bytes(saved[1].read_bytes() + b"\0\0\0\0")
    with raises(CheckpointError, str(tmp_path / "long"), "error"):
        read_checkpoint(tmp_path / "long")


def test_a_damaged_header_is_refused_or_read_but_never_another_error(tmp_path):
    fit, file = Trainer(models.softmax((2, 2, 1), 2)), tmp_path / "damaged"
    write_checkpoint(file, fit.checkpoint())
    raw, draw = file.read_bytes(), np.random.default_rng(0)
    (header,) = struct.unpack("<Q", raw[:8])
    refused = 0
    for i in range(8 + header):
        damaged = bytearray(raw)
        damaged[i] = draw.integers(32, 127)
        file.write_bytes(damaged)
        try:
            read_checkpoint(file)
        except CheckpointError:
            refused += 1
    assert refused > header // 4


@pytest.mark.parametrize("raw", [b"", b"hello, world, this is a text", bytes(64), b"\x80\x04K\x01.", b"\xff" * 64])
def test_a_file_of_something_else_is_refused(raw, tmp_path):
    (tmp_path / "other").write_bytes(raw)
    with raises(CheckpointError, str(tmp_path / "other"), "not a complete safetensors file"):
        read_checkpoint(tmp_path / "other")


@pytest.mark.parametrize(
    "metadata", [None, {}, {"format": "pt"}, {"xpnet": "[]"}, {"xpnet": '{"format_version": "1"}'}]
)
def test_a_safetensors_file_of_another_program_is_refused(metadata, tmp_path):
    from safetensors.numpy import save_file

    file = tmp_path / "theirs.safetensors"
    save_file({"weight": np.zeros(3, np.float32)}, file, metadata)
    with raises(CheckpointError, str(file), "written by xpnet"):
        read_checkpoint(file)


def test_a_newer_format_is_refused_with_both_versions(saved, tmp_path):
    newer = read_checkpoint(saved[1])
    newer.meta["format_version"] = FORMAT_VERSION + 41
    write_checkpoint(tmp_path / "newer", newer)
    with raises(
        CheckpointError, str(tmp_path / "newer"), f"format <= {FORMAT_VERSION}", FORMAT_VERSION + 41, "install a newer"
    ):
        read_checkpoint(tmp_path / "newer")


def test_a_missing_file_and_what_is_no_regular_file_are_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for place, words in ((tmp_path / "none", "no such file"), (tmp_path, "folder"), (tmp_path / "fifo", "FIFO")):
        with raises(CheckpointError, str(place), words):
            read_checkpoint(place)


def test_a_checkpoint_of_holes_is_refused_before_memory_is_allocated(tmp_path):
    header = json.dumps({"model.w": {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 1 << 32]}}).encode()
    (tmp_path / "sparse").write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(tmp_path / "sparse", 8 + len(header) + (1 << 32))
    with raises(CheckpointError, str(tmp_path / "sparse"), "bytes of content"):
        read_checkpoint(tmp_path / "sparse")


def test_what_a_killed_training_left_is_removed_when_the_next_begins(tmp_path):
    mine = (".checkpoint.safetensors.0123456789abcdef.part", "checkpoint.safetensors.4711.part")
    for name in (*mine, ".best.safetensors.0123456789abcdef.part"):
        (tmp_path / name).touch()
    trainer("softmax", callbacks=[SaveCheckpoint(tmp_path)]).fit(some_digits(64), epochs=1)
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoint.safetensors", ".best.safetensors.0123456789abcdef.part"}


def test_no_weights_are_made_for_a_checkpoint_of_other_shapes(saved):
    model = models.build("mlp", (500, 500, 3), 10)  # 384 MB
    for checkpoint in (saved[0].checkpoint(), Checkpoint.of(models.mlp((8, 8, 1), 10).initialize(0))):
        with pytest.raises(CheckpointError):
            checkpoint.restore(model)
    assert not any(state.made for state in model.states().values())


def test_a_model_of_normalized_data_without_its_normalization_is_refused(saved, tmp_path):
    held = read_checkpoint(saved[1])
    held.meta |= {"scale": {"white": 16.0, "low": 0.0, "high": 16.0, "whole": True, "normalized": True}}
    held.meta["normalize"] = None
    write_checkpoint(tmp_path / "changed", held)
    with pytest.raises(CheckpointError, match="normalize, of a model"):
        read_checkpoint(tmp_path / "changed")


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1, 1)])
def test_arrays_of_any_shape_come_back(shape, tmp_path):
    values = np.full(shape, math.pi, np.float32)
    write_checkpoint(tmp_path / "file", Checkpoint({"a.b": values}, meta={"format_version": 1}))
    back = read_checkpoint(tmp_path / "file").model["a.b"]
    assert back.shape == shape
    assert np.array_equal(back, values)


def test_strided_arrays_come_back(tmp_path):
    values = np.arange(24, dtype=np.float32).reshape(4, 6)[::-1, ::2].T
    write_checkpoint(tmp_path / "file", Checkpoint({"w": values}, meta={"format_version": 1}))
    assert np.array_equal(read_checkpoint(tmp_path / "file").model["w"], values)


def test_a_folder_that_cannot_be_written_to_is_an_error_with_its_reason(saved, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with raises(CheckpointError, str(tmp_path / "file" / "checkpoint"), "Not a directory"):
        write_checkpoint(tmp_path / "file" / "checkpoint", saved[0].checkpoint())
    with raises(CheckpointError, str(tmp_path / "none" / "checkpoint"), "No such file"):
        write_checkpoint(tmp_path / "none" / "checkpoint", saved[0].checkpoint())
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_goes_wrong_while_writing_leaves_the_old_file_whole(saved, tmp_path, monkeypatch, moment, error):
    fit, _ = saved
    file = tmp_path / "checkpoint.safetensors"
    write_checkpoint(file, fit.checkpoint())
    before = file.read_bytes()

    def fail(*args):
        raise error

    monkeypatch.setattr(os, moment, fail)
    wanted = raises(CheckpointError, str(file), "No space left on device")
    with wanted if isinstance(error, OSError) else pytest.raises(KeyboardInterrupt):
        write_checkpoint(file, fit.checkpoint(more="x" * 100))
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


def test_the_data_is_on_the_disk_before_the_name_is(saved, tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (done.append(name), real(*a)))
    write_checkpoint(tmp_path / "file", saved[0].checkpoint())
    assert done == ["fsync", "replace"]


def test_a_checkpoint_is_a_copy_that_training_does_not_change():
    fit = trainer("softmax")
    fit.fit(some_digits(64), epochs=1, batch_size=32)
    kept = fit.checkpoint()
    weights, velocity = (kept.model["scores.weight"].copy(), kept.optimizer["velocity/scores.weight"].copy())
    fit.fit(some_digits(64), epochs=2, batch_size=32)
    assert np.array_equal(kept.model["scores.weight"], weights)
    assert np.array_equal(kept.optimizer["velocity/scores.weight"], velocity)
    assert len(kept.meta["history"]) == 1
    assert kept.meta["progress"]["epoch"] == 1


def test_every_flipped_bit_is_found(tmp_path):
    fit, file = trainer(models.softmax((2, 2, 1), 2)), tmp_path / "flipped"
    write_checkpoint(file, fit.checkpoint())
    raw, draw = file.read_bytes(), np.random.default_rng(0)
    for place in (*draw.integers(8, len(raw), 300), *range(len(raw) - 20, len(raw))):
        flipped = bytearray(raw)
        flipped[place] ^= 1 << int(draw.integers(8))
        file.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            read_checkpoint(file)


def stored(file, change, **metadata) -> None:
    """Write the arrays and the JSON of a checkpoint anew, changed, as another program could."""
    from safetensors.numpy import load_file, save_file

    arrays = load_file(file)
    _, meta = parsed(file.read_bytes())
    change(arrays)
    save_file(arrays, file, {"xpnet": json.dumps(meta | metadata)})


def test_a_checkpoint_of_an_old_version_opens_without_a_checksum(saved, tmp_path):
    file = tmp_path / "old"
    file.write_bytes(saved[1].read_bytes())
    stored(file, lambda arrays: None, format_version=1)
    assert_same_state(read_checkpoint(file), saved[0].checkpoint())
    stored(file, lambda arrays: None, format_version=FORMAT_VERSION)
    with raises(CheckpointError, str(file), "checksum"):
        read_checkpoint(file)


@pytest.mark.parametrize("dtype", ["int32", "int8", "bool", "float8_e4m3fn", "bfloat16"])
def test_arrays_of_other_dtypes_are_refused(saved, tmp_path, dtype):
    file = tmp_path / "other"
    header = {"__metadata__": {"xpnet": '{"format_version": 1}'}}
    names = {"int32": ("I32", 4), "int8": ("I8", 1), "bool": ("BOOL", 1), "float8_e4m3fn": ("F8_E4M3", 1)}
    name, size = names.get(dtype, ("BF16", 2))
    header["model.w"] = {"dtype": name, "shape": [2], "data_offsets": [0, 2 * size]}
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(2 * size))
    with raises(CheckpointError, str(file), "arrays of F16, F32, F64", name):
        read_checkpoint(file)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_state_of_the_optimizer_that_is_not_finite_replaces_no_checkpoint(tmp_path, bad):
    model = nn.Linear(2, 2)
    trainer = Trainer(model, SGD(model.parameters(), lr=0.1, momentum=0.9))
    saver = SaveCheckpoint(tmp_path)
    saver.save(trainer)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    trainer.optimizer.state[trainer.optimizer.state_names[0]][1] = bad
    with raises(DivergedError, "optimizer", "not finite", "weight"):
        saver.save(trainer)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_said(saved, tmp_path, bad):
    held = read_checkpoint(saved[1])
    held.model["scores.weight"][0, 0] = bad
    write_checkpoint(tmp_path / "bad", held)
    with raises(CheckpointError, str(tmp_path / "bad"), "NaN", "scores.weight"):
        read_checkpoint(tmp_path / "bad")


def test_swapped_arrays_of_one_shape_are_found(saved, tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    arrays = load_file(saved[1])
    with safe_open(str(saved[1]), framework="numpy") as file:
        notes = file.metadata()
    a, b = (name for name in arrays if name.endswith("/scores.weight"))
    arrays[a], arrays[b] = arrays[b], arrays[a]
    save_file(arrays, tmp_path / "swapped", notes)
    with raises(CheckpointError, str(tmp_path / "swapped"), "checksum"):
        read_checkpoint(tmp_path / "swapped")


@pytest.mark.parametrize(
    ("run", "hint"),
    [
        ("runs/mlp-digit-1", "did you mean 'runs/mlp-digits-1'?"),
        ("mlp-digits-1", "did you mean 'runs/mlp-digits-1'?"),
        ("mien", "did you mean 'mine'?"),
        ("zzz", "give the folder of a run"),
        ("runs", "give the folder of a run"),
        ("mlp-digits-2", "did you mean 'runs/mlp-digits-1'?"),
    ],
)
def test_a_mistyped_run_is_answered_with_the_path_of_the_nearest(run, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/mlp-digits-1", "runs/softmax-moons-1", "mine"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "checkpoint.safetensors").touch()
    (tmp_path / "mlp-digits-x").mkdir()  # no run
    for read in (read_checkpoint, read_config):
        with pytest.raises(CheckpointError) as caught:
            read(f"{run}/checkpoint.safetensors" if read is read_checkpoint else run)
        assert str(caught.value).endswith(f"no such file; {hint}")


def test_a_mistyped_file_of_a_run_is_answered_with_the_one_that_is_there(tmp_path):
    (tmp_path / "best.safetensors").touch()
    with raises(CheckpointError, str(tmp_path / "bset.safetensors"), f"did you mean '{tmp_path}/best.safetensors'?"):
        read_checkpoint(tmp_path / "bset.safetensors")
