"""The suite on a GPU: training steps, then each op beside the least time it can take, then LeNet-5 learning MNIST.

    floor = max(FLOPs / rate of a large product, least bytes / bandwidth of a large copy)

Least bytes are those of each array that goes in or out, once. A cache keeps what is small, so an op on little data
may take less than its bytes say; but a launch takes some microseconds, so it seldom does.
"""

import re
from argparse import Namespace
from typing import Any

from rows import Results, Row
from runner import Runner, choose, choose_peers, request, say
from turns import HERE, Worker, WorkerError, environment
from workloads import GPU, GPU_LIBRARIES, Case

BYTES = {"fp32": 4, "tf32": 4, "fp16": 2}  # of a number, between the layers
FAST_LENET5 = {"epochs": 4, "batch": 128, "peak": 0.1, "weight_decay": 5e-4}


def gpu(options: Namespace) -> Results:
    """Measure within --minutes, at most 7: one process each first, then op by op, then more processes."""
    cases = choose(options.only, {case: case.names("gpu") for case in GPU})
    libraries, device = choose_peers(options.peers, GPU_LIBRARIES), options.device
    precisions = sorted({"fp32", *(case.precision for case in cases)})
    try:
        with Worker("ceilings", environment(device)) as worker:
            ceilings = worker.ask(do="measure", device=device, precisions=precisions)
        with Worker("xpnet_ops", environment(device)) as worker:
            worker.ask(do="measure", **request(Case("softmax", 1), device))
    except WorkerError as error:
        raise SystemExit(f"gpu: {device} cannot be measured; {error}") from None
    rates = ", ".join(f"{name} {rate:.3g}" for name, rate in ceilings["gemm_tflop_s"].items())
    note = f"{ceilings['device']}: copies {ceilings['copy_gb_s']:.0f} GB/s read and written, products {rates} TFLOP/s"
    name = re.sub(r"[^a-z0-9]+", "-", ceilings["device"].lower()).strip("-")
    options.json, options.minutes = options.json or HERE / "results" / f"gpu-{name}.json", min(options.minutes, 7.0)
    runner = Runner("gpu", libraries, options, device)
    results = runner.results
    results.facts["ceilings"] = ceilings
    results.note(note)
    runner.run(cases, 1)
    for case in cases:
        results.add(*time_ops(runner, case, ceilings))
    runner.run(cases, options.processes - 1)
    results.add(*learn(options))
    return results


def time_ops(runner: Runner, case: Case, ceilings: dict[str, Any]) -> list[Row]:
    """Time a case op by op: a row for xpnet and one for the floor, forward and backward."""
    rows = []
    try:
        with Worker("xpnet_ops", environment(runner.device), 60.0) as worker:
            ops = worker.ask(do="measure", **request(case, runner.device))["ops"] if runner.left() > 0 else []
    except WorkerError as error:
        say(f"{case.names('gpu')[0]}, op by op: {error}")
        runner.results.failed, ops = True, []
    for op in ops:
        # masters and momenta stay float32, and so does the loss
        precision = "fp32" if op["op"] in ("update", "loss") else case.precision
        compute = op["flops"] / (ceilings["gemm_tflop_s"][precision] * 1e12)
        floor = 1e3 * max(compute, op["numbers"] * BYTES[precision] / (ceilings["copy_gb_s"] * 1e9))
        known = {**case._asdict(), "suite": "ops", "name": f"{case.name}, {op['op']} {op['task']}", "unit": "ms"}
        rows += [{**known, "library": "xpnet", "value": op["ms"], "remarks": f"{op['count']} x {op['kind']}"}]
        rows += [{**known, "library": "floor", "value": floor}]
    return rows


def learn(options: Namespace) -> list[Row]:
    """Let LeNet-5 learn MNIST in 4 epochs, in this process; seconds are those of Trainer.fit."""
    from mnist import NETWORKS, RECIPES, data, learned, train_once

    NETWORKS["lenet5 in 4 epochs"] = {"goal": 1.0, "remarks": "to reach: 2 s of training"}
    RECIPES["lenet5 in 4 epochs"] = {**RECIPES["lenet5"], **FAST_LENET5}
    try:
        sets = data.load("mnist", options.data_dir)
        runs = [train_once(RECIPES["lenet5 in 4 epochs"], seed, *sets, options.device) for seed in range(3)]
    except Exception as error:  # whatever it is, the steps are measured
        say(f"LeNet-5 on MNIST is left out; {type(error).__name__}: {error}")
        return []
    return [learned("lenet5 in 4 epochs", [run for run in runs if run])]
