"""More machines make a step shorter until sending gradients takes as long as computing them: a model on paper.

A step of N examples on P machines of equal speed, each of which sends and receives at the same time:

    t(P) = fixed + each N/P  +  (k+1) (P-1)/P bytes/bandwidth  +  2 (P-1) buckets latency  +  (K-1)/P numbers add

k: how many sums of its virtual shards a machine sends; K: those of all machines. With a power of two, k is 1, and each
sends 2 (P-1)/P of the gradient's bytes, as in any allreduce; with 3 machines and 8 shards, k is 2.
"""

import json
from math import ceil
from pathlib import Path

from arguments import parse

from xpnet import get_backend, models, use_backend
from xpnet.data.part import Part
from xpnet.distributed.reduction import BUCKET
from xpnet.distributed.tree import Tree
from xpnet.viz.style import PALETTE, despine

options = parse(__doc__)
N, MACHINES = 256, [2**i for i in range(9)]
ROWS = json.loads((Path(__file__).parents[1] / "ci/bench/results/distributed.json").read_text())["rows"]
MS = {(row["name"], row["batch"], row["library"]): row["value"] for row in ROWS}  # measured on two cores of a CPU
ADD = MS["60,000,000 numbers", 0, "bound"] / 1e3 / 60e6  # seconds to add a number in memory to another
LINKS = {  # nominal bytes a second each way; seconds a message, assumed
    "1 Gbit/s": (1e9 / 8, 50e-6, PALETTE[1]),
    "10 Gbit/s": (10e9 / 8, 20e-6, PALETTE[4]),
    "100 Gbit/s": (100e9 / 8, 5e-6, PALETTE[2]),
    "NVLink": (450e9, 5e-6, PALETTE[0]),  # joins GPUs only
}
CPU, GPU = "two cores of a CPU", "hypothetical: 1,000 times as fast"  # nothing was measured on a GPU
with use_backend(get_backend(options.backend)):
    NUMBERS = {"AlexNet": models.alexnet().parameter_count, "ResNet-18": models.resnet18().parameter_count}


def sums(machines, shards):
    """How many sums of virtual shards each machine sends."""
    return [len(Tree(shards).nodes(*Part.of(shards, i, machines)[1:])) for i in range(machines)]


def seconds(network, link, machines, faster=1, shards=N):
    """A step's seconds. There are at least as many shards as machines."""
    bandwidth, latency, _ = LINKS[link]
    small, large = (MS[network.lower().replace("-", ""), batch, "threads"] / 1e3 for batch in (4, 16))
    each = (large - small) / 12  # of an example
    fixed = small - 4 * each  # without one: mostly the update
    numbers, others, sent = NUMBERS[network], machines - 1, sums(machines, shards)
    computing = fixed + each * N / machines + (sum(sent) - 1) / machines * numbers * ADD
    waiting = 2 * others * ceil(4 * numbers / BUCKET) * latency
    return computing / faster + (max(sent) + 1) * others / machines * 4 * numbers / bandwidth + waiting


def curves(network, faster):
    """For each link the milliseconds of a step, and which is the last one at least half as efficient as one machine."""
    for link in LINKS if faster > 1 else list(LINKS)[:-1]:
        times = [1e3 * seconds(network, link, p, faster) for p in MACHINES]
        yield link, times, max(i for i, p in enumerate(MACHINES) if times[0] / p >= times[i] / 2)


assert [sums(p, 8) for p in (1, 2, 3, 4)] == [[1], [1, 1], [1, 2, 2], [1, 1, 1, 1]]  # of 3 machines: 01, 23 4, 5 67
assert NUMBERS["AlexNet"] == 60_965_224  # two machines send 244 MB each, which takes 1.95 s at 1 Gbit/s
assert 1.95 < seconds("AlexNet", "1 Gbit/s", 2) - seconds("AlexNet", "NVLink", 2) < 1.96
PANELS = [(network, faster, where) for network in NUMBERS for faster, where in ((1, CPU), (1000, GPU))]
for network, faster, where in PANELS:
    print(f"{network}, {4 * NUMBERS[network] / 1e6:.0f} MB of gradients, {N} examples a step; {where}")
    print("  machines", *(f"{p:6}" for p in MACHINES), "  at least half as efficient up to")
    for link, times, last in curves(network, faster):
        print(f"{link:>10}", *(f"{ms:6.{int(ms < 100)}f}" for ms in times), f"ms   {MACHINES[last]}")


def picture():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.8), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True).flat
    for ax, (network, faster, where) in zip(axes, PANELS, strict=True):
        for link, times, last in curves(network, faster):
            ax.plot(MACHINES, times, "o-", markevery=[last], color=LINKS[link][2], label=link)
        alone = 1e3 * seconds(network, "1 Gbit/s", 1, faster)
        ax.plot(MACHINES, [alone / p for p in MACHINES], ":", color="0.4", label="1/P of one machine's")
        ax.set_title(f"{network}, {where}", fontsize=10)
        ax.set_xscale("log", base=2)
        ax.set(yscale="log", xticks=MACHINES, xticklabels=MACHINES, ylabel=f"ms a step of {N} examples")
        ax.yaxis.set_major_formatter(lambda ms, _: f"{ms:,g}")
        despine(ax, grid="y")
    title = "dots: the most machines of which each does at least half of what one alone does"
    lines = axes[-1].get_legend_handles_labels()
    figure.legend(*lines, loc="outside upper center", ncols=5, frameon=False, title=title)
    figure.supxlabel("P, machines", fontsize=10)
    return figure


options.save(picture)
print("Notice: no step is shorter than sending the gradients, however many machines there are. AlexNet has five times")
print(
    "the gradients of ResNet-18 for less than half of the work, so it stops first; faster machines need faster links."
)
