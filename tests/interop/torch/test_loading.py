"""Networks written in torch and in xpnet give the same scores once one has the other's weights."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import xpnet  # noqa: E402
from tests.interop.torch.twins import NEEDS_SHAPE, PUBLISHED, SMALL, randomized, scores, small_cnn  # noqa: E402
from xpnet import models, nn  # noqa: E402
from xpnet.errors import CheckpointError, ConfigError  # noqa: E402


def load(model, source, **options):
    return xpnet.load_torch(model, source, verbose=False, **options)


def close(found, want):
    assert np.ptp(want) > 0.01
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * max(1, np.abs(want).max()))


@pytest.mark.parametrize("name", [*SMALL, *PUBLISHED])
def test_a_network_gives_the_scores_of_its_twin_in_torch(name):
    ours, theirs, shape = {**SMALL, **PUBLISHED}[name]()
    source = randomized(theirs)
    loaded = load(ours, source.state_dict(), shape=shape[1:] if name in NEEDS_SHAPE else None)
    assert not loaded.missing
    assert not loaded.unexpected
    close(*scores(ours, theirs, shape))


@pytest.mark.parametrize("name", SMALL)
def test_a_twin_in_torch_takes_the_weights_back(name):
    ours, theirs, shape = SMALL[name]()
    for seed, state in enumerate(ours.states().values()):
        state.data = np.random.default_rng(seed).uniform(0.5, 1.5, state.shape).astype(np.float32)
    state_dict = xpnet.to_torch_state_dict(ours, list_of_names(theirs), shape=shape[1:])
    theirs.load_state_dict(state_dict, strict=True)
    close(*scores(ours, theirs.eval(), shape))


def list_of_names(theirs):
    return [name for name in theirs.state_dict() if not name.endswith("num_batches_tracked")]


@pytest.mark.parametrize("name", PUBLISHED)
def test_torchvision_names_come_back(name):
    ours, theirs, _ = PUBLISHED[name]()
    before = randomized(theirs).state_dict()
    load(ours, before)
    after = xpnet.to_torch_state_dict(ours, "torchvision", numpy=True)
    assert list(after) == list(before)
    assert all(np.array_equal(after[k], v.numpy()) for k, v in before.items() if v.ndim)


def test_names_may_be_those_of_a_module_and_arrays_those_of_numpy():
    ours, theirs, _ = small_cnn()
    assert set(xpnet.to_torch_state_dict(ours, theirs)) == set(theirs.state_dict())
    own = xpnet.to_torch_state_dict(ours, numpy=True)
    assert own["1.running_mean"].shape == (8,)
    assert own["1.num_batches_tracked"].dtype == np.int64
    assert own["4.weight"].shape == (6, 4, 3, 2)
    for names in (["a"], ["a"] * 17, [3], "x"):
        with pytest.raises(ConfigError, match="names"):
            xpnet.to_torch_state_dict(ours, names)
    with pytest.raises(ConfigError, match="torchvision"):
        xpnet.to_torch_state_dict(ours, "torchvision")


def test_the_order_of_rows_that_no_layer_tells_is_asked_for_after_the_file_was_read(tmp_path):
    ours, theirs, _ = SMALL["image_rows"]()
    with pytest.raises(CheckpointError, match="no such file"):
        load(ours, tmp_path / "absent.pth")
    with pytest.raises(ConfigError, match="expected shape"):
        load(ours, theirs.state_dict())


def test_nothing_is_written_unless_all_is():
    ours, theirs, _ = small_cnn()
    before = ours.state_dict()
    arrays = theirs.state_dict()
    arrays["11.weight"] = arrays["11.weight"].double() * 1e300
    with pytest.raises(CheckpointError, match="float32 holds"):
        load(ours, arrays)
    arrays["11.weight"] = torch.ones(5, 7, dtype=torch.int32)
    with pytest.raises(CheckpointError, match="real floating"):
        load(ours, arrays)
    arrays["11.weight"] = torch.ones(5, 8)
    with pytest.raises(CheckpointError, match=r"11 \(weight 5x7\).*11 \(weight 5x8\)"):
        load(ours, arrays)
    assert all(np.array_equal(before[k], v) for k, v in ours.state_dict().items())


def test_what_has_no_partner_is_reported_where_that_is_allowed(capsys):
    ours, theirs, _ = small_cnn()
    arrays = randomized(theirs).state_dict()
    arrays["12.weight"], arrays["11.weight"] = torch.ones(4, 4), torch.ones(2, 7)
    before = ours.state_dict()["11.weight"]
    loaded = xpnet.load_torch(ours, arrays, strict=False)
    assert loaded.missing == ("11.weight",)
    assert loaded.unexpected == ("11.weight", "12.weight")
    assert np.array_equal(ours.state_dict()["11.weight"], before)
    assert "0.weight" in capsys.readouterr().out
    assert "12.weight" in str(loaded)
    assert "missing=('11.weight',)" in repr(loaded)
    with pytest.raises(CheckpointError, match="equal shapes"):
        load(nn.Sequential(nn.Linear(3, 2)), {"a": torch.ones(4, 4)}, strict=False)


def test_nan_is_loaded_and_logged(caplog):
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    with caplog.at_level(logging.WARNING, "xpnet"):
        load(model, {"w.weight": torch.full((1, 2), torch.nan)})
    assert "0.weight holds NaN" in caplog.text


def test_dtype_backend_and_mode_of_the_model_stay(backend):
    ours, theirs, _ = small_cnn()
    ours.to(backend)
    load(ours, randomized(theirs).bfloat16().state_dict())
    assert ours.training
    states = ours.states().values()
    assert {s.backend for s in states} == {backend}
    want = theirs.state_dict()["0.weight"].float().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(ours.state_dict()["0.weight"], want)


def test_weights_that_are_shared_in_torch_are_loaded_once():
    layer, model = torch.nn.Linear(4, 4), nn.Linear(4, 4)
    theirs = torch.nn.Sequential(layer, torch.nn.ReLU(), layer)
    assert not load(nn.Sequential(model, nn.ReLU(), model), theirs.state_dict()).unexpected


def test_torch_is_not_needed_for_safetensors(tmp_path, monkeypatch):
    from safetensors.numpy import save_file

    model = nn.Sequential(fc=nn.Linear(3, 2))
    save_file({"fc.weight": np.ones((2, 3), np.float32), "fc.bias": np.ones(2, np.float32)}, tmp_path / "m.pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    load(model, tmp_path / "m.pth")  # by its content, whatever its name
    assert model.state_dict()["fc.weight"].sum() == 6


def test_a_mismatch_with_torchvision_says_which_model_to_build():
    _, theirs, _ = PUBLISHED["alexnet"]()
    with pytest.raises(CheckpointError, match=r"torchvision's AlexNet: build models\.alexnet.*torchvision"):
        load(models.alexnet(classes=4, hidden=24), theirs.state_dict())


def test_own_names_go_round_through_a_file(tmp_path):
    from safetensors.numpy import save_file

    ours, theirs, _ = small_cnn()
    load(ours, randomized(theirs))
    save_file(xpnet.to_torch_state_dict(ours, numpy=True), tmp_path / "own.safetensors")
    other, _, _ = small_cnn()
    load(other, tmp_path / "own.safetensors")
    assert all(np.array_equal(value, other.state_dict()[name]) for name, value in ours.state_dict().items())


def test_a_name_in_a_file_does_not_control_the_terminal(capsys):
    loaded = xpnet.load_torch(nn.Linear(2, 1, bias=False), {"a\x1b[31m\nb.weight": torch.ones(1, 2)})
    printed = capsys.readouterr().out
    assert "\x1b" not in printed + str(loaded)
    assert r"a\x1b[31m\nb.weight" in printed


def test_where_arrays_alone_are_compared_the_log_lists_the_settings_that_they_do_not_show(caplog):
    ours = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2), nn.BatchNorm(3), nn.Conv2d(3, 3, 3))
    theirs = randomized(
        torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3, stride=2), torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 3, 3))
    )
    with caplog.at_level(logging.INFO, "xpnet"):
        load(ours, theirs)
        assert not caplog.records
        load(ours, theirs.state_dict())
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("load_torch: arrays alone are compared")
    for setting in ("eps 1e-05", "stride (2, 2) or (1, 1)", "padding (0, 0)", "dilation (1, 1)"):
        assert setting in line
    theirs[1].eps = 0.1  # the numbers then differ: a module says so, its arrays do not
    load(ours, theirs.state_dict())
    with pytest.raises(CheckpointError, match="of one eps"):
        load(ours, theirs)
