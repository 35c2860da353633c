"""What was found in a folder of images, and the lines that say it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from xpnet.data.scan import OF_SYSTEM, LeftOut
from xpnet.data.splits import Splits
from xpnet.output import counted

__all__ = ["SHOWN", "Found", "notes_of"]

SHOWN = 10  # classes in a line


@dataclass
class Found:
    """The images of a folder, before any is opened: paths, what is learned of each, and its part ("": not given)."""

    classes: tuple[str, ...] = ()
    files: list[str] = field(default_factory=list)
    y: list[np.ndarray] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    def add(self, files: list[str], y: np.ndarray, parts: Iterable[str]) -> None:
        """Add images with what is learned of each, and their parts."""
        self.files += files
        self.y.append(y)
        self.parts += parts


def notes_of(root: str, splits: Splits, found: Found, sizes: str, left_out: LeftOut) -> dict[str, tuple[str, ...]]:
    """Say what was found in lines, and which of them are warnings."""
    parts = {"training": splits.train, "test": splits.test}
    if splits.validation is not splits.test:
        parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    lines = {name: data for name, data in parts.items() if data is not None}
    counts = " and ".join(f"{len(data):,} {name}" for name, data in lines.items())
    text = f"{os.path.basename(root) or root}: {counts.replace(' and ', ', ', len(lines) - 2)}"
    text += " image" if sum(map(len, lines.values())) == 1 else " images"
    warned = found.warned
    if splits.train.labelled:
        each = Counter[str]()
        for data in lines.values():
            each.update({found.classes[k]: int(n) for k, n in enumerate(np.bincount(data.y)) if n})
        text += f" of {counted(len(found.classes), 'class')}: {_counted(each, found.classes)}"
        if single := [name for name in found.classes if each[name] == 1]:
            few = ", ".join(single[:SHOWN])
            warned.append(f"classes of one image, which is not tested, or not learned from: {few}")
    else:
        text += f", to learn: {', '.join(found.classes[:SHOWN])}"
    note = (text, sizes, f"left out: {left_out.text(root) or 'nothing'}", *found.notes, *warned)
    if wanted := left_out.text(root, [reason for reason in left_out.counts if reason != OF_SYSTEM]):
        warned = [*warned, f"files left out: {wanted}"]
    return {"note": note, "warnings": tuple(f"{root}: {line}" for line in warned)}


def _counted(each: Counter[str], names: tuple[str, ...]) -> str:
    if len(names) <= SHOWN:
        return ", ".join(f"{name} {each[name]:,}" for name in names)
    most, least = each.most_common(1)[0], min(each.items(), key=lambda item: item[1])
    return f"{least[1]:,} ({least[0]}) to {most[1]:,} ({most[0]}) each"
