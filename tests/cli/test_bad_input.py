"""Bad input: one line on standard error that names the values, exit code 2, and nothing written."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from xpnet.train import read_checkpoint, write_checkpoint


@pytest.fixture
def run(trained, here):
    """A run in the folder "run"."""
    trained(epochs=1, batch_size=64, optimizer="momentum", lr=0.01, seed=0)
    return here / "run"


TRAIN = [
    (["mpl"], ["'mpl'", "'mlp'"]),
    (["lenet"], ["'lenet'", "'lenet5'"]),
    (["zzz"], ["'zzz'", "perceptron", "cnn"]),
    (["--data", "mnits"], ["'mnits'", "'mnist'"]),
    (["--data", "fashion"], ["'fashion'", "'fashion-mnist'"]),
    (["--data", "no/such/folder"], ["no/such/folder", "no such folder or file"]),
    (["--data", "none.npz"], ["none.npz", "no such file"]),
    (["--data", "mnist", "--data-dir", "nowhere"], ["--data-dir", "nowhere"]),
    (["--backend", "nunpy"], ["'nunpy'", "'numpy'"]),
    (["--backend", "numpy", "--device", "cuda"], ["numpy", "cuda"]),
    (["--device", "gpu"], ["--device 'gpu'", "did you mean 'cuda'"]),
    (["--device", "cdua:1"], ["--device 'cdua:1'", "cpu, cuda or cuda:N"]),
    (["--device", "cpu:1"], ["cpu", "1"]),
    (["--optimizer", "adm"], ["'adm'", "'adam'"]),
    (["--epochs", "-1"], ["--epochs -1"]),
    (["--batch-size", "0"], ["--batch-size 0"]),
    (["--batch-size", "-5"], ["--batch-size -5"]),
    (["--threads", "0"], ["--threads 0"]),
    (["--lr", "-0.5"], ["--lr -0.5"]),
    (["--lr", "nan"], ["--lr nan"]),
    (["--lr", "inf"], ["--lr inf"]),
    (["--precision", "fp61"], ["precision", "'fp61'", "'fp16'"]),
    (["--precision", "tf32"], ["precision", "tf32", "numpy:cpu", "fp32 and fp16", "use --precision fp32"]),
    (["--seed", "-1"], ["seed", "-1"]),
    (["--seed", str(2**64)], ["seed", 2**64]),
    (["--epochs", "x"], ["--epochs: expected a whole number, got --epochs 'x'"]),
    (["--epochs=1.5"], ["--epochs: expected a whole number, got --epochs '1.5'"]),
    (["--lr=fast"], ["--lr: expected a number, got --lr 'fast'"]),
    *[
        ([f"--{name}", ""], [f"--{name}: expected a text that is not empty, got --{name} ''"])
        for name in ("out", "resume", "device", "backend", "data")
    ],
    ([""], ["model: expected a text that is not empty"]),
    (["--epoch", "3"], ["--epoch", "--epochs"]),
    (["--batchsize", "3"], ["--batchsize", "--batch-size"]),
    (["--data"], ["--data", "argument"]),
    (["mlp", "cnn"], ["'cnn'"]),
    (["--task", "classify"], ["--task: expected the name of a task, got --task 'classify'; did you mean 'classif"]),
    (["--schedule", "cosin"], ["--schedule 'cosin'", "did you mean 'cosine'?"]),
    (["--augment", "weak"], ["--augment", "light"]),
    (["--fit", "crpo"], ["--fit 'crpo'", "'crop'"]),
    (["--image-size", "0"], ["--image-size: expected N or HxW pixels", "--image-size '0'"]),
    (["--momentum", "1"], ["--momentum: expected a number, 0 <= --momentum < 1, got --momentum 1.0"]),
    (["--momentum", "0.5", "--optimizer", "adam"], ["--momentum", "sgd, momentum, nesterov, rmsprop", "'adam'"]),
    (["perceptron", "--label-smoothing", "0.1"], ["--label-smoothing", "softmax and cross-entropy", "'perceptron'"]),
    (["--label-smoothing", "1.5"], ["--label-smoothing 1.5"]),
    (["--weight-decay", "-1"], ["--weight-decay -1"]),
    (["--clip", "0"], ["--clip: expected a number > 0, got --clip 0.0"]),
    (["--warmup", "-1"], ["--warmup -1"]),
    (["--schedule", "one-cycle", "--warmup", "5"], ["--warmup", "one-cycle rises by itself"]),
    (["--class-weights", "balance"], ["--class-weights 'balance'", "cat=2,dog=0.5"]),
    (["--val", "1.5"], ["--val: expected a fraction, 0 <= --val < 1, or the path of a folder, got --val 1.5"]),
    (["--val", "nan"], ["--val nan"]),
    (["--val", "0", "--best"], ["--best", "validation"]),
    (["--patience", "0"], ["--patience 0"]),
    (["--freeze", "head", "--from", "run"], ["--freeze 'head'", "body"]),
    (["--freeze", "body"], ["--freeze", "--from"]),
    (["--checkpoint-every", "2h"], ["--checkpoint-every '2h'", "500steps"]),
    (["--cache-images", "lots"], ["--cache-images 'lots'", "4GB"]),
    (["--workers", "0"], ["--workers 0"]),
    (["--name", "a/b"], ["--name 'a/b'"]),
    (["--resume", "nowhere", "--name", "b"], ["--resume", "omit --name"]),
    (["--resume", "nowhere"], ["nowhere", "config.json"]),
    (["--resume", "a", "--out", "b"], ["--resume", "--out b; omit --out"]),
]


@pytest.mark.parametrize(("words", "values"), TRAIN, ids=[" ".join(words)[:40] for words, _ in TRAIN])
def test_what_train_does_not_understand_is_refused(refused, words, values):
    refused(["train", *words], *values)


OTHER = [
    (["trian"], ["trian", "train"]),
    (["--verbose"], ["--verbose"]),
    (["evaluate"], ["run"]),
    (["evaluate", "nowhere"], ["nowhere", "checkpoint"]),
    (["evaluate", ""], ["run: expected a text that is not empty, got run ''"]),
    (["predict", "run", ""], ["images: expected a text that is not empty"]),
    (["draw", "cnn", "-o", ""], ["--out: expected a text that is not empty"]),
    (["predict", "run"], ["images"]),
    (["predict", "nowhere", "a.png"], ["nowhere", "checkpoint"]),
    (["launch", "-n", "2", "--hosts", "a,,b", "--", "train"], ["names of hosts", "--hosts 'a,,b'"]),
    (["devices", "extra"], ["extra"]),
]


@pytest.mark.parametrize(("words", "values"), OTHER, ids=[" ".join(words) for words, _ in OTHER])
def test_what_the_other_commands_do_not_understand_is_refused(refused, words, values):
    refused(words, *values)


def test_cuda_without_cupy_or_a_gpu_says_what_is_missing(refused, xpnet):
    cupy = next(b for b in xpnet("devices", json=True).json if b["name"] == "cupy")
    if not cupy["problem"]:
        pytest.skip("there is a GPU")
    line = refused(["train", "--device", "cuda"], "cuda")
    assert "pip install 'xpnet[cuda13]'" in line or "nvidia-smi" in line


def test_a_folder_without_images_is_refused(refused, write_images):
    folder = write_images(classes=())
    refused(["train", "--data", folder], folder, "files 0")


def test_warnings_are_lines_of_the_command_without_control_characters(refused, write_images):
    folder = write_images(classes=("dark", "\x1b[31mred"), size=3)
    for name in ("a.txt", "\x1b[31mred.txt"):
        (folder / "dark" / name).write_text("")
    refused(["train", "--data", folder], "name '\\x1b[31mred'")
    (folder / "\x1b[31mred").rename(folder / "red")
    refused(["train", "--data", folder], "pool2", "2 with another suffix", "dark/\\x1b[31mred.txt")


def test_a_folder_of_one_class_is_refused(refused, write_images):
    refused(["train", "--data", write_images(classes=("cats",))], "at least 2 classes", "cats")


def test_a_class_without_images_is_refused_where_one_class_is_left(refused, write_images):
    folder = write_images(classes=("cats",))
    (folder / "empty").mkdir()
    refused(["train", "--data", folder], "empty", "no images")


def test_an_unreadable_image_is_refused(refused, write_images):
    folder = write_images()
    (folder / "dark" / "bad.png").write_bytes((folder / "dark" / "0.png").read_bytes()[:40])
    refused(["train", "--data", folder], folder / "dark" / "bad.png")


def test_an_image_of_one_pixel_is_refused(refused, write_images):
    refused(["train", "--data", write_images(size=1)], "height 1", "width 1", ".png")


def test_images_too_small_for_the_network_are_refused(refused, write_images):
    refused(["train", "cnn", "--data", write_images(size=3)], "pool2", "(1, 1, 64)", "cnn takes images of 4x4 or more")


def test_an_idx_file_with_another_magic_number_is_refused(refused, write_idx):
    def change(name, raw):
        return b"\0\0\x0d\x03" + raw[4:] if name.startswith("train-images") else raw

    folder = write_idx(change=change)
    refused(["train", "--data", "mnist", "--data-dir", folder], "0x00000d03", "0x00000803", "train-images")


def test_an_idx_file_cut_short_is_refused(refused, write_idx):
    folder = write_idx(change=lambda name, raw: raw[:1000] if name.startswith("train-images") else raw)
    refused(["train", "--data", "mnist", "--data-dir", folder], "bytes 1000", 16 + 40 * 36, "download it again")


def test_another_count_of_labels_than_of_images_is_refused(refused, write_idx):
    folder = write_idx(labels=39)
    refused(["train", "--data", "mnist", "--data-dir", folder], "images 40", "labels 39", "train-labels")


def test_a_label_that_is_no_class_is_refused(refused, write_idx):
    folder = write_idx(change=lambda name, raw: raw[:-1] + b"\x0b" if name.startswith("train-labels") else raw)
    refused(["train", "--data", "mnist", "--data-dir", folder], "label 11", "sample 39", "K 10")


def test_a_checksum_that_does_not_match_is_refused(refused, write_idx):
    folder = write_idx(images=60_000, size=1)
    line = refused(["train", "--data", "mnist", "--data-dir", folder], "SHA-256", "train-images")
    assert "SHA-256 ba891046e6505d7a" in line


def test_a_download_that_fails_is_refused(refused, monkeypatch, tmp_path):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    refused(["train", "--data", "mnist"], "train-images", "no network in tests", "--data-dir")


def test_labels_out_of_range_in_an_npz_file_are_refused(refused, here):
    np.savez(here / "bad.npz", x=np.zeros((3, 4)), y=np.asarray([0, 1, -2]))
    refused(["train", "mlp", "--data", "bad.npz"], "bad.npz", "label -2", "sample 2")
    np.savez(here / "bad.npz", x=np.zeros((3, 4)), y=np.asarray([0, 1, 2]), classes=np.asarray(["a", "b"]))
    refused(["train", "mlp", "--data", "bad.npz"], "bad.npz", "label 2", "K 2")


def test_nan_in_an_npz_file_is_refused(refused, here):
    x = np.zeros((4, 3))
    x[3, 1] = np.nan
    np.savez(here / "bad.npz", x=x, y=np.arange(4) % 2)
    refused(["train", "mlp", "--data", "bad.npz"], "bad.npz", "value nan", "sample 3")


def test_a_convolution_for_vectors_is_refused(refused, here):
    np.savez(here / "rows.npz", x=np.zeros((6, 3)), y=np.arange(6) % 2)
    refused(["train", "--data", "rows.npz"], "cnn", "(3,)", "mlp")


def test_a_loss_that_diverges_says_where_and_leaves_no_checkpoint(xpnet, here):
    result = xpnet("train", "mlp", lr=1e9, out="run")
    assert result.code == 2
    assert result.err.startswith("xpnet: loss: the loss is not finite: epoch 1, step ")
    assert result.err.endswith("; lower --lr\n")
    assert result.err.count("\n") == 1
    assert not (here / "run" / "checkpoint.safetensors").exists()
    assert (here / "run" / "metrics.jsonl").read_text() == ""
    assert xpnet("train", "mlp", epochs=1, out="run").code == 0  # the folder can be used again


def test_a_loss_that_diverges_on_resuming_keeps_the_checkpoint(xpnet, run):
    held = read_checkpoint(run / "checkpoint.safetensors")
    held.model["scores.weight"][0] = 3e38  # finite, and the scores are not
    write_checkpoint(run / "checkpoint.safetensors", held)
    before = (run / "checkpoint.safetensors").read_bytes()
    result = xpnet("train", resume="run", epochs=3)
    assert result.code == 2
    assert "epoch 2, step " in result.err
    assert (run / "checkpoint.safetensors").read_bytes() == before


def test_an_out_that_cannot_be_a_folder_is_refused(refused, here):
    (here / "file").write_text("a file")
    refused(["train", "softmax", "--out", "file"], "file", "written", "File exists")
    refused(["train", "softmax", "--out", "file/run"], "file/run", "Not a directory", "--out")


def test_an_out_that_cannot_be_looked_into_is_refused(refused, monkeypatch):
    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", denied)
    refused(["train", "softmax", "--out", "locked"], "locked", "Permission denied", "--out")


def test_an_out_that_holds_a_run_is_refused(refused, run):
    refused(["train", "softmax", "--out", "run"], "--out", "run", "--resume run")


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--lr", "0.5"], ["lr", "0.01", "0.5"]),
        (["--seed", "9"], ["seed", "0", "9"]),
        (["--precision", "fp16"], ["precision", "'fp32'", "'fp16'"]),
        (["--batch-size", "32"], ["--batch-size 64", "32"]),
        (["--optimizer", "adam"], ["optimizer", "'momentum'", "'adam'"]),
        (["mlp"], ["model", "'softmax'", "'mlp'"]),
    ],
)
def test_a_run_goes_on_only_as_it_was_begun(refused, run, words, values):
    refused(["train", *words, "--resume", "run", "--epochs", "2"], "--resume", *values)


@pytest.mark.parametrize("words", ["evaluate", "export", "compare", "train --resume", "train --from"])
def test_a_file_in_the_place_of_a_run_is_said_to_be_one(refused, here, words):
    (here / "five.png").write_bytes(b"")
    refused([*words.split(), "five.png"], "'five.png' is a file: give the folder of a run")


def test_a_checkpoint_cut_short_is_refused(refused, run):
    file = run / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    for command in (["train", "--resume", "run"], ["evaluate", "run"], ["predict", "run", "a.png"]):
        refused(command, "run/checkpoint.safetensors", "truncated")


def test_a_checkpoint_of_a_newer_format_is_refused(refused, run):
    held = read_checkpoint(run / "checkpoint.safetensors")
    held.meta["format_version"] = 99
    write_checkpoint(run / "checkpoint.safetensors", held)
    for command in (["train", "--resume", "run"], ["evaluate", "run"]):
        refused(command, "format <= 2", "99", "newer xpnet")


def test_state_of_an_optimizer_that_is_nan_is_said_and_not_trained_on(refused, run, xpnet):
    held = read_checkpoint(run / "checkpoint.safetensors")
    name = next(iter(held.optimizer))
    held.optimizer[name].flat[0] = float("inf")
    write_checkpoint(run / "checkpoint.safetensors", held)
    refused(["train", "--resume", "run", "--epochs", "2"], "the optimizer's state is NaN or infinite", name)
    result = xpnet("evaluate", "run")
    assert result.code == 0
    assert "the optimizer's state is NaN or infinite" in result.err


def test_a_checkpoint_of_another_model_is_refused(refused, run, xpnet, here):
    xpnet("train", "mlp", epochs=1, out="other")
    (here / "other" / "checkpoint.safetensors").replace(run / "checkpoint.safetensors")
    refused(["train", "--resume", "run"], "model 'mlp', as the checkpoint has it")


def test_a_checkpoint_of_another_program_is_no_run(refused, here):
    from xpnet.train import Checkpoint

    (here / "run").mkdir()
    write_checkpoint(here / "run" / "checkpoint.safetensors", Checkpoint({}, meta={"format_version": 1}))
    refused(["evaluate", "run"], "run", "model_name")


@pytest.mark.parametrize("text", ["{", "[]", '{"model": "mlp", "colour": 3}', ""])
def test_a_damaged_configuration_is_refused(refused, run, text):
    (run / "config.json").write_text(text)
    refused(["train", "--resume", "run"], "run/config.json")


def test_a_configuration_of_a_model_that_does_not_exist_is_refused(refused, run):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"model": "softmx"}))
    refused(["train", "--resume", "run"], "'softmx'", "'softmax'")


def test_evaluation_on_images_of_another_size_or_other_classes_is_refused(refused, run, write_idx, write_images, here):
    folder = write_idx(size=7)
    refused(["evaluate", "run", "--data", "mnist", "--data-dir", folder], "(8, 8, 1)", "(7, 7, 1)")
    refused(
        ["evaluate", "run", "--data", write_images(size=8)],
        "the classes of the run, '0', '1'",
        "unknown 'bright', 'dark'",
    )


@pytest.mark.parametrize("top", [0, -1, 11])
def test_a_top_outside_of_the_classes_is_refused(refused, run, top):
    refused(["predict", "run", "a.png", "--top", top], "--top", f"top {top}", "10")


def test_an_image_that_is_missing_unreadable_or_of_one_pixel_is_refused(refused, run, here, write_images):
    refused(["predict", "run", "none.png"], "none.png", "no such image")
    (here / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13))
    refused(["predict", "run", "bad.png"], "bad.png", "damaged")
    refused(["predict", "run", here], here)
    refused(["predict", "run", write_images(size=1) / "dark" / "0.png"], "height 1")


def test_prediction_of_images_by_a_run_of_vectors_is_refused(refused, xpnet, here, write_images):
    np.savez(here / "rows.npz", x=np.eye(6), y=np.arange(6) % 2)
    xpnet("train", "mlp", data="rows.npz", epochs=1, out="rows")
    refused(["predict", "rows", write_images() / "dark" / "0.png"], "predict", "(6,)")


def test_ctrl_c_while_loading_exits_with_130_and_no_traceback(xpnet, monkeypatch, here):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("xpnet.data.splits", interrupted)
    result = xpnet("train")
    assert result.code == 130
    assert "Traceback" not in result.err
    assert list(here.iterdir()) == []


def test_a_disk_that_fails_elsewhere_is_one_line_too(xpnet, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "curves.png")

    monkeypatch.setattr("xpnet.data.splits", full)
    result = xpnet("train")
    assert (result.code, result.err) == (2, "xpnet: curves.png: No space left on device\n")


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 5), ("model", "mlp"), ("lr", 0.5), ("batch_size", 7), ("optimizer", "sgd"), ("weight_decay", 0.1)],
)
def test_a_configuration_that_is_not_that_of_its_checkpoint_is_refused(refused, run, here, key, value):
    path = here / "run" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    refused(["train", "--resume", "run", "--epochs", "2"], "as the checkpoint has it", value)


def test_newlines_in_names_of_classes_begin_no_line(xpnet, run, here):
    import PIL.Image

    path = here / "run" / "checkpoint.safetensors"
    held = read_checkpoint(path)
    held.meta["classes"] = [f"{k}\nxpnet: all is well" for k in range(10)]
    write_checkpoint(path, held)
    PIL.Image.new("L", (8, 8)).save("a.png")
    assert xpnet("predict", "run", "a.png").out.count("\n") == 1
