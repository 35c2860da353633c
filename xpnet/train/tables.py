"""What networks that learn rows of numbers have in common by default: in a run, and as an estimator of scikit-learn.

    AdamW(parameters, lr=cosine(RATE, steps), weight_decay=decay_of(rows))

Chosen by cross-validation: see ci/bench/results/NOTES.md, "Small tables".
"""

from __future__ import annotations

__all__ = ["RATE", "decay_of"]

RATE = 5e-3  # at the start of the cosine
_FEW, _LEAST = 400, 0.1  # rows up to which the decay is 1; the smallest decay


def decay_of(rows: int) -> float:
    """Return the weight decay of AdamW: 1, of more than 400 rows as much less as they are more, but at least 0.1."""
    return max(_LEAST, min(1.0, _FEW / rows))
