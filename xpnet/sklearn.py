"""Neural networks as estimators of scikit-learn: NetClassifier and NetRegressor.

    from xpnet.sklearn import NetClassifier

    net = NetClassifier(hidden_layer_sizes=(100,), random_state=0).fit(X, y)
    net.predict_proba(X)

Both pass every check of scikit-learn's check_estimator.
"""

from __future__ import annotations

from xpnet.libraries import require

require("xpnet.sklearn", "sklearn", "sklearn")

from xpnet.interop.sklearn.classifier import NetClassifier  # noqa: E402
from xpnet.interop.sklearn.regressor import NetRegressor  # noqa: E402

__all__ = ["NetClassifier", "NetRegressor"]
