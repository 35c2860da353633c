"""Arrays as they go to the page: small integers in base64."""

from __future__ import annotations

import base64

import numpy as np

__all__ = ["as_bytes", "as_floats", "confidence_of", "signed_bytes"]


def as_bytes(x: np.ndarray) -> str:
    """Return whole numbers, 0 to 255, in base64, a byte each."""
    return base64.b64encode(np.ascontiguousarray(x, np.uint8).tobytes()).decode()


def as_floats(x: np.ndarray) -> str:
    """Return numbers as float32, little-endian, in base64."""
    return base64.b64encode(np.ascontiguousarray(x, "<f4").tobytes()).decode()


def signed_bytes(x: np.ndarray) -> tuple[str, list[float]]:
    """Scale each row of x (M, P) to -127 .. 127 by its largest absolute value; return the bytes and these values, (M,).

    What is not finite is 0.
    """
    x = np.nan_to_num(np.asarray(x, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    largest = np.abs(x).max(axis=1, initial=0.0)  # (M,)
    scaled = np.rint(x * (127 / np.where(largest > 0, largest, 1.0))[:, None])
    return base64.b64encode(scaled.astype(np.int8).tobytes()).decode(), [float(value) for value in largest]


def confidence_of(scores: np.ndarray, is_softmax: bool) -> np.ndarray:
    """Return by how much the highest of the scores (N, K) exceeds the next one, 0 to 1, (N,).

    Args:
        scores: of K >= 2 classes.
        is_softmax: whether the loss is the cross-entropy, so that probabilities are compared; else scores are.
    """
    scores = np.nan_to_num(np.asarray(scores, np.float64), nan=0.0, posinf=1e30, neginf=-1e30)
    if is_softmax:
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores = scores / scores.sum(axis=1, keepdims=True)
    two = np.partition(scores, -2, axis=1)[:, -2:]  # the second highest, the highest
    return np.clip(two[:, 1] - two[:, 0], 0.0, 1.0)
