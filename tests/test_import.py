"""What `import xpnet` loads, and what its modules say of themselves."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import xpnet

HEAVY = ("cupy", "torch", "jax", "matplotlib", "typer", "PIL", "rich", "pooch", "safetensors", "array_api_compat")


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after a statement."""
    script = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_importing_xpnet_loads_nothing_heavy():
    """So that the command line can answer Ctrl-C from its first moments on."""
    assert sorted(loaded_by("import xpnet, xpnet.cli") & {*HEAVY, "numpy"}) == []
    assert sorted(loaded_by("import xpnet; xpnet.get_backend") & set(HEAVY)) == []


def test_building_and_running_a_model_on_numpy_loads_nothing_heavy():
    loaded = loaded_by(
        "import numpy as np, xpnet\n"
        "model = xpnet.models.build('cnn', (8, 8, 1), 3)\n"
        "model(xpnet.Tensor(np.zeros((1, 8, 8, 1), np.float32))).sum().backward()"
    )
    assert sorted(loaded & set(HEAVY)) == []


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    """Each module of the package by its name, but those that need a package that is not here."""
    found = {"xpnet": xpnet}
    for _, name, _ in pkgutil.walk_packages(xpnet.__path__, "xpnet."):
        if not name.endswith("__main__"):
            try:
                found[name] = importlib.import_module(name)
            except ImportError as error:
                if not error.name or error.name.startswith("xpnet"):
                    raise
    assert len(found) > 100
    return found


def test_every_module_says_what_it_is(modules):
    assert [name for name, module in modules.items() if not (module.__doc__ or "").strip()] == []


def test_every_public_name_exists_once_and_has_a_docstring(modules):
    for name, module in modules.items():
        names = getattr(module, "__all__", [])
        assert [f"{name}.{n}" for n in names if not hasattr(module, n) or undocumented(getattr(module, n), n)] == []
        assert len(set(names)) == len(names), name


def undocumented(thing: object, name: str) -> bool:
    """Whether a class or function lacks a docstring of its own; values, such as tables, need none."""
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return False
    doc = (thing.__doc__ or "").strip()  # inspect.getdoc would take the parent's
    return not doc or doc.startswith(f"{name}(")  # what a dataclass or a named tuple says when nothing is said


def test_every_public_method_has_a_docstring(modules):
    silent = []
    for module in modules.values():
        for thing in (getattr(module, n) for n in getattr(module, "__all__", [])):
            ours = inspect.isclass(thing) and thing.__module__.startswith("xpnet")
            if not ours or getattr(thing, "_is_protocol", False):
                continue
            for method, value in vars(thing).items():
                function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
                if not method.startswith("_") and inspect.isfunction(function) and not inspect.getdoc(value):
                    silent.append(f"{thing.__qualname__}.{method}")
    assert silent == []
