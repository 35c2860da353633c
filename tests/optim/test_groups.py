"""Parameter groups: each with its rate and its weight decay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.harness import few_on_jax, raises
from tests.optim.parameters import Parameter, agree, gradients, hosts, parameters
from xpnet import kernels, nn, optim
from xpnet.backend import Backend, get_backend
from xpnet.errors import ConfigError
from xpnet.optim import OPTIMIZERS, SGD, make_optimizer

NUMPY = get_backend("numpy")


@pytest.mark.parametrize("reference", [False, True], ids=["kernel", "reference"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_groups_train_like_optimizers_of_their_own(backend: Backend, name: str, reference: bool) -> None:
    few_on_jax(backend, name == "adamw" and reference)
    schedule = optim.cosine(0.3, steps=5)
    made, alone = parameters(backend), parameters(backend)
    body, head = [made[i] for i in (3, 1)], [made[i] for i in (0, 2, 4)]
    groups = [{"params": body, "lr": schedule, "weight_decay": 0.0}, {"params": head}]
    optimizer = make_optimizer(name, groups, 0.1, weight_decay=0.2)
    others = [
        make_optimizer(name, [alone[i] for i in (3, 1)], schedule, weight_decay=0.0),
        make_optimizer(name, [alone[i] for i in (0, 2, 4)], 0.1, weight_decay=0.2),
    ]
    with kernels.disable(*([] if reference else ["none"])):
        for step in range(4):
            optimizer.step(gradients(made, step))
            found = gradients(alone, step)
            for other in others:
                other.step(found)
    agree(hosts(made), hosts(alone), np.float32)


def test_settings_of_a_group_may_change_between_steps() -> None:
    a, b = Parameter("a", np.ones(2)), Parameter("b", np.ones(2))
    optimizer = SGD([{"params": [a], "lr": 0.5}, {"params": [b]}], lr=0.25)
    found = {a: np.ones(2), b: np.ones(2)}
    optimizer.step(found)
    assert (a.data[0], b.data[0]) == (0.5, 0.75)
    optimizer.groups[0].lr, optimizer.groups[1].weight_decay, optimizer.lr = 0.0, 1.0, 0.5
    optimizer.step(found)
    assert (a.data[0], b.data[0]) == (0.5, 0.75 - 0.5 * (1 + 0.75))
    assert optimizer.rates() == [0.0, 0.5]


def test_a_whole_number_set_as_a_rate_is_a_float() -> None:
    optimizer = SGD([{"params": [Parameter("a", np.ones(2))]}], lr=0.25)
    optimizer.groups[0].lr = 0
    assert [type(rate) for rate in optimizer.rates()] == [float]


@pytest.mark.parametrize("value", [-1.0, float("nan"), "x"])
@pytest.mark.parametrize("name", ["lr", "weight_decay"])
def test_a_setting_of_a_group_out_of_its_range_is_refused_when_it_is_set(name: str, value: Any) -> None:
    optimizer = SGD([{"params": [Parameter("a", np.ones(2))], name: 0.5}], lr=0.25)
    with raises(ConfigError, "Group", f"0 <= {name}"):
        setattr(optimizer.groups[0], name, value)
    assert getattr(optimizer.groups[0], name) == 0.5


@pytest.mark.parametrize("sequence", [False, True], ids=["array", "sequence"])
def test_an_update_takes_a_rate_for_each_group(backend: Backend, sequence: bool) -> None:
    xp, device = backend.xp, backend.device
    made, other = parameters(backend), parameters(backend)
    optimizer, queued = (SGD([{"params": ps[:2], "lr": 0.5}, {"params": ps[2:]}], lr=0.25) for ps in (made, other))
    optimizer.step(gradients(made, 0))
    rates = [0.5, 0.25] if sequence else xp.asarray([0.5, 0.25], dtype=xp.float32, device=device)
    queued.update(gradients(other, 0), rates, 1)
    agree(hosts(other), hosts(made), np.float32)


P = Parameter("p", np.ones(2))
MODEL = nn.Linear(2, 3)


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (P, "of type Parameter; put it into a list"),
        ([nn.Buffer((3,))], "not what a layer itself keeps"),
        (MODEL.weight, "of type Parameter; put it into a list"),
        (MODEL, "of type Linear; pass model.parameters()"),
        ({"params": [P]}, "of type dict; put it into a list"),
        ("model", "parameters 'model'"),
        ([P, np.ones(2)], "parameter of type ndarray"),
        ([{"params": P}], "of type Parameter; put it into a list"),
        ([{"params": [P]}, P], "group of type Parameter"),
        ([{"parameters": [P]}], "did you mean 'params'"),
        ([{"params": [P], "lrate": 0.1}], "key 'lrate'; choose one of lr, params, weight_decay"),
        ([{"params": [P], "lr": -1}], "lr -1"),
        ([{"params": [P], "weight_decay": "much"}], "weight_decay 'much'"),
        ([{"params": [P]}, {"params": [P]}], "got parameter p"),
    ],
)
def test_what_is_no_parameter_and_no_group_is_refused_in_one_line(given: Any, got: str) -> None:
    with raises(ConfigError, "SGD", got):
        SGD(given)


def test_groups_are_made_by_the_paths_of_layers() -> None:
    model = nn.Sequential(
        body=nn.Sequential(fc=nn.Linear(2, 2), norm=nn.BatchNorm(2)), body2=nn.Linear(2, 2), head=nn.Linear(2, 2)
    )
    settings = {"body": 0.01, "body.norm": {"lr": 0.02, "weight_decay": 0.0}, "head.bias": {"weight_decay": 0.5}}
    groups = optim.by_path(model.parameters(), settings)
    found = [([p.path for p in g["params"]], g.get("lr"), g.get("weight_decay")) for g in groups]
    assert found == [
        (["body.fc.weight", "body.fc.bias"], 0.01, None),
        (["body.norm.gamma", "body.norm.beta"], 0.02, 0.0),
        (["head.bias"], None, 0.5),
        (["body2.weight", "body2.bias", "head.weight"], None, None),
    ]
    assert [g.lr for g in SGD(groups, lr=0.1).groups] == [0.01, 0.02, None, None]
    assert len(optim.by_path(model.parameters(), {"body": 1.0, "body2": 1.0, "head": 1.0})) == 3


def test_a_path_that_is_not_in_the_model_is_named_with_the_nearest() -> None:
    model = nn.Sequential(body=nn.Linear(2, 2), head=nn.Linear(2, 2))
    with raises(ConfigError, "by_path", "'haed'", "did you mean 'head'"):
        optim.by_path(model.parameters(), {"haed": 0.1})
    with raises(ConfigError, "by_path", "settings"):
        optim.by_path(model.parameters(), [0.1])
    with raises(ConfigError, "SGD", "'rate'"):
        SGD(optim.by_path(model.parameters(), {"head": {"rate": 0.1}}), lr=0.1)
