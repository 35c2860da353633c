"""The examples: each runs on each backend, holds what it asserts, draws a picture and ends by saying what to notice."""

from __future__ import annotations

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.viz.readable import unreadable
from xpnet.backend import register_backend
from xpnet.backend.registry import REGISTRY

pytest.importorskip("matplotlib")

ROOT = Path(__file__).parent.parent
EXAMPLES = {path.stem: path for path in sorted((ROOT / "examples").glob("[0-9]*.py"))}
PICTURES = ROOT / "examples" / "pictures"
ROWS = ["numpy", "strict-2025.12", "torch", "jax", "cupy"]  # of the matrix; one strict row tells what they all would
FURTHER = {"12_alexnet": ["12_alexnet_volumes"]}  # pictures besides the one that has the example's name
# What the README's "pip install '.[viz,fast]'" does not bring, and the tests have
OPTIONAL = ["array_api_strict", "cupy", "IPython", "jax", "mpi4py", "onnx", "onnxruntime", "scipy", "sklearn", "torch"]
LEFT_OUT = {
    "jax": [name for name in EXAMPLES if name != "10_pooling"],  # compile what the tests of ops have run
    "strict-2025.12": ["01_pipeline", "09_feature_maps", "12_alexnet", "15_train_digits", "20_photos"],  # learn images
}

each_example = pytest.mark.parametrize("name", list(EXAMPLES))


@pytest.fixture(autouse=True)
def run(monkeypatch):
    """Run an example in this process as a program; leave the backends as they were."""
    before = dict(REGISTRY)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))

    def run_example(name: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [str(EXAMPLES[name]), *map(str, arguments)])
        runpy.run_path(str(EXAMPLES[name]), run_name="__main__")

    yield run_example
    for name in [name for name in REGISTRY if name not in before]:
        del REGISTRY[name]
    for name, entry in before.items():
        if REGISTRY.get(name) is not entry:
            register_backend(name, entry.open, package=entry.package, install=entry.install)


def parse(monkeypatch, *arguments: str):
    """What examples/arguments.py makes of a command line."""
    import arguments as module

    monkeypatch.setattr(sys, "argv", ["09_some_example.py", *arguments])
    return module.parse("An idea that is 100% clear.")


def one_line(capsys) -> str:
    """The one line that was printed on standard error, nothing being on standard output."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    return printed.err


@pytest.mark.parametrize(
    ("name", "backend"),
    [(name, row) for row in ROWS for name in EXAMPLES if name not in LEFT_OUT.get(row, ())],
    indirect=["backend"],
)
def test_an_example_holds_what_it_asserts_draws_and_says_what_to_notice(
    name, backend, run, tmp_path, capsys, monkeypatch
):
    from arguments import Options

    drawn, save, pictures = [], Options.save, backend.name == "numpy"

    def draw(self, figure, *part):
        drawn.append(figure() if callable(figure) else figure)
        if pictures:  # else the figure is made, but not turned into pixels, which takes as long again
            save(self, drawn[-1], *part)

    monkeypatch.setattr(Options, "save", draw)
    if pictures:
        for package in OPTIONAL:
            monkeypatch.setitem(sys.modules, package, None)  # an import of it fails, as where it is not installed
    run(name, "--quick", "--backend", backend.name, "--device", backend.device_name, "--out", tmp_path)
    said, notice, lesson = capsys.readouterr().out.rpartition("\nNotice: ")
    assert said, "it prints what it did"
    assert notice, "it says at the end what to notice"
    assert 12 <= len(lesson.split()) <= 100
    assert len(drawn) == 1 + len(FURTHER.get(name, []))
    assert all(figure.axes for figure in drawn)
    if pictures:
        assert sorted(file.stem for file in tmp_path.iterdir()) == [name, *FURTHER.get(name, [])]
        for file in tmp_path.iterdir():
            check_picture(file)
        assert [problem for figure in drawn for problem in unreadable(figure)] == []


def check_picture(path: Path) -> None:
    """A PNG file of moderate size, with something on it."""
    assert path.stat().st_size <= 100 * 1024
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) >= 200
        assert 600 <= image.width <= 1080
        counts = [count for count, _ in image.convert("RGB").getcolors(2**24) or []]
    assert len(counts) >= 10
    assert max(counts) < 0.98 * sum(counts), "the picture is not blank"


@each_example
def test_an_example_is_short_and_says_its_idea_first(name):
    text = EXAMPLES[name].read_text()
    assert text.count("\n") <= 100
    idea = ast.get_docstring(ast.parse(text))
    assert idea, "it begins with a docstring"
    assert len(idea.split()) >= 12
    assert "parse(__doc__" in text


@each_example
def test_an_example_explains_itself_and_takes_the_common_options(name, run, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(name, "--help")
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for part in ("--backend", "--device", "--quick", "--out", ast.get_docstring(ast.parse(EXAMPLES[name].read_text()))):
        assert part in printed


@each_example
def test_an_example_given_a_backend_that_does_not_exist_says_so_in_one_line(name, run, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(name, "--backend", "nunpy")
    assert stopped.value.code == 2
    line = one_line(capsys)
    assert line.startswith(f"{name}.py: get_backend: ")
    assert "backend 'nunpy'; did you mean" in line


def test_examples_are_numbered_without_gaps():
    assert [int(name.partition("_")[0]) for name in EXAMPLES] == list(range(1, len(EXAMPLES) + 1))


def test_the_gallery_holds_a_small_picture_of_every_example():
    pictures = {path.stem: path.stat().st_size for path in PICTURES.glob("*.png")}
    drawn = [*EXAMPLES, *(name for names in FURTHER.values() for name in names)]
    drawn += ["playground", "guide_photos", "guide_report"]  # of pages
    assert sorted(drawn) == sorted(pictures)
    assert max(pictures.values()) <= 100 * 1024
    assert sum(pictures.values()) <= 800 * 1024


def test_an_example_runs_as_a_program_on_a_backend_that_only_the_examples_know(tmp_path):
    pytest.importorskip("array_api_strict")
    command = [
        sys.executable,
        "examples/10_pooling.py",
        "--quick",
        "--backend",
        "array-api-strict",
        "--device",
        "device1",
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "new" / "folder")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"picture: {tmp_path / 'new' / 'folder' / '10_pooling.png'}\n" in done.stdout
    assert (tmp_path / "new" / "folder" / "10_pooling.png").exists()


def test_a_loop_in_several_processes_has_the_bits_of_one_process(tmp_path):
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if mpiexec is None:
        pytest.skip("mpiexec is not installed: pip install 'xpnet[mpi]'")
    program = [sys.executable, "examples/21_several_processes.py", "--out", str(tmp_path)]
    checksums, counts = [], []
    for start in ([], [mpiexec, "-n", "2"]):
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*start, *program], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        checksums += re.findall(r"checksum (\w+)", done.stdout)
        counts += re.findall(r"^\d process\w*", done.stdout, re.MULTILINE)
    assert counts == ["1 process", "2 processes"]
    assert len(checksums) == 2
    assert checksums[0] == checksums[1]


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        ([], "cpu"),
        (["--backend", "numpy"], "numpy"),
        (["--device", "cpu"], "cpu"),
        (["--backend", "numpy", "--device", "cpu"], "numpy:cpu"),
    ],
    ids=["nothing", "backend", "device", "both"],
)
def test_backend_and_device_are_put_together_as_xpnet_train_does(given, spec, monkeypatch):
    options = parse(monkeypatch, *given)
    assert options.backend == spec
    assert not options.quick
    assert options.path == Path("runs/examples/09_some_example.png")


def test_help_prints_the_idea_as_it_is_written(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(monkeypatch, "--help")
    assert stopped.value.code == 0
    assert "An idea that is 100% clear.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--backend", "array-api-strict:device7"], "device7"),
        (["--device", "cuda:99"], "get_backend: "),
        (["--fast"], "unrecognized arguments: --fast"),
        (["--out"], "argument --out: expected one argument"),
        (["--qui"], "unrecognized arguments: --qui"),
    ],
    ids=["device", "no GPU", "option", "no folder", "abbreviation"],
)
def test_bad_input_is_one_line_and_exit_code_2(given, says, monkeypatch, capsys):
    pytest.importorskip("array_api_strict")
    monkeypatch.delitem(REGISTRY, "array-api-strict")  # the tests', so that the examples bring in their own
    with pytest.raises(SystemExit) as stopped:
        parse(monkeypatch, *given)
    assert stopped.value.code == 2
    line = one_line(capsys)
    assert line.startswith("09_some_example.py: ")
    assert says in line


def test_a_folder_that_cannot_be_made_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path):
    from matplotlib.figure import Figure

    (tmp_path / "taken").write_text("a file")
    options = parse(monkeypatch, "--out", str(tmp_path / "taken"))
    with pytest.raises(SystemExit) as stopped:
        options.save(Figure())
    assert stopped.value.code == 2
    assert str(tmp_path / "taken") in one_line(capsys)


def test_without_matplotlib_an_example_goes_on_and_names_the_command(monkeypatch, capsys, tmp_path):
    options = parse(monkeypatch, "--out", str(tmp_path))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    options.save(lambda: pytest.fail("nothing is drawn"))
    assert capsys.readouterr().out == "no picture without matplotlib: pip install 'xpnet[viz]'\n"
    assert not list(tmp_path.iterdir())
