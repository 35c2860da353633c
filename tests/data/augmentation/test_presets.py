from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from xpnet.data import AUGMENTATIONS, Mirror, augment
from xpnet.data.augmentation import read_augment
from xpnet.errors import ConfigError
from xpnet.random import Key


def test_presets_are_none_light_and_strong():
    assert AUGMENTATIONS == ("none", "light", "strong")
    assert augment("none") is None
    assert "Mirror" in str(augment("light"))
    assert "Erase" in str(augment("strong"))
    assert "Mirror" not in str(augment("strong", mirror=False))


def test_strong_changes_images_more_than_light():
    rows, columns = np.mgrid[0:40, 0:40]
    images = np.repeat(((rows + columns) * 3).astype(np.uint8)[None, :, :, None], 30, axis=0)
    change = {}
    for name in ("light", "strong"):
        out = augment(name, mirror=False)(images, Key(0, "augment"))
        change[name] = np.abs(out.astype(int) - images).mean()
    assert 2 < change["light"] < change["strong"] < 100


def test_an_argument_is_a_name_a_function_or_none():
    assert read_augment("fit", "light") == augment("light")
    assert read_augment("fit", "none") is None
    assert read_augment("fit", None) is None
    mirror = Mirror()
    assert read_augment("fit", mirror) is mirror


@pytest.mark.parametrize("value", ["lihgt", 3, ["light"]])
def test_what_is_neither_is_an_error(value):
    with raises(ConfigError, "fit", "augment", "strong"):
        read_augment("fit", value)
    with raises(ConfigError, "augment", "name"):
        augment(value)
