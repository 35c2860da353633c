"""Data that cannot be learned from, given to a program and to the command line: one line, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from xpnet import data, models, nn
from xpnet.data import LoadOptions
from xpnet.errors import XpnetError
from xpnet.train import RunConfig, Trainer, train_run

X = np.random.default_rng(0).random((40, 6)).astype(np.float32)
LABELS = np.arange(40) % 2
ROWS = [(i, i / 2, "ab"[i % 2], 3 * i + 1) for i in range(40)]


class Case(NamedTuple):
    """Makes the data; the words of ``xpnet train``, a program that does the same, and what both must say."""

    make: Callable[[Path], Any]
    words: str
    program: Callable[[], Any]
    says: tuple[str, ...]


def images(names: str, each: int, size: int = 6) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import PIL.Image

        for k, name in enumerate(names):
            (folder / "photos" / name).mkdir(parents=True)
            for i in range(each):
                pixels = np.full((size, size), 180 * (k % 2) + i, np.uint8)
                PIL.Image.fromarray(pixels).save(folder / "photos" / name / f"{i}.png")
        (folder / "photos").mkdir(exist_ok=True)

    return make


def table(cell: tuple[int, int, Any] | None = None) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        rows = [list(map(str, row)) for row in ROWS]
        if cell:
            rows[cell[0]][cell[1]] = str(cell[2])
        lines = ["size,age,kind,price", *(",".join(row) for row in rows)]
        (folder / "table.csv").write_text("\n".join(lines))

    return make


def arrays(y: Any, **more: Any) -> Callable[[Path], None]:
    return lambda folder: np.savez(folder / "set.npz", x=X, y=y, **more)


def load(name: str, **options: Any) -> Callable[[], Any]:
    return lambda: data.splits(name, options=LoadOptions(**options))


def fit(x: Any, y: Any = None, *, task: str | None = None, **options: Any) -> Callable[[], Any]:
    def call() -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
        Trainer(model, task=task).fit(x() if callable(x) else (x, y), **options)

    return call


def run(model: str, **options: Any) -> Callable[[], Any]:
    return lambda: train_run(RunConfig(model=model, epochs=1, **options), out="run")


def begun(folder: Path) -> None:
    """A table, and a run that learned its kinds."""
    table()(folder)
    config = RunConfig(model="mlp", data="table.csv", target="kind", epochs=1)
    train_run(config, out="other", announce=lambda line: None)


def labelled(value: float) -> np.ndarray:
    y = LABELS.astype(float)
    y[3] = value
    return y


def ending(count: int) -> Callable[[], Any]:
    return lambda: ((X[:4], LABELS[:4]) for _ in range(count))


HOT = np.eye(2, dtype=int)[LABELS] * np.where(np.arange(40) == 5, 2, 1)[:, None]
FEW, MANY = np.arange(40) % 2 * 90, "at least half"

CASES = {
    "no images": Case(images("", 0), "cnn --data photos", load("photos"), ("photos", "sub_folders 0")),
    "one class": Case(images("a", 4), "cnn --data photos", load("photos"), ("at least 2 classes", "['a']")),
    "no such target": Case(
        table(), "mlp --data table.csv --target pric", load("table.csv", target="pric"), ("'pric'", "'price'")
    ),
    "text in a column of numbers": Case(
        table((7, 1, "old")),
        "mlp --data table.csv --target price",
        load("table.csv", target="price"),
        ("column 'age'", "line 9", "'old'"),
    ),
    "a target that is text": Case(
        table((7, 3, "cheap")),
        "mlp --data table.csv --target price",
        load("table.csv", target="price"),
        ("column 'price'", "line 9", "'cheap'"),
    ),
    "a target that is missing": Case(
        table((7, 3, "")),
        "mlp --data table.csv --target price",
        load("table.csv", target="price"),
        ("'price' in each row", "line 9"),
    ),
    "a label that is NaN": Case(
        arrays(labelled(np.nan)), "softmax --data set.npz", fit(X, labelled(np.nan)), ("value nan", "sample 3")
    ),
    "fewer examples than classes": Case(arrays(FEW), "softmax --data set.npz", fit(X, FEW), (MANY, "label 90")),
    "an image of no size": Case(
        images("ab", 8), "cnn --data photos --image-size 0", load("photos", image_size=0), ("HxW", "0")
    ),
    "a fraction beyond 1": Case(
        arrays(LABELS), "softmax --data set.npz --val 1.5", fit(X, LABELS, validation=1.5), ("< 1", "1.5")
    ),
    "a fraction below 0": Case(
        arrays(LABELS), "softmax --data set.npz --val=-0.1", fit(X, LABELS, validation=-0.1), ("< 1", "-0.1")
    ),
    "a model for larger images": Case(
        images("ab", 8),
        "vgg16 --data photos",
        lambda: models.build("vgg16", (6, 6, 1), 2),
        ("pool3 (MaxPool2d)", "vgg16 takes images of 32x32 or more"),
    ),
    "a run of another task": Case(
        begun,
        "mlp --data table.csv --target price --from other",
        run("mlp", data="table.csv", target="price", from_run="other"),
        ("a run of task regression", "classification"),
    ),
    "labels that are neither 0 nor 1": Case(
        arrays(HOT),
        "softmax --data set.npz --task multilabel",
        fit(X, HOT, task="multilabel"),
        ("0 and 1", "value 2", "sample 5", "label 1"),
    ),
    "targets of another length": Case(
        arrays(LABELS[:39]), "softmax --data set.npz", fit(X, LABELS[:39]), ("samples 40", "39")
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_command_line_refuses_it_in_one_line(refused, here, name):
    CASES[name].make(here)
    refused(["train", *CASES[name].words.split()], *CASES[name].says)


@pytest.mark.parametrize("name", CASES)
def test_a_program_gets_one_line(here, name, capsys):
    CASES[name].make(here)
    before = sorted(here.rglob("*"))
    with pytest.raises(XpnetError) as caught:
        CASES[name].program()
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.is_event or ": expected " in line
    assert ", got " in line
    for said in CASES[name].says:
        assert said in line, f"{said} is not in: {line}"
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("count", "says"), [(0, "at least one batch, got batches 0"), (2, "3 batches, as steps says, got batches 2")]
)
def test_a_generator_that_ends_early_is_one_line(count, says):
    with pytest.raises(XpnetError, match=f"^fit: expected {says}"):
        fit(ending(count), steps=3)()
