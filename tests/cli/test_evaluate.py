"""xpnet evaluate: the figures of a run, and the table of confusions."""

from __future__ import annotations

import numpy as np
import pytest

from tests.data.test_image import picture
from xpnet import data


def test_evaluate_says_what_training_said(xpnet, run):
    result = xpnet("evaluate", "run", json=True)
    assert result.code == 0
    assert result.json["test_accuracy"] == run.json["test_accuracy"]
    assert result.json["examples"] == 360
    counts = np.asarray(result.json["confusion"])
    assert np.array_equal(counts.sum(axis=1), np.bincount(data.load("digits")[1].y))
    assert np.trace(counts) / 360 == pytest.approx(run.json["test_accuracy"])
    assert f"{run.json['test_accuracy']:.2%}" in result.err


def test_evaluate_prints_each_class_with_its_share(xpnet, run):
    result = xpnet("evaluate", "run", data="digits", backend="numpy", device="cpu")
    assert result.code == 0
    counts = np.asarray(xpnet("evaluate", "run", json=True).json["confusion"])
    rows = [line.split() for line in result.out.splitlines() if line.split()[0] in "0123456789"]
    assert [row[-1] for row in rows] == [f"{c[k] / c.sum():.1%}" for k, c in enumerate(counts)]
    assert [[int(n.replace("·", "0")) for n in row[1:-1]] for row in rows] == counts.tolist()


def test_evaluate_takes_the_data_folder_of_the_run(xpnet, write_idx):
    xpnet("train", "softmax", data="mnist", data_dir=write_idx(), epochs=1, out="run")
    assert xpnet("evaluate", "run", json=True).json["examples"] == 10


def test_evaluate_runs_on_another_backend(xpnet, run):
    pytest.importorskip("torch")
    result = xpnet("evaluate", "run", backend="torch", json=True)
    assert result.json["backend"] == "torch"
    assert result.json["test_accuracy"] == pytest.approx(run.json["test_accuracy"], abs=1 / 300)


def test_each_example_is_written_with_what_is_true_and_what_is_predicted(xpnet, run, here):
    import csv

    result = xpnet("evaluate", "run", csv="each.csv", json=True)
    assert result.code == 0
    with open(here / "each.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 360
    right = sum(r["true"] == r["class"] for r in rows)
    assert right / 360 == pytest.approx(result.json["test_accuracy"])


def test_photos_are_kept_on_disk_evaluated_without_damaged_ones_and_named(xpnet, here):
    for i in range(20):
        picture(here / "pets" / "ab"[i % 2] / f"{i}.png", 100 * (i % 2) + i)
    made = xpnet("train", "softmax", data="pets", epochs=1, val=0, cache_folder="kept", out="run")
    assert made.code == 0
    assert len(list((here / "kept").glob("*.images"))) == 1
    (here / "pets" / "a" / "4.png").write_bytes(b"x")
    assert xpnet("evaluate", "run", data="pets").code == 2
    result = xpnet("evaluate", "run", "--skip-damaged", data=here / "pets", csv="each.csv", json=True)
    assert result.code == 0
    rows = (here / "each.csv").read_text().splitlines()
    assert len(rows) == 1 + result.json["examples"]
    assert rows[0] == "image,true,class,probability"
    assert all(row.split(",")[0].endswith(".png") and row.split("/")[-2] == row.split(",")[1] for row in rows[1:])


@pytest.mark.parametrize("other", ["photos", "digits", "arrays.npz"])
def test_a_run_on_a_table_is_evaluated_on_tables_only(xpnet, refused, here, other):
    (here / "flats.csv").write_text("rooms,price\n" + "".join(f"{n % 5},{3.5 * n}\n" for n in range(40)))
    (here / "photos").mkdir()
    (here / "arrays.npz").write_bytes(b"")
    xpnet("train", "mlp", data="flats.csv", target="price", epochs=1, out="table")
    refused(["evaluate", "table", "--data", other], "--data: expected a table, as the run was trained on", other)


def test_a_run_of_images_is_not_evaluated_on_a_table(xpnet, run, refused, here):
    (here / "flats.csv").write_text("rooms,price\n" + "".join(f"{n % 5},{3.5 * n}\n" for n in range(40)))
    words = "--data: expected no table, since the model was not trained on one", "give a folder of images"
    said = refused(["evaluate", "run", "--data", "flats.csv"], *words, "flats.csv")
    assert "target" not in said
    refused(["predict", "run", "flats.csv"], "flats.csv: expected an image that ends in", "'.csv'")
