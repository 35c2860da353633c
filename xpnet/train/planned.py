"""A step whose launches are noted once and done again: what a captured step is to CUDA, on the host.

    step = PlannedStep(model, loss, optimizer)
    step(x, y)      # op by op; the second of a shape is noted; the third is done both ways, and the two compared
    step(x, y)      # from here on: no modules, no tape, no checks, no new memory

Small steps are mostly Python, and most of that finds out again what the last step knew. Numbers are the same to the
bit: the same kernels run on the same numbers in the same order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from xpnet import kernels, random
from xpnet.autograd import Tensor
from xpnet.backend import Array, Program, launch
from xpnet.errors import ConfigError, XpnetError
from xpnet.nn import Parameter
from xpnet.nn.module import changes, watching
from xpnet.optim import Optimizer
from xpnet.train.fingerprint import Fingerprint, settings
from xpnet.train.step import EagerStep

__all__ = ["PlannedStep"]

WORK = 600_000_000  # multiply-adds of a step, forward, from which on Python is little of it, and memory more
_CHANCES = 4  # plans that may become useless before they paid, until no more are made

_log = logging.getLogger("xpnet")


class PlannedStep(EagerStep):
    """Run a few steps of each shape op by op, then only what they launched.

    Args: as EagerStep's, and
        plan: None: plan small steps of models and losses that are xpnet's own, or made of them. False: never. True:
            always, or an error where it cannot be done. Python code of your own runs while a step is noted, and not
            again: what it prints or counts, and which way it takes, stays as it was then.
    Raises, on call: as EagerStep; ConfigError: plan=True, and a step cannot be planned.
    """

    def __init__(self, *arguments: Any, plan: bool | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.plan = plan
        self._plans: dict[Any, _Plan] = {}
        self._made_for: Fingerprint | None = None
        self._changes = -1  # of all modules, when _made_for was last compared
        self._states: list[tuple[Tensor, Array, bool]] = []
        named = [
            name for name in vars(self.optimizer) if name not in ("flat", "parameters", "state") and name[0] != "_"
        ]
        self._options = attrgetter(*named, "decays")
        self._set: Any = None
        self._measured: Any = None  # the loss
        self._kept: list[Array] = []  # what a step changes before its update: running averages
        self._chances = _CHANCES
        self._refused = "plan=False" if plan is False else ""

    def __call__(self, x: Array, y: Array) -> Array:
        """Train on one batch; see EagerStep."""
        if self._refused or self.look is not None or watching():
            return super().__call__(x, y)
        if not self._same():
            self._begin_again()
            if self._refused:
                return super().__call__(x, y)
        now = random.current()
        key = x.shape, x.dtype, y.shape, y.dtype, now and (now.seed, now.row), kernels.disabled()
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = _Plan()
            plan.wanted = self._is_wanted(x)
        if plan.ready:
            return self._replay(plan, x, y)
        if not plan.wanted:
            return super().__call__(x, y)
        plan.steps += 1
        if plan.steps == 1:
            return super().__call__(x, y)
        return self._note(plan, x, y) if plan.steps == 2 else self._prove(plan, x, y)

    def _objection(self) -> str:
        """Why no step is planned; "" if nothing speaks against it."""
        reason, own = "", [type(m).__name__ for _, m in self.model.modules() if not _is_xpnets(type(m).forward)]
        if not self.model.backend.replays:
            reason = f"{self.model.backend.spec} runs steps in its own way"
        elif self.precision.name != "fp32":
            reason = f"it computes in {self.precision.name}"
        elif self.plan is None and own:
            reason = f"{own[0]} is a module of your own"
        elif self.plan is None and not _is_xpnets(self.loss):
            reason = "the loss is a function of your own"
        elif self.plan is None and not _is_xpnets(type(self.optimizer).update):
            reason = "the optimizer updates in a way of your own"
        return self._refuse(reason) if reason else ""

    def _refuse(self, reason: str) -> str:
        if self.plan:
            raise ConfigError("fit", "capture=True needs a step that can be planned", "use capture=None", why=reason)
        _log.info("steps are not planned: %s", reason)
        self._refused = reason
        self._plans.clear()
        return reason

    def _is_wanted(self, x: Array) -> bool:
        """Whether steps of a shape are planned: whole ones that are not so long that it would make no difference."""
        if self.plan:
            return True
        try:
            return x.shape[0] * self.model.cost(tuple(x.shape[1:])).macs < WORK
        except (NotImplementedError, XpnetError):
            return False

    # Is what was planned still the step?

    def _same(self) -> bool:
        if self._changes != changes() or self._measured is not self.loss or self._options(self.optimizer) != self._set:
            return False
        for state, array, needed in self._states:
            if state.data is not array or state.requires_grad is not needed:
                return False
        return True

    def _begin_again(self) -> None:
        """Drop all plans, unless what changed was none of theirs."""
        self.optimizer.sync()
        now = Fingerprint(self.model, self.optimizer, self.loss)
        if self._made_for != now:
            for plan in self._plans.values():
                self._chances -= plan.steps > 0 and plan.replays < 8
            self._plans.clear()
            self._made_for = now
            self._states = [(s, s.data, s.requires_grad) for s in self.model.states().values()]
            self._kept = [s.data for s in self.model.states().values() if not isinstance(s, Parameter)]
            self._set, self._measured = self._options(self.optimizer), self.loss
            self._refused = self._objection()
            if self._chances <= 0 and not self._refused:
                self._refuse("something changes from step to step")
        self._changes = changes()

    # The ways to run a step.

    def _note(self, plan: _Plan, x: Array, y: Array) -> Array:
        """Run a step and note it, unless it changes what the next would be."""
        before = settings(self.model, self.loss)
        plan.take(x, y, self.optimizer)
        try:
            with plan.program.recording(), plan.moment():
                plan.loss = self.compute(plan.x, plan.y, plan.rate, plan.t)
                for state, array, _ in self._states:
                    if state.data is not array:
                        launch(partial(np.copyto, array), state.data)
                        state.data = array
        except BaseException:
            self._plans.clear()  # half a step is noted
            raise
        self.optimizer.steps += 1
        after = settings(self.model, self.loss)
        if changed := sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)):
            self._refuse(f"{changed[0]} changes from step to step")
        return plan.loss[()]

    def _prove(self, plan: _Plan, x: Array, y: Array) -> Array:
        """Run a step both ways, each from the same numbers: they must come to the same."""
        arrays = [array for _, array, _ in self._states]
        arrays += [self.optimizer.flat.value, *self.optimizer.state.values()]
        before, came_to = [np.array(a) for a in arrays], None
        plan.take(x, y, self.optimizer)
        try:
            plan.program()
            came_to = [np.array(a) for a in (*arrays, plan.loss)]
        except XpnetError as error:  # the step's own, or the plan's: seen next
            _log.debug("a planned step failed: %s", error)
        finally:
            for array, value in zip(arrays, before, strict=True):
                array[...] = value
        loss = super().__call__(x, y)
        if came_to is not None and all(map(_equal, came_to, [*arrays, loss])):
            plan.ready = True
            _log.info("steps of %d examples are planned: %d launches", x.shape[0], plan.program.launches)
        else:
            self._refuse("done again, a step came to other numbers than op by op")
        return loss

    def _replay(self, plan: _Plan, x: Array, y: Array) -> Array:
        plan.take(x, y, self.optimizer)
        before = [np.array(a) for a in self._kept]
        try:
            plan.program()
        except XpnetError:  # before the update: the layers say it better
            for array, value in zip(self._kept, before, strict=True):
                array[...] = value
            return super().__call__(x, y)
        plan.replays += 1
        self.optimizer.steps += 1
        return plan.loss[()]


class _Plan:
    """The step for one shape of batch: what it launches, and the arrays that a batch is copied to."""

    def __init__(self) -> None:
        self.program = Program()
        self.wanted = self.ready = False
        self.steps = self.replays = 0  # run on the way here; and from then on
        self.loss: Any = None
        self.x: Any = None
        self.y: Any = None
        self.rate: Any = None
        self.t, self.epoch, self.step = (np.zeros((), np.int64) for _ in range(3))

    def take(self, x: Array, y: Array, optimizer: Optimizer) -> None:
        """Copy a batch, and the numbers that change from step to step, to where the noted work reads them."""
        if self.x is None:
            self.x, self.y = np.empty_like(x, order="C", subok=False), np.empty_like(y, order="C", subok=False)
            self.rate = np.zeros(len(optimizer.groups))
        self.x[...] = x
        self.y[...] = y
        self.rate[...] = optimizer.rates()
        self.t[...] = optimizer.steps + 1
        now = random.current()
        if now is not None:
            self.epoch[...], self.step[...] = now.epoch, now.step

    def moment(self) -> Any:
        """Let draws of the noted work read their moment from arrays."""
        now = random.current()
        return random.use(now and now._replace(epoch=self.epoch, step=self.step))


def _is_xpnets(function: Callable[..., Any]) -> bool:
    """Whether a function, or what a partial is made of, is xpnet's own."""
    while isinstance(function, partial):
        function = function.func
    return (getattr(function, "__module__", None) or "").startswith("xpnet.")


def _equal(a: Array, b: Array) -> bool:
    """Whether two arrays hold the same numbers, NaN included."""
    return bool(np.array_equal(a, b, equal_nan=True))
