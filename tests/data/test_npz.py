from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.harness import raises
from xpnet.data import LoadOptions, load
from xpnet.errors import DataError

X = np.arange(10 * 5 * 4, dtype=np.uint8).reshape(10, 5, 4)
Y = np.arange(10) % 3


def save(tmp_path, **arrays):
    np.savez(tmp_path / "set.npz", **arrays)
    return str(tmp_path / "set.npz")


def test_a_file_with_training_and_test_arrays_keeps_them_apart(tmp_path):
    train, test = load(save(tmp_path, x_train=X[:7], y_train=Y[:7], x_test=X[7:], y_test=Y[7:]))
    assert np.array_equal(train.x[..., 0], X[:7])
    assert np.array_equal(train.y, Y[:7])
    assert np.array_equal(test.x[..., 0], X[7:])
    assert np.array_equal(test.y, Y[7:])
    assert train.classes == test.classes == ("0", "1", "2")
    assert train.name.endswith("set.npz")


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("images", "labels")])
def test_a_fifth_of_a_file_without_test_arrays_is_held_out(tmp_path, x, y):
    path = save(tmp_path, **{x: X, y: Y})
    train, test = load(path)
    assert (len(train), len(test)) == (8, 2)
    assert np.array_equal(test.x, load(path)[1].x)


def test_the_file_may_name_its_classes(tmp_path):
    train, test = load(save(tmp_path, x=X, y=Y, classes=np.array(["ant", "bee", "cow", "dog"])))
    assert train.classes == test.classes == ("ant", "bee", "cow", "dog")


def test_targets_of_any_task_are_read(tmp_path):
    words = np.array(["ant", "bee", "ö"])[Y]
    train, test = load(save(tmp_path, x=X, y=words))
    assert train.classes == ("ant", "bee", "ö")
    train, test = load(save(tmp_path, x=X, y=np.char.encode(words, "utf-8")))
    assert train.classes == ("ant", "bee", "ö")
    train, test = load(save(tmp_path, x_train=X[:2], y_train=words[1:3], x_test=X[:2], y_test=words[:2]))
    assert (train.classes, train.y.tolist(), test.y.tolist()) == (("ant", "bee", "ö"), [1, 2], [0, 1])
    train, test = load(save(tmp_path, x=X, y=Y / 2))
    assert (train.y.dtype, len(train), len(test)) == (np.float32, 8, 2)
    regression = LoadOptions(task="regression")
    train, test = load(save(tmp_path, x_train=X, y_train=Y, x_test=X[:3], y_test=Y[:3]), options=regression)
    assert (train.y.dtype, train.y.tolist()) == (np.float32, Y.tolist())
    train, test = load(save(tmp_path, x=X), options=LoadOptions(task="reconstruction"))
    assert np.array_equal(test.y, test.x)


def test_sequences_stay_sequences(tmp_path):
    sequences = np.random.default_rng(0).normal(size=(10, 6, 3))
    train, test = load(save(tmp_path, x_train=sequences, y_train=Y, x_test=sequences[:4], y_test=Y[:4]))
    assert (train.shape, test.shape) == ((6, 3), (6, 3))
    train, test = load(save(tmp_path, x_train=sequences, y_train=Y, x_test=abs(sequences[:4]) / 9, y_test=Y[:4]))
    assert test.shape == (6, 3)  # as the training set, whatever its values


def test_a_class_that_only_the_test_set_has_is_in_both_sets(tmp_path):
    train, test = load(save(tmp_path, x_train=X, y_train=Y, x_test=X, y_test=Y + 1))
    assert train.classes == test.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize("arrays", [{"x_train": X, "y_train": Y, "pictures": X}, {}], ids=["some", "none"])
def test_missing_arrays_are_an_error_that_lists_those_found(tmp_path, arrays):
    path = save(tmp_path, **arrays)
    with raises(DataError, path, f"arrays {', '.join(arrays) or 'none'}"):
        load(path)


def test_objects_are_not_unpickled(tmp_path):
    path = save(tmp_path, y=Y, x=np.array([{}, []], dtype=object))
    with raises(DataError, path, "array x"):
        load(path)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_a_truncated_file_is_an_error(tmp_path, share):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, x=X, y=Y)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with raises(DataError, str(path), "cannot read"):
        load(str(path))


def test_a_damaged_array_is_an_error(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=X, y=Y)
    raw = bytearray(path.read_bytes())
    raw[250] ^= 0xFF  # within the pixels, so the archive's checksum no longer matches
    path.write_bytes(raw)
    with raises(DataError, str(path), "Bad CRC-32"):
        load(str(path))


@pytest.mark.parametrize("content", [b"hello", b"\x80\x04\x95pickle", b"PK\x03\x04", None])
def test_a_file_of_another_format_or_none_is_an_error(tmp_path, content):
    path = tmp_path / "set.npz"
    if content is not None:
        path.write_bytes(content)
    with raises(DataError, str(path), "cannot read" if content else "no such file"):
        load(str(path))


def test_a_single_array_is_an_error(tmp_path):
    np.save(tmp_path / "set.npy", X)
    path = (tmp_path / "set.npy").rename(tmp_path / "set.npz")
    with raises(DataError, str(path), "a single .npy array", "numpy.savez"):
        load(str(path))


def test_parts_of_different_shapes_are_an_error(tmp_path):
    path = save(tmp_path, x_train=X, y_train=Y, x_test=X.reshape(10, 4, 5), y_test=Y)
    with raises(DataError, path, "x_train (5, 4, 1) uint8", "x_test (4, 5, 1) uint8"):
        load(path)


def test_nan_in_the_test_part_is_an_error_that_names_the_part(tmp_path):
    bad = X.astype(float)
    bad[3, 1, 1] = np.nan
    path = save(tmp_path, x_train=X.astype(float), y_train=Y, x_test=bad, y_test=Y)
    with raises(DataError, f"{path} (x_test)", "value nan", "sample 3"):
        load(path)


# Archives that are damaged or hostile.


def header(descr: str = "'|u1'", shape: str = "(10, 5, 4)", version: int = 1, length: int | None = None) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    size = (len(text) if length is None else length).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text


def zipped(tmp_path: Path, x: bytes, method: int = zipfile.ZIP_DEFLATED, more: dict[str, bytes] | None = None) -> Path:
    stream = io.BytesIO()
    np.save(stream, Y)
    with zipfile.ZipFile(tmp_path / "set.npz", "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the name that is there twice
        for name, content in [("x.npy", x), ("y.npy", stream.getvalue()), *(more or {}).items()]:
            archive.writestr(name, content)
    return tmp_path / "set.npz"


BAD_MEMBERS = {
    "no header": b"",
    "a pickle": b"\x80\x04\x95" + bytes(90),
    "version 9": header(version=9) + X.tobytes(),
    "a header that ends early": header(length=300) + X.tobytes(),
    "a header of 65 kB": header(length=65535) + X.tobytes(),
    "a header of 4 GB": header(version=2, length=2**32 - 1) + bytes(100_000),
    "a shape of 20 TB": header(shape="(1000000000000, 5, 4)") + X.tobytes(),
    "a shape beyond 64 bits": header(shape="(0, 99999999999999999999)"),
    **{
        f"shape {shape[:9]}": header(shape=shape) + X.tobytes()
        for shape in ("(-10, 5, 4)", "(1e1, 5, 4)", "(True, 200)")
    },
    **{
        f"shape {shape[:9]}": header(shape=shape) + X.tobytes()
        for shape in ("200", "[200]", "None", "(10**9,)", "(" * 999)
    },
    **{
        f"descr {descr}": header(descr) + X.tobytes()
        for descr in ("'O'", "'i4,i4'", "'(9,9)f4'", "'V9999999'", "'zzz'")
    },
    **{
        f"descr {descr}": header(descr) + X.tobytes() for descr in ("[('a', '<i4')]", "None", "5", "'<U9999999'", "'T'")
    },
    "too short": header() + X.tobytes()[:-1],
    "too long": header() + X.tobytes() + b"!",
}


@pytest.mark.parametrize("member", BAD_MEMBERS.values(), ids=BAD_MEMBERS.keys())
def test_an_array_whose_header_is_not_sound_is_an_error_that_names_it(tmp_path, member):
    path = zipped(tmp_path, member)
    with raises(DataError, str(path), "x"):
        load(str(path))


def test_other_versions_of_the_header_are_read(tmp_path):
    for version in (1, 2, 3):
        train, test = load(str(zipped(tmp_path, header(version=version) + X.tobytes())))
        assert len(train) + len(test) == 10


def test_an_array_that_is_there_twice_is_an_error(tmp_path):
    path = zipped(tmp_path, header() + X.tobytes(), more={"x": header() + X.tobytes()})
    with raises(DataError, str(path), "each array once", "twice 'x'"):
        load(str(path))


@pytest.mark.parametrize(("method", "number"), [(zipfile.ZIP_BZIP2, 12), (zipfile.ZIP_LZMA, 14)])
def test_compression_without_a_limit_is_refused(tmp_path, method, number):
    path = zipped(tmp_path, header() + X.tobytes(), method)
    with raises(DataError, str(path), f"method {number}", "numpy.savez"):
        load(str(path))


def test_an_encrypted_array_is_an_error(tmp_path):
    path = zipped(tmp_path, header() + X.tobytes())
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(raw)
    with raises(DataError, str(path), "not encrypted", "array x"):
        load(str(path))


@pytest.mark.parametrize(
    "x", [np.zeros((10, 300, 300), np.uint8), np.zeros((10, 60_000)), np.zeros((10, 90_000), bool)]
)
def test_content_that_its_compressed_bytes_do_not_support_is_refused(tmp_path, monkeypatch, x):
    monkeypatch.setattr("xpnet.data.opening._FREE", 800_000)
    path = tmp_path / "set.npz"
    np.savez_compressed(path, x=x, y=Y)
    with raises(DataError, f"{path}: x", "bytes of content in a file of", "numpy.savez, not compressed"):
        load(str(path))
    np.savez(path, x=x, y=Y)
    assert len(load(str(path))[0]) == 8


KEPT = {
    "Fortran order": np.asfortranarray(X),
    "big-endian": X.astype(">i4"),
    "float16": X.astype(np.float16),
    "long double": X.astype(np.longdouble),
    "bool": X > 77,
}


@pytest.mark.parametrize("x", KEPT.values(), ids=KEPT.keys())
def test_numbers_of_every_layout_are_kept(tmp_path, x):
    path = tmp_path / "set.npz"
    np.savez(path, x_train=x, y_train=Y, x_test=x, y_test=Y)
    assert np.array_equal(load(str(path))[0].x[..., 0], x)


WRONG_KINDS = {
    "complex": (X + 0j, Y, "dtype <c16"),
    "strings": (X.astype(str), Y, "dtype <U3"),
    "dates": (X.astype("M8[s]"), Y, "dtype <M8[s]"),
    "structured": (np.zeros(10, [("a", "i4")]), Y, "array x"),
    "no samples": (X[:0], Y[:0], "at least one sample"),
    "no pixels": (X[:, :0], Y, "at least one sample"),
    "a number": (np.array(3.0), Y, "shape ()"),
    "labels of a number": (X, np.array(3), "shape ()"),
    "0, 100, 200": (X, Y * 100, "label 200"),
    "999,999": (X, np.where(Y == 2, 999_999, Y), "label 999999"),
    "beyond int64": (X, Y.astype(np.uint64) + 2**63, "at least half have a sample"),
    "negative": (X, -Y, "label -2"),
    "missing labels": (X, np.where(Y == 2, np.nan, Y), "finite targets"),
    "infinite": (np.where(X == 3, np.inf, X), Y, "value inf"),
}


@pytest.mark.parametrize(("x", "y", "problem"), WRONG_KINDS.values(), ids=WRONG_KINDS.keys())
def test_arrays_that_are_no_data_set_are_an_error(tmp_path, x, y, problem):
    path = save(tmp_path, x=x, y=y)
    with raises(DataError, path, problem):
        load(path)


NAMES = {
    "too few": (["a", "b"], "K 2"),
    "escape": (["a\x1b[31m", "b", "c"], r"name 'a\x1b[31m'"),
    "newline": (["a\nb", "b", "c"], r"name 'a\nb'"),
    "C1 control": (["a\x9b31m", "b", "c"], r"name 'a\x9b31m'"),
    "twice": (["a", "a", "c"], "that differ, got name 'a'"),
    "not UTF-8": (np.array([b"a", b"\xff", b"c"]), r"name '\udcff'"),
    "objects": (np.array(["a", None, "c"], dtype=object), "array classes"),
    "none": ([], "at least 2 classes"),
}


@pytest.mark.parametrize(("names", "problem"), NAMES.values(), ids=NAMES.keys())
def test_names_that_cannot_be_shown_or_told_apart_are_an_error(tmp_path, names, problem):
    path = save(tmp_path, x=X, y=Y, classes=names)
    with raises(DataError, path, problem):
        load(path)


def test_names_in_bytes_are_decoded(tmp_path):
    assert load(save(tmp_path, x=X, y=Y, classes=np.array([b"ant", b"bee", b"cat"])))[0].classes == (
        "ant",
        "bee",
        "cat",
    )


def test_a_changed_file_gives_the_same_values_or_a_data_error(tmp_path):
    save(tmp_path, x_train=X, y_train=Y, x_test=X, y_test=Y, classes=["a", "b", "c"])
    path, random = tmp_path / "set.npz", np.random.default_rng(0)
    whole = path.read_bytes()
    refused = 0
    for _ in range(150):
        raw = bytearray(whole)
        for place in random.integers(len(raw), size=random.integers(1, 4)):
            raw[place] = random.integers(256)
        path.write_bytes(raw)
        try:
            train, _ = load(str(path))
        except DataError:
            refused += 1
        else:
            assert np.array_equal(train.x[..., 0], X)
            assert np.array_equal(train.y, Y)
    assert refused > 100


# Several inputs


def test_arrays_x_name_are_inputs_by_name(tmp_path):
    train, test = load(save(tmp_path, x_image=X, x_age=np.arange(10.0), y=Y))
    assert (len(train), len(test)) == (8, 2)
    assert train.shape == {"image": (5, 4, 1), "age": (1,)}
    both = np.sort(np.concatenate([train.x["age"], test.x["age"]]).ravel())
    assert both.tolist() == list(range(10))
    row = int(test.x["age"][0, 0])
    assert np.array_equal(test.x["image"][0, ..., 0], X[row])
    assert test.y[0] == Y[row]


def test_several_inputs_may_have_test_arrays(tmp_path):
    arrays = {"x_train_a": X[:7], "x_train_b": X[:7, 0], "x_test_b": X[7:, 0], "x_test_a": X[7:]}
    train, test = load(save(tmp_path, **arrays, y_train=Y[:7], y_test=Y[7:]))
    assert np.array_equal(train.x["b"], X[:7, 0])
    assert np.array_equal(test.x["b"], X[7:, 0])
    assert list(test.x) == list(train.x) == ["a", "b"]


@pytest.mark.parametrize(
    "arrays",
    [
        {"x_a": X, "x_b": X[:9], "y": Y},
        {"x_a": X, "x_b": X},
        {"x_train_a": X, "x_test_b": X, "y_train": Y, "y_test": Y},
        {"x_train_a": X, "x_test_a": X[:, :2], "y_train": Y, "y_test": Y},
    ],
    ids=["counts", "no y", "other names", "other shapes"],
)
def test_several_inputs_that_do_not_fit_are_one_line(tmp_path, arrays):
    with pytest.raises(DataError) as caught:
        load(save(tmp_path, **arrays))
    assert "\n" not in str(caught.value)
