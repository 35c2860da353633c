"""What all optimizers have in common: gradients in, learning rates, step count, state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from xpnet.arguments import Check, choice, count, not_negative, number, optional, shown
from xpnet.backend import Array, backend_of
from xpnet.errors import ConfigError
from xpnet.optim.average import Average
from xpnet.optim.flat import FlatBuffer
from xpnet.optim.groups import read_groups
from xpnet.optim.loss_scale import LossScale
from xpnet.optim.rules import RULES
from xpnet.optim.saving import restore, saved
from xpnet.optim.schedules import Rate
from xpnet.optim.update import Segment, State, Update, update
from xpnet.output import counted

__all__ = ["Optimizer"]


class Optimizer:
    """The base of all optimizers: plain flat state, and a rule that is a pure function of it.

    A subclass names its state in ``state_names``, sets its constants before it calls ``__init__``, and has ``rule``, or
    the name of one of rules.RULES. ``parameters`` is what is trained, ``flat`` the flat array of it, ``state`` the flat
    array of each state by name, ``steps`` how many updates were made.

    Args:
        parameters: what to train: the parameters of one model, all on one backend and of one dtype, or groups of them,
            ``[{"params": ..., "lr": ..., "weight_decay": ...}, ...]``, where what a group lacks is as below. From here
            on each parameter's ``data`` is a view of one flat array, where the backend has views.
        lr: the learning rate, >= 0, or a schedule: a function from the number of updates made to a rate.
        weight_decay: added to the gradient times the parameter, >= 0 (AdamW: times lr, taken off the parameter).
        clip_norm: the largest norm of the whole gradient, > 0; None: unbounded.
        clip_value: the largest magnitude of a gradient's element, > 0; None: unbounded. Not together with clip_norm.
    Raises:
        ConfigError: an argument outside its range; no parameters, or of several backends or dtypes.
    """

    state_names: tuple[str, ...] = ()
    formula = ""  # the rule's key in rules.RULES
    constants: tuple[str, ...] = ()  # the attributes that are its numbers
    decoupled_decay = False
    checks: ClassVar[dict[str, Check]] = {  # of attributes, whenever they are set
        "weight_decay": not_negative,
        "clip_norm": optional(partial(number, low=0, above=True)),
        "clip_value": optional(partial(number, low=0, above=True)),
    }

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: Rate,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.lr = lr
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.check()
        self.steps = 0  # updates made
        self.groups = read_groups(type(self).__name__, parameters)
        group_of = {id(p): i for i, group in enumerate(self.groups) for p in group.parameters}
        self.flat = FlatBuffer(p for group in self.groups for p in group.parameters)
        self._group_of = [group_of[id(p)] for p in self.flat.parameters]
        self.parameters = self.flat.parameters
        self.state: State = {name: self.flat.zeros() for name in self.state_names}
        self.average: Average | None = None  # of the parameters, which update moves on
        self.scaling: LossScale | None = None  # of a scaled loss: gradients are divided by it, and may be float16

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.checks:
            super().__setattr__(name, value)
            return
        before, value = vars(self).get(name), self.checks[name](type(self).__name__, name, value)
        super().__setattr__(name, value)
        if "state" in vars(self):  # all is there: set between steps
            try:
                self.check()
            except ConfigError:
                super().__setattr__(name, before)
                raise
            self.state = {n: self.state[n] if n in self.state else self.flat.zeros() for n in self.state_names}

    def check(self) -> None:
        """Raise ConfigError where settings exclude each other; called whenever one is set."""
        if self.clip_norm is not None and self.clip_value is not None:
            got = {"clip_norm": self.clip_norm, "clip_value": self.clip_value}
            raise ConfigError(type(self).__name__, "one of clip_norm and clip_value", **got)

    def rule(self, p: Array, g: Array, state: State, lr: float, t: int) -> tuple[Array, State]:
        """Compute new parameters and state, by augmented assignment to p and to the arrays of state, which it owns.

        Args:
            p: parameters, (n,). g: their gradient, (n,), not to be written. state: an array (n,) for each state name.
            lr: the learning rate. t: the number of this update, from 1, the same for all parameters.
        """
        constants = {name: getattr(self, name) for name in self.constants}
        return RULES[self.formula](p, g, state, lr, t, **constants)

    @property
    def lr(self) -> Rate:
        """The learning rate or its schedule; may be set between steps. Groups may have others."""
        return self._lr

    @lr.setter
    def lr(self, lr: Rate) -> None:
        self._lr = lr if callable(lr) else not_negative(type(self).__name__, "lr", lr)

    @property
    def current_lr(self) -> float:
        """The learning rate of the next update, of groups without another."""
        return self._rate(self._lr, self.steps)

    def rates(self, step: int | None = None) -> list[float]:
        """Return the learning rate of each group after a number of updates; by default of the next update."""
        step = self.steps if step is None else step
        given = [self._lr if group.lr is None else group.lr for group in self.groups]
        return [lr if isinstance(lr, float) else self._rate(lr, step) for lr in given]

    def _rate(self, lr: Rate, step: int) -> float:
        return not_negative(type(self).__name__, "lr", lr(step)) if callable(lr) else lr

    @property
    def decays(self) -> list[float]:
        """The weight decay of each group."""
        return [self.weight_decay if g.weight_decay is None else g.weight_decay for g in self.groups]

    def step(self, gradients: Mapping[Any, Array] | None = None) -> None:
        """Update every parameter that has a gradient; the others, and their state, stay as they are.

        Args:
            gradients: a gradient for each parameter, as ``autograd.backward`` returns them; other keys are ignored.
                They are not written. None: each parameter's ``grad``.
        Raises:
            ConfigError: no parameter has a gradient.
            ShapeError, DTypeError, DeviceError: a gradient does not match its parameter.
        """
        self.update(gradients, self.rates(), self.steps + 1)
        self.steps += 1

    def update(
        self, gradients: Mapping[Any, Array] | None, lr: float | Array | Sequence[float], t: int | Array
    ) -> None:
        """Queue the device's part of a step: new values for parameters and state; ``steps`` is not changed.

        Where lr and t are arrays, the queued work reads them when it runs: recorded once, it may be replayed with other
        numbers in them. Which parameters have a gradient stays as it was recorded.

        Args:
            gradients: as step takes them.
            lr: the learning rate, a number or an array (); or one for each group, a sequence or an array (G,). Arrays
                are on the device, in the dtype of the parameters.
            t: the number of this update, from 1: an int, or an array () on the device, int64.
        Raises: as step.
        """
        flat = self.flat
        self.sync()
        try:
            found = [p.grad for p in flat.parameters] if gradients is None else [*map(gradients.get, flat.parameters)]
        except AttributeError:
            rule = "gradients that map each parameter to an array, or None"
            raise ConfigError(f"{type(self).__name__}.step", rule, gradients=shown(gradients)) from None
        flat.check(found, *(["float16"] if self.scaling else []))
        places = zip(flat.bounds, found, self._group_of, strict=True)
        segments = [Segment(start, stop, g, group) for (start, stop), g, group in places if g is not None]
        if not segments:
            where = f"{type(self).__name__}.step"
            raise ConfigError(where, "a gradient for at least one parameter", "call backward first", gradients=0)
        work = Update(
            self.rule,
            self.formula if type(self).rule is Optimizer.rule else "",
            tuple([float(getattr(self, constant)) for constant in self.constants]),
            segments,
            self.state,
            self._each_rate(lr),
            t if type(t) is int or hasattr(t, "ndim") else count(f"{type(self).__name__}.update", "t", t),
            self.decays,
            self.decoupled_decay,
            self.clip_norm,
            self.clip_value,
            self.scaling,
        )
        if (new := update(flat.value, work)) is not None:
            value, self.state = new
            flat.assign(value)
        if self.average is not None:
            self.average.advance(t)

    def _each_rate(self, lr: Any) -> Sequence[Any]:
        """The rate of each group: numbers, or arrays () that show what lr holds when they are read."""
        if isinstance(lr, list | tuple) and len(lr) == len(self.groups):
            return lr
        if isinstance(lr, float | int) or getattr(lr, "ndim", None) == 0:
            return [lr] * len(self.groups)
        array: Any = lr
        if getattr(array, "shape", None) == (len(self.groups),):
            return [array[i, ...] for i in range(len(self.groups))]
        rule = f"lr that is a number, or one for each of {counted(len(self.groups), 'group')}"
        raise ConfigError(f"{type(self).__name__}.update", rule, lr=shown(lr))

    def cast(self, dtype: str) -> contextlib.AbstractContextManager[None]:
        """Replace the parameters' ``data`` by copies in another dtype within a with-block.

        Args:
            dtype: the name of a floating dtype of the backend.
        """
        choice(f"{type(self).__name__}.cast", "dtype", dtype, ("float16", "bfloat16", "float32", "float64"))
        self.sync()
        return self.flat.cast(dtype)

    def zero_grad(self) -> None:
        """Set every parameter's ``grad`` to None."""
        for p in self.flat.parameters:
            p.grad = None

    def sync(self) -> None:
        """Copy in arrays that parameters were given since, and move the state to where they are; update does."""
        if self.flat.sync():
            self._move()
        if self.average is not None:
            self.average.sync()
        if self.scaling:
            self.scaling.to(self.flat.backend)

    def _move(self) -> None:
        """Bring the state to the backend and the dtype of the parameters."""
        self.state = {k: self.flat.from_host(backend_of(v).to_numpy(v)) for k, v in self.state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._move()  # the buffer of a copy is where the parameters are, which may have moved before

    def arrays(self) -> list[Array]:
        """Return the flat arrays that an update writes."""
        average = [] if self.average is None else [self.average.value]
        return [self.flat.value, *self.state.values(), *average]

    def state_dict(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Copy the state to the host: what a checkpoint needs besides the arguments.

        Returns:
            Arrays named "<state>/<parameter path>", shaped like the parameter; and numbers for JSON.
        Raises:
            ConfigError: two parameters have one path.
        """
        return saved(self)

    def load_state_dict(self, arrays: Mapping[str, Any], scalars: Mapping[str, Any]) -> None:
        """Take over a state that state_dict gave, on any backend; nothing is changed unless all of it fits.

        Raises:
            CheckpointError: it is another optimizer's, or names are missing, unknown, or of another shape, or the loss
                scale is invalid.
        """
        restore(self, arrays, scalars)

    def __repr__(self) -> str:
        numbers = {k: v for k, v in vars(self).items() if isinstance(v, float | int) and k != "steps"}
        shown = {k: v for k, v in numbers.items() if v and not k.startswith("_")}
        return f"{type(self).__name__}(" + ", ".join(f"{k}={v}" for k, v in {"lr": self.lr, **shown}.items()) + ")"
