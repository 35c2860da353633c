from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import xpnet.data.digits
from xpnet.data import load

PINNED = "6269c993ab915e34adba3a66c0fd409b7f45043572a45300d755064944bc7bbc"


def test_digits_have_the_published_size_and_brightness():
    train, test = load("digits")
    assert train.x.shape == (1437, 8, 8, 1)
    assert test.x.shape == (360, 8, 8, 1)
    assert train.x.dtype == np.uint8
    assert (train.x.min(), train.x.max(), train.white) == (0, 16, 16.0)
    assert train.classes == tuple("0123456789")


def test_the_test_set_of_digits_never_changes():
    _, test = load("digits")
    assert hashlib.sha256(test.x.tobytes() + test.y.tobytes()).hexdigest() == PINNED


def test_digits_are_those_of_scikit_learn():
    published = pytest.importorskip("sklearn.datasets").load_digits()
    train, test = load("digits")
    ours = {(*x.reshape(-1).tolist(), int(y)) for part in (train, test) for x, y in zip(part.x, part.y, strict=True)}
    theirs = {(*x.astype(int).tolist(), int(y)) for x, y in zip(published.data, published.target, strict=True)}
    assert ours == theirs


def test_the_attribution_is_stored_beside_the_digits():
    text = Path(xpnet.data.digits.__file__).with_name("digits.txt").read_text()
    for fact in ("Alpaydin", "Kaynak", "UCI", "CC BY 4.0", "10.24432/C50P49", "Changes:"):
        assert fact in text
