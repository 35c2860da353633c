"""The sources use no name, method or keyword that CuPy, or array-api-compat's wrapper of it, does not have.

CuPy's wheel imports without a GPU, so a wrong call is found here before hardware finds it. The sources are read, not
run: types follow from imports, annotations (``cupy.cuda.Device``, ``DeviceArray``), assignments, and the tables below.
"""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'cupy-cuda13x==14.2.*'")
cupyx = pytest.importorskip("cupyx")
wrapper = pytest.importorskip("array_api_compat.cupy")

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ("xpnet/kernels/numba", "xpnet/kernels/numpy", "xpnet/backend/libraries.py")  # their xp is never CuPy's
FILES = sorted((*ROOT.glob("xpnet/**/*.py"), *ROOT.glob("tests/gpu/*.py"), *ROOT.glob("ci/bench/*.py")))
SOURCES = [file for file in FILES if not file.relative_to(ROOT).as_posix().startswith(OTHERS)]


class Instance(NamedTuple):
    """Some object of a class."""

    of: Any


class Own(NamedTuple):
    """Some object of a class that the source defines."""

    name: str


class List(NamedTuple):
    """A list of some objects."""

    of: Any


ARRAY = Instance(cupy.ndarray)
MODULES = {"cupy": cupy, "cupyx": cupyx, "xp": wrapper}  # by the name that they have everywhere
ANNOTATED = {"DeviceArray": ARRAY}
RESULTS: dict[Any, Instance] = {  # what functions return and attributes hold; classes give their instances
    cupy.cuda.get_current_stream: Instance(cupy.cuda.Stream),
    cupy.cuda.Stream.record: Instance(cupy.cuda.Event),
    cupy.cuda.Stream.end_capture: Instance(cupy.cuda.Graph),
    cupy.get_default_memory_pool: Instance(cupy.cuda.MemoryPool),
    cupy.get_default_pinned_memory_pool: Instance(cupy.cuda.PinnedMemoryPool),
    cupy.ndarray.data: Instance(cupy.cuda.MemoryPointer),
    cupy.ndarray.flags: Instance(cupy._core.flags.Flags),
    **dict.fromkeys((cupy.empty, cupy.zeros, cupy.ascontiguousarray), ARRAY),
}
LOCAL_RESULTS = {"namespace": wrapper, "driver.empty": ARRAY, "driver.zeros": ARRAY, "driver.contiguous": ARRAY}
EXAMPLES = {cupy.cuda.Stream: cupy.cuda.Stream.null}  # objects of classes whose attributes are set by __init__


def parameters(function: Any) -> list[inspect.Parameter] | None:
    """The parameters of a function, those of compiled ones by the first line of the docstring; None where unknown."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        line = (getattr(function, "__doc__", None) or "").strip().partition("\n")[0]
    if "(" not in line:
        return None
    found, kind = [], inspect.Parameter.POSITIONAL_OR_KEYWORD
    for part in filter(None, line[line.index("(") + 1 : line.rindex(")")].replace("\\", "").split(", ")):
        if part == "*":
            kind = inspect.Parameter.KEYWORD_ONLY
        elif part != "/":
            found.append(inspect.Parameter(part.partition("=")[0].split()[-1], kind))  # of "int device_id=-1" the name
    return found


class Reader(ast.NodeVisitor):
    """Follows what a source's expressions are, and collects what the real packages do not have."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.seen: Counter[str] = Counter()
        self._scopes: list[dict[str, Any]] = [{}]
        self._class = ""
        self._members: dict[tuple[str, str], Any] = {}  # attributes of the source's classes, and what methods return

    def read(self, text: str) -> Reader:
        tree = ast.parse(text)
        self._classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        self.visit(tree)  # learns what methods assign to self
        self.problems, self.seen = [], Counter()
        self.visit(tree)
        return self

    def type_of(self, node: ast.AST | None) -> Any:
        """A module, class or function, an Instance, or None for what is not CuPy's or not known."""
        match node:
            case ast.Name("self") if self._class:
                return Own(self._class)
            case ast.Name(name):
                known = next((scope for scope in reversed(self._scopes) if name in scope), MODULES)
                return known.get(name)
            case ast.Subscript(value):
                base = self.type_of(value)
                return base.of if isinstance(base, List) else None
            case ast.Call(ast.Attribute(value, name)) if isinstance(base := self.type_of(value), Own):
                return self._members.get((base.name, name))
            case ast.Attribute(value, name):
                base = self.type_of(value)
                if isinstance(base, Own) and (base.name, name) in self._members:
                    return self._members[base.name, name]
                if base is None or isinstance(base, Own):
                    return wrapper if name == "xp" else None
                found = getattr(base.of if isinstance(base, Instance) else base, name, None)
                if isinstance(base, Instance) and not callable(found):
                    return RESULTS.get(found)  # a property
                return found
            case ast.Call(function):
                called = self.type_of(function)
                return (
                    Instance(called) if inspect.isclass(called) else
                    RESULTS.get(called) if called is not None and not isinstance(called, Instance | Own | List) else
                    self._members.get(("", ast.unparse(function)), LOCAL_RESULTS.get(ast.unparse(function)))
                )  # fmt: skip
            case ast.IfExp(body=body):
                return self.type_of(body)
        return None

    def annotated(self, node: ast.AST | None) -> Any:
        """What an annotation says that something is."""
        match node:
            case ast.BinOp(left):  # DeviceArray | None
                return self.annotated(left)
            case ast.Name(name):
                return ANNOTATED.get(name, Own(name) if name in self._classes else None)
            case ast.Subscript(ast.Name("list"), element):
                return List(self.annotated(element))
            case ast.Attribute():
                found = self.type_of(node)
                return Instance(found) if inspect.isclass(found) else None
        return None

    def assign(self, target: ast.AST, value: Any) -> None:
        match target:
            case ast.Name(name):
                self._scopes[-1][name] = value
            case ast.Attribute(ast.Name("self"), name):
                self._members[self._class, name] = value
            case ast.Tuple(parts):
                for part in parts:
                    self.assign(part, None)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name == "array_api_compat.cupy":
                self.assign(ast.Name(alias.asname), wrapper)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        match node.targets[0], node.value:
            case ast.Tuple(names), ast.Tuple(values) if len(names) == len(values):
                pairs = list(zip(names, values, strict=True))
            case target, value:
                pairs = [(target, value)]
        for target, value in pairs:
            self.assign(target, self.type_of(value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        if self._class and isinstance(node.target, ast.Name) and len(self._scopes) == 1:
            self._members[self._class, node.target.id] = self.annotated(node.annotation)
        else:
            self.assign(node.target, self.annotated(node.annotation))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self._class = self._class, node.name
        self.generic_visit(node)
        self._class = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._members[self._class, node.name] = self.annotated(node.returns)
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self._scopes.append({a.arg: self.annotated(a.annotation) for a in given if a.arg != "xp"})
        self.generic_visit(node)
        self._scopes.pop()

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._scopes.append({a.arg: None for a in node.args.args if a.arg != "xp"})
        self.generic_visit(node)
        self._scopes.pop()

    def visit_For(self, node: ast.For) -> None:
        several = self.type_of(node.iter)
        self.assign(node.target, several.of if isinstance(several, List) else None)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        base = self.type_of(node.value)
        if base is None or isinstance(base, Own | List):
            return
        where = base.of if isinstance(base, Instance) else base
        self.seen[where.__name__] += 1
        if not hasattr(where, node.attr) and not hasattr(EXAMPLES.get(where), node.attr):
            self.problems.append(f"line {node.lineno}: {where.__name__} has no {node.attr}")

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        function = self.type_of(node.func)
        allowed = None if function is None or isinstance(function, Instance | Own | List) else parameters(function)
        if allowed is None:
            return
        kinds = {p.kind for p in allowed}
        names = {p.name for p in allowed if p.kind is not p.POSITIONAL_ONLY}
        for keyword in node.keywords:
            if keyword.arg and keyword.arg not in names and inspect.Parameter.VAR_KEYWORD not in kinds:
                self.problems.append(f"line {node.lineno}: {ast.unparse(node.func)} takes no {keyword.arg}")
        most = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != "self" for p in allowed)
        given = sum(not isinstance(a, ast.Starred) for a in node.args)
        if given > most and inspect.Parameter.VAR_POSITIONAL not in kinds:
            self.problems.append(f"line {node.lineno}: {ast.unparse(node.func)} takes {most} arguments, got {given}")


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_source_uses_only_what_cupy_has(file: Path) -> None:
    assert Reader().read(file.read_text()).problems == []


def test_the_classes_that_the_backend_works_with_are_followed() -> None:
    seen = sum((Reader().read(file.read_text()).seen for file in SOURCES), Counter())
    wanted = ("Stream", "Event", "Graph", "Device", "MemoryPool", "PinnedMemoryPool", "MemoryPointer", "RawModule")
    assert {name for name in (*wanted, "ndarray", "Flags", "array_api_compat.cupy") if not seen[name]} == set()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import cupy\ncupy.cuda.Strem()", "line 2: cupy.cuda has no Strem"),
        ("cupy.cuda.Stream(non_blocking=True, prio=1)", "line 1: cupy.cuda.Stream takes no prio"),
        ("s = cupy.cuda.get_current_stream()\ns.wait(1)", "line 2: Stream has no wait"),
        ("cupy.cuda.get_current_stream().ptr", None),
        ("cupy.cuda.get_current_stream().end_capture().run()", "line 1: Graph has no run"),
        ("def f(x: DeviceArray | None):\n    x.set(1, queue=2)", "line 2: x.set takes no queue"),
        ("def f(d: cupy.cuda.Device):\n    d.number", "line 2: Device has no number"),
        (
            "class A:\n  def f(self):\n    self.s.go\n  def g(self):\n    self.s = cupy.cuda.Event()",
            "line 3: Event has no go",
        ),
        ("class A:\n  def e(self) -> cupy.cuda.Event: ...\ndef f(a: A):\n  a.e().go", "line 4: Event has no go"),
        ("def f(s: list[cupy.cuda.Event]):\n  s[0].go", "line 2: Event has no go"),
        ("xp = namespace(x)\nxp.sum(x, axes=1)", "line 2: xp.sum takes no axes"),
        ("self.xp.einsums(x)", "line 1: array_api_compat.cupy has no einsums"),
        ("cupy.cuda.Event(True, True, True, True)", "line 1: cupy.cuda.Event takes 3 arguments, got 4"),
        ("from torch import xp\nxp = torch()\nxp.anything(1)", None),
    ],
)
def test_a_wrong_use_is_found(text: str, problem: str | None) -> None:
    assert Reader().read(text).problems == [problem] * (problem is not None)
