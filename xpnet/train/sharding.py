"""Loss and gradients of a batch, computed by the threads of a CPU, each of which has some of the examples.

    division = divide(model, x.shape)
    loss, gradients = differentiate(model, measure, backward, x, y, division, context)

The loss of a batch is a mean over its examples, so a shard of n of N examples weighs n/N, and the shards' gradients are
summed, always in the order of the shards: a run repeats bit for bit, and equals the unsharded step to rounding.

Each shard has a whole gradient of every parameter. Where a weight is used at many places of an image, that is little
beside the work; at the dense layers that a network ends with, it is more than the work. So of a Sequential only the
layers before those, its *body*, are sharded; the *head* is computed unsharded, with BLAS's own threads:

    body forward, sharded -> head forward, loss, head backward -> body backward, sharded
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from xpnet import arguments, random
from xpnet.autograd import Tensor, backward
from xpnet.backend import Array, can_limit_blas, cores, namespace, record_call, run_parallel
from xpnet.data import several
from xpnet.errors import ShapeError
from xpnet.nn import Module, Sequential, is_average

__all__ = ["UNSHARDED", "Division", "check_threads", "differentiate", "divide", "unsharded_reason"]

# Two cores of an AMD EPYC, milliseconds a step. LeNet-5, batches of 16, 32 and 64: unsharded 3.1, 3.6, 6.1; sharded
# 3.1, 3.8, 6.3, for an unsharded step spreads its convolutions over the cores too. The small CNN, batch 64, dense tail
# of 0.4 million weights: unsharded 30, sharded 21. AlexNet's tail of 59 million would be 235 MB more gradients.
# A network that is dense throughout is faster unsharded, by BLAS's own threads.
WORTH = 10_000_000  # multiply-adds a thread, forward, from which on threads gain more than they cost
LARGE = 1_000_000  # weights of a dense tail, from which on shards of it cost more than they gain

Gradients = dict[Tensor, Array]


def check_threads(threads: int | None) -> int | None:
    """Return a number of threads; ConfigError where it is not None or a whole number >= 1."""
    return None if threads is None else arguments.count("threads", "threads", threads)


def unsharded_reason(model: Module, loss: Callable[..., Tensor], threads: int | None) -> str:
    """Return why steps are not sharded; "" if they may be.

    Args:
        model, loss: of the step.
        threads: None: sharding must be of use too.
    """
    if not model.backend.splits:
        return f"{model.backend.spec} divides work among threads itself"
    if not is_average(loss):
        return "the loss is not known to be an average over examples (see nn.averages_examples)"
    for path, module in model.modules():
        where = f"{path or 'the model'} ({type(module).__name__})"
        across = module.across_batch
        if across:
            return f"{where} depends on other examples of the batch"
        if across is None:
            return f"{where} does not say across_batch = False"
    if threads is None and cores() < 2:
        return "one thread computes here"
    if threads is None and not can_limit_blas():
        return "the BLAS of NumPy cannot be limited to one thread (threadpoolctl finds none that can)"
    return ""


class Division(NamedTuple):
    """How a batch is sharded.

    Args:
        shards: how many; 1: unsharded.
        body: how many of a Sequential's calls are sharded; None: all of the model, and the loss.
    """

    shards: int
    body: int | None = None

    def describe(self, model: Module) -> str:
        """Say it in words, for the log."""
        if self.shards < 2:
            return "unsharded"
        head = f", unsharded from {_calls(model)[self.body][0].path} on" if self.body else ""
        return f"in {self.shards} shards, a thread each{head}"


UNSHARDED = Division(1)


def divide(model: Module, shape: tuple[Any, ...], threads: int | None = None) -> Division:
    """Decide how a batch is sharded, from shapes alone.

    A dense tail of LARGE weights or more is a head, and a model that is all dense tail stays unsharded. What is left is
    sharded if each shard has multiply-adds enough.

    Args:
        model: whose steps may be sharded.
        shape: of the batch, (N, ...); or a tuple of the shapes of several arrays, of whose model no cost is known.
        threads: None: as many as there are cores, where that pays. More: always so many, or one an example.
    """
    if not isinstance(shape[0], int):
        return Division(min(threads, shape[0][0])) if threads else UNSHARDED
    n, one = shape[0], shape[1:]
    shards = min(threads or cores(), n)
    calls = _calls(model) if isinstance(model, Sequential) and type(model).forward is Sequential.forward else []
    try:
        costs = _costs([layer for layer, _ in calls] or [model], one)
    except NotImplementedError:  # a custom module does not know its cost
        return Division(shards if threads else 1)
    except ShapeError:  # forward raises it with more detail
        return UNSHARDED
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
    if shards < 2 or (not threads and (dense or work < shards * WORTH)):
        return UNSHARDED
    return Division(shards, body if body and calls and body < len(costs) else None)


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


def differentiate(
    model: Module,
    measure: Callable[[Tensor, Any], Tensor],
    walk: Callable[..., Gradients],
    x: Any,
    y: Any,
    division: Division,
    context: random.StepContext,
    weight: float = 1.0,
) -> tuple[Array, Gradients]:
    """Return a batch's loss, (), and its gradients, summed over the shards.

    Args:
        model: takes (N, ...), gives scores.
        measure: takes scores and labels, gives the loss.
        walk: takes a loss and the share that it weighs, gives gradients: the precision's backward.
        x, y: the batch: an array each, or several.
        division: how it is sharded.
        context: the step that draws belong to.
        weight: what loss and gradients are multiplied by.
    """
    n, (shards, body) = several.count(x), division
    rows = [(i * n // shards, (i + 1) * n // shards) for i in range(shards)]

    blocks = [random.use(context._replace(row=context.row + start)) for start, _ in rows]
    parts = [(block, *part) for block, part in zip(blocks, rows, strict=True)]

    def forward(block: random.use, start: int, stop: int) -> Tensor:
        """A shard's scores; or its features, where there is a head."""
        with block:
            shard = several.rows(x, start, stop)
            return several.call(model, shard, Tensor) if body is None else _call(_calls(model)[:body], Tensor(shard))

    def forward_and_backward(block: random.use, start: int, stop: int) -> tuple[Array, Gradients]:
        """What a shard adds to loss and gradients."""
        share = weight * (stop - start) / n
        value = measure(forward(block, start, stop), several.rows(y, start, stop))
        return record_call(operator.mul, value.data, share), walk(value, share)

    if body is None:
        results = run_parallel([partial(forward_and_backward, *part) for part in parts])
        return _add([loss for loss, _ in results]), _sum([gradients for _, gradients in results])

    features = run_parallel([partial(forward, *part) for part in parts])
    arrays = [f.data for f in features]
    joined = Tensor(record_call(namespace(x).concat, arrays), any(f.requires_grad for f in features))
    with random.use(context, after=blocks[0]):
        value = measure(_call(_calls(model)[body:], joined), y)
    gradients, loss = walk(value, weight), value.data if weight == 1 else record_call(operator.mul, value.data, weight)
    dy = gradients.pop(joined, None)
    if dy is None:  # the body has nothing to learn
        return loss, gradients
    tasks = [partial(backward, f, dy[a:b, ...]) for f, (a, b) in zip(features, rows, strict=True)]
    return loss, _sum([*run_parallel(tasks), gradients])


def _calls(model: Module) -> list[tuple[Module, dict[str, Any]]]:
    assert isinstance(model, Sequential)
    return model.calls()


def _call(calls: list[tuple[Module, dict[str, Any]]], x: Tensor) -> Tensor:
    for layer, options in calls:
        x = layer(x, **options)
    return x


def _sum(shards: list[Gradients]) -> Gradients:
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
