"""What is public: the names of each module's ``__all__``, in families, each object described in one place."""

from __future__ import annotations

import ast
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
    """A page of the API: its title, what it is for, the modules that it describes, and the files that come first."""

    page: str
    title: str
    purpose: str
    modules: tuple[str, ...]
    first: tuple[str, ...] = ()

    def order(self, file: Path) -> tuple[int, str]:
        """Return where a file comes: those of first, then the others by name."""
        place = self.first.index(file.name) if file.name in self.first else len(self.first)
        return place, str(file)


FAMILIES = (
    Family("train", "Training", "The Trainer, its steps, tasks, figures, callbacks, checkpoints and runs.",
           ("xpnet.train",), ("trainer.py", "history.py", "callbacks.py", "step.py")),
    Family("nn", "Layers and losses", "Layers, losses, initializers, folding, and what a model does inside.",
           ("xpnet.nn",), ("module.py", "linear.py", "conv.py", "pool.py", "activation.py", "normalization.py",
                           "container.py", "loss.py", "initializers.py", "fold.py", "context.py")),
    Family("models", "Models", "Networks by name, from the perceptron to ResNet.", ("xpnet.models",)),
    Family("data", "Data", "Photos, tables, arrays and published sets; augmentation; batches.", ("xpnet.data",),
           ("loading.py", "dataset.py", "presets.py", "transform.py")),
    Family("optim", "Optimizers", "Optimizers, learning-rate schedules, clipping.", ("xpnet.optim",),
           ("optimizers.py", "optimizer.py", "schedules.py")),
    Family("viz", "Pictures", "Summaries, diagrams, curves, filters, feature maps, reports.", ("xpnet.viz",)),
    Family("autograd", "Tensors and gradients", "Tensors, the backward pass, checks of gradients.",
           ("xpnet.autograd",), ("tensor.py",)),
    Family("ops", "Ops", "The arithmetic of layers: arrays in, (y, vjp) out.", ("xpnet.ops",),
           ("linear.py", "conv.py", "pool.py", "activation.py", "loss.py")),
    Family("backend", "Backends", "Array libraries and devices, memory, threads.", ("xpnet.backend",),
           ("registry.py", "base.py")),
    Family("random", "Random numbers", "The same draws on every backend, in any order.", ("xpnet.random",)),
    Family("capture", "Capture", "Record a function of arrays and replay it.", ("xpnet.capture", "xpnet.recordings")),
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
        self.entries = sorted(made, key=lambda e: (FAMILIES.index(e.family), e.family.order(e.file), e.name.lower()))
        self.classes = frozenset(entry.value for entry in made if inspect.isclass(entry.value))

    def members(self, value: Any) -> list[tuple[str, Any]]:
        """Return the methods and properties that an object's entry describes."""
        return members_of(value, self.classes)

    def overrides(self, value: Any) -> list[tuple[str, Any]]:
        """Return the methods of a class that a public base describes, each with that base."""
        return overrides_of(value, self.classes)

    def find(self, text: str) -> str | None:
        """Return the path of the object that a name means, as ``nn.Conv2d``, ``Trainer.fit(x)`` or ``ShapeError`` do.

        None: it means none, or several; or is a word that may mean something else, such as ``steps``.
        """
        name, _, call = text.partition("(")
        if call and not text.endswith(")"):
            return None
        text = name.strip()
        if text in self._paths:
            return self._paths[text]
        if re.fullmatch(r"[a-z]+", text):
            return None
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
    defined = _assigning_module(module, name) if is_constant(value) else value.__module__
    return Path(sys.modules[defined].__file__ or "").resolve().relative_to(ROOT)


def _assigning_module(module: str, name: str) -> str:
    """The module that a name of another one is imported from, or that one itself."""
    for node in ast.parse(Path(sys.modules[module].__file__ or "").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _assigning_module(node.module, alias.name)
    return module
