"""scikit-learn's training step: one MLPClassifier.partial_fit of the whole batch, float32."""

from typing import Any

import numpy as np
from serve import Job, batch_of, repeated
from sklearn.neural_network import MLPClassifier


def build(request: dict[str, Any]) -> Job:
    """Build an MLPClassifier whose one mini-batch is the batch, without weight decay or shuffling."""
    x, y = batch_of(request)
    hidden = [sizes[1] for kind, *sizes in request["layers"] if kind == "linear"][:-1]
    rate = {"solver": "sgd", "learning_rate_init": request["lr"], "momentum": request["momentum"]}
    rate |= {"nesterovs_momentum": False, "alpha": 0.0}
    model = MLPClassifier(hidden, batch_size=len(x), shuffle=False, random_state=0, **rate)
    model.partial_fit(x, y, classes=np.arange(request["classes"]))
    count = sum(a.size for a in [*model.coefs_, *model.intercepts_])
    return repeated(count, lambda: model.partial_fit(x, y), lambda fitted: float(fitted.loss_))
