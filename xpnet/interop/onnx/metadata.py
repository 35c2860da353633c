"""What a file says of itself: the keys that the export writes and that loading, the command line and serving read.

classes         JSON, a list of the names of the outputs
input           JSON, {layout: "nchw" or "nhwc", normalization_included: ...}
preprocessing   JSON, {normalize, white, fit, included}, of a run
task, columns   JSON, of a run; see xpnet.train.tasks and xpnet.data.Columns
inputs          JSON, of a run of a table: what each column of the input is
description     of a run: what the file takes and gives, in words
model           the name of a run's model
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from xpnet import arguments
from xpnet.data import Columns, Normalize
from xpnet.data.image import FITS
from xpnet.errors import DataError, XpnetError

__all__ = ["Facts", "layout_of", "read_facts"]


class Facts(NamedTuple):
    """What the metadata of a file say.

    Args:
        classes: names of the outputs, or ().
        task: JSON of what was learned, or None.
        columns: JSON of the columns of a table, or None.
        normalize: how inputs are normalized before they are given, or None.
        included: whether the file normalizes its inputs and gives answers; None where it does not say.
        fit: how images get the size of the input: "crop", "pad" or "stretch".
        model: the name of the model, or "".
        white: the value of full brightness of inputs that are pixels, of a file that says how they are normalized; or
            None.
    """

    classes: tuple[str, ...]
    task: dict[str, Any] | None
    columns: Any
    normalize: Normalize | None
    included: bool | None
    fit: str
    model: str
    white: float | None


def layout_of(metadata: Mapping[str, str]) -> str | None:
    """Return the layout of a file's images where xpnet wrote the file: "nchw" or "nhwc"; else None."""
    try:
        facts = json.loads(metadata.get("input", "null"))
    except (ValueError, RecursionError):
        return None
    layout = facts.get("layout") if isinstance(facts, dict) else None
    return layout if layout in ("nchw", "nhwc") else None


def read_facts(where: str, metadata: Mapping[str, str]) -> Facts:
    """Read the metadata of a file.

    Raises:
        DataError: they are not as the export writes them.
    """
    classes = _read(where, metadata, "classes", list) or []
    if not all(isinstance(name, str) for name in classes):
        raise DataError(where, "metadata classes, a list of names", classes=arguments.shown(classes))
    facts = _read(where, metadata, "preprocessing", dict)
    columns = _read(where, metadata, "columns", (dict, list))
    normalize = _made(where, "preprocessing", Normalize.from_json, (facts or {}).get("normalize") or None)
    _made(where, "columns", Columns.from_json, columns)
    fit = (facts or {}).get("fit") or ("crop" if facts is None else "stretch")
    return Facts(
        tuple(classes),
        _read(where, metadata, "task", dict),
        columns,
        normalize,
        None if facts is None else facts.get("included") is True,
        fit if fit in FITS else "stretch",
        metadata.get("model", ""),
        None if facts is None else facts.get("white"),
    )


def _made(where: str, key: str, make: Callable[[Any], Any], values: Any) -> Any:
    """Make what the JSON of a key describes; None of None."""
    try:
        return None if values is None else make(values)
    except (XpnetError, LookupError, TypeError, ValueError) as error:
        raise DataError.event(where, f"metadata {key} cannot be read", error=error) from error


def _read(where: str, metadata: Mapping[str, str], key: str, kind: Any) -> Any:
    if key not in metadata:
        return None
    try:
        found = json.loads(metadata[key])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, kind):
        raise DataError(where, f"metadata {key} as xpnet export writes them", **{key: arguments.shown(metadata[key])})
    return found
