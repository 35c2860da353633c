"""scikit-learn's training step: one MLPClassifier.partial_fit of the whole batch, float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import sklearn
from serve import Job, batch_of, serve
from sklearn.neural_network import MLPClassifier


def build(request: dict[str, Any]) -> Job:
    """Build an MLPClassifier whose one mini-batch is the batch, without weight decay or shuffling."""
    x, y = batch_of(request)
    hidden = [sizes[1] for kind, *sizes in request["layers"] if kind == "linear"][:-1]
    model = MLPClassifier(
        hidden,
        solver="sgd",
        alpha=0.0,
        batch_size=len(x),
        learning_rate_init=request["lr"],
        momentum=request["momentum"],
        nesterovs_momentum=False,
        shuffle=False,
        random_state=0,
    )
    model.partial_fit(x, y, classes=np.arange(request["classes"]))
    count = sum(a.size for a in [*model.coefs_, *model.intercepts_])
    assert all(a.dtype == np.float32 for a in model.coefs_)
    return Job(sklearn.__version__, count, lambda: model.partial_fit(x, y), lambda fitted: float(fitted.loss_))


if __name__ == "__main__":
    serve(build)
