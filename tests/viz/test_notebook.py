"""Pictures, tables and progress in a real kernel of a notebook: each is shown once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("ipykernel")
pytest.importorskip("nbclient")

from nbclient import NotebookClient
from nbformat import v4

import xpnet
from xpnet import viz

START = """
import numpy as np
from xpnet import data, models, nn, viz
from xpnet.train import GradientFlow, Trainer

train, test = data.load("digits")
train, test = train.take(range(96)), test.take(range(48))
model = models.build("lenet5", train.shape, 10)
flow, rng, plane = GradientFlow(), np.random.default_rng(0), data.moons(40)
trainer = Trainer(model, callbacks=[flow])
x = rng.random((8, 3))
"""
DRAWN = {
    "activations": "viz.activations(trainer, test.x)",
    "blocks": "viz.blocks(model, train.shape)",
    "compare": 'viz.compare({"a": history, "b": history})',
    "confusion": 'viz.confusion(figures["confusion"])',
    "curves": "viz.curves(history)",
    "decision_boundary": "viz.decision_boundary(nn.Linear(2, 2), plane)",
    "feature_maps": "viz.feature_maps(trainer, test.x[0])",
    "filters": "viz.filters(model)",
    "gradient_flow": "viz.gradient_flow(flow)",
    "mistakes": 'viz.mistakes(figures["scores"], test)',
    "multilabel": "viz.multilabel(x, x > 0.5)",
    "reconstruction": "viz.reconstruction(x, x + 0.1)",
    "regression": "viz.regression(x, x + 0.1)",
    "saliency": "viz.saliency(trainer, test.x[0])",
    "volumes": "viz.volumes(model, train.shape)",
}
AXES = "figure, (left, right) = plt.subplots(1, 2)\n"
CELLS = {  # by name: source, and how many pictures are shown
    "start": (START, 0),
    "fit, kept": ("history = trainer.fit(train, test, epochs=2)", 0),
    "fit, shown": ("trainer.fit(train, test, epochs=3)", 0),
    "history": ("history", 0),
    "summary": ("viz.summarize(model, train.shape)", 0),
    "evaluate": ("figures = trainer.evaluate(test)", 0),
    **{name: (source, 1) for name, source in DRAWN.items()},
    "not the last line": ("picture = viz.filters(model)", 0),
    "pyplot": ("import matplotlib.pyplot as plt", 0),
    "with pyplot": ("viz.curves(history)", 1),
    "on pyplot's axes": (AXES + "viz.filters(model, ax=left)\nviz.confusion(np.eye(3), ax=right)", 1),
    "on pyplot's axes, not the last line": (AXES + "viz.feature_maps(trainer, test.x[0], ax=left)\ndone = 1", 1),
    "in place of pyplot's axes": (AXES + "viz.curves(history, ax=left)", 1),
    "once more": ("figure", 1),
    "pyplot alone": ("plt.plot([1, 2]);", 1),
}


@pytest.fixture(scope="module")
def shown():
    """What each cell shows: [{"image/png": ..., ...}, ...]."""
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source, _ in CELLS.values()])
    paths = [str(Path(xpnet.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(env=environment)
    outputs = ([output for output in cell.outputs if "data" in output] for cell in notebook.cells)
    return dict(zip(CELLS, ([output.data for output in each] for each in outputs), strict=True))


def test_every_function_that_draws_is_among_them():
    assert set(DRAWN) == set(viz.__all__) - {"report", "save", "summarize", "write_report"}


@pytest.mark.parametrize("cell", CELLS)
def test_a_picture_is_shown_once(cell, shown):
    assert len([data for data in shown[cell] if "image/png" in data]) == CELLS[cell][1]


@pytest.mark.parametrize(("cell", "words"), [("history", "train loss"), ("summary", "parameters")])
def test_histories_and_summaries_are_tables(cell, words, shown):
    (data,) = shown[cell]
    assert data["text/html"].startswith("<table>")
    assert words in data["text/html"]


@pytest.mark.parametrize(("cell", "epochs"), [("fit, kept", 2), ("fit, shown", 3)])
def test_a_training_leaves_one_table_also_as_the_last_line(cell, epochs, shown):
    tables = [data["text/html"] for data in shown[cell] if data.get("text/html")]
    assert len(tables) == 1
    assert tables[0].count("<tr>") == 1 + epochs
    assert "<progress" not in tables[0]
