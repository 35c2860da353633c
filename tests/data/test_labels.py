from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.data.test_image import picture
from tests.harness import raises
from xpnet import nn
from xpnet.data import LoadOptions, load, splits
from xpnet.errors import ConfigError, DataError
from xpnet.train import Trainer


@pytest.fixture
def flat(tmp_path) -> Path:
    """Ten gray pictures of value 0..9 in a folder without classes."""
    for i in range(10):
        picture(tmp_path / "flat" / f"{i}.png", 20 * i)
    return tmp_path / "flat"


def table(path: Path, header: str, line) -> None:
    path.write_text("\n".join([header, *(line(i) for i in range(10))]))


def learned(root: Path, **options) -> dict[int, object]:
    """The target of each picture, by its number."""
    train, test = load(root, options=LoadOptions(**options))
    y = np.concatenate([train.y, test.y]).tolist()
    return dict(sorted(zip((np.concatenate([train.x, test.x])[:, 0, 0, 0] // 20).tolist(), y, strict=True)))


PLACES = {"inside": "flat/any.csv", "beside": "flat.csv", "beside as labels": "labels.csv"}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_words_are_classes_wherever_the_file_lies(flat, place):
    table(flat.parent / place, "file,label", lambda i: f"{i}.png,{'dog' if i % 2 else 'cat'}")
    assert learned(flat) == {i: i % 2 for i in range(10)}
    assert load(flat)[0].classes == ("cat", "dog")
    assert splits(flat).note[3] == f"labels from {Path(place).name}"


@pytest.mark.parametrize("place", ["flat/any.csv", "flat.csv"])
def test_the_file_itself_may_be_named(flat, place):
    table(flat.parent / place, "file,label", lambda i: f"{i}.png,{'dog' if i % 2 else 'cat'}")
    assert learned(flat.parent / place) == {i: i % 2 for i in range(10)}


def test_names_may_lack_the_suffix_or_have_a_folder_before_them(flat):
    table(flat / "labels.csv", "id,label", lambda i: f"{i},{i % 3}")
    assert learned(flat) == {i: i % 3 for i in range(10)}
    table(flat / "labels.csv", "id;label", lambda i: f"flat/{i}.png;{i % 3}")
    assert learned(flat) == {i: i % 3 for i in range(10)}


def test_numbers_with_fractions_are_targets(flat):
    table(flat / "labels.csv", "file,price", lambda i: f"{i}.png,{i / 2}")
    assert learned(flat) == {i: i / 2 for i in range(10)}
    assert load(flat)[0].classes == ("price",)


def test_whole_numbers_are_classes_unless_the_task_is_regression(flat):
    table(flat / "labels.csv", "file,age", lambda i: f"{i}.png,{10 * (i % 3)}")
    assert load(flat)[0].classes == ("0", "10", "20")
    assert learned(flat, task="regression")[5] == 20.0


@pytest.mark.parametrize("mark", [";", "|"])
def test_words_with_marks_between_are_several_labels(flat, mark):
    table(flat / "labels.csv", "file,tags", lambda i: f"{i}.png,{mark.join(['a', 'b', 'c'][: i % 4])}")
    assert learned(flat)[6] == [1.0, 1.0, 0.0]
    assert learned(flat)[4] == [0.0, 0.0, 0.0]
    assert load(flat)[0].classes == ("a", "b", "c")


def test_columns_of_0_and_1_are_several_labels(flat):
    table(flat / "labels.csv", "file,cat,dog", lambda i: f"{i}.png,{i % 2},{int(i < 5)}")
    assert learned(flat)[3] == [1.0, 1.0]
    assert load(flat)[0].classes == ("cat", "dog")


def test_json_lines_are_read_also_with_lists(flat):
    lines = [json.dumps({"file_name": f"{i}.png", "labels": ["x", "y"][: i % 3]}) for i in range(10)]
    (flat / "metadata.jsonl").write_text("\n".join(lines))
    assert learned(flat)[2] == [1.0, 1.0]
    assert learned(flat)[1] == [1.0, 0.0]


def test_a_column_may_say_the_parts(flat):
    table(flat / "labels.csv", "file,label,split", lambda i: f"{i}.png,{i % 2},{'test' if i < 4 else 'train'}")
    train, test = load(flat)
    assert sorted(test.x[:, 0, 0, 0] // 20) == [0, 1, 2, 3]
    assert len(train) == 6


def test_parts_may_have_files_of_their_own(tmp_path):
    for part, count in (("train", 6), ("test", 2)):
        for i in range(count):
            picture(tmp_path / part / f"{i}.png", i)
        lines = [f"{i}.png,{'dog' if i % 2 else 'cat'}" for i in range(count)]
        (tmp_path / part / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    assert [len(part) for part in load(tmp_path)] == [6, 2]


def test_target_names_the_column_also_of_a_folder_of_classes(tmp_path):
    for name in ("cat", "dog"):
        for i in range(4):
            picture(tmp_path / name / f"{i}.png", i)
    lines = [f"{name}/{i}.png,{i / 8},x" for name in ("cat", "dog") for i in range(4)]
    (tmp_path / "sizes.csv").write_text("\n".join(["file,weight,other", *lines]))
    assert load(tmp_path)[0].classes == ("cat", "dog")
    assert "sizes.csv is not used: to learn its column, say target=COLUMN" in splits(tmp_path).note
    assert load(tmp_path, options=LoadOptions(target="weight"))[0].classes == ("weight",)
    with raises(ConfigError, "target", "a column of", "did you mean 'weight'"):
        load(tmp_path, options=LoadOptions(target="wieght"))


def test_images_without_a_label_are_counted(flat):
    (flat / "labels.csv").write_text("file,label\n0.png,a\n1.png,b\n2.png,a\n3.png,b\n")
    assert "6 without a label in labels.csv" in splits(flat).note[2]


BAD = {
    "an image that is not there": ("file,label\n0.png,a\n99.png,b", ["name '99.png'", "line 2"]),
    "an image twice": ("file,label\n0.png,a\n1.png,b\n./0.png,b", ["each image in one line", "lines 1 and 3"]),
    "an image of another folder": ("file,label\n0.png,a\n/etc/passwd.png,b", ["passwd.png", "line 2"]),
    "no value": ("file,label\n0.png,a\n1.png,\n2.png,b", ["a value in each line", "line 2", "column 'label'"]),
    "a word among numbers": ("file,x,y\n0.png,1,2\n1.png,1,b", ["value 'b'", "line 2", "column 'y'"]),
    "NaN": ("file,x,y\n0.png,1,nan\n1.png,1,2", ["value 'nan'"]),
    "one class": ("file,label\n0.png,a\n1.png,a", ["at least 2 classes"]),
    "a line too short": ("file,label,x\n0.png,a", ["the 3 values"]),
    "nothing": ("", ["lines 0"]),
    "no labels": ("file\n0.png", ["lines 1"]),
    "not UTF-8": (b"file,label\n\xff,a", ["UTF-8"]),
    "a word for regression": ("file,price\n0.png,1\n1.png,x", ["numbers to learn by regression", "'x'"]),
}


@pytest.mark.parametrize(("content", "values"), BAD.values(), ids=BAD.keys())
def test_bad_files_of_labels_are_errors_of_one_line(flat, content, values):
    path = flat / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    task = "regression" if "price" in str(content) else None
    with pytest.raises(DataError) as caught:
        load(flat, options=LoadOptions(task=task))
    assert all(value in str(caught.value) for value in values), str(caught.value)


def test_a_target_without_a_file_is_an_error(flat):
    with raises(DataError, str(flat), "a file of labels", "target 'price'"):
        load(flat, options=LoadOptions(target="price"))


def test_lines_without_a_part_are_for_training(flat):
    table(flat / "labels.csv", "file,label,split", lambda i: f"{i}.png,{i % 2},{'test' if i < 4 else ''}")
    assert [len(part) for part in load(flat)] == [6, 4]
    table(flat / "labels.csv", "file,label,split", lambda i: f"{i}.png,{i % 2},test")
    with raises(DataError, "flat", "a training part", "parts test"):
        load(flat)


def test_a_table_beside_class_folders_that_names_no_image_is_not_used(tmp_path):
    for name in ("cat", "dog"):
        picture(tmp_path / name / "0.png")
        picture(tmp_path / name / "1.png")
    picture(tmp_path / "cover.png")
    (tmp_path / "results.csv").write_text("run,accuracy\na,0.5\nb,0.6\n")
    assert splits(tmp_path, validation=0).train.classes == ("cat", "dog")


def test_targets_of_photos_are_learned(flat):
    table(flat / "labels.csv", "file,price", lambda i: f"{i}.png,{100 + i / 2}")
    train, test = load(flat)
    trainer = Trainer(nn.Sequential(nn.Flatten(), nn.Linear(24, 1)).initialize(0))
    trainer.fit(train, test, epochs=2, batch_size=4)
    assert trainer.task.name == "regression"
    assert np.all(np.abs(np.ravel(trainer.predict(test.x)) - 102) < 20)


def test_a_name_in_the_folders_of_both_parts_means_the_image_to_train_on(tmp_path):
    for i in range(6):
        picture(tmp_path / "k" / "train" / f"{i}.png", 20 * i)
        picture(tmp_path / "k" / "test" / f"{i}.png", 250)
    (tmp_path / "k" / "sample_submission.csv").write_text("id,label\n0,0\n1,0\n")
    (tmp_path / "k" / "train_labels.csv").write_text("id,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(6)))
    found = splits(tmp_path / "k", validation=0)
    assert learned(tmp_path / "k") == {i: i % 2 for i in range(6)}
    assert "left out: 6 (6 without a label in train_labels.csv, such as test/0.png)" in found.note
