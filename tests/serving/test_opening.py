"""Files of `xpnet export` are served as their runs are."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from tests.harness import raises
from tests.serving.conftest import Client, digit
from tests.serving.test_server import form
from xpnet import export_onnx, nn
from xpnet.errors import ConfigError, DataError
from xpnet.serving import Server, open_source
from xpnet.train.runs.prediction import ask_opened

onnx = pytest.importorskip("onnx")

from xpnet.interop.onnx.export_run import export_run  # noqa: E402
from xpnet.interop.onnx.trained import open_onnx  # noqa: E402


def photo(suffix="JPEG"):
    import PIL.Image

    file = io.BytesIO()
    PIL.Image.fromarray(np.linspace(0, 255, 40 * 61 * 3).astype(np.uint8).reshape(40, 61, 3)).save(file, suffix)
    return file.getvalue()


ROWS = {
    "classes": [{"size": 0.5, "its colour": "red"}, {"size": None, "its colour": "blue"}],
    "price": [[0.5, "red"], [-1, None]],
    "labels": np.random.default_rng(1).normal(size=(2, 5)).tolist(),
    "sequences": np.random.default_rng(1).normal(size=(2, 4, 3)).tolist(),
    "copies": np.random.default_rng(1).normal(size=(2, 5)).tolist(),
}


@pytest.mark.parametrize("included", [False, True], ids=["scores", "answers"])
@pytest.mark.parametrize("kind", ["digits", "photos", *ROWS])
def test_a_file_says_what_its_run_says(runs, tmp_path, kind, included):
    export_run(runs(kind), tmp_path / "m.onnx", with_preprocessing=included)
    both = []
    for path in (runs(kind), tmp_path / "m.onnx"):
        with Server(open_source(path), port=0) as server:
            client = Client(server)
            about = client("GET", "/health").json
            image = digit(0) if kind == "digits" else photo()
            reply = client.rows(ROWS[kind]) if kind in ROWS else client.image(image)
            assert reply.status == 200, reply
            both.append((about, reply.json["predictions"]))
            client.connection.close()
    assert both[0][0] == both[1][0]
    for mine, theirs in zip(both[0][1], both[1][1], strict=True):
        assert set(mine) == set(theirs)
        for key, value in mine.items():
            if isinstance(value, dict) or key in ("probabilities", "probability", "mse"):
                assert theirs[key] == pytest.approx(value, rel=1e-5, abs=2e-6)
            else:
                assert theirs[key] == value


def test_files_that_do_not_say_how_their_inputs_are_made_are_refused(runs, tmp_path):
    path = tmp_path / "m.onnx"
    with raises(DataError, str(path), "no such file"):
        open_source(path)
    path.write_bytes(b"no model")
    with pytest.raises(DataError):
        open_source(path)
    export_onnx(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), path, (2, 2, 3))
    with raises(ConfigError, str(path), "does not say on which scale", "scale=1/255"):
        open_source(path)
    with raises(ConfigError, "mean", "one for each channel"):
        open_source(path, mean=(1.0, 2.0))
    export_run(runs("digits"), path, batch=4)
    with raises(DataError, str(path), "a free number of examples"):
        open_source(path)
    export_run(runs("digits"), path)
    for known in (path, runs("digits")):
        with raises(ConfigError, "scale", "says how its inputs are normalized", "omit scale"):
            open_source(known, scale=1.0)
    for key, value in (("preprocessing", "{"), ("classes", "{}"), ("task", "[]"), ("columns", "3")):
        model = onnx.load(path)
        known = {entry.key: entry.value for entry in model.metadata_props} | {key: value}
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, known)
        onnx.save(model, tmp_path / "other.onnx")
        with raises(DataError, str(tmp_path / "other.onnx"), key):
            open_source(tmp_path / "other.onnx")
    model = onnx.load(path)
    known = {entry.key: entry.value for entry in model.metadata_props} | {"classes": json.dumps(["a"] * 11)}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, known)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="a score for each class"):
        Server(open_source(tmp_path / "other.onnx"), port=0)


@pytest.mark.parametrize("batch", ["N", 1])
def test_a_file_of_another_origin_says_what_xpnet_predict_says(tmp_path, batch):
    path, scale = tmp_path / "m.onnx", {"mean": (0.4, 0.5, 0.6), "std": (0.2,), "scale": 1 / 255}
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 7, 5)).initialize(1)
    export_onnx(net, path, (8, 9, 3), batch=batch)
    (tmp_path / "a.jpg").write_bytes(photo())
    (tmp_path / "b.png").write_bytes(digit(0))
    wanted = list(ask_opened(*open_onnx(path, **scale), [str(tmp_path / name) for name in ("a.jpg", "b.png")], 5))
    with Server(open_source(path, **scale), port=0) as server:
        client = Client(server)
        body, headers = form([("a.jpg", photo()), ("b.png", digit(0))])
        said = client("POST", "/predict?top=5", body, headers).json["predictions"]
        client.connection.close()
    for mine, theirs in zip(said, wanted, strict=True):
        assert mine["classes"] == theirs["classes"]
        assert mine["probabilities"] == pytest.approx(theirs["probabilities"], abs=2e-6)
