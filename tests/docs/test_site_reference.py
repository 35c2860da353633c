"""What the site says of the API, the command line and the kernels, before Sphinx makes pages of it."""

from __future__ import annotations

import importlib
import inspect
import re
from collections import Counter
from types import ModuleType

import pytest

import xpnet
from ci.site import kernel_table
from ci.site.command_line import command_page, commands, groups_of
from ci.site.public import FAMILIES, ROOT, Public, is_constant
from ci.site.signatures import signature_of
from ci.site.structure import pages
from xpnet import backend, kernels, ops


@pytest.fixture(scope="module")
def public():
    return Public()


@pytest.fixture(scope="module")
def described(public, tmp_path_factory):
    """Every path that has an entry, as often as it has one."""
    from ci.site.api import write_api

    folder = tmp_path_factory.mktemp("api")
    write_api(folder, public)
    pages = "\n".join((folder / f"api/{family.page}.rst").read_text() for family in FAMILIES)
    return Counter(re.findall(r"^(?:\.\. py:\w+::|   :canonical:) (xpnet[\w.]*)", pages, re.MULTILINE))


def test_every_public_name_has_one_place(described):
    modules = {"xpnet": xpnet, **{name: importlib.import_module(name) for f in FAMILIES for name in f.modules}}
    names = {f"{path}.{name}" for path, module in modules.items() for name in getattr(module, "__all__", ())
             if not isinstance(getattr(module, name), ModuleType)}  # fmt: skip
    assert len(names) > 250
    assert set(described) == names
    assert {path for path, count in described.items() if count > 1} == set()


def test_every_public_package_is_in_a_family():
    files = sorted((ROOT / "xpnet").glob("*/__init__.py")) + sorted((ROOT / "xpnet").glob("*.py"))
    names = {f"xpnet.{p.parent.name if p.name == '__init__.py' else p.stem}" for p in files}
    inner = {"xpnet." + name for name in ("arguments", "cli", "libraries", "output", "windows", "writing", "__main__",
                                          "xpnet")}  # fmt: skip
    assert names - inner == {module for family in FAMILIES for module in family.modules}


def test_every_public_function_and_class_has_a_docstring(public):
    bare = [e.paths[0] for e in public.entries if not is_constant(e.value) and not inspect.getdoc(e.value)]
    assert bare == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("nn.Conv2d", "xpnet.nn.Conv2d"),
        ("nn.Conv2d(..., flip=True)", "xpnet.nn.Conv2d"),
        ("xpnet.autograd.Tensor", "xpnet.Tensor"),
        ("ShapeError", "xpnet.errors.ShapeError"),
        ("Trainer.fit", "xpnet.train.Trainer.fit"),
        ("softmax_cross_entropy", None),  # of ops, or of nn
        ("numpy.sum", None),
        ("op(*arrays) -> (y, vjp)", None),
        ("steps", None),
    ],
)
def test_a_name_in_a_text_leads_to_its_entry(text, path, public):
    assert public.find(text) == path


def test_a_signature_is_what_a_program_writes():
    assert signature_of(ops.conv2d) == (
        "(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, flip=False, activation=None)"
    )
    assert signature_of(xpnet.nn.Linear) == "(in_features, out_features, bias=True, *, init=he_normal)"
    assert signature_of(backend.Recorder) == ""


def test_the_kernel_table_is_that_of_the_registries():
    pytest.importorskip("numba")
    rows = kernel_table.rows()
    numpys = kernels.table(backend.get_backend("cpu").xp.empty(0))
    assert {name: row["NumPy"] for name, row in rows.items() if name in numpys} == numpys
    assert {k.folder for row in rows.values() for k in row["NumPy"]} == {"numba", "numpy"}
    assert {k.folder for row in rows.values() for k in row["CuPy"]} == {"cuda"}
    assert {k.folder for row in rows.values() for k in row["torch, jax and others"]} == set()
    written = kernel_table.kernel_page()
    for name, row in rows.items():
        line = written.partition(f"ops.{name}`\n" if name in ops.__all__ else f"``{name}``\n")[2].splitlines()
        for cell, found in zip(line, row.values(), strict=False):
            assert re.findall(r"`(\w+) <", cell) == [k.folder for k in found], (name, cell)


def test_the_page_of_the_command_line_has_every_command_and_option():
    written = command_page()
    assert len(commands()) > 12
    for name, command in commands():
        section = written.partition(f"xpnet {name}\n---")[2].partition("\n.. _command-")[0]
        assert section, name
        for parameter in command.params:
            assert all(option in section for option in parameter.opts if option.startswith("-")), parameter.opts
        assert not re.search(r"\{(models|datasets|optimizers)\}", section)
    assert any("lenet5" in meaning for _, meaning in groups_of("train", dict(commands())["train"])["Arguments"])


def test_every_page_of_the_repository_is_a_page_of_the_site():
    folders = [ROOT / name for name in ("xpnet", "examples", "ci", ".github")]
    files = {path.relative_to(ROOT) for folder in folders for path in folder.rglob("*.md")}
    assert files - {*pages(ROOT).values()} == set()
    assert len(files) > 30
