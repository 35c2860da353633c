"""Settings of the plane: what is refused, and in which words."""

from __future__ import annotations

import json

import pytest

from xpnet.errors import ConfigError
from xpnet.playground.links import state_of
from xpnet.playground.settings import Settings


def test_settings_survive_json():
    settings = Settings(
        data="points", points=((1, 2.345, 0), (-1, 0, 3)), features=("sin y", "x"), layers=(3, 1), lr=0.3
    )
    assert settings.points[0] == (1.0, 2.35, 0) or settings.points[0] == (1.0, 2.34, 0)
    assert settings.features == ("x", "sin y")
    assert Settings.read(json.loads(json.dumps(settings.to_json()))) == settings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "an object"),
        ({"date": "xor"}, "did you mean 'data'"),
        ({"data": "xro"}, "did you mean 'xor'"),
        ({"layers": [4, 0]}, "neurons, 1 to 16"),
        ({"layers": [17]}, "neurons 17"),
        ({"layers": [1] * 9}, "at most 8 hidden layers"),
        ({"layers": "16"}, "layers that is a list"),
        ({"features": []}, "at least one feature"),
        ({"features": ["z"]}, "a known feature"),
        ({"lr": 0}, "<= lr"),
        ({"lr": "fast"}, "lr 'fast'"),
        ({"earlier_rates": [[5, 0.1], [5, 0.2]]}, "step of an earlier rate, 6 to"),
        ({"earlier_rates": [[5, 11]]}, "lr 11"),
        ({"earlier_rates": [5]}, "earlier rate that is a list"),
        ({"earlier_rates": [[5, 0.1, 2]]}, "two numbers"),
        ({"earlier_rates": [[i, 0.1] for i in range(1, 52)]}, "at most 50 changes of lr, got changes 51; reset"),
        ({"noise": float("nan")}, "noise nan"),
        ({"batch": True}, "batch True"),
        ({"bias": 1}, "bias True or False"),
        ({"n": 10**9}, "n, 20 to 1000"),
        ({"data": "points"}, "2 to 500 points"),
        ({"data": "points", "points": [[0, 0, 0]] * 501}, "points 501"),
        ({"data": "points", "points": [[0, 0, 0], [1, 2]]}, "three numbers"),
        ({"data": "points", "points": [[0, 0, 0], [1, 2, 6]]}, "class, 0 to 5"),
        ({"data": "points", "points": [[0, 0, 0], [1, 1e9, 1]]}, "x and y <= 100"),
        ({"optimizer": None}, "a known optimizer"),
        ({"points": 3}, "points that is a list"),
    ],
    ids=str,
)
def test_what_a_page_may_not_send_is_one_line(given, words):
    with pytest.raises(ConfigError) as found:
        Settings.read(given)
    assert words in str(found.value)
    assert "\n" not in str(found.value)


def test_a_rate_that_did_not_hold_for_a_step_is_not_kept():
    settings = Settings(lr=0.1).with_rate(0.3, 0).with_rate(1.0, 7).with_rate(0.01, 7).with_rate(0.01, 9)
    assert (settings.lr, settings.earlier_rates) == (0.01, ((7, 0.3),))
    assert [settings.rate_at(step) for step in (0, 6, 7, 100)] == [0.3, 0.3, 0.01, 0.01]
    with pytest.raises(ConfigError, match="lr 'fast'"):
        settings.with_rate("fast", 9)


@pytest.mark.parametrize(
    "state",
    [
        "",
        "data=xor&seed=3&steps=10",
        "step=relu&lr=0.1",
        "kind=images&flip=yes&norm=across",
        "data=points&points=1.5_2_0%2C-1_0_1&layers=",
        "layers=4%2C2&features=x%2Cxy&bias=no&earlier_rates=5_0.1%2C9_0.2",
    ],
)
@pytest.mark.parametrize("before", ["", "#", "http://127.0.0.1:9/x/#"])
def test_the_state_of_a_link_is_what_follows_its_sign(state, before):
    assert state_of(before + state) == state
