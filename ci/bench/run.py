"""Time training steps and forward passes of xpnet and of its peers; measure what networks learn of MNIST.

    .venv/bin/python ci/bench/run.py cpu                        every step, against every peer, and the whole process
    .venv/bin/python ci/bench/run.py cpu --only lenet5-128,lenet5-64-inference --peers torch --json bench.json
    .venv/bin/python ci/bench/run.py process                    from `python` to LeNet-5 at 98 % on MNIST
    .venv/bin/python ci/bench/run.py growth                     steps over batches and cores: table and picture
    .venv/bin/python ci/bench/run.py feed                       JPEG images decoded a second, beside training
    .venv/bin/python ci/bench/run.py mnist --json mnist.json    every recipe of mnist.py, three seeds each
    python3 ci/bench/run.py gpu                                 on a CUDA GPU, beside PyTorch, within eight minutes
    .venv/bin/python ci/bench/run.py table mnist.json           what any of them wrote, as the README's table

mnist goes on where it was stopped: a run that the file holds is not repeated. Of cpu:

A training step is forward, loss, backward and an update by SGD with momentum, float32, on a batch that is in memory;
xpnet runs it as its Trainer would choose. Inference is the forward pass without a tape: model.predict, eval() under
inference_mode, a jitted function. Every library gets the same model, batch and learning rate, and its own default
number of threads. Each runs in a process of its own, for two thread pools in one process ruin both, and the processes
take turns: A B C, A B C, ... xpnet has two, one with numba's compiled loops, one on NumPy alone. A turn is one untimed
step and then a burst of about 75 ms, and ends when the threads of that process have gone idle; there are at least 20
turns, after a warm-up, or 8 where steps are slow.

    ms      median over turns of the mean step time within a turn
    ratio   median over turns of peer time / xpnet time: above 1, xpnet is faster; the best peer is the faster of
            PyTorch eager and JAX jit
    spread  interquartile range of those ratios, divided by their median
    MB      the most memory (resident set) of the process that ran only this workload, imports included

PyTorch runs convolutions with images channels first and channels last; the faster one counts. Of gpu likewise, but for
what gpu.py says: one layout, three precisions, steps that are captured, MB of the device, and floors op by op.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402
from comparing import Bench, check_seconds, check_writable, choose, choose_peers  # noqa: E402
from gpu_workloads import GPU_PEERS  # noqa: E402
from mnist import ENTRIES  # noqa: E402
from workloads import PEERS  # noqa: E402

from xpnet.errors import ConfigError, XpnetError, nearest  # noqa: E402

Json = Annotated[Path | None, typer.Option(help="Write the results to this file.")]
DataDir = Annotated[str | None, typer.Option(help="Folder of MNIST's files; XPNET_DATA_DIR by default.")]
Seconds = Annotated[float, typer.Option(help="Seconds of bursts for each process of a workload.")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _commands() -> None:
    """Time training steps and forward passes of xpnet and of its peers; measure what networks learn."""


@app.command()
def cpu(
    only: Annotated[
        str,
        typer.Option(help="NAME, NAME-BATCH, NAME-BATCH-inference, training, inference or process, commas between."),
    ] = "",
    peers: Annotated[str, typer.Option(help="Peers to run, with commas between.")] = ",".join(PEERS),
    json: Json = None,
    seconds: Seconds = 1.5,
    repeats: Annotated[int, typer.Option(help="Runs of the whole process.")] = 5,
    data_dir: DataDir = None,
) -> None:
    """Time training steps, inference and the whole process on the processor."""
    try:
        chosen, process = choose(only)
        found = choose_peers(peers)
        check_seconds(seconds)
        check_repeats(repeats)
        check_writable(json)
    except ConfigError as error:
        refuse(error)
    if not Bench(found, seconds, json, data_dir, repeats).run(chosen, process):
        raise typer.Exit(1)


@app.command()
def process(
    repeats: Annotated[int, typer.Option(help="Runs of each script that count.")] = 5,
    json: Json = None,
    data_dir: DataDir = None,
) -> None:
    """Time whole processes, from `python` to LeNet-5 at 98 % on MNIST, beside PyTorch's."""
    from whole_process import mnist_folder

    try:
        check_repeats(repeats)
        check_writable(json)
        folder = data_dir or os.environ.get("XPNET_DATA_DIR")
        if mnist_folder(folder) is None:
            raise ConfigError("process", "a folder holds MNIST's four files", "name it by --data-dir", folder=folder)
        found = choose_peers("torch")
    except ConfigError as error:
        refuse(error)
    if not Bench(found, 1.0, json, data_dir, repeats).run([], process=True):
        raise typer.Exit(1)


@app.command()
def growth(
    only: Annotated[str, typer.Option(help="lenet5 or alexnet; both by default.")] = "",
    most: Annotated[int, typer.Option(help="The largest batch.")] = 512,
    seconds: Seconds = 0.75,
    limit: Annotated[float, typer.Option(help="Seconds that one point may take; a series ends before.")] = 150.0,
    folder: Annotated[Path, typer.Option(help="Where growth.json and growth.svg go.")] = ROOT / "ci/bench/results",
) -> None:
    """Time training steps over batches of 1, 2, 4, ... on 1, 2, ... cores; write growth.json and growth.svg."""
    from growth import Growth
    from growth import choose as choose_models
    from growth_report import draw, markdown

    try:
        names = choose_models(only)
        check_seconds(seconds)
        if most < 1:
            raise ConfigError("--most", "at least 1", most=most)
        if not limit > 0:
            raise ConfigError("--limit", "a number of seconds above 0", limit=limit)
        check_writable(folder / "growth.json")
        choose_peers("torch")
    except ConfigError as error:
        refuse(error)
    run = Growth(names, most, seconds, limit, folder / "growth.json")
    fine = run.run()
    if run.facts["growth"]:
        draw(run.facts, folder / "growth.svg")
        typer.echo(markdown(run.facts))
    if not fine:
        raise typer.Exit(1)


@app.command()
def feed(
    images: Annotated[int, typer.Option(help="How many JPEG images are drawn.")] = 2000,
    model: Annotated[str, typer.Option(help="What trains beside: alexnet or lenet5.")] = "alexnet",
    batch: Annotated[int, typer.Option(help="Its batch.")] = 16,
    seconds: Annotated[float, typer.Option(help="Seconds of each of the three parts, at least.")] = 10.0,
    json: Json = None,
) -> None:
    """Decode a folder of JPEG images, with and without training beside."""
    import feeding
    from turns import WorkerError

    try:
        if model not in feeding.MODELS:
            raise ConfigError("--model", "no such model", nearest(model, feeding.MODELS), model=repr(model))
        if images < 5 * feeding.CLASSES:
            raise ConfigError("--images", f"at least {5 * feeding.CLASSES}", images=images)
        if batch < 1:
            raise ConfigError("--batch", "at least 1", batch=batch)
        check_seconds(seconds)
        check_writable(json)
    except ConfigError as error:
        refuse(error)
    try:
        feeding.run(images, model, batch, seconds, json)
    except WorkerError as error:
        typer.echo(f"feed: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def mnist(
    only: Annotated[str, typer.Option(help=f"Networks to train, with commas between: {', '.join(ENTRIES)}.")] = "",
    seeds: Annotated[int, typer.Option(help="How many runs of each: seeds 0, 1, ...")] = 3,
    json: Annotated[Path | None, typer.Option(help="Keep the runs in this file, each as it ends.")] = None,
    data_dir: DataDir = None,
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
        refuse(error)
    if not done:
        raise typer.Exit(130)


@app.command()
def gpu(
    only: Annotated[
        str, typer.Option(help="Workloads, as NAME, NAME-BATCH or NAME-BATCH-PRECISION, commas between.")
    ] = "",
    peers: Annotated[str, typer.Option(help="Peers to run, with commas between.")] = ",".join(GPU_PEERS),
    json: Annotated[Path | None, typer.Option(help="Write here; by default results/gpu-DEVICE.json.")] = None,
    seconds: Seconds = 1.5,
    minutes: Annotated[float, typer.Option(help="Begin nothing new after so many minutes.")] = 7.0,
    device: Annotated[str, typer.Option(help="cuda or cuda:N; cpu only tries the code.")] = "cuda",
    data_dir: DataDir = None,
    ops: Annotated[bool, typer.Option("--ops/--no-ops", help="Time each op beside its floor.")] = True,
    mnist: Annotated[
        bool, typer.Option("--mnist/--no-mnist", help="Let LeNet-5 learn MNIST against the clock.")
    ] = True,
) -> None:
    """Time training steps on a CUDA GPU, beside PyTorch's."""
    from gpu import Bench as GpuBench
    from gpu import choose_peers as choose_gpu_peers
    from gpu import choose_timings, missing

    try:
        timings, chosen = choose_timings(only), choose_gpu_peers(peers)
        check_seconds(seconds)
        check_writable(json)
    except ConfigError as error:
        refuse(error)
    if why := missing(device):
        typer.echo(why, err=True)
        raise typer.Exit(2)
    if not GpuBench(device, chosen, seconds, minutes, json, data_dir).run(timings, ops=ops, mnist=mnist):
        raise typer.Exit(1)


@app.command()
def table(file: Annotated[Path, typer.Argument(help="What --json wrote.")]) -> None:
    """Print a results file as the README's table."""
    import json

    import cpu_report
    import feeding
    import gpu_report
    import growth_report
    from report import learned_markdown

    made = {
        "runs": learned_markdown,
        "ceilings": gpu_report.markdown,
        "growth": growth_report.markdown,
        "feed": feeding.markdown,
        "results": cpu_report.markdown,
    }
    try:
        facts = json.loads(file.read_text())
        typer.echo(next(make for key, make in made.items() if key in facts)(facts))
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        typer.echo(f"table: the file is one that --json wrote, got {file} ({error})", err=True)
        raise typer.Exit(2) from None


def check_repeats(repeats: int) -> None:
    """Raise ConfigError where --repeats is no number of runs."""
    if repeats < 1:
        raise ConfigError("--repeats", "at least 1", repeats=repeats)


def refuse(error: XpnetError) -> NoReturn:
    """Say what is wrong with the options, in one line, and exit with code 2."""
    typer.echo(error, err=True)
    raise typer.Exit(2) from None


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
