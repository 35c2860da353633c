"""Time training steps of xpnet and of its peers; measure what networks learn of MNIST.

    .venv/bin/python ci/bench/run.py cpu                        every workload, against every peer that is installed
    .venv/bin/python ci/bench/run.py cpu --only lenet5-128 --peers torch --memory --json bench.json
    .venv/bin/python ci/bench/run.py mnist --json mnist.json    every recipe of mnist.py, three seeds each
    python3 ci/bench/run.py gpu                                 on a CUDA GPU, beside PyTorch, within eight minutes
    .venv/bin/python ci/bench/run.py table mnist.json           what either wrote, as the README's table

mnist goes on where it was stopped: a run that the file holds is not repeated. Of cpu:

A step is forward, loss, backward and an update by SGD with momentum, float32, on a batch that is in memory. Every
library gets the same model, batch and learning rate, and its own default number of threads. Each runs in a process of
its own, for two thread pools in one process ruin both, and the processes take turns: A B C, A B C, ... A turn is one
untimed step and then a burst of about 75 ms, and ends when the threads of that process have gone idle; there are at
least 20 turns, after a warm-up.

    ms      median over turns of the mean step time within a turn
    ratio   median over turns of peer time / xpnet time: above 1, xpnet is faster
    spread  interquartile range of those ratios, divided by their median
    MB      the most memory (resident set) of the process that ran only this workload, imports included

PyTorch runs convolutions with images channels first and channels last; the faster one counts. Of gpu likewise, but for
what gpu.py says: one layout, three precisions, steps that are captured, MB of the device, and floors op by op.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402
from gpu_report import markdown as gpu_markdown  # noqa: E402
from mnist import ENTRIES  # noqa: E402
from report import Row, compare, cores, cpu_name, learned_markdown, markdown, print_table, write_json  # noqa: E402
from turns import Worker, WorkerError, take_turns, worker_environment  # noqa: E402
from workloads import GPU_PEERS, LEARNING_RATE, MOMENTUM, PEERS, WORKLOADS, XPNET, Peer, Workload  # noqa: E402

from xpnet.errors import ConfigError, XpnetError, nearest  # noqa: E402

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _commands() -> None:
    """Time training steps of xpnet and of its peers; measure what networks learn."""


@app.command()
def cpu(
    only: Annotated[str, typer.Option(help="Workloads to run, as NAME or NAME-BATCH, with commas between.")] = "",
    peers: Annotated[str, typer.Option(help="Peers to run, with commas between.")] = ",".join(PEERS),
    json: Annotated[Path | None, typer.Option(help="Write the results to this file.")] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Report peak memory too.")] = False,
    seconds: Annotated[float, typer.Option(help="Seconds of bursts for each process of a workload.")] = 1.5,
) -> None:
    """Time training steps on the processor."""
    try:
        chosen = choose(only)
        found = choose_peers(peers)
        if not 0 < seconds < float("inf"):
            raise ConfigError("--seconds", "a number of seconds above 0", seconds=seconds)
        check_writable(json)
    except ConfigError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None

    run_all(chosen, found, "cpu", seconds, memory, json)


@app.command()
def mnist(
    only: Annotated[str, typer.Option(help=f"Networks to train, with commas between: {', '.join(ENTRIES)}.")] = "",
    seeds: Annotated[int, typer.Option(help="How many runs of each: seeds 0, 1, ...")] = 3,
    json: Annotated[Path | None, typer.Option(help="Keep the runs in this file, each as it ends.")] = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder of MNIST's files; XPNET_DATA_DIR by default.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Repeat runs that the file holds.")] = False,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Train on 50,000 digits and test on the other 10,000; keeps no runs.")
    ] = False,
) -> None:
    """Train networks on MNIST and print their test errors beside the published ones."""
    from learning import choose_networks, learn, read_runs

    try:
        chosen = choose_networks(only)
        if seeds < 1:
            raise ConfigError("--seeds", "at least 1 seed", seeds=seeds)
        if json is not None and held_out:
            raise ConfigError("--held-out", "keeps no runs", "leave out --json", json=json)
        check_writable(json)
        known = [] if json is None else read_runs(json)
        done = learn(chosen, seeds, known, json, data_dir, again=again, held_out=held_out)
    except XpnetError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None
    if not done:
        raise typer.Exit(130)


@app.command()
def gpu(
    only: Annotated[
        str, typer.Option(help="Workloads, as NAME, NAME-BATCH or NAME-BATCH-PRECISION, commas between.")
    ] = "",
    peers: Annotated[str, typer.Option(help="Peers to run, with commas between.")] = ",".join(GPU_PEERS),
    json: Annotated[Path | None, typer.Option(help="Write here; by default results/gpu-DEVICE.json.")] = None,
    seconds: Annotated[float, typer.Option(help="Seconds of bursts for each process of a workload.")] = 1.5,
    minutes: Annotated[float, typer.Option(help="Begin nothing new after so many minutes.")] = 7.0,
    device: Annotated[str, typer.Option(help="cuda or cuda:N; cpu only tries the code.")] = "cuda",
    data_dir: Annotated[str | None, typer.Option(help="Folder of MNIST's files; XPNET_DATA_DIR by default.")] = None,
    ops: Annotated[bool, typer.Option("--ops/--no-ops", help="Time each op beside its floor.")] = True,
    mnist: Annotated[
        bool, typer.Option("--mnist/--no-mnist", help="Let LeNet-5 learn MNIST against the clock.")
    ] = True,
) -> None:
    """Time training steps on a CUDA GPU, beside PyTorch's."""
    from gpu import Bench, choose_timings, missing
    from gpu import choose_peers as choose_gpu_peers

    try:
        timings, chosen = choose_timings(only), choose_gpu_peers(peers)
        if not 0 < seconds < float("inf"):
            raise ConfigError("--seconds", "a number of seconds above 0", seconds=seconds)
        check_writable(json)
    except ConfigError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None
    if why := missing(device):
        typer.echo(why, err=True)
        raise typer.Exit(2)
    if not Bench(device, chosen, seconds, minutes, json, data_dir).run(timings, ops=ops, mnist=mnist):
        raise typer.Exit(1)


@app.command()
def table(file: Annotated[Path, typer.Argument(help="What --json wrote.")]) -> None:
    """Print a results file as the README's table."""
    import json

    try:
        facts = json.loads(file.read_text())
        made = learned_markdown if "runs" in facts else gpu_markdown if "ceilings" in facts else markdown
        typer.echo(made(facts))
    except (OSError, ValueError, KeyError, TypeError) as error:
        typer.echo(f"table: the file is one that --json wrote, got {file} ({error})", err=True)
        raise typer.Exit(2) from None


def run_all(
    chosen: list[tuple[Workload, int]],
    peers: dict[str, Peer],
    device: str,
    seconds: float,
    memory: bool,
    json: Path | None,
) -> None:
    """Run workloads one after another, then print the table and write the file.

    Raises:
        typer.Exit: with code 1, after all that, when a workload failed.
    """
    load, failed = os.getloadavg()[0], False
    rows: list[Row] = []
    versions = {"numpy": version("numpy")}
    typer.echo(f"{cpu_name()}, {cores()} cores, float32, load {load:.1f} before")
    if load > cores() / 2:
        typer.echo(f"the machine is busy, load {load:.1f} on {cores()} cores: trust no row of wide spread", err=True)
    for workload, batch in chosen:
        typer.echo(f"{workload.name} batch {batch} ...", err=True)
        try:
            rows += run_workload(workload, batch, peers, device, seconds, memory, versions)
        except WorkerError as error:
            typer.echo(f"{workload.name} batch {batch}: {error}", err=True)
            failed = True
    typer.echo(", ".join(f"{name} {version}" for name, version in versions.items()))
    print_table(rows, memory)
    if json is not None:
        write_json(json, rows, versions, load)
    if failed:
        raise typer.Exit(1)


def check_writable(json: Path | None) -> None:
    """Raise ConfigError where --json names a file that cannot be written."""
    if json is not None and not (json.parent.is_dir() and os.access(json.parent, os.W_OK) and not json.is_dir()):
        raise ConfigError("--json", "a file in a folder that can be written to", json=json)


def choose(only: str) -> list[tuple[Workload, int]]:
    """List the workloads and batches that --only names; all of them when it is empty."""
    every = {f"{w.name}-{batch}": (w, batch) for w in WORKLOADS.values() for batch in w.batches}
    if not only:
        return list(every.values())
    picked: dict[str, tuple[Workload, int]] = {}
    for name in only.split(","):
        name = name.strip()
        matches = {key: pair for key, pair in every.items() if name in (key, pair[0].name)}
        if not matches:
            hint = nearest(name, [*every, *WORKLOADS] if "-" in name else WORKLOADS)
            raise ConfigError("--only", "no such workload", hint, only=repr(name))
        picked |= matches
    return list(picked.values())


def choose_peers(names: str) -> dict[str, Peer]:
    """List the named peers that are installed, and say which are not."""
    found = {}
    for name in filter(None, (n.strip() for n in names.split(","))):
        if name not in PEERS:
            raise ConfigError("--peers", "no such peer", nearest(name, PEERS), peers=repr(name))
        if importlib.util.find_spec(PEERS[name].package) is None:
            typer.echo(f"{name} is not installed, left out; {PEERS[name].install}", err=True)
        else:
            found[name] = PEERS[name]
    if not found:
        raise ConfigError("--peers", "at least one peer is named and installed", peers=repr(names))
    return found


def run_workload(
    workload: Workload,
    batch: int,
    peers: dict[str, Peer],
    device: str,
    seconds: float,
    memory: bool,
    versions: dict[str, str],
) -> Iterator[Row]:
    """Time one workload at one batch size, and yield a row for each peer that can run it.

    Args:
        versions: filled with the version of each library.
    Raises:
        WorkerError: xpnet fails, or a peer builds another model; a peer that fails to start is left out.
    """
    request = {"layers": workload.layers, "sample": workload.sample, "classes": workload.classes, "batch": batch}
    request |= {"device": device, "lr": LEARNING_RATE, "momentum": MOMENTUM}
    environment = worker_environment(ROOT, device)
    with ExitStack() as stack:
        workers: dict[tuple[str, str], Worker] = {}
        parameters = 0
        for name, peer in {"xpnet": XPNET, **peers}.items():
            if peer.dense_only and not workload.dense:
                continue
            for layout in peer.layouts if not workload.dense else peer.layouts[:1]:
                worker = Worker(Path(__file__).parent / "workers" / peer.worker, environment)
                stack.callback(worker.close)
                try:
                    opened = worker.ask(do="open", layout=layout, **request)
                except WorkerError as error:
                    if name == "xpnet":
                        raise
                    typer.echo(f"{workload.name} batch {batch}: {name} is left out; {error}", err=True)
                    break
                versions[name] = opened["version"]
                parameters = parameters or opened["parameters"]
                if opened["parameters"] != parameters:
                    raise WorkerError(f"all have {parameters} parameters, got {name} {opened['parameters']}")
                workers[name, layout] = worker
        times = take_turns({" ".join(key): w for key, w in workers.items()}, seconds)
        bursts = {key: times[" ".join(key)] for key in workers}
        peaks = {key: w.ask(do="memory")["peak_mb"] if memory else None for key, w in workers.items()}

    ours = ("xpnet", "")
    for name in peers:
        rivals = {key: compare(bursts[ours], bursts[key]) for key in bursts if key[0] == name}
        if not rivals:
            continue
        best = min(rivals, key=lambda key: rivals[key]["peer_ms"])
        layout = "" if workload.dense else best[1]
        yield Row(
            workload.name,
            batch,
            peer=name,
            peer_layout=layout,
            xpnet_peak_mb=peaks[ours],
            peer_peak_mb=peaks[best],
            xpnet_bursts_ms=bursts[ours],
            peer_bursts_ms=bursts[best],
            **rivals[best],
        )


def main() -> None:
    """Run the command line and exit: 0 done, 1 a workload failed, 2 bad input (one line), 130 interrupted."""
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's own errors have one
            raise
        line = error.format_message().replace("\n", " ")  # pyright: ignore[reportAttributeAccessIssue]
        typer.echo(line, err=True)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
