"""--json: standard output is one JSON document, of every command and however it is called; all else is elsewhere."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from xpnet.cli.commands import app

SERVE = ("serve", "playground")  # answer requests until they are ended
LAUNCHES = "launch"  # prints what the launched command prints
CASES = [
    "train softmax --epochs 1 --out new --json",
    "train softmax --epochs 1 --out new --json --quiet",
    "train --resume run --json",
    "train mlp --data flats.csv --target price --epochs 1 --out new --best --patience 1 --val 0.2 --json",
    "train cnn --data photos --epochs 1 --out new --augment light --json",
    "evaluate run --json",
    "evaluate run --csv rows.csv --json",
    "predict run one.png --json",
    "predict run one.png two.png --top 3 --csv rows.csv --json",
    "predict run - --json",
    "data digits --json",
    "data photos -o page.html --json",
    "data flats.csv --json",
    "summary lenet5 --json",
    "summary run --json",
    "draw lenet5 --json",
    "draw run -o run.svg --json",
    "export run -o run.onnx --json",
    "exercises --json",
    "runs . --json",
    "compare run run --json",
    "devices --json",
]
REFUSED = [
    "predict run none.png --json",
    "runs empty --json",
    "train mlp --data flats.csv --target price --best --json",
]


@pytest.fixture
def folder(trained, here, monkeypatch):
    """Where commands run: a run, photos, a table, an empty folder, and a name on standard input."""
    from PIL import Image

    trained(epochs=2, json=True)
    draw = np.random.default_rng(0)
    for k, name in enumerate(("dark", "bright")):
        (here / "photos" / name).mkdir(parents=True)
        for i in range(8):
            pixels = draw.integers(0, 60, (12, 12, 3)) + 180 * k
            Image.fromarray(pixels.astype(np.uint8)).save(here / "photos" / name / f"{i}.png")
    for name in ("one.png", "two.png"):
        Image.fromarray(draw.integers(0, 200, (8, 8), dtype=np.uint8)).save(here / name)
    rows = [f"{i % 5},{20.5 * i},{'ab'[i % 2]},{2000 * i}" for i in range(40)]
    (here / "flats.csv").write_text("\n".join(["rooms,area,quarter,price", *rows]))
    (here / "empty").mkdir()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one.png\n")))
    return here


@pytest.mark.parametrize("words", CASES)
def test_standard_output_is_one_json_document(folder, xpnet, words):
    if words.startswith("export"):
        pytest.importorskip("onnx")
    result = xpnet(*words.split())
    assert result.code == 0, result.err
    found = json.loads(result.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(found, dict | list)
    assert result.out.endswith("\n")


@pytest.mark.parametrize("words", REFUSED)
def test_standard_output_is_empty_where_a_command_is_refused(folder, xpnet, words):
    result = xpnet(*words.split())
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines()[-1].startswith("xpnet: ")


def test_every_command_that_ends_is_among_them():
    named = {command.callback.__name__ for command in app.registered_commands if command.callback}
    named |= {group.name for group in app.registered_groups}
    assert {words.split()[0] for words in CASES} == named - {*SERVE, LAUNCHES}
