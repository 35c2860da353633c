"""The Markdown pages: their Python and their commands run and print what is shown, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from pages import PAGES, ROOT, anchors, blocks, commands, difference, links, read
from PIL import Image

import xpnet
from xpnet import data, kernels, nn, optim, train, viz
from xpnet.cli.commands import app
from xpnet.models import MODELS
from xpnet.train import Callback, Trainer

RUN = [
    page
    for page in PAGES
    if "/course/" not in page  # of which test_course.py runs each
    and any(block.language == "python" or "$ xpnet" in block.text for block in blocks(read(page)))
]
COMMANDS: Any = typer.main.get_command(app)
NEEDS = {  # packages that a page uses beside matplotlib, and not every machine has
    "examples/guides/with-others.md": ["torch", "sklearn", "onnx"],
    "xpnet/backend/README.md": ["torch", "array_api_strict"],
}


def write_photos_and_tables(folder: Path) -> None:
    """Make what the README's jobs are done on: photos of three classes, flats with prices, and new flats."""
    rng = np.random.default_rng(0)
    for name, colour in (("apple", (200, 40, 40)), ("lime", (60, 180, 50)), ("plum", (90, 40, 120))):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(12):
            photo = np.clip(colour + rng.integers(-30, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(photo).save(folder / "photos" / name / f"{i}.jpg")
    rows = [
        (int(rooms), 20.5 * rooms + rng.normal(), ("centre", "north")[rooms % 2]) for rooms in rng.integers(1, 6, 60)
    ]
    lines = [
        f"{rooms},{'' if i % 9 == 0 else round(area, 1)},{place},{2000 * area}"
        for i, (rooms, area, place) in enumerate(rows)
    ]
    (folder / "flats.csv").write_text("\n".join(["rooms,area,quarter,price", *lines, ""]))
    (folder / "new.csv").write_text("rooms,area,quarter\n3,61,centre\n2,40,north\n")


@pytest.mark.parametrize("page", RUN)
def test_a_page_runs_and_prints_what_it_shows(page, tmp_path):
    for package in ["matplotlib", *NEEDS.get(page, [])]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{page} needs {package}")
    if page == "README.md":
        write_photos_and_tables(tmp_path)
    program = [sys.executable, str(ROOT / "tests/run_page.py"), page]
    given = {name: value for name, value in os.environ.items() if name not in ("XPNET_DATA_DIR", "FORCE_COLOR")}
    paths = {**given, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), "COLUMNS": "120"}
    done = subprocess.run(program, cwd=tmp_path, env=paths, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_have_the_options_that_they_are_given(page):
    found = [command for block in blocks(read(page)) for command in commands(block)]
    for command in found:
        if command.words[:1] == ["xpnet"] and not (command.output or "").startswith("xpnet: "):  # it shows an error
            check_options(command.words[1:], f"{page}, line {command.line}")


def check_options(words: list[str], where: str, program: Any = None) -> None:
    """Read the words of a command as the program does, without running it; of xpnet launch, the command in it too."""
    program = program or COMMANDS
    assert words, where
    assert words[0] in program.commands, f"{where}: {words[0]}"
    try:
        context = program.commands[words[0]].make_context(words[0], words[1:])
    except Exception as error:  # xpnet's own, or one of typer's parser
        pytest.fail(f"{where}: {error.format_message() if hasattr(error, 'format_message') else error}")
    if words[0] == "launch" and not context.params["words"][0].endswith(".py"):
        check_options(context.params["words"], where)
    if words[0] == "exercises" and words[1:]:
        check_options(words[1:], where, program.commands["exercises"])


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    for link in links(read(page)):
        name, _, anchor = link.partition("#")
        path = ROOT / page if not name else (ROOT / page).parent / name
        assert path.exists(), link
        assert path.resolve().is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", PAGES)
def test_pictures_say_what_they_show(page):
    text = read(page)
    assert [tag for tag in re.findall(r"<img [^>]*>", text) if not re.search(r'alt="[^"]{8,}"', tag)] == []
    assert re.findall(r"!\[.{0,7}\]\(", text) == []


def test_the_readme_is_two_screens_of_text():
    before = read("README.md").partition("\n## More\n")[0].splitlines()
    assert len(before) <= 110
    assert max(len(line) for line in before if not line.startswith("<img")) <= 150


def test_the_times_shown_are_those_of_the_results():
    rows = re.findall(r"^\| (.*), (?:training|inference) \| (.*) \|$", read("ci/bench/README.md"), re.MULTILINE)
    assert len(rows) >= 5
    results = read("ci/bench/results/TABLES.md").splitlines()
    for label, cells in rows:
        measured = [line for line in results if line.startswith(f"| {label} |")]
        assert any(all(f" {cell} ms" in line for cell in cells.split(" | ")) for line in measured), label


def test_the_reading_path_names_files():
    table = read("xpnet/README.md").partition("| what it teaches |")[2].partition("\n\n")[0]
    files = re.findall(r"`([a-z_/]+\.py)`", table)
    assert len(files) >= 12
    assert [file for file in files if not (ROOT / "xpnet" / file).exists()] == []


def test_the_list_of_what_is_included_is_complete():
    rows = re.findall(r"^\| [\w ]+, `xpnet\.(\w+)` \| (.*) \|$", read("examples/guides/included.md"), re.MULTILINE)
    listed: dict[str, set[str]] = {}
    for module, cells in rows:
        listed.setdefault(module, set()).update(re.findall(r"`([\w-]+)`", cells))
    known = {
        "models": {*MODELS},
        "data": {*data.DATASETS, *data.__all__, "light", "strong"},
        "train": {*train.__all__, *train.TASKS},
    }
    for module, names in listed.items():
        public = {name for name in dir(getattr(xpnet, module)) if not name.startswith("_")}
        assert names - known.get(module, public) - {"gradcheck"} == set(), module
    layers = {
        name for name in nn.__all__ if isinstance(found := getattr(nn, name), type) and issubclass(found, nn.Module)
    }
    assert layers - {"Module", "Activation"} - listed["nn"] == set()
    assert set(MODELS) - listed["models"] == set()
    assert {*data.DATASETS} - listed["data"] == set()
    assert set(viz.__all__) - {"report", "save", "write_report"} - listed["viz"] == set()
    assert {made.func.__name__ for made in optim.OPTIMIZERS.values()} - listed["optim"] == set()


def test_every_file_that_a_batch_passes_is_named_in_the_order_to_read():
    """Of the second step of an epoch, eager and without kernels, from one call of on_step to the next."""
    passed = set()

    def note(frame, event, argument):
        if event == "call":
            passed.add(frame.f_code.co_filename)

    class Look(Callback):
        def on_step(self, trainer):
            sys.setprofile(note if trainer.step == 1 else None)

    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 10))
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    images = np.random.default_rng(0).integers(0, 256, (12, 14, 14, 1), dtype=np.uint8)
    before = sys.getprofile()
    try:
        with kernels.disable():
            trainer = Trainer(model, optimizer, capture=False, threads=1, callbacks=[Look()])
            trainer.fit(images, np.arange(12) % 10, epochs=1, batch_size=4)
    finally:
        sys.setprofile(before)
    package = Path(xpnet.__file__).parent
    files = {Path(name).relative_to(package).as_posix() for name in passed if Path(name).is_relative_to(package)}
    named = re.findall(r"[\w/]+\.py", read("xpnet/README.md"))
    assert "ops/conv.py" in files
    assert sorted(files - set(named)) == []


SHOWN = """
cnn, 53,002 parameters
epoch 20/20   train loss 1.83   validation accuracy  98.89%   2.7 s
...
saved in runs/a
"""
PRINTED = SHOWN.replace("...", "one line\nanother line")


@pytest.mark.parametrize(
    ("printed", "what"),
    [
        (PRINTED, ""),
        (PRINTED.replace("1.83", "1.79").replace("98.89", "97.2").replace("2.7 s", "0.1 s"), ""),
        (PRINTED.replace("53,002", "53,001"), "53,002 is not 53,001"),
        (PRINTED.replace("20/20", "20/21"), "20 is not 21"),
        (PRINTED.replace("1.83", "1.5"), "1.83 is not 1.5"),
        (PRINTED.replace("98.89", "77.2"), "98.89 is not 77.2"),
        (PRINTED.replace("train loss", "test loss"), "other words"),
        (PRINTED.replace("\nsaved in runs/a", ""), "not printed: saved in runs/a"),
        (PRINTED + "\nmore", "not shown: more"),
        ("", "not printed: cnn, 53,002 parameters"),
    ],
    ids=["same", "rounding", "whole", "count", "loss", "accuracy", "words", "less", "more", "nothing"],
)
def test_what_a_page_shows_is_compared_with_what_is_printed(printed, what):
    found = difference(SHOWN, printed)
    assert found.startswith(what) if what else found == ""
