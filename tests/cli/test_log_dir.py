"""xpnet train --log-dir: event files for TensorBoard beside a run."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np

from tests.train.event_files import read, scalars
from xpnet.train import tensorboard


def test_log_dir_gets_a_folder_named_after_the_run_which_a_resumed_run_continues(xpnet, here, monkeypatch):
    monkeypatch.setattr(tensorboard.TensorBoard, "_picture", lambda *_: None)
    assert xpnet("train", "softmax", epochs=1, out="deep/first", log_dir="logs").code == 0
    assert json.loads((here / "deep" / "first" / "config.json").read_text())["log_dir"] == str(here / "logs")
    monkeypatch.chdir(here / "deep")
    assert xpnet("train", resume="first", epochs=3, json=True).code == 0
    lines = [json.loads(line) for line in (here / "deep" / "first" / "metrics.jsonl").read_text().splitlines()]
    folder = here / "logs" / "first"
    assert sorted(p.name for p in folder.iterdir()) == ["train", "validation"]
    assert scalars(folder / "train", "loss") == {41 * r["epoch"]: np.float32(r["train_loss"]) for r in lines}
    want = {41 * r["epoch"]: np.float32(r["validation_accuracy"]) for r in lines}
    assert scalars(folder / "validation", "accuracy") == want
    texts = [e.tensor_proto.string_val[0].decode() for e in read(folder / "train").Tensors("configuration")]
    assert ["| epochs | 1 |" in texts[0], "| epochs | 3 |" in texts[1]] == [True, True]
    assert "| lr | 0.01 |" in texts[0]
    assert xpnet("train", resume="first", epochs=4, log_dir="other").code == 0
    assert list(scalars(here / "deep" / "other" / "first" / "train", "loss")) == [41 * 4]


def test_runs_of_one_name_have_logs_of_their_own(xpnet, here, monkeypatch):
    monkeypatch.setattr(tensorboard.TensorBoard, "_picture", lambda *_: None)
    for place in ("a", "b"):
        found = xpnet("train", "softmax", epochs=1, out=f"{place}/net", log_dir="logs")
        assert found.code == 0
    assert f"logs: {here / 'logs' / 'net-2'}; see them with: tensorboard --logdir {here / 'logs'}" in found.out
    for place, name in (("a", "net"), ("b", "net-2")):
        assert xpnet("train", resume=f"{place}/net", epochs=2).code == 0
        lines = [json.loads(line) for line in (here / place / "net" / "metrics.jsonl").read_text().splitlines()]
        seen = scalars(here / "logs" / name / "train", "loss")
        assert seen == {41 * r["epoch"]: np.float32(r["train_loss"]) for r in lines}
        assert len(list((here / "logs" / name / "train").iterdir())) == 2
    assert sorted(p.name for p in (here / "logs").iterdir()) == ["net", "net-2"]


def test_a_copy_of_a_run_gets_logs_of_its_own_and_a_run_that_was_moved_keeps_its_own(xpnet, here, monkeypatch):
    monkeypatch.setattr(tensorboard.TensorBoard, "_picture", lambda *_: None)
    assert xpnet("train", "softmax", epochs=1, out="net", log_dir="logs").code == 0
    shutil.copytree("net", "twin")
    for name, epochs in (("twin", 2), ("net", 3), ("twin", 4)):
        assert xpnet("train", resume=name, epochs=epochs).code == 0
    logged = {name: [*scalars(here / "logs" / name / "train", "loss")] for name in ("net", "twin")}
    assert logged == {"net": [41, 41 * 2, 41 * 3], "twin": [41 * 2, 41 * 3, 41 * 4]}
    os.rename("net", "moved")
    assert xpnet("train", resume="moved", epochs=4).code == 0
    assert [*scalars(here / "logs" / "net" / "train", "loss")] == [41, 41 * 2, 41 * 3, 41 * 4]
    assert sorted(p.name for p in (here / "logs").iterdir()) == ["net", "twin"]


def test_a_log_dir_that_cannot_be_made_is_one_line_before_the_run(refused, here):
    (here / "file").touch()
    refused("train softmax --epochs 1 --log-dir file/logs", "file/logs", "cannot be written", "--log-dir FOLDER")


def test_the_help_says_how_to_see_the_logs(xpnet):
    words = " ".join(xpnet("train", "--help").out.split())
    assert "tensorboard --logdir FOLDER" in words
