"""Measure xpnet beside its peers, and what networks learn of MNIST.

    ci/bench/run.py cpu                       every step, training and inference, against every peer
    ci/bench/run.py cpu --quick --peers "" --baseline ../before      two checkouts, turn about, in some eight minutes
    ci/bench/run.py process                   from `python` to LeNet-5 at 98 % on MNIST
    ci/bench/run.py growth                    steps over batches and cores: table and picture
    ci/bench/run.py feed                      JPEG images decoded a second, beside training
    ci/bench/run.py photos                    JPEGs of 4032x3024: decoding, memory, start
    ci/bench/run.py mnist --json mnist.json   every recipe of mnist.py, three seeds each
    ci/bench/run.py serve                     requests a second and latency of xpnet serve, beside FastAPI
    ci/bench/run.py small_tables --seeds 20   accuracy and R2 of tables, beside scikit-learn's MLP
    ci/bench/run.py estimators --seeds 10     xpnet.sklearn's NetClassifier beside MLPClassifier: time of fit, accuracy
    ci/bench/run.py distributed               reductions and steps of two processes, and what virtual shards cost
    ci/bench/run.py playground                frames and steps a second of xpnet playground
    ci/bench/run.py gpu                       on a CUDA GPU, beside PyTorch, within eight minutes
    ci/bench/run.py table FILE                what any of them wrote, as Markdown

A training step is forward, loss, backward and an update by SGD with momentum, float32, on a batch that is in memory, as
Trainer.fit runs it; inference is model.predict, eval() under inference_mode, a jitted function, a session of ONNX
Runtime. Every library gets the same model, batch and learning rate, and its own default number of threads. Each runs in
a process of its own, because two thread pools in one process slow both down, and the processes take turns: A B C, A B
C, ... A turn is one untimed step and then steps for 75 ms, or for a second in the long turns; it ends when the threads
of that process are idle. All processes are started anew three times, minutes apart, because a process can be slow by
luck:

    ms      of the best process: the median over its short turns
    ratio   peer's ms / xpnet's ms: above 1, xpnet is faster
    spread  (slowest process - best process) / best process, of xpnet and of the best peer
    MB      the most memory (resident set) of a process that ran only this workload, imports included

PyTorch runs convolutions with images channels first and channels last; the faster one counts.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tables import markdown  # noqa: E402
from turns import WorkerError  # noqa: E402
from workloads import QUICK  # noqa: E402

from xpnet.errors import XpnetError  # noqa: E402

# suite: the module that has a function of that name
SUITES = {name: name for name in ("mnist", "small_tables", "estimators", "gpu", "photos", "playground")}
SUITES |= dict.fromkeys(("cpu", "process", "growth", "feed", "distributed"), "suites") | {"serve": "serving"}


def positive(text: str) -> float:
    """A number above 0, finite."""
    if not 0 < float(text) < float("inf"):
        raise ValueError
    return float(text)


def count(text: str) -> int:
    """A whole number of at least 1."""
    return int(text) if int(text) > 0 else int("")


def arguments() -> argparse.ArgumentParser:
    """The options; a suite reads those that concern it."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("ci/bench/run.py", description=__doc__, formatter_class=form)
    add = parser.add_argument
    add("suite", choices=[*SUITES, "table"])
    add("file", type=Path, nargs="?", help="table: what --json wrote")
    add("--only", default="", help="cases or models, commas between: lenet5, lenet5-64, lenet5-64-inference, inference")
    add("--peers", help="packages, commas between; empty: xpnet alone; by default all")
    add("--quick", action="store_true", help="cpu: the cases that matter, half as long")
    add("--baseline", type=Path, help="cpu: another checkout of xpnet, measured in turn with this one")
    add("--json", type=Path, help="write the results to this file, and its tables in a TABLES.md beside it")
    add("--processes", type=count, default=3, help="of each library and case; process: runs of each script")
    add("--seconds", type=positive, default=1.5, help="of the short turns of a process; feed: of each part")
    add("--minutes", type=positive, default=float("inf"), help="begin nothing new after so many")
    add("--most", type=count, default=512, help="growth: the largest batch")
    add("--limit", type=positive, default=150.0, help="growth: seconds of a point; a series ends before a longer one")
    add("--device", default="cuda", help="gpu: cuda or cuda:N; cpu only tries the code")
    add("--data-dir", help="folder of MNIST's files; XPNET_DATA_DIR by default")
    add("--seeds", type=count, default=3, help="mnist, small_tables, estimators: how many runs of each")
    add("--held-out", action="store_true", help="mnist: train on 50,000 digits, test on the other 10,000; keep nothing")
    return parser


def main(words: list[str] | None = None) -> int:
    """Run a suite and print its tables: 0 done, 1 a part failed, 2 bad input, 130 interrupted."""
    parser = arguments()
    options = parser.parse_args(words)
    if options.json and not options.json.parent.is_dir():
        parser.error(f"--json: expected a file in a folder that exists, got {options.json}")
    if options.baseline and not (options.baseline / "xpnet").is_dir():
        parser.error(f"--baseline: expected a checkout of xpnet, got {options.baseline}")
    if options.quick:
        options.only, options.seconds = options.only or QUICK, options.seconds / 2
    try:
        if options.suite == "table":
            print(markdown(json.loads(options.file.read_text())))
            return 0
        old = options.json if options.json and options.json.exists() else None
        before = markdown(json.loads(old.read_text())) if old else ""
        results = getattr(importlib.import_module(SUITES[options.suite]), options.suite)(options)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if options.suite != "table":
            raise
        parser.error(f"expected a file that --json wrote, got {options.file} ({error})")
    except (WorkerError, XpnetError) as error:
        print(f"{options.suite}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    found, page = markdown(results.facts), options.json.with_name("TABLES.md") if options.json else Path()
    if before and page.is_file():
        page.write_text(page.read_text().replace(before, found))
    print(found)
    return int(results.failed)


if __name__ == "__main__":
    sys.exit(main())
