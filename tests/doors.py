"""Bad values, and what comes of a call in which each argument in turn is one of them."""

from __future__ import annotations

import base64
import inspect
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet import data, nn, random, train, viz
from xpnet.errors import XpnetError

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)
IMAGES = np.linspace(-1, 1, 2 * 5 * 5 * 2, dtype=np.float32).reshape(2, 5, 5, 2)
W, B, LABELS = np.ones((3, 6), np.float32), np.zeros(3, np.float32), np.array([0, 1, 2, 0])
SIX = np.ones(6, np.float32)
KEY = random.Key(1, "a test")
FILTERS = np.ones((2, 3, 3, 2), np.float32)
PNG = base64.b64decode(
    b"iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAAAAACMmsGiAAAAFUlEQVR4nGNgAAEbIGCoAAKGLUAAACDkBaEjGFnsAAAAAElFTkSuQmCC"
)  # 4 x 4 gray pixels
SET = data.from_arrays(X, LABELS)
PICTURES = data.from_arrays(np.abs(IMAGES), LABELS[:2], ["a", "b", "c"])


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


def images_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(18, 3))


def line() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2))


def figure() -> Any:
    return viz.curves([{"epoch": 1, "train_loss": 1.0}])


def flow() -> train.GradientFlow:
    found = train.GradientFlow()
    train.Trainer(net(), callbacks=[found]).fit(SET, epochs=1, batch_size=4)
    return found


def bad_values() -> dict[str, Any]:
    values = {
        "None": None, "True": True, "-1": -1, "0": 0, "1.5": 1.5, "nan": float("nan"), "inf": float("inf"),
        "int64": np.int64(2), "float32": np.float32(2), "word": "x", "[]": [], "{}": {}, "object": object(),
        "list": [1, 2], "nested": [[1], [2, 3]], "0-d": np.array(2), "0-d float": np.array(2.5), "type": int,
        "negative list": [-1, 2], "bytes": b"x", "large": 10**30,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torch

            values["torch"] = torch.ones(2)
        except ImportError:
            pass
    return values


BAD = bad_values()


# Under which other name an error may show an argument: of the command line, or of a rule that joins two.
_DATA = "data|samples|labels|values|x|y"
OTHER_NAMES = {"spec": "backend", "parts": "x", "eps": "difference", "tolerance": "difference", "classes": "K",
               "batch": "shape", "train": _DATA, "test": _DATA, "validation": _DATA, "data": _DATA,
               "indices": "values|sample",
               "rows": "indices|index|left_out", "table": "source|columns", "source": "columns",
               "n": "classes",
               "arrays": "missing", "scalars": "optimizer", "saved": "value", "values": "mean|white|features",
               "name_or_path": "data|suffix", "path": "ends", "layers": "layer", "images": "ends"}  # fmt: skip


def call(function: Any, arguments: dict[str, Any]) -> Any:
    """Call with arguments by name; those named "0", "1", ... by place; a context manager is entered."""
    places = [v for k, v in arguments.items() if k.isdecimal()]
    result = function(*places, **{k: v for k, v in arguments.items() if not k.isdecimal()})
    if hasattr(result, "__enter__") and hasattr(result, "__exit__"):
        with result:
            return None
    return list(result) if inspect.isgenerator(result) else result


def faults(make: Callable[[], Any], valid: dict[str, Any], skip: tuple[tuple[str, str], ...] = ()) -> list[str]:
    """Call what make returns with valid arguments, then with each replaced by each bad value.

    Returns: calls that ended in an error of Python, or in one of xpnet that shows values but not the argument's name.
    """
    wrong = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        call(make(), valid)
        for argument in valid:
            for label, value in BAD.items():
                if (callable(valid[argument]) and callable(value)) or (argument, label) in skip:
                    continue  # what a function does when it is called is its own
                try:
                    call(make(), valid | {argument: value})
                except XpnetError as error:
                    free = label == "large" or argument.isdecimal() or isinstance(valid[argument], np.ndarray)
                    names = rf"\b({argument}|{OTHER_NAMES.get(argument, argument)})\b"
                    if error.got and not error.is_event and not free and not re.search(names, str(error)):
                        wrong.append(f"{argument}={label} is not named: {error}")
                except Exception as error:
                    wrong.append(f"{argument}={label}: {type(error).__name__}: {str(error)[:80]}")
    return wrong
