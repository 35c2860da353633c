"""Losses within a graph: the negative log-likelihood of labels, of log-probabilities or of scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet import ops
from xpnet.errors import DTypeError, ShapeError
from xpnet.interop.onnx.registry import reads
from xpnet.interop.onnx.values import Value

__all__ = ["negative_log_likelihood", "softmax_cross_entropy"]


@reads("SoftmaxCrossEntropyLoss", 12, kind="cross-entropy")
def softmax_cross_entropy(run: Any, node: Any, scores: Any, labels: Any, weights: Any = None) -> tuple[Value, Value]:
    """Return the loss of scores (N, K, ...) for labels (N, ...), and their log-probabilities."""
    logs = run.mapped(ops.log_softmax, scores, 1)
    return _loss(run, node, logs, labels, weights), logs


@reads("NegativeLogLikelihoodLoss", 12, kind="log-likelihood")
def negative_log_likelihood(run: Any, node: Any, logs: Any, labels: Any, weights: Any = None) -> Value:
    """Return the loss of log-probabilities (N, K, ...) for labels (N, ...)."""
    return _loss(run, node, run.value(logs), labels, weights)


def _loss(run: Any, node: Any, logs: Value, labels: Any, weights: Any) -> Value:
    shape, truth = logs.shape, run.host(labels)
    if truth.dtype.kind not in "iu":
        raise DTypeError(node.where, "labels that are integers", dtype=truth.dtype)
    if len(shape) < 2 or truth.shape != (shape[0], *shape[2:]):
        raise ShapeError(node.where, "scores (N, K, ...) and labels (N, ...)", scores=shape, labels=truth.shape)
    ignored, k = node.integer("ignore_index", None), shape[1]
    reduction = node.choice("reduction", "mean", ("none", "sum", "mean"))
    flat = truth.reshape(-1).astype(np.int64)
    counts = np.ones(flat.shape, bool) if ignored is None else flat != ignored
    if np.any(counts & ((flat < 0) | (flat >= k))):
        raise ShapeError(node.where, f"labels from 0 to {k - 1}", smallest=flat.min(), largest=flat.max())
    run.claim((len(flat), k))
    mask = (flat[:, None] == np.arange(k)) & counts[:, None]
    each = np.ones(k) if weights is None else run.host(weights).astype(np.float64)
    if each.shape != (k,):
        raise ShapeError(node.where, "a weight for each class", weights=each.shape, K=k)
    own = np.where(counts, each[np.where(counts, flat, 0)], 0.0)
    rows = logs.arranged((0, *range(2, len(shape)), 1)).reshape(len(flat), k)
    chosen = run.apply(ops.where, run.backend.from_numpy(mask), rows, 0.0)
    losses = run.apply(ops.multiply, run.apply(ops.sum, chosen, axis=1), run.numbers(-own, rows))
    if reduction == "none":
        return Value(losses.reshape(*truth.shape))
    total = run.apply(ops.sum, losses)
    return Value(total if reduction == "sum" else run.apply(ops.divide, total, float(own.sum()) or math.nan))
