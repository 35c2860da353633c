"""Models in files: rebuilt from a description where the layers are xpnet's, loaded into a given model elsewhere."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

import xpnet
from tests.harness import raises
from xpnet import models, nn
from xpnet.errors import CheckpointError, ConfigError, DTypeError
from xpnet.nn.architecture import build, describe
from xpnet.nn.storage import write_file

SMALL = {
    "perceptron": (3,),
    "softmax": (3,),
    "mlp": (3,),
    "lenet5": (28, 28, 1),
    "cnn": (8, 8, 1),
    "resnet20": (8, 8, 3),
}


class Twice(nn.Module):
    def __init__(self):
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return self.fc(self.fc(x))


def net():
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


@pytest.mark.parametrize("name", SMALL)
def test_a_model_of_xpnets_layers_is_built_again_from_its_file(tmp_path, name):
    model = models.build(name, SMALL[name], 4).initialize(3).eval()
    model.save(tmp_path / "m.safetensors")
    again = xpnet.load(tmp_path / "m.safetensors")
    assert repr(again) == repr(model)
    assert same(again.state_dict(), model.state_dict())
    assert not again.training
    x = np.random.default_rng(0).random((2, *SMALL[name]), np.float32)
    assert np.array_equal(again.predict(x), model.predict(x))


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_has_a_description_in_json(name):
    model = models.build(name)
    found = json.loads(json.dumps(describe(model)))
    assert repr(build(found, "a test")) == repr(model)


def test_dtypes_and_running_averages_are_kept(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm(2), nn.Flatten(), nn.Linear(2, 2, "augmented"))
    model.to(dtype="float64")
    model[1].mean = np.array([3.0, 4.0])
    model.save(tmp_path / "m")
    assert same(xpnet.load(tmp_path / "m").state_dict(), model.state_dict())


def test_a_part_of_a_model_is_saved_alone(tmp_path):
    model = nn.Sequential(body=net(), head=nn.Linear(3, 2)).initialize(1)
    model["body"].save(tmp_path / "m")
    assert same(xpnet.load(tmp_path / "m").state_dict(), model["body"].state_dict())


def test_a_model_with_layers_of_other_classes_is_loaded_into_a_given_one(tmp_path):
    model = nn.Sequential(first=Twice(), last=nn.ReLU()).initialize(1)
    model.save(tmp_path / "m")
    with raises(CheckpointError, str(tmp_path / "m"), "class Twice", "xpnet.load(file, model)"):
        xpnet.load(tmp_path / "m")
    given = nn.Sequential(first=Twice(), last=nn.ReLU())
    assert xpnet.load(tmp_path / "m", given) is given
    assert same(given.state_dict(), model.state_dict())
    with raises(CheckpointError, str(tmp_path / "m"), "missing"):
        xpnet.load(tmp_path / "m", net())


def test_a_layer_that_is_used_twice_is_not_described(tmp_path):
    shared = nn.Linear(3, 3)
    nn.Sequential(shared, nn.ReLU(), shared).save(tmp_path / "m")
    with raises(CheckpointError, str(tmp_path / "m"), "does not say how its model is built; "):
        xpnet.load(tmp_path / "m")


def test_a_change_of_settings_after_the_model_was_built_is_kept(tmp_path):
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2))
    model[0].rate = 0.25
    model.save(tmp_path / "m")
    assert xpnet.load(tmp_path / "m")[0].rate == 0.25


BAD = {
    "no layer": {"class": "os.system", "settings": {}},
    "a base class": {"class": "Difference", "settings": {}},
    "a setting that is none": {"class": "Linear", "settings": {"in_features": 3, "out": 2}},
    "a size of -1": {"class": "Linear", "settings": {"in_features": 3, "out_features": -1}},
    "no settings": {"class": "ReLU"},
    "a number": 3,
    "other sizes": {"class": "Linear", "settings": {"in_features": 10**9, "out_features": 10**9}},
}


@pytest.mark.parametrize("name", BAD)
def test_a_description_that_builds_no_such_model_is_an_error_in_one_line(tmp_path, name):
    write_file(
        tmp_path / "m", {"model.weight": np.ones((2, 3), np.float32)}, {"format_version": 2, "architecture": BAD[name]}
    )
    with pytest.raises(CheckpointError, match=r"^\S*m: ") as caught:
        xpnet.load(tmp_path / "m")
    assert "\n" not in str(caught.value)


def test_a_description_that_is_nested_without_end_is_an_error(tmp_path):
    inner = {"class": "ReLU", "settings": {}}
    for _ in range(120):
        inner = {"class": "Sequential", "settings": {"0": inner}}
    write_file(tmp_path / "m", {}, {"format_version": 2, "architecture": inner})
    with raises(CheckpointError, str(tmp_path / "m"), "builds no model"):
        xpnet.load(tmp_path / "m")


def test_what_is_no_file_and_no_model_is_refused(tmp_path):
    (tmp_path / "m").write_bytes(b"PK")
    with raises(CheckpointError, str(tmp_path / "m"), "safetensors"):
        xpnet.load(tmp_path / "m")
    with raises(CheckpointError, str(tmp_path / "n"), "no such file"):
        xpnet.load(tmp_path / "n")
    with raises(ConfigError, "load", "model 3"):
        xpnet.load(tmp_path / "m", 3)
    with pytest.raises(CheckpointError, match="cannot be written"):
        net().save(tmp_path / "no" / "m")


# load_state_dict(strict=False)


def test_loading_that_is_not_strict_says_what_it_passed_over():
    model, other = net().initialize(1), nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3, bias=False))
    found = other.load_state_dict(model.state_dict(), strict=False)
    assert found == ((), ("2.bias",))
    assert found.unexpected == ("2.bias",)
    back = net().initialize(2)
    before = back[2].bias.numpy()
    assert back.load_state_dict(other.state_dict(), strict=False).missing == ("2.bias",)
    assert np.array_equal(back[0].weight.numpy(), model[0].weight.numpy())
    assert np.array_equal(back[2].bias.numpy(), before)
    assert net().load_state_dict(model.state_dict()) == ((), ())


def test_loading_that_is_not_strict_still_compares_shapes_and_wants_one_name():
    model = net()
    before = model.state_dict()
    with raises(CheckpointError, "load_state_dict", "(4, 6)", "(6, 4)"):
        model.load_state_dict({"2.bias": np.ones(3, np.float32), "0.weight": np.ones((6, 4), np.float32)}, strict=False)
    with raises(DTypeError, "0.weight", "int64"):
        model.load_state_dict({"0.weight": np.ones((4, 6), int)}, strict=False)
    with raises(CheckpointError, "load_state_dict", "missing", "unknown"):
        model.load_state_dict({"fc.weight": np.ones(3)}, strict=False)
    with raises(ConfigError, "load_state_dict", "strict 1"):
        model.load_state_dict(before, strict=1)
    assert same(model.state_dict(), before)


def test_a_layer_of_a_sequential_is_found_by_name():
    model = nn.Sequential(hidden=nn.Linear(2, 2), act=nn.ReLU())
    assert model["act"] is model[1]
    with raises(ConfigError, "Sequential", "'hiden'", "did you mean 'hidden'?"):
        model["hiden"]


def test_weights_of_nan_are_loaded_and_named(tmp_path, caplog):
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].weight = np.full((2, 2), np.nan)
    model.save(tmp_path / "m")
    with caplog.at_level(logging.WARNING, "xpnet"):
        xpnet.load(tmp_path / "m")
    assert "0.weight holds NaN" in caplog.text
