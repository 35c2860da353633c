"""The report: one page that needs nothing else, says what happened, and never costs a run."""

from __future__ import annotations

import base64
import html.parser
import importlib
import io
import re
from functools import cache

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from PIL import Image

from tests.train.fitting import InterruptAt, digits, some_digits
from xpnet import data, models, nn
from xpnet.data import Dataset
from xpnet.errors import CheckpointError
from xpnet.train import RunConfig, Trainer, read_checkpoint, train_run
from xpnet.train.runs.config import resumed_config
from xpnet.viz import report, write_report

VOID = ("meta", "img", "br")


class Page(html.parser.HTMLParser):
    """What a browser would find: text, headings, pictures, references; complains of tags that do not close."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.pictures: list[dict[str, str]] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self.headings: list[str] = []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        given = dict(attrs)
        self.references += [value for name, value in given.items() if name in ("src", "href", "action", "data")]
        assert not [name for name in given if name.startswith("on")]
        if tag == "img":
            self.pictures.append(given)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, content):
        if self.open and self.open[-1] != "style" and content.strip():
            self.words.append(content.strip())
            if self.open[-1] in ("h1", "h2"):
                self.headings.append(content.strip())

    @property
    def text(self) -> str:
        return " ".join(self.words)


@cache
def trained(model: str = "softmax", epochs: int = 1) -> Trainer:
    made = Trainer(models.build(model, (8, 8, 1), 10))
    made.fit(some_digits(256), digits()[1], epochs=epochs)
    return made


@cache
def digits_page() -> str:
    return report(
        trained("cnn", 2), digits()[1], title="a run", note="A note.", configuration={"model": "cnn", "lr": 0.1}
    )


def decoded(picture: dict[str, str]) -> tuple[str, bytes]:
    kind, content = re.fullmatch(r"data:image/(png|svg\+xml);base64,(.*)", picture["src"]).groups()
    return kind, base64.b64decode(content, validate=True)


def test_the_page_is_whole_and_has_its_parts_in_order():
    page = Page(digits_page())
    assert digits_page().startswith("<!DOCTYPE html>\n")
    assert page.headings == [
        "a run", "Training", "Confusion matrix", "Classes", "Most confident mistakes", "Architecture",
        "Configuration", "Environment", "Layers",
    ]  # fmt: skip
    assert "A note." in page.text


def test_the_page_needs_no_network_and_no_scripts():
    page = Page(digits_page())
    assert page.references == [picture["src"] for picture in page.pictures]
    assert not {"script", "link", "iframe", "object", "base"} & page.tags
    assert "default-src 'none'" in digits_page()
    outside = set(re.findall(r"https?://[^\s\"'<]*", digits_page()))
    for picture in page.pictures:
        kind, content = decoded(picture)
        if kind == "svg+xml":
            assert not re.findall(rb"(?:href|src)=\"(?!#|data:)", content)
            assert b"url(http" not in content
    assert outside == set()


def test_pictures_can_be_opened_and_are_described_in_words():
    pictures = Page(digits_page()).pictures
    assert len(pictures) == 4
    for picture in pictures:
        assert len(picture["alt"]) > 20
        assert max(int(picture["width"]), int(picture["height"])) >= 600
        kind, content = decoded(picture)
        if kind == "png":
            with Image.open(io.BytesIO(content)) as image:
                assert len(np.unique(np.asarray(image.convert("L")))) > 5
        else:
            assert b"</svg>" in content


def test_the_page_is_small():
    assert len(digits_page()) < 400_000


def test_what_is_said_is_what_the_trainer_says():
    made, test = trained("cnn", 2), digits()[1]
    figures, text = made.evaluate(test), Page(digits_page()).text
    wrong = round((1 - figures["accuracy"]) * 360)
    for words in (
        f"test accuracy {figures['accuracy']:.2%}",
        f"test loss {figures['loss']:.4f}",
        f"training loss {made.history[-1]['train_loss']:.4f}",
        "epochs 2",
        "parameters 53,002",
        f"{wrong:,} of 360 predictions are wrong",
        "lr 0.1",
        "backend numpy:cpu",
        f"NumPy {np.__version__}",
        "conv1 conv 3x3, pad 1 8x8x32 320 18,432",
        "total 10 53,002",
    ):
        assert words in text, words
    counts = figures["confusion"] * (1 - np.eye(10, dtype=np.int64))
    i, j = np.unravel_index(np.argmax(counts), counts.shape)
    assert f"Most often confused: {i} predicted as {j} ({counts[i, j]})" in text


def test_names_of_classes_are_only_text():
    bad = ("<b>bold</b>", "a & b", '"><script>alert(1)</script>', "$x^", "", "çé漢", "{}", "%s", "\\", "'")
    test = digits()[1]
    renamed = Dataset(test.x, test.y, bad, "<i>digits</i> & $", test.white)
    content = report(trained(), renamed, note="<b>note</b>", configuration={"<u>": "</td>&amp;"})
    page = Page(content)
    assert not {"b", "script", "i", "u"} & page.tags
    assert page.headings[0] == "Sequential on <i>digits</i> & $"
    assert "</td>&amp;" in page.text
    assert "Not drawn" not in page.text


@pytest.mark.parametrize("classes", [2, 30])
def test_few_and_many_classes_are_reported(classes):
    x = np.random.default_rng(0).integers(0, 255, (90, 8, 8, 3), dtype=np.uint8)
    test = Dataset(x, np.arange(90) % classes, tuple(f"class {k}" for k in range(classes)), "noise")
    made = Trainer(models.build("softmax", (8, 8, 3), classes))
    made.fit(test, test, epochs=1)
    page = Page(report(made, test))
    assert "Not drawn" not in page.text
    assert ("top-5 accuracy" in page.text) == (classes == 30)
    assert page.pictures[1]["alt"].startswith("Confusion matrix: ")


def test_points_in_the_plane_get_a_decision_boundary_and_no_images():
    train, test = data.load("moons")
    made = Trainer(models.build("mlp", (2,), 2))
    made.fit(train, test, epochs=1)
    page = Page(report(made, test))
    assert "Decision boundary" in page.headings
    assert "Most confident mistakes" not in page.headings
    assert "Not drawn" not in page.text
    assert "For one example of 2 numbers." in page.text


def test_a_part_that_cannot_be_drawn_is_said_and_the_rest_is_there():
    class Own(nn.Module):
        def __init__(self):
            self.scores = nn.Linear(64, 10)

        def forward(self, x):
            return self.scores(x.flatten())

    made = Trainer(Own())
    made.fit(some_digits(64), digits()[1], epochs=1)
    page = Page(report(made, digits()[1]))
    assert page.headings[0] == "Own on digits"
    made.model.cost = lambda shape: 1 / 0  # pyright: ignore[reportAttributeAccessIssue]
    page = Page(report(made, digits()[1]))
    assert "Not drawn: ZeroDivisionError: division by zero" in page.text
    assert {"Training", "Confusion matrix", "Layers"} < set(page.headings)
    assert len(page.pictures) == 3
    assert page.text.count("Not drawn: ") == 2


def test_without_mistakes_that_is_said():
    made = Trainer(models.build("softmax", (8, 8, 1), 10))
    few = some_digits(10)
    made.fit(few, few, epochs=60, batch_size=10)
    assert "None: all 10 predictions for the test set are correct." in Page(report(made, few)).text


def test_without_a_test_set_or_training_the_page_is_short():
    untrained = Trainer(models.build("softmax", (8, 8, 1), 10))
    page = Page(report(untrained))
    assert page.headings == ["Sequential on data without a test set", "Environment"]
    assert "parameters 650" in page.text
    untrained.fit(some_digits(64), epochs=1)
    assert Page(report(untrained)).headings[1] == "Training"


def test_models_of_any_backend_are_reported(backend):
    made = Trainer(models.build("softmax", (8, 8, 1), 10).to(backend))
    few = digits()[1].take(np.arange(40))
    made.fit(few, few, epochs=1)
    page = Page(report(made, few))
    assert f"backend {backend.spec}" in page.text
    assert len(page.pictures) == 4


def test_a_report_is_written_to_a_file(tmp_path):
    write_report(tmp_path / "mine.html", trained(), digits()[1], title="härter")
    content = (tmp_path / "mine.html").read_bytes().decode("utf-8")
    assert Page(content).headings[0] == "härter"


# At the end of a run


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch):
    """The report is what is looked at: tests/viz/test_curves and tests/cli/test_train draw curves.png."""
    monkeypatch.setattr(importlib.import_module("xpnet.viz.curves"), "save_curves", lambda history, path: None)


def run(folder, callbacks=(), resume=None, epochs=2, **options) -> tuple[dict, list[str]]:
    lines: list[str] = []
    config = resumed_config(resume, {"epochs": epochs}) if resume else RunConfig("softmax", epochs=epochs, **options)
    result = train_run(config, None if resume else folder, resume=resume, callbacks=callbacks, announce=lines.append)
    return result, lines


def test_a_run_ends_with_its_report(tmp_path):
    result, lines = run(tmp_path / "run", lr=0.02)
    page = Page((tmp_path / "run" / "report.html").read_text("utf-8"))
    assert page.headings[0] == "softmax on digits"
    for words in (
        "1,293 training, 144 validation, 360 test examples of 8x8x1 in 10 classes.",
        "lr 0.02",
        "batch size 32",
        "optimizer momentum",
        "epochs 2",
        f"test accuracy {result['test_accuracy']:.2%}",
    ):
        assert words in page.text
    assert "data dir" not in page.text
    assert lines[-1] == f"report: {tmp_path / 'run' / 'report.html'}"
    assert not list((tmp_path / "run").glob("*.part"))


def test_ctrl_c_leaves_a_report_of_what_is_done_and_resuming_rewrites_it(tmp_path):
    folder = tmp_path / "run"
    result, _ = run(folder, [InterruptAt(1, 3)], epochs=3)
    assert result["interrupted"]
    text = Page((folder / "report.html").read_text("utf-8")).text
    assert "Interrupted after 1 of 3 epochs" in text
    run(folder, resume=folder, epochs=3)
    text = Page((folder / "report.html").read_text("utf-8")).text
    assert "Interrupted" not in text
    assert "epochs 3" in text


def test_a_run_of_no_epochs_has_no_report(tmp_path):
    _, lines = run(tmp_path / "run", epochs=0)
    kept = {"checkpoint.safetensors", "config.json", "metrics.jsonl", "result.json"}
    assert {p.name for p in (tmp_path / "run").iterdir()} == kept
    assert not [line for line in lines if "report" in line]


@pytest.mark.parametrize(
    ("module", "name", "error", "line"),
    [
        (
            "xpnet.viz",
            "report",
            RuntimeError("a bug\nin two lines"),
            "no report.html: RuntimeError: a bug in two lines",
        ),
        ("xpnet.viz", "report", MemoryError("full"), "no report.html: MemoryError: full"),
        ("xpnet.viz.curves", "save_curves", OSError(28, "no space"), "no curves.png: OSError: [Errno 28] no space"),
    ],
    ids=["bug", "memory", "disk"],
)
def test_a_picture_that_fails_is_said_and_the_run_is_kept(module, name, error, line, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(importlib.import_module(module), name, fail)
    result, lines = run(tmp_path / "run")
    assert lines[-1] == line
    assert result["epochs"] == 2
    assert len(read_checkpoint(tmp_path / "run" / "checkpoint.safetensors").meta["history"]) == 2
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_folder_that_cannot_be_written_to_any_more_is_said_too(tmp_path, monkeypatch):
    from xpnet.train.runs import pictures as runs

    real = runs.write_atomically

    def full(path, content):
        if path.name == "report.html":
            raise CheckpointError(str(path), "the run folder can be written to", error="No space left")
        real(path, content)

    monkeypatch.setattr(runs, "write_atomically", full)
    _, lines = run(tmp_path / "run")
    assert lines[-1].startswith("no report.html: CheckpointError: ")
    assert lines[-1].endswith("No space left")


def test_a_second_ctrl_c_stops_the_drawing_and_everything_else_is_kept(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("xpnet.viz.report", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run")
    assert len(read_checkpoint(tmp_path / "run" / "checkpoint.safetensors").meta["history"]) == 2
