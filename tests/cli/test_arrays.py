"""Arrays in .npz files: trained on, evaluated as a whole, predicted as images and tables are."""

from __future__ import annotations

import csv

import numpy as np
import pytest

RNG = np.random.default_rng(4)
X = RNG.integers(0, 256, (40, 6, 6, 1), dtype=np.uint8)
Y = (X.mean(axis=(1, 2, 3)) > 127).astype(int)


@pytest.fixture
def images(xpnet, here):
    np.savez(here / "set.npz", x=X, y=Y)
    assert xpnet("train", "mlp", data="set.npz", epochs=1, out="run", quiet=True).code == 0


def save(name: str, **arrays) -> str:
    np.savez(name, **arrays)
    return name


def test_predictions_are_the_same_in_every_form(xpnet, here, images):
    want = xpnet("predict", "run", save("a.npz", x=X), json=True).json
    assert [row["example"] for row in want] == list(range(40))
    assert want[0].keys() == {"file", "example", "classes", "probabilities"}
    forms = {"rows": X.reshape(40, 36), "grey": X[..., 0], "first": X[:, None, :, :, 0]}
    for name, x in forms.items():
        got = xpnet("predict", "run", save(f"{name}.npz", images=x), json=True).json
        for a, b in zip(got, want, strict=True):
            assert a["classes"] == b["classes"]
            assert a["probabilities"] == pytest.approx(b["probabilities"], abs=1e-5)
    lines = xpnet("predict", "run", "a.npz", "rows.npz", top=1).out.splitlines()
    assert len(lines) == 80
    assert lines[41].startswith("rows.npz, example 1: ")


def test_predictions_are_written_as_a_table(xpnet, here, images):
    assert xpnet("predict", "run", save("a.npz", x=X[:3]), csv="o.csv").code == 0
    with open(here / "o.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["example"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["file"] == "a.npz"
    assert 0.5 <= float(rows[0]["probability"]) <= 1


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X[:, :5]}, ["(6, 6, 1)", "(5, 6, 1)"]),
        ({"x": X[:0]}, ["at least one example"]),
        ({"x": np.float32(1)}, ["at least one example"]),
        ({"y": Y}, ["an array x", "y"]),
        ({"x_a": X, "x_b": X}, ["one array x", "a, b"]),
        ({"x": np.full((3, 6, 6, 1), 70000.0)}, ["scale"]),
    ],
    ids=["shape", "empty", "a number", "no x", "several", "scale"],
)
def test_arrays_that_do_not_fit_are_one_line(xpnet, images, arrays, words):
    result = xpnet("predict", "run", save("bad.npz", **arrays))
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    for word in words:
        assert word in result.err


def test_images_and_archives_are_not_mixed(xpnet, images):
    result = xpnet("predict", "run", save("a.npz", x=X), "photo.png")
    assert result.code == 2
    assert "not both" in result.err


@pytest.mark.parametrize("count", [1, 2, 40])
def test_all_examples_of_another_file_are_evaluated(xpnet, images, count):
    result = xpnet("evaluate", "run", data=save("new.npz", x=X[:count].reshape(count, 36), y=Y[:count]), json=True)
    assert result.code == 0
    assert result.json["examples"] == count
    assert np.sum(result.json["confusion"]) == count
    assert "reshaped to (6, 6, 1)" in result.err
    predicted = xpnet("predict", "run", "new.npz", json=True).json
    right = sum(int(p["classes"][0]) == y for p, y in zip(predicted, Y[:count], strict=True))
    assert result.json["test_accuracy"] == pytest.approx(right / count)


def test_one_row_of_a_table_is_evaluated(xpnet, here):
    lines = ["a,b,kind", *(f"{i % 7},{i % 3},{'xy'[i % 2]}" for i in range(40))]
    (here / "t.csv").write_text("\n".join(lines))
    (here / "one.csv").write_text("\n".join(lines[:2]))
    xpnet("train", "mlp", data="t.csv", target="kind", epochs=1, out="run", quiet=True)
    assert xpnet("evaluate", "run", data="one.csv", json=True).json["examples"] == 1


def test_one_image_in_the_folder_of_its_class_is_evaluated(xpnet, images, here):
    image = pytest.importorskip("PIL.Image")
    (here / "new" / "1").mkdir(parents=True)
    image.fromarray(X[3, ..., 0]).save(here / "new" / "1" / "a.png")
    result = xpnet("evaluate", "run", data="new", json=True)
    assert result.code == 0
    assert result.json["confusion"][0] == [0, 0]
    assert result.json["examples"] == 1


def test_rows_for_a_network_of_images_get_advice(xpnet):
    result = xpnet("train", "lenet5", data=save("rows.npz", x=X.reshape(40, 36), y=Y), epochs=1)
    assert result.code == 2
    assert "reshape rows of images to (N, 6, 6, 1)" in result.err


def test_several_inputs_are_refused_in_one_line(xpnet):
    save("two.npz", x_image=X, x_age=Y, y=Y)
    for command in (("train", "mlp", "--data", "two.npz"), ("data", "two.npz")):
        result = xpnet(*command)
        assert result.code == 2
        assert len(result.err.splitlines()) == 1
        assert "image" in result.err
