"""What comes out of the benchmark on a GPU: the README's table, what was to be reached, and the results behind them."""

from __future__ import annotations

from statistics import median
from typing import Any

from gpu_workloads import GPU_TARGETS, MNIST_GOAL, Timing
from report import compare

_TITLES = {
    "torch": "PyTorch eager",
    "torch-captured": "PyTorch captured",
    "torch-compiled": "PyTorch compiled",
    "xpnet-eager": "xpnet, not captured",
}
MODES = (
    "PyTorch runs channels last. Both libraries are told the precision. fp32: TF32 nowhere; tf32: in products and "
    "convolutions; fp16: float16, float32 masters and a dynamic loss scale, in PyTorch by autocast and GradScaler. "
    "Peak memory is what a library's pools held of the device."
)


def result(timing: Timing, bursts: dict[str, list[float]], peaks: dict[str, float]) -> dict[str, Any]:
    """Make the results' row of a timing: xpnet's median and peak, and for each peer its own and the ratio.

    Args:
        bursts: milliseconds a step of each turn, by name; "xpnet" among them.
        peaks: MB of device memory, by name.
    """
    peers = {}
    for name in bursts:
        if name != "xpnet":
            found = compare(bursts["xpnet"], bursts[name])
            figures = {"ms": found["peer_ms"], "ratio": found["ratio"], "spread": found["spread"]}
            peers[name] = {**figures, "peak_mb": peaks[name]}
    return {
        "name": timing.name,
        "batch": timing.batch,
        "precision": timing.precision,
        "cudnn": timing.cudnn,
        "xpnet_ms": median(bursts["xpnet"]),
        "xpnet_peak_mb": peaks["xpnet"],
        "peers": peers,
    }


def verdicts(row: dict[str, Any]) -> list[str]:
    """Say what a row was to reach and whether it did; nothing of a peer that did not run."""
    eager, fast = GPU_TARGETS[row["name"], row["cudnn"]]
    peers, said = row["peers"], []
    if "torch" in peers:
        said.append(_verdict("eager", peers["torch"]["ratio"], eager))
    rivals = [peers[name] for name in ("torch-captured", "torch-compiled") if name in peers]
    if fast is not None and rivals:
        said.append(_verdict("captured or compiled", min(rivals, key=lambda peer: peer["ms"])["ratio"], fast))
    return said


def _verdict(what: str, ratio: float, least: float) -> str:
    return f"{ratio:.2f}x of {what}, at least {least:g}x {'met' if ratio >= least else 'MISSED'}"


def learned(mnist: dict[str, Any]) -> str:
    """Say how fast LeNet-5 learned MNIST, and whether that was as fast as it was to be."""
    accuracy, seconds = ([run[key] for run in mnist["runs"]] for key in ("accuracy", "seconds"))
    least, most = MNIST_GOAL
    met = "met" if median(accuracy) >= least and median(seconds) < most else "MISSED"
    each = ", ".join(f"{a:.2f} % in {s:.2f} s" for a, s in zip(accuracy, seconds, strict=True))
    return (
        f"LeNet-5 on MNIST, {mnist['recipe']['epochs']} epochs, {mnist['precision']}: {each}; "
        f"median {median(accuracy):.2f} % in {median(seconds):.2f} s of training, {least:g} % in under {most:g} s {met}"
    )


def title(row: dict[str, Any]) -> str:
    """A row's name in the table."""
    return f"{row['name']}, batch {row['batch']}{'' if row['cudnn'] else ', im2col + GEMM alone'}"


def markdown(facts: dict[str, Any]) -> str:
    """Make the README's table of a results file: a row a timing, a column a peer; then where and how."""
    heads = ["training step", "precision", "xpnet", *_TITLES.values(), "peak memory, xpnet / PyTorch"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in facts["results"]:
        peers = row["peers"]
        cells = [title(row), row["precision"], f"{row['xpnet_ms']:.3f} ms"]
        cells += [f"{p['ms']:.3f} ms, {p['ratio']:.2f}x" if (p := peers.get(name)) else "" for name in _TITLES]
        peak = peers.get("torch", {}).get("peak_mb")
        cells.append("" if peak is None else f"{row['xpnet_peak_mb']:.0f} / {peak:.0f} MB")
        lines.append("| " + " | ".join(cells) + " |")
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines += ["", f"{ceilings_line(facts['ceilings'])}; {facts['machine']['system']}; {versions}. {MODES}"]
    if facts["mnist"]:
        lines += ["", learned(facts["mnist"]) + "."]
    return "\n".join(lines)


def ceilings_line(ceilings: dict[str, Any]) -> str:
    """Say what the device is and can do."""
    rates = ", ".join(f"{name} {rate:.3g}" for name, rate in ceilings["gemm_tflop_s"].items())
    return f"{ceilings['device']}: copies {ceilings['copy_gb_s']:.0f} GB/s read and written, products {rates} TFLOP/s"
