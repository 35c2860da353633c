"""How long xpnet.sklearn.NetClassifier fits, and how accurate it is, beside scikit-learn's MLPClassifier.

How the figures are made:

- Both have their defaults, one hidden layer of 100 neurons with ReLU, and the seed as random_state.
- digits are scikit-learn's, as they come, float64; of each seed, from 100 on, another quarter is the test set. MNIST is
  its own training and test set, float32 from 0 to 1; the seeds differ in the first weights and the order.
- Each fit is the second one in a process of its own: the first, of one epoch on the same arrays, is not counted, for it
  loads kernels. The processes take turns: A B, B A, A B, ...
- Time is that of fit alone: by the wall clock, and of all processors. The value is the median over the seeds.
- The defaults were chosen on digits with other seeds, on 50,000 of MNIST's training images and the other 10,000, and on
  small tables; results/NOTES.md says how, and which test figures were seen on the way.
"""

from argparse import Namespace
from statistics import mean, median, pstdev
from typing import Any

from rows import Results, Row, of_runs
from runner import choose, mnist_folder, say
from turns import Worker, environment

DATA = ("digits", "mnist")
LIBRARIES = ("xpnet", "sklearn")
PATIENCE = 3600.0  # seconds to wait for a fit
FIRST_SEED = 100


def estimators(options: Namespace) -> Results:
    """Fit both with so many seeds in turn, on each data set."""
    results, names = Results(options.json), choose(options.only, {name: [name] for name in DATA})
    folder = mnist_folder(options.data_dir) if "mnist" in names else None
    results.note(f"Seeds {FIRST_SEED} to {FIRST_SEED + options.seeds - 1}; medians of times, means of accuracies")
    for name in names:
        runs: dict[str, list[dict[str, Any]]] = {library: [] for library in LIBRARIES}
        for turn in range(options.seeds):
            for library in LIBRARIES[:: -1 if turn % 2 else 1]:
                asked = {"do": "measure", "library": library, "data": name, "folder": str(folder)}
                with Worker("estimator_fit", environment(), PATIENCE) as worker:
                    run = worker.ask(seed=FIRST_SEED + turn, **asked)
                say(f"{name}, {library}, seed {FIRST_SEED + turn}: {described(run)}")
                runs[library].append(run)
        results.add(*rows_of(name, runs))
    return results


def described(run: dict[str, Any]) -> str:
    """One fit in words."""
    return f"{run['wall']:.2f} s, {run['cpu']:.2f} CPU s, {run['epochs']} epochs, {run['accuracy']:.2f} %"


def rows_of(name: str, runs: dict[str, list[dict[str, Any]]]) -> list[Row]:
    """Make the rows of a data set: time of both kinds, accuracy."""
    found = [
        of_runs("estimators", task, name, library, "s", [run[key] for run in each])
        for task, key in (("wall clock", "wall"), ("all processors", "cpu"))
        for library, each in runs.items()
    ]
    accuracies = {library: [run["accuracy"] for run in each] for library, each in runs.items()}
    deviations = " / ".join(f"{pstdev(values):.2f}" for values in accuracies.values())
    epochs = " / ".join(f"{median(run['epochs'] for run in each):.0f}" for each in runs.values())
    goal = {"least": mean(accuracies["sklearn"]), "remarks": f"deviation {deviations} %, epochs {epochs}"}
    for library, values in accuracies.items():
        more = goal if library == "xpnet" else {}
        found.append(of_runs("estimators", "accuracy", name, library, "%", values, mean, **more))
    return found
