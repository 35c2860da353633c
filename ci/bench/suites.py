"""The suites on a CPU: what run.py measures by each name; and feeding.

process: each script (workers/xpnet_process.py, workers/torch_process.py) reads MNIST's files, trains LeNet-5 with the
same batch, rate and distribution of first weights, evaluates on the whole test set every so many steps, and ends when
the accuracy is reached. The time is the wall clock's from the start of the process. The scripts take turns; seeds
differ from turn to turn, for a seed decides how many steps it takes. A first run of each is not counted.
"""

from argparse import Namespace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from photos import draw, link
from rows import Results, cores, of_runs, timed
from runner import Runner, choose, choose_peers, mnist_folder, request, say
from turns import HERE, Worker, environment
from workloads import ALONE, CPU, DISTRIBUTED, LENET5, LIBRARIES, PYTORCH, REDUCED, SHARDS, SHARED, WORKLOADS, Case

GOAL = {"batch": 64, "lr": 0.02, "momentum": 0.9, "every": 100, "accuracy": 0.98, "steps": 5000}


def cpu(options: Namespace) -> Results:
    """Time training steps and inference on the processor."""
    cases = choose(options.only, {case: case.names("cpu") for case in CPU})
    libraries = choose_peers(options.peers, LIBRARIES)
    if options.peers == "":
        libraries.pop("xpnet-numpy")
    runner = Runner("cpu", libraries, options)
    runner.run(cases, options.processes)
    return runner.results


def process(options: Namespace) -> Results:
    """Run each script once uncounted, then some times in turn."""
    folder = mnist_folder(options.data_dir)
    libraries = choose_peers(None, {name: LIBRARIES[name] for name in ("xpnet", "xpnet-numpy", "torch")})
    results, runs = Results(options.json), {name: [] for name in libraries}
    for seed in range(-1, options.processes):
        for name in list(libraries)[:: 1 if seed % 2 else -1]:
            began, asked = perf_counter(), {**GOAL, **libraries[name].options, "seed": max(seed, 0), "layers": LENET5}
            with Worker("torch_process" if name == "torch" else "xpnet_process", environment(), 600.0) as worker:
                run = {**worker.ask(do="measure", folder=str(folder), **asked), "s": perf_counter() - began}
            say(f"{name}, seed {seed}: {run['s']:.2f} s, {run['steps']} steps, {run['accuracy']:.2%}")
            runs[name] += [run] if seed >= 0 else []
        for name, counted in runs.items() if seed >= 0 else ():
            more = {key: median(run[key] for run in counted) for key in ("steps", "mb", "accuracy")}
            seconds = [run["s"] for run in counted]
            results.add(of_runs("process", "", "LeNet-5 at 98% on MNIST", name, "s", seconds, **more))
    results.failed = any(row["accuracy"] < GOAL["accuracy"] for row in results.rows)
    return results


def growth(options: Namespace) -> Results:
    """Time steps over batches of 1, 2, 4, ... on 1, 2, ... cores, beside PyTorch and the time of the products alone.

    A series ends where the next point would take longer than --limit, or more memory than there is.
    """
    from picture import draw_growth

    libraries = choose_peers(None, {name: LIBRARIES[name] for name in ("xpnet", *PYTORCH)})
    options.json, options.seconds = options.json or HERE / "results" / "growth.json", options.seconds / 2
    runner = Runner("growth", libraries, options)
    for n in range(1, cores() + 1):
        with Worker("ceilings", environment("cpu", n)) as worker:
            rate = worker.ask(do="measure", device="cpu", precisions=["fp32"])["gemm_tflop_s"]["fp32"]
        runner.results.note(f"{n} core{'s' * (n > 1)}: {1e3 * rate:.0f} GFLOP/s of a large product")
        for name in choose(options.only, {name: [name] for name in ("lenet5", "alexnet")}):
            for case in [Case(name, 2**i, cores=n) for i in range(options.most.bit_length())]:
                if not all(runner.attempt(case, f"{name}-{case.batch}, {n} cores") for _ in range(options.processes)):
                    break
                floor = {**case._asdict(), "suite": "growth", "library": "floor", "unit": "ms"}
                runner.results.add({**floor, "value": flops(name) * case.batch / rate / 1e9})
                points = [row for (found, _), row in runner.rows.items() if found == case]
                took = sum(max(map(max, row["long"])) for row in points) / 1e3
                if 20 * options.processes * took > options.limit or 2 * sum(r["mb"] for r in points) > available_mb():
                    runner.results.note(f"{name}, {n} cores: ends at batch {case.batch}, by time or memory")
                    break
    draw_growth(runner.results.rows, options.json.with_suffix(".svg"))
    return runner.results


def distributed(options: Namespace) -> Results:
    """Time reductions, then steps of one process and of two, with and without virtual shards; then of one alone."""
    known: dict[Any, Any] = {n: ["reduction"] for n in REDUCED} | {c: c.names("distributed") for c in SHARED}
    known |= {case: ["scaling"] for case in ALONE}
    wanted, runner = choose(options.only, known), Runner("distributed", DISTRIBUTED, options)
    for n in [n for n in wanted if n in REDUCED]:
        turns: dict[str, list[list[float]]] = {}
        for _ in range(options.processes):
            with Worker("reduction", environment("cpu", 1), processes=2) as worker:
                found = worker.ask(do="measure", numbers=n, shards=SHARDS, seconds=options.seconds)
            say(f"{n:,} numbers: {', '.join(f'{way} {median(each):.3g} ms' for way, each in found.items())}")
            for way, each in found.items():
                turns.setdefault(way, []).append(each)
        case = Case(f"{n:,} numbers", 0, "reduction")
        runner.results.add(*[timed("distributed", case, way, each) for way, each in turns.items()])
    runner.run([case for case in wanted if case in SHARED], options.processes)
    runner.libraries = {"threads": DISTRIBUTED["threads"]}
    runner.run([case for case in wanted if case in ALONE], options.processes)
    return runner.results


def flops(name: str) -> int:
    """The operations of a training step that are products, for one example: forward, and back to weights and inputs."""
    from xpnet import models
    from xpnet.viz import summarize

    model = models.build(name)
    learned = {path for path, layer in model.modules() if "weight" in vars(layer)}
    layers = summarize(model, WORKLOADS[name].sample, 1).layers
    return sum(row.flops_forward + row.flops_backward for row in layers if row.name in learned)


def available_mb() -> float:
    """Memory that is free or can be made so, in MB; without bound where Linux does not tell."""
    info = Path("/proc/meminfo")
    return int(info.read_text().split("MemAvailable:")[1].split()[0]) / 2**10 if info.exists() else float("inf")


def feed(options: Namespace, images: int = 2000) -> Results:
    """Decode a folder of JPEG images, with and without training beside; the folder is drawn for the run."""
    [name, *_] = choose(options.only or "alexnet", {name: [name] for name in ("alexnet", "lenet5")})
    case, results = Case(name, 16), Results(options.json)
    with TemporaryDirectory(prefix="xpnet-feed-") as folder, Worker("xpnet_feed", environment()) as worker:
        say(f"drawing {images} images")
        drawn = draw(Path(folder), images, (256, 256))
        size, place = sum(path.stat().st_size for path in drawn), link(Path(folder) / "classes", drawn, images)
        found = worker.ask(do="measure", folder=str(place), seconds=options.seconds, **request(case))
    for task, rates in found.items():
        for library, rate in zip(("xpnet", "beside"), rates, strict=True):
            results.add(of_runs("feed", task, name, library, "images/s", [rate], batch=case.batch))
    fed = "is fed" if found["decode"][1] >= found["train"][1] else "is NOT fed"
    results.note(f"The step {fed}: {images} files of {size / images / 1e3:.0f} KB each")
    return results
