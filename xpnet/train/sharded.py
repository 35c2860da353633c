"""A step whose batch is split over the CPU's threads, each of which computes its examples with BLAS for itself alone.

    step = choose_step(model, loss, optimizer)      # a ShardedStep, or an EagerStep where none is of use
    step(x, y)

The loss of a batch is a mean over its examples, so a part of n of N examples weighs n/N, and the parts' gradients are
summed, always in the order of the parts: a run repeats bit for bit, and equals the whole step to rounding.

Each part has a whole gradient of every parameter. Where a weight is used at many places of an image, that is little
beside the work; at the dense layers that a network ends with, it is more than the work. So of a Sequential only the
layers before those, its *body*, are computed in parts; the *head* is computed whole, with BLAS's own threads:

    body forward in parts -> head forward, loss, head back -> body back in parts
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from xpnet import random
from xpnet.autograd import Tensor, backward
from xpnet.backend import Array, can_limit_blas, cores, namespace, record_call, run_parallel
from xpnet.errors import ConfigError, ShapeError
from xpnet.nn import Module, Sequential, is_average
from xpnet.nn.module import watching
from xpnet.optim import Optimizer
from xpnet.train.planned import PlannedStep
from xpnet.train.step import EagerStep

__all__ = ["Division", "ShardedStep", "check_threads", "choose_step", "divide"]

# Two cores of an AMD EPYC, milliseconds a step. LeNet-5, batches of 16, 32 and 64: whole 3.1, 3.6, 6.1; in parts 3.1,
# 3.8, 6.3, for a whole step spreads its convolutions over the cores too. The small CNN, batch 64, with a dense tail of
# 0.4 million weights: whole 30, in parts 21. In parts, AlexNet's tail of 59 million would be 235 MB more of gradients.
# A network that is dense throughout is faster whole, by BLAS's own threads.
WORTH = 10_000_000  # multiply-adds a thread, forward, from which on threads gain more than they cost
LARGE = 1_000_000  # weights of a dense tail, from which on parts of it cost more than they gain

_log = logging.getLogger("xpnet")


def choose_step(
    model: Module,
    loss: Callable[..., Tensor],
    optimizer: Optimizer,
    classes: int = 0,
    *,
    precision: str = "fp32",
    threads: int | None = None,
    plan: bool | None = None,
) -> EagerStep:
    """Choose how steps are computed, as the Trainer does: in parts where that can be done and may be of use.

    Args:
        model, loss, optimizer, classes, precision: as EagerStep takes them.
        threads: None: as many as there are cores, for batches with enough work for them. 1: never in parts. More:
            always in so many, or in one an example if there are fewer.
        plan: as PlannedStep takes it, for steps that are whole.
    Returns:
        A ShardedStep; a PlannedStep where each step would be whole; an EagerStep on a backend whose work is its own.
    Raises:
        ConfigError: threads is below 1; or more than 1, and the step cannot be computed in parts.
    """
    if check_threads(threads) != 1:
        reason = _objection(model, loss) or ("" if threads else _no_use(model))
        if not reason:
            return ShardedStep(model, loss, optimizer, classes, precision=precision, threads=threads, plan=plan)
        if threads:
            raise ConfigError("fit", f"threads={threads} needs a step that has parts", "use threads=None", why=reason)
        if model.backend.splits:
            _log.info("steps are computed whole: %s", reason)
    if model.backend.replays:
        return PlannedStep(model, loss, optimizer, classes, precision=precision, plan=plan)
    return EagerStep(model, loss, optimizer, classes, precision=precision)


def check_threads(threads: int | None) -> int | None:
    """Return a number of threads, as choose_step takes it; ConfigError where it is none."""
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ConfigError("threads", "threads >= 1, or None", threads=threads)
    return threads


def _objection(model: Module, loss: Callable[..., Tensor]) -> str:
    """Why a step cannot be computed in parts; "" if it can."""
    if not model.backend.splits:
        return f"{model.backend.spec} shares out work in its own way"
    if not is_average(loss):
        return "the loss is not known to be an average over examples (see nn.averages_examples)"
    for path, module in model.modules():
        where = f"{path or 'the model'} ({type(module).__name__})"
        across = module.across_batch
        if across:
            return f"{where} looks across the batch"
        if across is None and not type(module).forward.__module__.startswith("xpnet.nn."):
            return f"{where} does not say across_batch = False"
    return ""


def _no_use(model: Module) -> str:
    """Why parts would be of no use; "" if they may be."""
    if cores() < 2:
        return "one thread computes here"
    if not can_limit_blas():
        return "the BLAS of NumPy cannot be held to one thread (threadpoolctl finds none that can)"
    return ""


class Division(NamedTuple):
    """How a batch is computed.

    Args:
        parts: in how many parts; 1: whole.
        body: how many of a Sequential's calls are computed in parts; None: all of the model, and the loss.
    """

    parts: int
    body: int | None = None


def divide(model: Module, shape: tuple[int, ...], threads: int | None = None) -> Division:
    """Decide how a batch is computed, from shapes alone.

    A dense tail of LARGE weights or more is a head, and a model that is all dense tail stays whole. What is left is
    computed in parts if each has multiply-adds enough.

    Args:
        model: of which a step can be computed in parts.
        shape: of the batch, (N, ...).
        threads: as choose_step takes it.
    """
    n, one = shape[0], shape[1:]
    parts = min(threads or cores(), n)
    calls = model.calls() if isinstance(model, Sequential) and type(model).forward is Sequential.forward else []
    try:
        costs = _costs([layer for layer, _ in calls] or [model], one)
    except NotImplementedError:  # a module of somebody's own does not know its cost
        return Division(parts if threads else 1)
    except ShapeError:  # forward will say it better
        return Division(1)
    cut = len(costs)
    while cut and costs[cut - 1].macs <= costs[cut - 1].weights:  # each weight is used once an example
        cut -= 1
    dense = not cut
    while cut < len(costs) and not costs[cut].weights:  # pools and the like at the end of the body
        cut += 1
    body = cut
    if sum(c.weights for c in costs[cut:]) < LARGE:
        body = len(costs)
    work = n * sum(c.macs for c in costs[:body])
    if parts < 2 or (not threads and (dense or work < parts * WORTH)):
        return Division(1)
    return Division(parts, body if body and calls and body < len(costs) else None)


class _Cost(NamedTuple):
    macs: int  # multiply-adds an example
    weights: int


def _costs(layers: Sequence[Module], shape: tuple[int, ...]) -> list[_Cost]:
    """Work out the cost of layers that follow each other, for one example."""
    found = []
    for layer in layers:
        cost = layer.cost(shape)
        found.append(_Cost(cost.macs, layer.parameter_count))
        shape = cost.output
    return found


class ShardedStep(PlannedStep):
    """Compute steps in parts, each in a thread of its own, where a batch has work enough for that.

    Args: as EagerStep's, and threads as choose_step takes it, which see; look sees the summed gradients.
    """

    def __init__(self, *arguments: Any, threads: int | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.threads = threads
        self._divisions: dict[tuple[int, ...], Division] = {}

    def division(self, shape: tuple[int, ...]) -> Division:
        """Say how a batch of a shape, (N, ...), is computed; worked out when it is first met."""
        found = self._divisions.get(shape)
        if found is None:
            found = self._divisions[shape] = divide(self.model, shape, self.threads)
            _log.info("steps of %d examples are computed %s", shape[0], self._words(found))
        return found

    def _words(self, division: Division) -> str:
        if division.parts < 2:
            return "whole"
        model, body = self.model, division.body
        head = f", whole from {model.calls()[body][0].path} on" if isinstance(model, Sequential) and body else ""
        return f"in {division.parts} parts, a thread each{head}"

    def differentiate(self, x: Array, y: Array) -> tuple[Array, dict[Tensor, Array]]:
        """Return a batch's loss, (), and its gradients, summed over the parts."""
        n = x.shape[0]
        parts, body = self.division(tuple(x.shape))
        if parts < 2 or watching():
            return super().differentiate(x, y)
        rows = [(i * n // parts, (i + 1) * n // parts) for i in range(parts)]
        # outside of a Trainer the updates made name the draws: layers that count their calls would count parts
        moment = random.current() or random.StepContext(0, 0, self.optimizer.steps)

        def forward(start: int, stop: int) -> Tensor:
            """A part's scores; or its features, where there is a head."""
            with random.use(moment._replace(row=moment.row + start)):
                part = Tensor(x[start:stop, ...])
                return self.model(part) if body is None else _call(self._calls(stop=body), part)

        def whole_way(start: int, stop: int) -> tuple[Array, dict[Tensor, Array]]:
            """What a part adds to loss and gradients."""
            share = (stop - start) / n
            value = self.measure(forward(start, stop), y[start:stop, ...])
            return record_call(operator.mul, value.data, share), self.precision.backward(value, share)

        if body is None:
            done = run_parallel([partial(whole_way, *part) for part in rows])
            return _add([loss for loss, _ in done]), _sum([gradients for _, gradients in done])

        features = run_parallel([partial(forward, *part) for part in rows])
        joined = Tensor(
            record_call(namespace(x).concat, [f.data for f in features]), any(f.requires_grad for f in features)
        )
        with random.use(moment):
            value = self.measure(_call(self._calls(body), joined), y)
        gradients = self.precision.backward(value)
        dy = gradients.pop(joined, None)
        if dy is None:  # the body has nothing to learn
            return value.data, gradients
        back = [partial(backward, f, dy[a:b, ...]) for f, (a, b) in zip(features, rows, strict=True)]
        return value.data, _sum([*run_parallel(back), gradients])

    def _calls(self, start: int = 0, stop: int | None = None) -> list[tuple[Module, dict[str, Any]]]:
        assert isinstance(self.model, Sequential)
        return self.model.calls()[start:stop]


def _call(calls: list[tuple[Module, dict[str, Any]]], x: Tensor) -> Tensor:
    for layer, options in calls:
        x = layer(x, **options)
    return x


def _sum(shards: list[dict[Tensor, Array]]) -> dict[Tensor, Array]:
    """Add up gradients by parameter, in the order of the shards."""
    found: dict[Tensor, list[Array]] = {}
    for gradients in shards:
        for p, g in gradients.items():
            found.setdefault(p, []).append(g)
    return {p: _add(each) for p, each in found.items()}


def _add(arrays: list[Array]) -> Array:
    """Add arrays in their order, into a new one: they may be views or shared."""
    total = arrays[0]
    for i, array in enumerate(arrays[1:]):
        total = record_call(operator.iadd if i else operator.add, total, array)
    return total
