"""The suites on a CPU: what run.py measures by each name; and feeding.

process: each script (workers/xpnet_process.py, workers/torch_process.py) reads MNIST's files, trains LeNet-5 with the
same batch, rate and distribution of first weights, evaluates on the whole test set every so many steps, and ends when
the accuracy is reached. The time is the wall clock's from the start of the process. The scripts take turns; seeds
differ from turn to turn, for a seed decides how many steps it takes. A first run of each is not counted.
"""

import os
from argparse import Namespace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from rows import about, cores, spread, write
from runner import Runner, choose, choose_peers, request, say
from turns import HERE, Worker, environment
from workloads import CPU, LENET5, LIBRARIES, PYTORCH, WORKLOADS, Case

Result = tuple[dict[str, Any], bool]  # the results, and whether a part failed
GOAL = {"batch": 64, "lr": 0.02, "momentum": 0.9, "every": 100, "accuracy": 0.98, "steps": 5000}


def cpu(options: Namespace) -> Result:
    """Time training steps and inference on the processor."""
    cases = choose(options.only, {case: case.names("cpu") for case in CPU})
    libraries = choose_peers(options.peers, LIBRARIES)
    if options.peers == "":
        libraries.pop("xpnet-numpy")
    runner = Runner("cpu", libraries, options)
    runner.run(cases, options.processes)
    return runner.facts, runner.failed


def process(options: Namespace) -> Result:
    """Run each script once uncounted, then some times in turn."""
    root = Path(options.data_dir or os.environ.get("XPNET_DATA_DIR", "")).expanduser()
    folder = next((path.parent for path in root.rglob("train-images-idx3-ubyte*")), None)
    if folder is None:
        raise SystemExit(f"--data-dir: expected a folder with MNIST's four files, got {root}")
    libraries = choose_peers(None, {name: LIBRARIES[name] for name in ("xpnet", "xpnet-numpy", "torch")})
    facts, runs = about(), {name: [] for name in libraries}
    for seed in range(-1, options.processes):
        for name in list(libraries)[:: 1 if seed % 2 else -1]:
            began, asked = perf_counter(), {**GOAL, **libraries[name].options, "seed": max(seed, 0), "layers": LENET5}
            with Worker("torch_process" if name == "torch" else "xpnet_process", environment(), 600.0) as worker:
                run = {**worker.ask(do="measure", folder=str(folder), **asked), "s": perf_counter() - began}
            say(f"{name}, seed {seed}: {run['s']:.2f} s, {run['steps']} steps, {run['accuracy']:.2%}")
            runs[name] += [run] if seed >= 0 else []
        for name, counted in runs.items() if seed >= 0 else ():
            turns = [[run["s"]] for run in counted]
            row = {"suite": "process", "name": "LeNet-5 at 98% on MNIST", "library": name, "unit": "s", "turns": turns}
            row |= {key: median(run[key] for run in counted) for key in ("steps", "mb", "accuracy")}
            row |= {"value": median(run["s"] for run in counted), "spread": spread(turns)}
            facts["rows"] = [*(row for row in facts["rows"] if row["library"] != name), row]
        write(options.json, facts)
    return facts, any(row["accuracy"] < GOAL["accuracy"] for row in facts["rows"])


def growth(options: Namespace) -> Result:
    """Time steps over batches of 1, 2, 4, ... on 1, 2, ... cores, beside PyTorch and the time of the products alone.

    A series ends where the next point would take longer than --limit, or more memory than there is.
    """
    from picture import draw

    libraries = choose_peers(None, {name: LIBRARIES[name] for name in ("xpnet", *PYTORCH)})
    options.json, options.seconds = options.json or HERE / "results" / "growth.json", options.seconds / 2
    runner = Runner("growth", libraries, options)
    for n in range(1, cores() + 1):
        with Worker("ceilings", environment("cpu", n)) as worker:
            rate = worker.ask(do="measure", device="cpu", precisions=["fp32"])["gemm_tflop_s"]["fp32"]
        runner.facts["notes"].append(f"{n} core{'s' * (n > 1)}: {1e3 * rate:.0f} GFLOP/s of a large product")
        for name in choose(options.only, {name: [name] for name in ("lenet5", "alexnet")}):
            for case in [Case(name, 2**i, cores=n) for i in range(options.most.bit_length())]:
                if not all(runner.attempt(case, f"{name}-{case.batch}, {n} cores") for _ in range(options.processes)):
                    break
                floor = {**case._asdict(), "suite": "growth", "library": "floor", "unit": "ms"}
                runner.more.append({**floor, "value": flops(name) * case.batch / rate / 1e9})
                points = [row for (found, _), row in runner.rows.items() if found == case]
                took = sum(max(map(max, row["long"])) for row in points) / 1e3
                if 20 * options.processes * took > options.limit or 2 * sum(r["mb"] for r in points) > available_mb():
                    runner.facts["notes"].append(f"{name}, {n} cores: ends at batch {case.batch}, by time or memory")
                    break
    runner.keep()
    draw(runner.facts["rows"], options.json.with_suffix(".svg"))
    return runner.facts, runner.failed


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


def feed(options: Namespace, images: int = 2000) -> Result:
    """Decode a folder of JPEG images, with and without training beside; the folder is drawn for the run."""
    [name, *_] = choose(options.only or "alexnet", {name: [name] for name in ("alexnet", "lenet5")})
    case, facts = Case(name, 16), about()
    with TemporaryDirectory(prefix="xpnet-feed-") as folder, Worker("xpnet_feed", environment()) as worker:
        say(f"drawing {images} images")
        size = draw(Path(folder), images)
        found = worker.ask(do="measure", folder=folder, seconds=options.seconds, **request(case))
    for task, rates in found.items():
        row = {**case._asdict(), "suite": "feed", "task": task, "unit": "images/s"}
        facts["rows"] += [{**row, "library": n, "value": v} for n, v in zip(("xpnet", "beside"), rates, strict=True)]
    fed = "is fed" if found["decode"][1] >= found["train"][1] else "is NOT fed"
    facts["notes"] = [f"The step {fed}: {images} files of {size / images / 1e3:.0f} KB each"]
    write(options.json, facts)
    return facts, False


def draw(folder: Path, images: int, side: int = 256, classes: int = 4) -> int:
    """Draw JPEG images, sub-folder by class: smooth colours with noise; return the bytes of all files."""
    from PIL import Image

    rng, size = np.random.default_rng(0), 0
    for i in range(images):
        path = folder / f"class{i % classes}" / f"{i:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        colours = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side))
        noisy = np.asarray(colours) + rng.normal(0, 9, (side, side, 3))
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, quality=85)
        size += path.stat().st_size
    return size
