"""The pages of the API: a page a family, a section a file, an entry for each public object, from the docstrings."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ci.site.docstrings import Place, clean, first_sentence, to_rest
from ci.site.public import FAMILIES, ROOT, Entry, Family, Public, is_constant
from ci.site.signatures import signature_of, types_of
from ci.site.sources import address

__all__ = ["document", "write_api"]

_ROLES = [".. role:: arg", ".. role:: kind", ""]


def write_api(folder: Path, public: Public) -> None:
    """Write the pages of the API into a folder of sources."""
    (folder / "api").mkdir(parents=True, exist_ok=True)
    for family in FAMILIES:
        (folder / f"api/{family.page}.rst").write_text("\n".join(document(family, public)) + "\n")
    (folder / "api/index.rst").write_text("\n".join(_index(public)) + "\n")


def document(family: Family, public: Public) -> list[str]:
    """Write the page of a family."""
    lines = [*_ROLES, *_title(family.title, "=")]
    for module in family.modules:
        lines += to_rest(clean(sys.modules[module].__doc__), _place(module), _known(public))
    own = [entry for entry in public.entries if entry.family is family]
    for path, group in itertools.groupby(own, lambda entry: entry.file):
        lines += _title(_section_title(path, family), "-")
        module = ".".join(path.with_suffix("").parts)
        if path.name != "__init__.py" and module not in family.modules:
            lines += to_rest(clean(sys.modules[module].__doc__), _place(module), _known(public))
        lines += [f"`{path} <../{address(path)}>`__", ""]
        for entry in group:
            lines += _entry(entry, public)
    return lines


def _place(module: str) -> Place:
    return Place(Path(sys.modules[module].__file__ or ""), module)


def _known(public: Public) -> Callable[[str], bool]:
    return lambda text: public.find(text) is not None


def _section_title(path: Path, family: Family) -> str:
    stem = path.parent if path.name == "__init__.py" else path.with_suffix("")
    parts = [part for part in stem.parts if part not in ("xpnet", family.page)] or [family.page]
    text = ": ".join(part.replace("_", " ") for part in parts)
    return {"onnx": "ONNX"}.get(text, text[0].upper() + text[1:])


def _entry(entry: Entry, public: Public) -> list[str]:
    value = entry.value
    if is_constant(value):
        return _constant(entry)
    signature = signature_of(value)
    role = "function"
    if inspect.isclass(value):
        role = "exception" if issubclass(value, BaseException) else "class"
    lines = [f".. py:{role}:: {entry.paths[0]}{signature}", *_canonical(entry), ""]
    place = Place(ROOT / entry.file, entry.name)
    docstring = clean(value.__doc__) if not _is_generated(value) else ""
    own_init = inspect.isclass(value) and vars(value).get("__init__")
    if own_init and getattr(own_init, "__doc__", None) and not _is_generated_init(value):
        docstring += "\n\n" + clean(own_init.__doc__)
    body = _bases(value, public) if inspect.isclass(value) else []
    body += to_rest(docstring, place, _known(public), types_of(value))
    if inspect.isclass(value):
        for name, member in public.members(value):
            body += _member(entry, name, member, place, public)
        body += _overrides(value, public)
    return [*lines, *("   " + line if line else "" for line in body), ""]


def _canonical(entry: Entry) -> list[str]:
    """The option by which an object is found under its other path too."""
    return [f"   :canonical: {other}" for other in entry.paths[1:]]


def _is_generated(value: Any) -> bool:
    """Whether the docstring is the one that dataclass writes: the signature."""
    return inspect.isclass(value) and (value.__doc__ or "").startswith(value.__name__ + "(")


def _is_generated_init(value: Any) -> bool:
    return hasattr(value, "__dataclass_fields__") or hasattr(value, "_fields")


def _bases(value: Any, public: Public) -> list[str]:
    found = [public.find(f"{base.__module__.split('.')[1]}.{base.__name__}") or public.find(base.__name__)
             for base in value.__bases__ if base.__module__.startswith("xpnet.")]  # fmt: skip
    shown = [f":py:obj:`~{path}`" for path in found if path]
    builtin = [f"``{b.__name__}``" for b in value.__bases__ if issubclass(b, Exception) and b.__module__ == "builtins"]
    return [f"Bases: {', '.join(shown + builtin)}.", ""] if shown else []


def _member(entry: Entry, name: str, member: Any, place: Place, public: Public) -> list[str]:
    kind = "property" if isinstance(member, property) else "method"
    function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    options = [f"   :{type(member).__name__}:"] if isinstance(member, classmethod | staticmethod) else []
    signature = "" if kind == "property" else signature_of(function, drop_first=not isinstance(member, staticmethod))
    text = (member.fget.__doc__ if isinstance(member, property) else function.__doc__) or ""
    lines = [f".. py:{kind}:: {name}{signature}"]
    types = {} if isinstance(member, property) else types_of(function)
    body = to_rest(clean(text), Place(place.path, f"{entry.name}.{name}"), _known(public), types)
    return [*lines, *options, "", *("   " + line if line else "" for line in body), ""]


def _overrides(value: Any, public: Public) -> list[str]:
    found = ((name, public.find(f"{base.__name__}.{name}")) for name, base in public.overrides(value))
    shown = [f":py:obj:`{name} <{path}>`" for name, path in found if path]
    return [f"Overrides {', '.join(shown)}.", ""] if shown else []


def _constant(entry: Entry) -> list[str]:
    path = ROOT / entry.file
    lines = [f".. py:data:: {entry.paths[0]}", *_canonical(entry), ""]
    value = entry.value
    if isinstance(value, dict | tuple | list | set | frozenset):
        body = [", ".join(f"``{item}``" for item in value) + "."]
    elif isinstance(value, int | float | str):
        body = [f"``{value!r}``"]
    elif callable(value) and not inspect.isclass(value):
        body = []
    else:
        body = ["A type, for annotations: ``" + _alias_text(path, entry.name) + "``"]
    if remark := _comment_above(path, entry.name):
        body = [remark, "", *body]
    return [*lines, *("   " + line if line else "" for line in body), ""]


def _assignment(path: Path, name: str) -> tuple[int, str]:
    lines = path.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith((f"{name} = ", f"{name}: ")) and " = " in line)
    return at, lines[at]


def _alias_text(path: Path, name: str) -> str:
    return _assignment(path, name)[1].partition(" = ")[2].partition("  #")[0].strip()


def _comment_above(path: Path, name: str) -> str:
    """The comment behind an assignment or above it, as a sentence."""
    at, line = _assignment(path, name)
    above = path.read_text().splitlines()[at - 1]
    text = line.partition("  # ")[2] or (above[2:] if above.startswith("# ") else "")
    escaped = text.replace("*", r"\*").replace("`", r"\`").replace("|", r"\|").strip()
    if not escaped:
        return ""
    sentence = escaped[:1].upper() + escaped[1:] if escaped.split()[0].isalpha() else escaped
    return sentence + ("" if sentence.endswith(".") else ".")


def _index(public: Public) -> list[str]:
    lines = [*_title("API", "="), "Every public name, by family; in each, by the file that defines it.", ""]
    for family in FAMILIES:
        own = [entry for entry in public.entries if entry.family is family]
        lines += [*_title(family.title, "-"), f":doc:`{family.purpose} <{family.page}>`", ""]
        lines += [".. list-table::", "   :widths: 30 70", "   :class: names", ""]
        for entry in sorted(own, key=lambda e: e.name.lower()):
            said = "" if is_constant(entry.value) or _is_generated(entry.value) else first_sentence(entry.value.__doc__)
            cell = " ".join(to_rest(said, Place(Path(), entry.name), lambda name: False)) if said else "\\ "
            lines += [f"   * - :py:obj:`{_short(entry)} <{entry.paths[0]}>`", f"     - {cell.strip()}"]
        lines.append("")
    pages = [f"   {family.page}" for family in FAMILIES]
    return [*lines, ".. toctree::", "   :hidden:", "", *pages, ""]


def _short(entry: Entry) -> str:
    return entry.paths[0] if entry.paths[0].count(".") == 1 else entry.paths[0].removeprefix("xpnet.")


def _title(text: str, sign: str) -> list[str]:
    return [text, sign * len(text), ""]
