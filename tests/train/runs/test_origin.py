"""Where a run comes from: a command that repeats it, and the commit, read from git's files."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest

from xpnet import cli
from xpnet.train import RunConfig, train_run
from xpnet.train.runs.config import read_config
from xpnet.train.runs.origin import command_of, commit_of

HASH = "0123456789abcdef0123456789abcdef01234567"


def test_the_command_names_what_is_not_the_default_and_quotes_it():
    config = RunConfig("mlp", "/my photos/it's", epochs=0, image_fit="pad", skip_damaged=True, run_name="a b")
    words = shlex.split(command_of(config))
    assert words[:3] == ["xpnet", "train", "mlp"]
    options = ["--data", "/my photos/it's", "--epochs", "0", "--fit", "pad", "--skip-damaged", "--name", "a b"]
    assert sorted(words[3:]) == sorted(options)


def test_the_command_of_a_run_repeats_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = train_run(RunConfig("softmax", epochs=1, seed=3, lr=0.02, schedule="cosine", momentum=0.5), "first")
    _, origin = read_config("first")
    monkeypatch.setattr("sys.argv", [*shlex.split(origin["command"]), "--out", "second"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    lines = [json.loads((tmp_path / run / "metrics.jsonl").read_text()) for run in ("first", "second")]
    assert lines[1]["train_loss"] == lines[0]["train_loss"] == first["train_loss"]
    assert set(origin["versions"]) == {"xpnet", "Python", "NumPy"}


@pytest.mark.parametrize("how", ["loose", "packed", "detached", "file"])
def test_the_commit_is_read_from_the_files_of_git(tmp_path, how):
    git = tmp_path / ("elsewhere" if how == "file" else ".git")
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text(f"{HASH}\n" if how == "detached" else "ref: refs/heads/main\n")
    if how == "file":
        (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    if how in ("loose", "file"):
        (git / "refs" / "heads" / "main").write_text(f"{HASH}\n")
    if how == "packed":
        (git / "packed-refs").write_text(f"# pack-refs\n{'f' * 40} refs/heads/domain\n{HASH} refs/heads/main\n")
    (tmp_path / "deep" / "inside").mkdir(parents=True)
    assert commit_of(tmp_path / "deep" / "inside") == HASH


@pytest.mark.parametrize("head", ["", "ref: refs/heads/none", "ref: ../../etc/passwd", "a line"])
def test_a_checkout_without_a_commit_has_none(tmp_path, head):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(head)
    assert commit_of(tmp_path) is None


def test_the_commit_is_what_git_says(tmp_path):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    try:
        git("init")
    except OSError:
        pytest.skip("no git")
    git("commit", "--allow-empty", "-m", "first")
    assert commit_of(tmp_path) == git("rev-parse", "HEAD").strip()
