"""What `import xpnet` loads, and what its modules say of themselves."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

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


def modules() -> list[str]:
    names = [name for _, name, _ in pkgutil.walk_packages(xpnet.__path__, "xpnet.")]
    return ["xpnet", *(n for n in names if not n.endswith("__main__"))]


def load(name: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if error.name and not error.name.startswith("xpnet"):
            pytest.skip(f"{name} needs {error.name}")
        raise


@pytest.mark.parametrize("name", modules())
def test_every_module_says_what_it_is(name):
    assert (load(name).__doc__ or "").strip(), f"{name} has no docstring"


@pytest.mark.parametrize("name", modules())
def test_every_public_name_exists_and_has_a_docstring(name):
    module = load(name)
    names = getattr(module, "__all__", [])
    assert [n for n in names if not hasattr(module, n)] == []
    assert len(set(names)) == len(names)
    assert [f"{name}.{n}" for n in names if undocumented(getattr(module, n), n)] == []


def undocumented(thing: object, name: str) -> bool:
    """Whether a class or function lacks a docstring of its own; values, such as tables, need none."""
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return False
    doc = (thing.__doc__ or "").strip()  # inspect.getdoc would take the parent's
    return not doc or doc.startswith(f"{name}(")  # what a dataclass or a named tuple says when nothing is said


@pytest.mark.parametrize("name", modules())
def test_every_public_method_has_a_docstring(name):
    module = load(name)
    silent = []
    for n in getattr(module, "__all__", []):
        thing = getattr(module, n)
        if not inspect.isclass(thing) or not thing.__module__.startswith("xpnet"):
            continue
        if getattr(thing, "_is_protocol", False):
            continue
        for method, value in vars(thing).items():
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if not method.startswith("_") and inspect.isfunction(function) and not inspect.getdoc(value):
                silent.append(f"{n}.{method}")
    assert silent == []
