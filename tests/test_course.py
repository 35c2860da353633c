"""The course: each heading of the notes has a page with its example, picture and playground step; the notebook runs."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from PIL import Image

from xpnet.exercises import EXERCISES
from xpnet.playground.lessons import LESSONS

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "course"
HEADINGS = [  # of the course notes, in order
    "The machine-learning pipeline",
    "Perceptrons",
    "Multiple perceptrons",
    "Bias implementation",
    "Composition",
    "Non-linear activation",
    "Rectified Linear Unit",
    "Convolution neural networks",
    "Neural network layers: hidden layer",
    "Convolution layer",
    "Pooling layer",
    "Fully connected layer",
    "Local response normalization layer",
    "Architecture diagram",
    "Training neural networks: background",
    "Training neural networks: definitions",
    "Training neural networks: training",
]
PAGES = {path.name: path.read_text() for path in sorted(FOLDER.glob("[0-9]*.md"))}
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)

each_page = pytest.mark.parametrize("name", list(PAGES))


def notebook_script():
    """The program ci/notebook as a module."""
    loader = SourceFileLoader("ci_notebook", str(ROOT / "ci" / "notebook"))
    spec = spec_from_loader("ci_notebook", loader)
    assert spec is not None
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module := module_from_spec(spec))
    finally:
        sys.dont_write_bytecode = before
    return module


def part(text: str, heading: str) -> str:
    """What stands under a heading of a page."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"the page has no {heading!r}"
    return found[1]


def formulas(text: str) -> list[str]:
    """The mathematics of a page, between dollar signs."""
    text = re.sub(r"`[^`\n]*`", "", FENCED.sub("", text))
    assert text.count("$") % 2 == 0
    return [block or line for block, line in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", text, re.DOTALL)]


def test_every_heading_of_the_notes_has_its_page_in_order():
    assert [text.partition("\n")[0] for text in PAGES.values()] == [
        f"# {number}. {heading}" for number, heading in enumerate(HEADINGS, 1)
    ]


@each_page
def test_a_page_leads_to_an_example_a_picture_a_playground_step_and_code_that_exist(name):
    text, offered = PAGES[name], part(PAGES[name], "Try it")
    (command,) = re.findall(r"`python (examples/\w+\.py)`", offered)
    assert (ROOT / command).exists()
    assert f"]({'../' + Path(command).name})" in offered
    picture, *_ = re.findall(r"!\[[^\]]{20,}\]\((\S+)\)", part(text, "The picture of the example"))
    assert (FOLDER / picture).resolve() == (ROOT / "examples" / "pictures" / f"{Path(command).stem}.png")
    with Image.open(FOLDER / picture) as image:
        assert image.width >= 600
    steps = re.findall(r"`xpnet playground --step ([\w-]+)`", offered)
    assert steps
    assert set(steps) <= {lesson.name for lesson in LESSONS}
    assert re.search(r"\*\*Code:\*\* \[xpnet/", offered)


@each_page
def test_a_page_names_exercises_that_exist(name):
    named = re.findall(r"`(\d\d_\w+)`", part(PAGES[name], "Try it"))
    assert set(named) <= {exercise.stem for exercise in EXERCISES}


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.stem for exercise in EXERCISES])
def test_an_exercise_leads_to_a_page_that_names_it(exercise):
    assert f"`{exercise.stem}`" in part(PAGES[exercise.page.removeprefix("course/")], "Try it")


def test_every_playground_step_belongs_to_a_page():
    named = re.findall(r"--step ([\w-]+)", "\n".join(PAGES.values()))
    assert set(named) == {lesson.name for lesson in LESSONS}


def test_the_list_of_the_course_says_what_its_pages_say():
    """The steps of the playground and the exercises that stand beside each page."""
    table = (FOLDER / "README.md").read_text()
    listed = re.findall(r"^\| \[(.+?)\]\((.+?)\) \| (.*?) \|(.*)\|$", table, re.MULTILINE)
    assert [(f"# {title}", page) for title, page, _, _ in listed] == [
        (text.partition("\n")[0], name) for name, text in PAGES.items()
    ]
    for _, page, steps, exercises in listed:
        offered = part(PAGES[page], "Try it")
        assert re.findall(r"`([\w-]+)`", steps) == list(dict.fromkeys(re.findall(r"--step ([\w-]+)", offered)))
        assert re.findall(r"`(\w+)`", exercises) == re.findall(r"`(\d\d_\w+)`", offered)


@each_page
def test_what_a_page_links_to_exists_and_the_next_page_is_the_next(name):
    text = FENCED.sub("", PAGES[name])
    for label, target in re.findall(r"\[([^\]]*)\]\((?!https?:)([^)\s]+)\)", text):
        assert (FOLDER / target).exists(), f"{name}: {target}"
        if label.startswith("xpnet/"):
            assert target == f"../../{label}"
    following = [*PAGES, None][list(PAGES).index(name) + 1]
    assert re.findall(r"^Next: \[.+\]\((.+)\)$", text, re.MULTILINE) == ([following] if following else [])


@each_page
def test_a_page_has_mathematics_code_and_as_many_answers_as_questions(name):
    text = PAGES[name]
    questions, answers = (
        re.findall(r"^(\d)\. ", part(text, heading), re.MULTILINE) for heading in ("Questions", "Answers")
    )
    assert questions == answers == [str(n) for n in range(1, len(questions) + 1)]
    assert 2 <= len(questions) <= 3
    assert 1 <= text.count("\n```python\n") <= 4
    assert text.count("$$") >= 2


@each_page
def test_mathematics_is_written_so_that_markdown_leaves_it_alone(name):
    """A backslash before punctuation is dropped, _ after punctuation and * begin emphasis, < begins a tag."""
    for formula in formulas(PAGES[name]):
        assert not re.search(r"\\[^a-zA-Z]|[^\w\\]_|\*|<|operatorname", formula), formula
        assert formula == formula.strip()
        assert formula.count("{") == formula.count("}")
        left, right = (len(re.findall(rf"\\{side}(?![a-z])", formula)) for side in ("left", "right"))
        assert left == right


def test_a_page_s_code_defines_the_names_that_it_uses(tmp_path):
    ruff = pytest.importorskip("ruff").find_ruff_bin()
    for name, text in PAGES.items():
        code = "\n\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
        (tmp_path / f"{name.removesuffix('.md').replace('-', '_')}.py").write_text(code)
    rules = ["--select", "E501,E9,F", "--line-length", "98"]  # what a page shows without scrolling
    checked = subprocess.run(
        [ruff, "check", "--isolated", "--no-cache", *rules, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("nbformat")
    return notebook_script()


@pytest.fixture(scope="module")
def kept(script):
    """The notebook in the repository."""
    import nbformat

    found = nbformat.read(script.NOTEBOOK, as_version=4)
    nbformat.validate(found)
    return found


def kinds(cell) -> list[list[str]]:
    """What a cell's outputs are: the stream, or the forms in which a result is there."""
    return [sorted(output.get("data", {})) or [output.get("name", output.output_type)] for output in cell.outputs]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebook_says_what_the_pages_say(script, kept):
    def sources(notebook):
        return [(cell.id, cell.cell_type, cell.source) for cell in notebook.cells]

    assert sources(kept) == sources(script.build()), "run ci/notebook"


def test_the_notebook_in_the_repository_shows_its_figures_and_is_small(script, kept):
    assert script.NOTEBOOK.stat().st_size < 1_000_000
    cells = code_cells(kept)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(cell.metadata for cell in kept.cells)
    figures = [
        output.data["image/png"] for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})
    ]
    assert len(figures) >= len(PAGES)
    for figure in figures:
        with Image.open(io.BytesIO(base64.b64decode(figure))) as image:
            assert 300 <= image.width <= 1200
            assert len(image.convert("RGB").resize((64, 64)).getcolors(4096)) > 3, "the figure is not blank"


def test_the_notebook_in_the_repository_holds_no_path_warning_or_error(kept):
    outputs = str([cell.outputs for cell in code_cells(kept)])
    assert not re.search(r"ipykernel_\d|/home/|/root/|/tmp/|site-packages|Warning|Traceback", outputs)
    assert str(ROOT) not in outputs


def test_the_notebook_runs_and_every_cell_still_shows_what_it_showed(script, kept):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    found = script.run(script.build())  # raises where a cell fails
    shown = {cell.id: kinds(cell) for cell in code_cells(found)}
    assert shown == {cell.id: kinds(cell) for cell in code_cells(kept)}
    assert not any("stderr" in kind for kept_kinds in shown.values() for kind in kept_kinds)
