"""The program that is shown trains exactly the network of the plane."""

from __future__ import annotations

import contextlib
import io
import re

import pytest

from xpnet import get_backend
from xpnet.optim import OPTIMIZERS
from xpnet.playground.plane import Plane
from xpnet.playground.settings import ACTIVATIONS, FEATURES, Settings

POINTS = ((0.5, 1.25, 0), (-1, 2, 1), (1, 0, 2), (2, -2, 1), (0, 0, 2)) * 12
CASES = {
    "defaults": {},
    "xor, 16-16": {"data": "xor", "layers": (16, 16), "seed": 3},
    "the perceptron rule": {"data": "blobs", "classes": 4, "layers": (), "loss": "perceptron", "lr": 1.0},
    "no bias, hinge": {"data": "moons", "bias": False, "loss": "hinge", "train": 0.8, "n": 61},
    "three arms, squared error, L1": {
        "data": "spirals", "classes": 3, "loss": "squared error", "penalty": "L1", "features": FEATURES
    },
    "painted points, L2": {"data": "points", "points": POINTS, "penalty": "L2", "penalty_rate": 0.01, "batch": 7},
    "rates that were changed": {"optimizer": "adam", "lr": 0.1, "earlier_rates": ((10, 0.01), (30, 0.0123456789))},
    **{f"activation {name}": {"activation": name, "lr": 0.05} for name in ACTIVATIONS},
    **{f"optimizer {name}": {"optimizer": name, "lr": 0.01} for name in OPTIMIZERS},
}  # fmt: skip


def run(code: str) -> dict[str, tuple[float, float]]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "shown", "exec"), {})
    found = re.findall(r"(\w+): loss ([\d.]+), accuracy ([\d.]+)%", out.getvalue())
    return {name: (float(loss), float(accuracy) / 100) for name, loss, accuracy in found}


@pytest.mark.parametrize("backend", ["cpu", "torch"])
@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_the_program_that_is_shown_gives_the_same_loss(settings, backend):
    if backend == "torch":
        pytest.importorskip("torch")
    plane = Plane(Settings(**settings), get_backend(backend))
    for _ in range(45):
        plane.advance()
    frame, found = plane.frame(), run(plane.code())
    for name, shown in (("train", found["training"]), ("test", found["test"])):
        assert shown[0] == pytest.approx(frame[name]["loss"], abs=2e-6)
        assert shown[1] == pytest.approx(frame[name]["accuracy"], abs=6e-4)


def test_before_the_first_step_the_program_makes_some():
    plane = Plane(Settings(), get_backend("cpu"))
    reply, _ = plane.command("code", {})
    assert reply["steps"] == 1000
    assert "islice(batches(), 1000)" in reply["code"]


def test_lines_are_no_longer_than_a_screen_is_wide():
    for settings in CASES.values():
        plane = Plane(Settings(**settings), get_backend("cpu"))
        assert max(map(len, plane.code().splitlines())) <= 120
