"""What is public: the names of each module's ``__all__``, in families, each object described in one place."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ci.site.signatures import members_of, overrides_of

__all__ = ["FAMILIES", "ROOT", "Entry", "Family", "Public", "is_constant"]

ROOT = Path(__file__).resolve().parents[2]


class Family(NamedTuple):
    """A page of the API: its title, what it is for, and the modules whose names it describes."""

    page: str
    title: str
    purpose: str
    modules: tuple[str, ...]


FAMILIES = (
    Family("train", "Training", "The Trainer, its steps, tasks, figures, callbacks, checkpoints and runs.",
           ("xpnet.train",)),
    Family("nn", "Layers and losses", "Layers, losses, initializers, folding, and what a model does inside.",
           ("xpnet.nn",)),
    Family("models", "Models", "Networks by name, from the perceptron to ResNet.", ("xpnet.models",)),
    Family("data", "Data", "Photos, tables, arrays and published sets; augmentation; batches.", ("xpnet.data",)),
    Family("optim", "Optimizers", "Optimizers, learning-rate schedules, clipping.", ("xpnet.optim",)),
    Family("viz", "Pictures", "Summaries, diagrams, curves, filters, feature maps, reports.", ("xpnet.viz",)),
    Family("autograd", "Tensors and gradients", "Tensors, the backward pass, checks of gradients.",
           ("xpnet.autograd",)),
    Family("ops", "Ops", "The arithmetic of layers: arrays in, (y, vjp) out.", ("xpnet.ops",)),
    Family("backend", "Backends", "Array libraries and devices, memory, threads.", ("xpnet.backend",)),
    Family("random", "Random numbers", "The same draws on every backend, in any order.", ("xpnet.random",)),
    Family("capture", "Capture", "Record a function of arrays and replay it.", ("xpnet.capture",)),
    Family("kernels", "Kernels", "Replacements of ops that are faster on one kind of arrays.", ("xpnet.kernels",)),
    Family("distributed", "Several processes", "What the processes of a run do together.", ("xpnet.distributed",)),
    Family("interop", "ONNX, PyTorch, DLPack", "Models, weights and arrays of other libraries.", ("xpnet.interop",)),
    Family("sklearn", "scikit-learn", "Networks as estimators.", ("xpnet.sklearn",)),
    Family("serving", "Services", "A run over HTTP.", ("xpnet.serving",)),
    Family("playground", "Playground", "Networks in a page of the browser.", ("xpnet.playground",)),
    Family("exercises", "Exercises", "Small files with a gap and a test each.", ("xpnet.exercises",)),
    Family("errors", "Errors", "What is raised, and how messages are made.", ("xpnet.errors",)),
)  # fmt: skip


class Entry(NamedTuple):
    """An object, the paths under which programs reach it, the shortest first, its family and its file."""

    value: Any
    paths: tuple[str, ...]
    family: Family
    file: Path

    @property
    def name(self) -> str:
        """Its name without the module."""
        return self.paths[0].rpartition(".")[2]


class Public:
    """Every public object, each once, in the order of families, files and names; and which of them a text names."""

    def __init__(self) -> None:
        found: dict[Any, tuple[Any, list[str], Family]] = {}
        for family in FAMILIES:
            for module in family.modules:
                for name in getattr(importlib.import_module(module), "__all__", ()):
                    value = getattr(sys.modules[module], name)
                    path = f"{module}.{name}"
                    if isinstance(value, ModuleType):
                        continue
                    found.setdefault(path if is_constant(value) else id(value), (value, [], family))[1].append(path)
        for name in importlib.import_module("xpnet").__all__:
            value = getattr(sys.modules["xpnet"], name)
            if not isinstance(value, ModuleType):
                found.setdefault(id(value), (value, [], _family_of(value)))[1].insert(0, f"xpnet.{name}")
        made = [
            Entry(value, tuple(paths), family, _file_of(value, paths[-1])) for value, paths, family in found.values()
        ]
        self.entries = sorted(made, key=lambda e: (FAMILIES.index(e.family), str(e.file), e.name.lower()))
        self.classes = frozenset(entry.value for entry in made if inspect.isclass(entry.value))

    def members(self, value: Any) -> list[tuple[str, Any]]:
        """Return the methods and properties that an object's entry describes."""
        return members_of(value, self.classes)

    def overrides(self, value: Any) -> list[tuple[str, Any]]:
        """Return the methods of a class that a public base describes, each with that base."""
        return overrides_of(value, self.classes)

    def find(self, text: str) -> str | None:
        """Return the path of the object that a name means, as ``nn.Conv2d``, ``Trainer.fit`` or ``ShapeError`` do.

        None: it means none, or several.
        """
        text = text.partition("(")[0].strip()
        if text in self._paths:
            return self._paths[text]
        meant = self._shortened.get(text, set())
        return next(iter(meant)) if len(meant) == 1 else None

    @functools.cached_property
    def _paths(self) -> dict[str, str]:
        """Of each path the first path of the same object."""
        found = {}
        for entry in self.entries:
            for path in entry.paths:
                found[path] = entry.paths[0]
                for name, _ in self.members(entry.value):
                    found[f"{path}.{name}"] = f"{entry.paths[0]}.{name}"
        return found

    @functools.cached_property
    def _shortened(self) -> dict[str, set[str]]:
        """Of the end of a path, such as nn.Conv2d, the paths that it may mean."""
        found: dict[str, set[str]] = {}
        for path, first in self._paths.items():
            parts = path.split(".")
            for start in range(1, len(parts)):
                found.setdefault(".".join(parts[start:]), set()).add(first)
        return found


def _family_of(value: Any) -> Family:
    """The family of an object that is public in xpnet only: the one that its module belongs to."""
    module = "xpnet.interop" if value.__module__ == "xpnet.autograd.exchange" else value.__module__
    return next(f for f in FAMILIES if any(f"{module}.".startswith(f"{own}.") for own in f.modules))


def is_constant(value: Any) -> bool:
    """Whether it is data, an alias of types or a function of another library under a new name."""
    is_own = str(getattr(value, "__module__", "")).startswith("xpnet")
    return not (is_own and (inspect.isclass(value) or inspect.isroutine(value)))


def _file_of(value: Any, path: str) -> Path:
    """The file that defines an object, from the folder of the repository."""
    module, _, name = path.rpartition(".")
    if not is_constant(value):
        return _file_of_module(value.__module__)
    first = _file_of_module(module)
    inner = sorted((ROOT / first.parent).rglob("*.py")) if first.name == "__init__.py" else []
    assigns = re.compile(rf"^{re.escape(name)}(?:: [^=\n]+)? = ", re.MULTILINE)
    files = [first, *(file.relative_to(ROOT) for file in inner)]
    return next(file for file in files if assigns.search((ROOT / file).read_text()))


def _file_of_module(name: str) -> Path:
    return Path(sys.modules[name].__file__ or "").resolve().relative_to(ROOT)
