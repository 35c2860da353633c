"""Run every check that scikit-learn has for an estimator, the Array API's too, and print a line of JSON for each.

SCIPY_ARRAY_API=1 python every_check.py NetClassifier
"""

import importlib
import json
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest import SkipTest

from sklearn.utils.estimator_checks import check_array_api_input_and_values, estimator_checks_generator

from xpnet import sklearn


def described(check: Any) -> str:
    """Name a check and what it is called with."""
    options: dict[str, Any] = {}
    while isinstance(check, partial):
        options |= check.keywords
        check = check.func
    while hasattr(check, "__wrapped__"):
        check = check.__wrapped__
    return " ".join([check.__name__, *(f"{name}={value}" for name, value in sorted(options.items()))])


def cupy_has_a_gpu() -> bool:
    """Whether cupy finds one; scikit-learn asks only whether it is installed."""
    try:
        return importlib.import_module("cupy").cuda.runtime.getDeviceCount() > 0
    except Exception:
        return False


def results(name: str) -> Iterator[dict[str, str]]:
    """Run the checks of an estimator with its defaults."""
    net = getattr(sklearn, name)()
    same = [
        (net, partial(check_array_api_input_and_values, name, array_namespace=xp))
        for xp in ("array_api_strict", "torch")
    ]
    for estimator, check in [*estimator_checks_generator(net), *same]:
        status, message = "passed", ""
        try:
            check(estimator)
        except SkipTest as skipped:
            status, message = "skipped", str(skipped)
        except Exception as error:
            no_gpu = type(error).__name__ == "CUDARuntimeError" and not cupy_has_a_gpu()
            status, message = "skipped" if no_gpu else "failed", f"{type(error).__name__}: {error}"
        yield {"check": described(check), "status": status, "message": message}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for result in results(sys.argv[1]):
        print(json.dumps(result), flush=True)
