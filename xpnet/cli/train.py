"""xpnet train."""

from __future__ import annotations

from typing import Annotated

import typer

from xpnet.cli.options import BackendName, DataDir, Device, Json, loading, print_json, print_line
from xpnet.errors import ConfigError

__all__ = ["train"]


def train(
    model: Annotated[str | None, typer.Argument(help="{models}; cnn by default.")] = None,
    data: Annotated[
        str | None, typer.Option(help="{datasets}, a folder of images or an .npz file; digits by default.")
    ] = None,
    data_dir: DataDir = None,
    backend: BackendName = None,
    device: Device = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples a step; by default 64, 32 for small sets.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="{optimizers}; by default the model's own.")] = None,
    lr: Annotated[
        float | None, typer.Option(help="Highest learning rate; by default that of model and optimizer.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw; 0 by default.")] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="fp32|tf32|fp16", help="Precision of products; fp32 by default.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads that share a step; by default one a core, where that is faster.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Folder of the run; a new one in runs/ by default.")] = None,
    resume: Annotated[str | None, typer.Option(help="Folder of a run to continue.")] = None,
    as_json: Json = False,
) -> int:
    """Train a model and keep the run in a folder."""
    from xpnet.train.callbacks import Progress
    from xpnet.train.run import train_run
    from xpnet.train.run_config import RunConfig, resolve_backend, resumed_config

    given = {
        "model": model,
        "data": data,
        "data_dir": data_dir,
        "backend": resolve_backend(backend, device) if backend or device else None,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "lr": lr,
        "seed": seed,
        "precision": precision,
        "threads": threads,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if resume and out:
        raise ConfigError("resume", "the folder of the run as the only one", "omit --out", out=out)
    config = resumed_config(resume, given) if resume else RunConfig(**given)

    def say(line: str) -> None:
        print_line(line, as_json)

    with loading() as progress:
        result = train_run(config, out, resume=resume, callbacks=[Progress()], progress=progress, announce=say)
    interrupted = result.pop("interrupted")
    if interrupted:
        say(f"interrupted and saved; go on with: xpnet train --resume {result['run']}")
    else:
        accuracy = "" if result["test_accuracy"] is None else f"test accuracy {result['test_accuracy']:.2%}, "
        speed = f"{result['seconds']:.1f} s, {result['images_per_second']:,.0f} images/s"
        say(f"{accuracy}{speed}, saved in {result['run']}")
    if as_json:
        print_json(result)
    return 128 + interrupted if interrupted else 0
