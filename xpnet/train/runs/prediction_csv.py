"""Predictions as a table: a line an example."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xpnet.errors import ConfigError
from xpnet.writing import write_atomically

__all__ = ["cells", "check_csv", "write_csv"]


def check_csv(path: str, *read: str) -> None:
    """Raise ConfigError unless a table can be written there, in place of none of the files that are read."""
    if path == "-":
        raise ConfigError("csv", "the name of a file", "omit it to print the predictions", csv=repr(path))
    if Path(path).is_dir() or not Path(path).parent.is_dir():
        raise ConfigError("csv", "a file in an existing folder", csv=repr(path))
    if Path(path).exists() and any(Path(name).exists() and Path(name).samefile(path) for name in read):
        raise ConfigError("csv", "a file that is not read by this command", csv=repr(path))


def write_csv(path: str | Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Write results with a line each; an example without a value has an empty cell."""
    rows = [dict(cells(result)) for result in results]
    names = list(dict.fromkeys(name for row in rows for name in row))

    class Lines(list):
        write = list.append

    lines = Lines()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row.get(name, "") for name in names] for row in rows)
    write_atomically(Path(path), "".join(lines).encode("utf-8", "surrogateescape"))


def cells(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the cells of one result: class and probability, class 2 and probability 2; a column for each name."""
    for key, value in result.items():
        if key == "classes":
            for k, (name, p) in enumerate(zip(value, result["probabilities"], strict=True), 1):
                yield ("class" if k == 1 else f"class {k}"), name
                yield ("probability" if k == 1 else f"probability {k}"), p
        elif isinstance(value, Mapping):
            yield from value.items()
        elif key == "labels":
            yield key, " ".join(value)
        elif not isinstance(value, list):
            yield key, value
