"""Parameter groups: parameters that share a learning rate and a weight decay.

SGD([{"params": body.parameters(), "lr": 0.01, "weight_decay": 0.0}, {"params": head.parameters()}], lr=0.1)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from xpnet.arguments import mapping, not_negative, shown
from xpnet.backend import Array
from xpnet.errors import ConfigError, nearest
from xpnet.optim.schedules import Rate

__all__ = ["Group", "Trainable", "by_path", "read_groups", "read_parameters"]


class Trainable(Protocol):
    """What an optimizer needs of a parameter."""

    data: Array
    grad: Array | None
    path: str

    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(eq=False)
class Group:
    """Parameters with settings in common; the settings may be changed between steps.

    Args:
        parameters: what is trained.
        lr: a learning rate, >= 0, or a schedule; None: the optimizer's.
        weight_decay: >= 0; None: the optimizer's.
    Raises:
        ConfigError: a number is out of its range, also when it is set later.
    """

    parameters: tuple[Trainable, ...]
    lr: Rate | None = None
    weight_decay: float | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "parameters":
            value = read_parameters("Group", value)
        super().__setattr__(name, _setting("Group", name, value) if name in ("lr", "weight_decay") else value)


def read_groups(where: str, given: Iterable[Any]) -> list[Group]:
    """Read what an optimizer receives: parameters, or groups of them.

    Args:
        where: the optimizer's name, for messages.
        given: parameters, which become one group, or a dictionary for each group: "params", and "lr" and
            "weight_decay" where they differ from the optimizer's.
    Raises:
        ConfigError: it is neither, a key is unknown, a number is out of its range, or two groups share a parameter.
    """
    entries = _listed(where, given)
    if not any(isinstance(entry, dict) for entry in entries):
        return [Group(read_parameters(where, entries))]
    groups: list[Group] = []
    seen: set[int] = set()
    for entry in entries:
        if not isinstance(entry, dict):
            raise ConfigError(where, 'each group to be a dictionary with "params"', group=shown(entry))
        if unknown := sorted(map(str, entry.keys() - {"params", "lr", "weight_decay"})):
            known = ("params", "lr", "weight_decay")
            raise ConfigError(where, "a setting that groups have", nearest(unknown[0], known), key=repr(unknown[0]))
        if "params" not in entry:
            raise ConfigError(where, 'each group to be a dictionary with "params"', group=shown(entry))
        parameters = read_parameters(where, entry["params"])
        if shared := [p.path for p in parameters if id(p) in seen]:
            raise ConfigError(where, "each parameter in one group only", parameter=shared[0])
        seen.update(map(id, parameters))
        groups.append(Group(parameters, *[_setting(where, name, entry.get(name)) for name in ("lr", "weight_decay")]))
    return groups


def by_path(parameters: Iterable[Any], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Put a model's parameters into groups by the layers they are in.

        groups = by_path(model.parameters(), {"body": 1e-4, "body.norm": {"lr": 1e-4, "weight_decay": 0.0}})
        optimizer = Adam(groups, lr=1e-3)

    Args:
        parameters: such as model.parameters().
        settings: for the path of a layer or parameter, its learning rate, or a dictionary of "lr" and "weight_decay".
            Of two paths that both hold a parameter the longer one counts.
    Returns:
        Groups, as optimizers take them; the last one holds what no path does, and has the optimizer's settings.
    Raises:
        ConfigError: no parameter is at a path (the message gives the nearest), or settings are no such dictionary.
    """
    where, found = "by_path", read_parameters("by_path", parameters)
    if not found:
        raise ConfigError(where, "at least one parameter", parameters="none")
    groups: dict[str, dict[str, Any]] = {}
    for path, value in mapping(where, "settings", settings).items():
        group = dict(value) if isinstance(value, Mapping) else {"lr": value}
        groups[str(path)] = {**group, "params": []}
    groups[""] = {"params": [], **groups.pop("", {})}
    known: set[str] = set()
    for p in found:
        parts = p.path.split(".")
        above = [".".join(parts[:n]) for n in range(len(parts), -1, -1)]
        known.update(above[:-1])
        groups[next(path for path in above if path in groups)]["params"].append(p)
    for path in groups:
        if path and path not in known:
            raise ConfigError(where, "the path of a layer", nearest(path, known) if known else "", settings=repr(path))
    return [group for group in groups.values() if group["params"]]


def _listed(where: str, given: Any) -> list[Any]:
    if not (_is_parameter(given) or isinstance(given, dict | str)):
        with contextlib.suppress(TypeError):  # it is not iterable
            return list(given)
    is_model = hasattr(given, "parameters") or hasattr(getattr(given, "__self__", None), "parameters")
    do = "pass model.parameters()" if is_model else "put it into a list"
    raise ConfigError(where, "an iterable of parameters or of groups", do, parameters=shown(given))


def read_parameters(where: str, given: Any) -> tuple[Trainable, ...]:
    """Return parameters as a tuple; ConfigError unless each has what a Trainable has."""
    parameters = _listed(where, given)
    for p in parameters:
        if not _is_parameter(p):
            raise ConfigError(where, "parameters, such as those of model.parameters()", parameter=shown(p))
        if getattr(p, "is_buffer", False):
            raise ConfigError(where, "parameters, not what a layer itself keeps", parameter=shown(p))
    return tuple(parameters)


def _is_parameter(x: Any) -> bool:
    return all(hasattr(type(x), name) or name in getattr(x, "__dict__", {}) for name in ("path", "data", "grad"))


def _setting(where: str, name: str, value: Any) -> Any:
    return value if value is None or (name == "lr" and callable(value)) else not_negative(where, name, value)
