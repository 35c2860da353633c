"""The 1797 handwritten digits included in the package; the first run needs no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xpnet.data.dataset import Dataset

__all__ = ["load_digits"]


def load_digits() -> tuple[Dataset, Dataset]:
    """Load the 8x8 handwritten digits: 1437 for training, 360 for testing.

    The test set is a fixed random fifth. The same people wrote both parts, so the test accuracy measures new digits of
    known writers, not of unknown ones.

    Returns:
        train, test: (N, 8, 8, 1) uint8 of brightness 0..16 (white is 16), labels 0..9.
    Source: Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
        CC BY 4.0; see digits.txt beside this file.
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        x, y = file["images"][..., np.newaxis], file["labels"].astype(np.int64)  # (1797, 8, 8, 1)
    return Dataset(x, y, tuple("0123456789"), "digits", white=16.0).hold_out_fifth("digits/test")
