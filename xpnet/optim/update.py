"""What every optimizer does around its rule: gradients in, learning rate, clipping, decay, state, counters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from xpnet import kernels
from xpnet.backend import Array, backend_of, current_program, launch
from xpnet.errors import CheckpointError, ConfigError
from xpnet.optim.clipping import clip_value as bound
from xpnet.optim.clipping import norm_scale
from xpnet.optim.flat import FlatBuffer, Trainable
from xpnet.optim.formula import Formula, Update
from xpnet.optim.ranges import number
from xpnet.optim.scaling import LossScale
from xpnet.optim.schedules import Schedule

__all__ = ["Optimizer", "State"]

State = dict[str, Array]


class Optimizer:
    """The base of all optimizers: plain flat state, and a rule that is a pure function of it.

    A subclass names its state in ``state_names``, sets its constants before it calls ``__init__``, and has ``rule``.

    Args:
        parameters: what to train: the parameters of one model, all on one backend and of one dtype. From here on their
            ``data`` are views of one flat array, where the backend has views.
        lr: the learning rate, >= 0, or a schedule: a function from the number of updates made to a rate.
        weight_decay: added to the gradient times the parameter, >= 0 (AdamW: times lr, taken off the parameter).
        clip_norm: the largest norm of the whole gradient, > 0; None: any.
        clip_value: the largest magnitude of a gradient's element, > 0; None: any. Not together with clip_norm.
    Raises:
        ConfigError: an argument outside its range; no parameters, or of several backends or dtypes.
    """

    state_names: tuple[str, ...] = ()
    decoupled_decay = False
    updates: ClassVar[int] = 0  # made by all optimizers of this process: what was made of parameters may be old then

    def __init__(
        self,
        parameters: Iterable[Trainable],
        lr: float | Schedule,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.lr = lr
        self.weight_decay = self._number("weight_decay", weight_decay)
        self.clip_norm = None if clip_norm is None else self._number("clip_norm", clip_norm, above=True)
        self.clip_value = None if clip_value is None else self._number("clip_value", clip_value, above=True)
        if self.clip_norm is not None and self.clip_value is not None:
            raise ConfigError(
                type(self).__name__, "one of clip_norm and clip_value", clip_norm=clip_norm, clip_value=clip_value
            )
        self.steps = 0  # updates made
        self.turns = 0  # how often an update was of other parameters than the last one: ages then grew apart
        self._flat = FlatBuffer(parameters)
        self._ages = [0] * len(self._flat.parameters)  # updates made of each: one without a gradient is passed over
        self._had: tuple[bool, ...] | None = None  # which were updated last
        self._state: State = {name: self._flat.zeros() for name in self.state_names}
        self.scaling: LossScale | None = None  # of a loss that is scaled: gradients are, and may be float16

    def rule(self, p: Array, g: Array, state: State, lr: float, t: int) -> tuple[Array, State]:
        """Compute new parameters and state, by augmented assignment to p and to the arrays of state, which it owns.

        Args:
            p: parameters, (n,). g: their gradient, (n,), not to be written. state: an array (n,) for each state name.
            lr: the learning rate. t: the number of this update, from 1.
        """
        raise NotImplementedError

    @property
    def parameters(self) -> tuple[Trainable, ...]:
        """What is trained."""
        return self._flat.parameters

    @property
    def flat(self) -> FlatBuffer:
        """The flat array of all parameters."""
        return self._flat

    @property
    def state(self) -> State:
        """The flat array of each state, by name."""
        return self._state

    @property
    def lr(self) -> float | Schedule:
        """The learning rate or its schedule; may be set between steps."""
        return self._lr

    @lr.setter
    def lr(self, lr: float | Schedule) -> None:
        self._lr = lr if callable(lr) else self._number("lr", lr)

    @property
    def current_lr(self) -> float:
        """The learning rate of the next update."""
        return self._number("lr", self._lr(self.steps)) if callable(self._lr) else self._lr

    def step(self, gradients: Mapping[Any, Array] | None = None) -> None:
        """Update every parameter that has a gradient; the others, and their state, stay as they are.

        Args:
            gradients: a gradient for each parameter, as ``autograd.backward`` returns them; others are passed over.
                They are not written. None: each parameter's ``grad``.
        Raises:
            ConfigError: no parameter has a gradient.
            ShapeError, DTypeError, DeviceError: a gradient does not match its parameter.
        """
        self.count(self.update(gradients))

    def update(
        self, gradients: Mapping[Any, Array] | None = None, *, lr: Array | None = None, since: Array | None = None
    ) -> tuple[bool, ...]:
        """Do the device's part of a step: new values for parameters and state. ``count`` does the host's.

        With ``lr`` and ``since`` on the device, the work that is queued depends on no number of the host that changes
        from step to step: it may be recorded once and replayed, with a ``count`` for each replay.

        Args:
            gradients: as step takes them.
            lr: the learning rate, (), on the device and in the dtype of the parameters. None: current_lr.
            since: updates made since this call was recorded, (), int64, on the device. None: 0.
        Returns:
            For each parameter whether it had a gradient: what count takes.
        Raises: as step.
        """
        flat = self._flat
        self.follow()
        found = [p.grad for p in flat.parameters] if gradients is None else [*map(gradients.get, flat.parameters)]
        had = tuple([g is not None for g in found])
        if True not in had:
            where = f"{type(self).__name__}.step"
            raise ConfigError(where, "at least one parameter has a gradient", "call backward first", gradients=0)
        flat.check(found, *(["float16"] if self.scaling else []))
        Optimizer.updates += 1
        if not self._by_kernel(found, self.current_lr if lr is None else lr, since):
            launch(self._by_rule, found, *((lr, since) if current_program() is None else (None, None)))
        return had

    def _by_kernel(self, found: list[Array | None], lr: Any, since: Array | None) -> bool:
        """Update by a kernel; False where there is none for this rule or these arrays."""
        known: Formula | None = getattr(type(self).rule, "formula", None)
        kernel = kernels.find("update", self._flat.value)
        if known is None or kernel is None or not self._flat.in_place:
            return False
        work = Update(
            known.name,
            tuple([float(getattr(self, name)) for name in known.constants]),
            found,
            self._flat.bounds,
            self._ages,
            tuple(self._state.values()),
            lr,
            since,
            self.weight_decay,
            self.decoupled_decay,
            self.clip_norm,
            self.clip_value,
            self.scaling,
        )
        return kernel(self._flat.value, work) is not NotImplemented

    def _by_rule(self, found: list[Array | None], lr: Array | None, since: Array | None) -> None:
        """Update by the rule, stretch by stretch; at the rate and the ages of now, if no others are given."""
        flat, xp, scaling = self._flat, self._flat.xp, self.scaling
        later = None if since is None else xp.astype(since, flat.dtype)
        rate: Any = self.current_lr if lr is None else lr
        finite = None
        if scaling:
            factor = xp.astype(1.0 / scaling.value, flat.dtype)
            found = [None if g is None else xp.astype(g, flat.dtype) * factor for g in found]
            later = (0.0 if later is None else later) - xp.astype(scaling.skipped, flat.dtype)
        runs = flat.runs(found, self._ages)
        if scaling:
            finite = scaling.finite([run.gradient for run in runs])
        scale = None if self.clip_norm is None else norm_scale([run.gradient for run in runs], self.clip_norm)
        value, names, decay = flat.value, self.state_names, self.weight_decay
        kept: list[tuple[int, int, Array, State]] = []
        for start, stop, g, age in runs:
            if scale is not None:
                g = g * scale
            elif self.clip_value is not None:
                g = bound(g, self.clip_value)
            p_old, old = value[start:stop], {name: self._state[name][start:stop] for name in names}
            p, state = p_old, dict(old)
            if finite is not None:  # the old values may have to stay
                p, state = xp.asarray(p, copy=True), {name: xp.asarray(x, copy=True) for name, x in old.items()}
            if decay and self.decoupled_decay:
                p *= 1 - rate * decay
            elif decay:
                g = g + decay * p
            p, new = self.rule(p, g, state, rate, age + 1 if later is None else later + (age + 1))
            if finite is not None:
                p, new = xp.where(finite, p, p_old), {name: xp.where(finite, new[name], old[name]) for name in names}
            if not flat.in_place:
                kept.append((start, stop, p, new))
                continue
            if p is not p_old:  # a rule that made new arrays
                p_old[...] = p
            for name in names:
                if new[name] is not old[name]:
                    old[name][...] = new[name]
        if kept:
            flat.replace(_splice(xp, value, [(a, b, p) for a, b, p, _ in kept]))
            for name in names:
                self._state[name] = _splice(xp, self._state[name], [(a, b, new[name]) for a, b, _, new in kept])
        if scaling and finite is not None:
            scaling.renew(finite)

    def count(self, had: Iterable[bool]) -> None:
        """Do the host's part of a step: one more update made, of each parameter that had a gradient.

        Args:
            had: what ``update`` returned.
        """
        had = tuple(had)
        if had != self._had:
            self.turns, self._had = self.turns + (self._had is not None), had
        self._ages = [age + got for age, got in zip(self._ages, had, strict=True)]
        self.steps += 1
        Optimizer.updates += 1  # a replayed update has none but this

    def standing_in(self, dtype: str) -> contextlib.AbstractContextManager[None]:
        """Let copies in another dtype stand in for the parameters' ``data`` within a with-block.

        Args:
            dtype: the name of a floating dtype of the backend.
        """
        self.follow()
        return self._flat.standing_in(dtype)

    def zero_grad(self) -> None:
        """Forget every parameter's ``grad``."""
        for p in self._flat.parameters:
            p.grad = None

    def follow(self) -> None:
        """Take in arrays that parameters were given since, and move the state to where they are; update does."""
        if self._flat.refresh():
            self._state = {k: self._flat.from_host(backend_of(v).to_numpy(v)) for k, v in self._state.items()}
        if self.scaling:
            self.scaling.to(self._flat.backend)

    def state_dict(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Copy the state to the host: what a checkpoint needs besides the arguments.

        Returns:
            Arrays named "<state>/<parameter path>", shaped like the parameter; and numbers for JSON.
        Raises:
            ConfigError: two parameters have one path.
        """
        self.follow()
        arrays = {}
        for name, flat in self._state.items():
            host = backend_of(flat).to_numpy(flat)
            arrays.update({f"{name}/{path}": array for path, array in self._flat.split(host).items()})
        ages = {path: self._ages[i] for path, i in self._flat.named().items() if self._ages[i] != self.steps}
        scalars = {"optimizer": type(self).__name__, "steps": self.steps, "ages": ages}
        return arrays, scalars | ({"loss_scale": self.scaling.state()} if self.scaling else {})

    def load_state_dict(self, arrays: Mapping[str, Any], scalars: Mapping[str, Any]) -> None:
        """Take over a state that state_dict gave, on any backend; nothing is changed unless all of it fits.

        Raises:
            CheckpointError: it is another optimizer's, or names are missing, unknown, or of another shape, or the loss
                scale is none.
        """
        self.follow()
        where, flat = f"{type(self).__name__}.load_state_dict", self._flat
        steps, saved = scalars.get("steps"), scalars.get("optimizer")
        if saved != type(self).__name__:
            raise CheckpointError(where, "the state is of the same optimizer", optimizer=saved)
        if not isinstance(steps, int) or steps < 0:
            raise CheckpointError(where, "steps is a whole number >= 0", steps=steps)
        places = flat.named()
        wanted = {f"{name}/{path}" for name in self.state_names for path in places}
        ages = scalars.get("ages", {})
        if missing := sorted(wanted - set(arrays)):
            raise CheckpointError(where, "the state has every parameter", missing=_few(missing))
        if unknown := sorted([*(set(arrays) - wanted), *(f"ages/{path}" for path in ages if path not in places)]):
            raise CheckpointError(where, "the state is of this model and optimizer", unknown=_few(unknown))
        loaded = {}
        for name in self.state_names:
            loaded[name] = flat.from_host(flat.join({path: arrays[f"{name}/{path}"] for path in places}))
        if saved_scale := scalars.get("loss_scale"):
            scaling = self.scaling or LossScale(flat.backend)
            scaling.load(saved_scale)
            self.scaling = scaling
        for name, new in loaded.items():
            if flat.in_place:
                self._state[name][...] = new
            else:
                self._state[name] = new
        self._ages = [int(ages.get(path, steps)) for path in places]
        self.steps, self.turns = steps, self.turns + 1

    def _number(self, name: str, value: object, low: float = 0, high: float = np.inf, *, above: bool = False) -> float:
        return number(type(self).__name__, name, value, low, high, above=above)

    def __repr__(self) -> str:
        numbers = {k: v for k, v in vars(self).items() if isinstance(v, float | int) and k not in ("steps", "turns")}
        shown = {k: v for k, v in numbers.items() if v and not k.startswith("_")}
        return f"{type(self).__name__}(" + ", ".join(f"{k}={v}" for k, v in {"lr": self.lr, **shown}.items()) + ")"


def _splice(xp: Any, whole: Array, parts: list[tuple[int, int, Array]]) -> Array:
    """Return a flat array, which cannot be written, with some stretches of it replaced."""
    pieces, done = [], 0
    for start, stop, part in parts:
        if start > done:
            pieces.append(whole[done:start])
        pieces.append(part)
        done = stop
    if done < whole.shape[0]:
        pieces.append(whole[done:])
    return xp.concat(pieces) if len(pieces) > 1 else pieces[0]


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
