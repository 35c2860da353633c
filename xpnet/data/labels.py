"""A file of names and labels for a folder of images: CSV (or TSV) with a line of column names, or JSON lines.

    file,label          file,price         file,cat,dog        file,tags
    a.jpg,cat           a.jpg,3.5          a.jpg,1,0           a.jpg,cat;dog

It lies in the folder, or beside it under the folder's name or as labels, metadata or annotations. Words are classes; a
column of words with ; or | between them, JSON lists, and several columns of 0 and 1 are several labels an image; other
numbers with fractions, or several columns, are targets. A column "split" may say train, test or validation.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.data.classes import from_path
from xpnet.data.opening import open_file
from xpnet.data.scan import PARTS, LeftOut, is_image, listed
from xpnet.errors import ConfigError, DataError, nearest
from xpnet.output import counted

__all__ = ["Labels", "find_file", "folder_of", "part_of", "read_labels"]

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_BESIDE = ("labels", "metadata", "annotations")
_NAMES = ("file_name", "filename", "file", "image", "image_name", "path", "name", "id", "image_id")
_TARGETS = ("label", "labels", "class", "target", "category", "tags")
_SPLIT = ("split", "set", "part")
_MOST = 1 << 30  # bytes
_LINE = 1 << 16  # of them in a line
_BETWEEN = re.compile(r"\s*[;|]\s*")


class Labels(NamedTuple):
    """What a file says of images.

    Args:
        files: the paths of the images.
        y: labels (N,) int64, or targets float32 (N,) or (N, L).
        classes: the names of classes or columns.
        split: of each image train, test, validation, or ""; None without such a column.
    """

    files: list[str]
    y: np.ndarray
    classes: tuple[str, ...]
    split: np.ndarray | None


def find_file(root: str, beside: bool = True) -> str | None:
    """Return the path of the file of labels in a folder, or beside it, if there is one."""
    _, files = listed(root)
    own = [name for name in files if os.path.splitext(name)[1].lower() in _SUFFIXES]
    if own:
        known = [name for name in own if os.path.splitext(name)[0].lower() in (*_BESIDE, "train")]
        known = known or [name for name in own if name.lower().startswith("train")]
        return os.path.join(root, (known or own)[0])
    place = Path(os.path.abspath(root))
    for stem in (place.name, *_BESIDE) if beside else ():
        for suffix in _SUFFIXES:
            if (found := place.parent / (stem + suffix)).is_file():
                return str(found)
    return None


def read_labels(
    path: str, images: Sequence[str], root: str, target: str | None, task: str | None, out: LeftOut
) -> Labels:
    """Read a file of labels, and find its images.

    Args:
        path: the file.
        images: paths of all images of the folder.
        root: the folder, to which names are relative.
        target: the column or columns to learn; by default those that are no names.
        task: "multilabel" separates words at spaces too, "regression" takes whole numbers for targets.
        out: counts images without a label.
    Raises:
        DataError: the file cannot be read, or names an image that is not there, or a value is missing or of another
            kind. ConfigError: there is no such column.
    """
    rows = _rows(path)
    columns = list(rows[0])
    named = {name.lower(): name for name in reversed(columns)}
    key = next((named[name] for name in _NAMES if name in named), columns[0])
    split = next((named[name] for name in _SPLIT if name in named), None)
    wanted = _targets(path, columns, [key, split], named, target)
    files = _found(path, rows, key, images, root)
    used = set(files)
    for image in images:
        if image not in used:
            out.add(f"without a label in {os.path.basename(path)}", image)
    y, classes = _values(path, [[row.get(name) for name in wanted] for row in rows], wanted, task)
    parts = None if split is None else np.asarray([part_of(row.get(split)) for row in rows])
    return Labels(files, y, classes, parts)


def folder_of(path: str) -> str | None:
    """Return the folder of the images that the first line of a file of labels names; None where there are none.

    It is the folder that the file is in, or the one of the file's name beside it.
    """
    if not path.lower().endswith(_SUFFIXES) or not os.path.isfile(path):
        return None
    with open_file(path) as file:
        lines = [file.readline(_LINE).decode("utf-8-sig", "replace") for _ in range(2)]
    words = {word.strip().strip("\"'") for line in lines for word in re.split(r"[,;:\t{}]", line)}
    place = os.path.dirname(path) or "."
    for folder in (place, os.path.splitext(path)[0]):
        if any(is_image(word) and os.path.isfile(os.path.join(folder, word)) for word in words):
            return folder
    return None


def part_of(value: Any) -> str:
    """Return which part a word means: train, test, validation, or "": none."""
    word = str(value or "").strip().lower()
    return next((part for part, names in PARTS.items() if word in names), "")


def _rows(path: str) -> list[dict[str, Any]]:
    """Return the lines of a file, at least one, by the names of their columns."""
    with open_file(path) as file:
        content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise DataError(path, f"at most {_MOST:,} bytes of labels", bytes=f"{len(content):,} or more")
    is_json = path.lower().endswith(("jsonl", "ndjson"))
    try:
        text = content.decode("utf-8-sig")
        if is_json:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
            if not all(isinstance(row, dict) for row in rows):
                raise ValueError("a line is no object")
        else:
            first = text.partition("\n")[0]
            mark = max("\t,;", key=first.count)
            rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=mark, strict=True))
    except (ValueError, csv.Error, RecursionError) as error:
        rule = "a table with a line of column names, or JSON lines, in UTF-8"
        raise DataError(path, rule, error=str(error)[:100]) from error
    if not rows or len(rows[0]) < 2:
        raise DataError(path, "lines with the name of an image and its label", lines=len(rows))
    for number, row in enumerate(rows, 1):
        is_short = not is_json and None in row.values()  # as csv says it
        if None in row or is_short or not row.keys() >= rows[0].keys():
            raise DataError(
                path, f"the {counted(len(rows[0]), 'value')} of the first line in each", line=number, values=len(row)
            )
    return rows


def _targets(
    path: str, columns: list[str], others: list[str | None], named: dict[str, str], target: str | None
) -> list[str]:
    rest = [name for name in columns if name not in others and name]
    if target is None:
        usual = [named[name] for name in _TARGETS if name in named and named[name] in rest]
        return usual[:1] or rest
    wanted = [target] if target in columns else [name.strip() for name in target.split(",")]
    for name in wanted:
        if name not in columns:
            do = nearest(name, rest)
            raise ConfigError("target", f"a column of {path}", do, target=repr(name))
    return wanted


def _found(path: str, rows: list[dict[str, Any]], key: str, images: Sequence[str], root: str) -> list[str]:
    """Return the paths of the images that lines name: each once; only those of the folder, by
    their place in it or by the last part of their name alone, also where that begins with / or ../
    """
    known: dict[str, str | None] = {}
    for image in images:
        below = from_path(os.path.relpath(image, root)).replace(os.sep, "/")
        name = os.path.basename(below)
        for short in {name, os.path.splitext(name)[0]} - {below}:
            known[short] = _chosen(known[short], image, root) if short in known else image
    known |= {from_path(os.path.relpath(image, root)).replace(os.sep, "/"): image for image in images}
    known |= {from_path(os.path.basename(root)) + "/" + below: image for below, image in list(known.items()) if image}
    files: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        name = str(row[key] if row[key] is not None else "").strip().replace("\\", "/").removeprefix("./")
        image = known.get(name) or known.get(name.rpartition("/")[2] if is_image(name) else "")
        if image is None:
            do = "several images have that name: write their folder too" if name in known else ""
            raise DataError(path, f"names of images in {root}", do, name=repr(name), line=number)
        if (first := files.setdefault(image, number)) != number:
            do = "write several labels of one image in one line, with ; between them"
            raise DataError(path, "each image in one line", do, name=repr(name), lines=f"{first} and {number}")
    return list(files)


def _chosen(one: str | None, other: str, root: str) -> str | None:
    """Return which of two images a name without a folder means: the one to train on; None: their folder is needed."""
    parts = [part_of(os.path.relpath(image, root).split(os.sep)[0]) for image in (one or root, other)]
    return None if parts.count("train") != 1 or "" in parts else (one if parts[0] == "train" else other)


def _values(
    path: str, values: list[list[Any]], names: list[str], task: str | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    if len(names) == 1:
        column = [row[0] for row in values]
        lists = [_words(value, task) for value in column]
        several = any(isinstance(value, list) or len(found) > 1 for value, found in zip(column, lists, strict=True))
        if _numbers(column) is None and (several or task == "multilabel"):
            return _several(path, lists)
    flat = [value for row in values for value in row]
    for i, value in enumerate(flat):
        if value is None or (isinstance(value, str) and not value.strip()) or value != value:
            line, column = divmod(i, len(names))
            do = "remove the line, or fill it in"
            raise DataError(path, "a value in each line", do, line=line + 1, column=repr(names[column]))
    numbers = _numbers(flat)
    if numbers is None and len(names) > 1:
        line, column = divmod(next(i for i, value in enumerate(flat) if _numbers([value]) is None), len(names))
        do = f"name the column to learn: target={names[-1]!r}"
        got = {"value": repr(values[line][column]), "line": line + 1, "column": repr(names[column])}
        raise DataError(path, "numbers where several columns are learned", do, **got)
    if numbers is None:
        if task == "regression":
            i = next(i for i, value in enumerate(flat) if _numbers([value]) is None)
            raise DataError(path, "numbers to learn by regression", value=repr(flat[i]), line=i + 1)
        words = [str(value).strip() for value in flat]
        classes = tuple(sorted(set(words)))
        index = {name: k for k, name in enumerate(classes)}
        return np.asarray([index[word] for word in words], np.int64), classes
    if len(names) == 1 and task != "regression" and all(n == int(n) for n in numbers):
        found = sorted(set(numbers))
        index = {number: k for k, number in enumerate(found)}
        return np.asarray([index[n] for n in numbers], np.int64), tuple(str(int(n)) for n in found)
    y = np.asarray(numbers, np.float32).reshape(len(values), len(names))
    return (y[:, 0] if len(names) == 1 else y), tuple(names)


def _numbers(values: list[Any]) -> list[float] | None:
    """Return values as finite numbers; None where one is not."""
    try:
        found = [float(value) for value in values if not isinstance(value, bool | list | dict)]
    except (TypeError, ValueError):
        return None
    return found if len(found) == len(values) and all(map(np.isfinite, found)) else None


def _words(value: Any, task: str | None) -> list[str]:
    if isinstance(value, list):
        return [str(word) for word in value]
    parts = _BETWEEN.split(str(value or "").strip())
    if task == "multilabel" and len(parts) == 1:
        parts = re.split(r"[\s,]+", parts[0])
    return [part for part in parts if part]


def _several(path: str, lists: list[list[str]]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return 0/1 targets, (N, L), of lists of labels."""
    names = tuple(sorted({name for found in lists for name in found}))
    if len(names) < 2:
        raise DataError(path, "at least 2 labels", labels=list(names))
    index = {name: k for k, name in enumerate(names)}
    y = np.zeros((len(lists), len(names)), np.float32)
    for row, found in zip(y, lists, strict=True):
        row[[index[name] for name in found]] = 1
    return y, names
