"""How a module finds its parts: parameters, buffers and layers in attributes, lists, tuples and dicts, by path."""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, cast

from xpnet.arguments import Check, shown
from xpnet.errors import ConfigError
from xpnet.nn.context import count_change
from xpnet.nn.state import Parameter, State

if TYPE_CHECKING:
    from xpnet.nn.module import Module

__all__ = ["Parts"]


class Parts:
    """The base of Module: attributes are checked and searched when they are set, and parts are named by their paths.

    A part's draws are keyed by its path in the outermost module that holds it, where it is settled.
    """

    path: str = ""
    is_custom: bool = False  # whether a class from outside xpnet defines how it is called, or properties
    _checks: ClassVar[dict[str, Check]] = {}  # of attributes, whenever they are set
    _may_be_none: tuple[str, ...] = ()  # parameters that may be replaced by None
    _place: str = ""  # the path that draws are keyed by
    _owner: Any = None  # the module that gave it, weakly: the outermost that holds this one; or True, it is settled
    _cached: tuple[str, ...] = ()  # names of attributes that are made from others: not searched, not copied

    def __setattr__(self, name: str, value: Any) -> None:
        check = type(self)._checks.get(name)
        if check is not None:
            value = check(type(self).__name__, name, value)
        current = vars(self).get(name)
        if isinstance(current, State) and not self._replaces(name, current, value):
            current.assign(value, f"{type(self).__name__}.{name}")
            return
        parts = list(parts_of(name, value))  # raises before anything is assigned
        for _, part in parts:
            if isinstance(part, Parts) and any(module is self for _, module in part.modules()):
                raise ConfigError(type(self).__name__, "a model that does not contain itself", attribute=name)
        object.__setattr__(self, name, value)
        if not self.is_custom:  # custom modules may count or collect in attributes
            count_change()
        for path, part in parts:
            count_change()
            part.path = _join(self.path, path)
            if isinstance(part, Parts):
                part._keyed(self)
            else:
                _own(part, self, ())

    def _replaces(self, name: str, current: State, value: Any) -> bool:
        """Tell whether a value takes the place of a parameter or buffer, instead of giving it new numbers."""
        if value is not None and not isinstance(value, Parts | State):
            return False
        fits = name in self._may_be_none if value is None else getattr(value, "shape", None) == current.shape
        if fits or self.is_custom:
            return True
        rule = f"{name} that is an array or a Parameter of shape {current.shape}"
        raise ConfigError(type(self).__name__, rule, **{name: shown(value)})

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_owner", *self._cached)
        return {name: value for name, value in list(vars(self).items()) if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._keyed(self)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        count_change()

    def named_parts(self) -> Iterator[tuple[str, Module | State]]:
        """Go over the parameters, buffers and layers directly within this module, with their names."""
        for name, value in list(vars(self).items()):  # a thread may add one meanwhile
            if name not in self._cached:
                yield from parts_of(name, value)

    def children(self) -> Iterator[tuple[str, Module]]:
        """Go over the layers directly within this one, with their names."""
        return ((name, part) for name, part in self.named_parts() if not isinstance(part, State))

    def modules(self) -> Iterator[tuple[str, Module]]:
        """Go over this module and all within it, with their paths, outermost first; the paths are set on the way."""
        return self._walk(())

    def _walk(self, above: tuple[Module, ...]) -> Iterator[tuple[str, Module]]:
        this = cast("Module", self)
        yield self.path, this
        above = (*above, this)
        for name, child in self.children():
            if any(child is module for module in above):
                raise ConfigError(type(self).__name__, "a model that does not contain itself", attribute=name)
            object.__setattr__(child, "path", _join(self.path, name))
            yield from child._walk(above)

    def states(self) -> dict[str, State]:
        """Return parameters and buffers by path; one that is shared appears once."""
        return self._keyed(self)

    def _keyed(self, owner: Any) -> dict[str, State]:
        """Return what states does; an owner keys the draws of all that belongs to no module outside of this one."""
        found: dict[str, State] = {}
        seen: set[State] = set()
        modules = list(self.modules())
        inner = {id(module) for _, module in modules}
        for path, module in modules:
            _own(module, owner, inner)
            for name, state in module.named_parts():
                if isinstance(state, State) and state not in seen:
                    seen.add(state)
                    state.path = _join(path, name)
                    _own(state, owner, inner)
                    found[state.path] = state
        return found

    def parameters(self) -> list[Parameter]:
        """Return the parameters of this module and all within it, in the order they were defined."""
        return [s for s in self.states().values() if isinstance(s, Parameter)]

    @property
    def parameter_count(self) -> int:
        """How many numbers training changes."""
        return sum(math.prod(p.shape) for p in self.parameters())


def _own(part: Module | State, owner: Any, inner: Container[int]) -> None:
    """Key a part's draws by its path, unless they are settled, or belong to a living module outside of ``inner``."""
    last = part._owner
    if owner is not True and last is not None:
        last = last is True or last()
        if last is not None and id(last) not in inner:
            return
    object.__setattr__(part, "_owner", owner is True or weakref.ref(owner))
    object.__setattr__(part, "_place", part.path)


def _join(*names: str) -> str:
    return ".".join(n for n in names if n)


def parts_of(name: str, value: Any) -> Iterator[tuple[str, Module | State]]:
    """Go over the modules and states in an attribute: itself, or those in lists, tuples and dicts, nested.

    Raises:
        ConfigError: some are where they cannot be found by a name that stays the same, as in a set.
    """
    if name.count(".") > _DEEPEST:
        raise ConfigError(name.partition(".")[0], f"lists and dicts nested {_DEEPEST} deep at most", "use modules")
    if isinstance(value, Parts | State):
        yield name, cast("Module | State", value)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            if isinstance(item, _SEARCHED):
                yield from parts_of(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, _SEARCHED):
                for path, part in parts_of(f"{name}.{key}", item):
                    if not isinstance(key, str | int) or "." in str(key):
                        raise ConfigError(name, "keys that are integers or words without a dot", key=repr(key))
                    yield path, part
    elif isinstance(value, _UNORDERED) and any(True for item in value for _ in parts_of(name, item)):
        do = "keep layers and parameters in lists, tuples or dicts"
        raise ConfigError(name, "layers and parameters where they can be found", do, type=type(value).__name__)


_DEEPEST = 32  # a list that holds itself is deeper
_UNORDERED = (set, frozenset, deque, type({}.values()))
_SEARCHED = (Parts, State, list, tuple, dict, *_UNORDERED)
